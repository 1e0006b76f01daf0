//! The whole binary against a real kernel and real interpreters, from the attacker's side. See `tests/README.md`.
//!
//! - `ways`: the table of attacks; `attacks`: what each of them is put through
//! - `writers`: who may write, may: pip, dpkg, uv, and their impostors
//! - `held`: what permitted writers bring beyond their rule; `lost`: guarded directories that are moved away or removed
//! - `identity`: who poses as a permitted program; `forgery`: in a user namespace; `programs`: as what an interpreter
//!   runs; `injection`: honest programs that run somebody else's code
//! - `state`: baseline, restart, damage
//! - `life`: start, stop, being stopped, being killed
//! - `commands`: approve, revoke, baseline, quarantine, before a guard that runs
//! - `links`: what approved symbolic links lead to; files with several names
//! - `load`: many at once, floods, giants, leases
//! - `remembered`: authors that are gone when their rename is noticed
//! - `trail`: the audit records
//! - `harness`, `site`, `plant`, `packages`, `stage`, `sys`: what the tests are made of

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "what a test could not check is said")]

mod attacks;
mod commands;
mod forgery;
mod harness;
mod held;
mod identity;
mod injection;
mod lanes;
mod life;
mod links;
mod load;
mod lost;
mod packages;
mod plant;
mod programs;
mod remembered;
mod site;
mod stage;
mod state;
mod sys;
mod trail;
mod ways;
mod writers;
