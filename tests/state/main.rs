//! The state on disk when everything goes wrong: the process dies at any change, any system call fails, the disk is full.
//!
//! The faults are the kernel's answers as a program sees them: a library that is loaded before libc counts the calls
//! that change something below one directory, and ends the process or refuses the call at the Nth. Each test goes
//! through all N until a run gets to its end.

#![allow(clippy::unwrap_used, reason = "a test ends where its premises do")]
#![allow(missing_docs, reason = "tests")]

mod fault;
mod full;
mod quarantine;
mod store;
