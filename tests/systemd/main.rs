//! The shipped unit, with a real systemd as PID 1.
//!
//! - `host`: a host of the test's own, in a container
//! - `life`: start, hang, crash, failure, stop; what openers get meanwhile
//! - `hardened`: what the guard does works in the sandbox that the unit describes
//! - `continuity`: nobody gets past it while one process follows another, and nobody waits for one that does not come
//! - `opener`: somebody who opens a file and may have to wait
//! - `boot`: no boot waits for a guard that is missing, fails or hangs

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(dead_code, reason = "the modules are shared with the other privileged tests")]

mod boot;
mod continuity;
mod hardened;
mod host;
mod life;
mod opener;
#[path = "../guard/packages.rs"]
mod packages;
#[path = "../guard/site.rs"]
mod site;
#[path = "../guard/sys.rs"]
mod sys;
mod unit;
