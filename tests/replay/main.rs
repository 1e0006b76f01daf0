//! `pthguard replay`: records in files of the test's own, and what is told of them.
//!
//! Runs as anybody; only what is tested of other users needs root.

#![allow(clippy::unwrap_used, reason = "a test ends where its premises do")]

mod answers;
mod difference;
mod formats;
mod hostile;
mod place;
mod property;
mod records;
mod suggestion;
mod users;
