//! The whole binary against a real kernel and real interpreters, from the attacker's side. See `tests/README.md`.
//!
//! - `ways`: the table of attacks; `attacks`: what each of them is put through
//! - `writers`: who may write, may: pip, dpkg, uv, and their impostors
//! - `held`: what permitted writers bring beyond their rule; `lost`: guarded directories that are moved away or removed;
//!   `mounts`: what is mounted over them, and file systems that never answer;
//!   `kinds`: the same attacks on each kind of file system
//! - `discovery`: site directories that nobody has named
//! - `identity`: who poses as a permitted program; `forgery`: in a user namespace; `programs`: as what an interpreter
//!   runs; `injection`: honest programs that run somebody else's code
//! - `state`: baseline, restart, damage
//! - `life`: start, stop, being stopped, being killed
//! - `continuity`: a guard that takes over from one that has ended; `reload`: another policy, another mode
//! - `commands`: approve, revoke, baseline, quarantine, before a guard that runs
//! - `status`: what a guard tells of itself, `metrics`, the textfile
//! - `late`: descriptors and mappings from before anybody judged the file
//! - `links`: what approved symbolic links lead to; files with several names
//! - `load`: many at once, floods, giants, leases
//! - `offenders`: who does it again and again, and who is ended for it
//! - `special`: devices, FIFOs, sockets, directories; `putback`: how soon an approved file is back
//! - `deadline`: what holds up the log, the disk, /proc or another user, and nobody else
//! - `storm`: denied writers as many processes
//! - `remembered`: authors that are gone when their rename is noticed
//! - `handbook`: the command lines of docs/operations.md
//! - `trail`: the audit records; `events`: those who follow them, and the log file's rotation
//! - `harness`, `site`, `plant`, `packages`, `stage`, `keeper`, `sys`: what the tests are made of

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "what a test could not check is said")]

/// The three tests of each row in the table of attacks.
macro_rules! each_way {
    ($($name:ident)*) => {
        /// The payload runs: the row can fail.
        mod unguarded { $(#[test] fn $name() { crate::attacks::unguarded(stringify!($name)); })* }
        /// The payload runs, nothing is touched, and the record says `would-deny`.
        mod audited { $(#[test] fn $name() { crate::attacks::audited(stringify!($name)); })* }
        /// The payload does not run.
        mod enforced { $(#[test] fn $name() { crate::attacks::enforced(stringify!($name)); })* }
    };
}

mod attacks;
mod commands;
mod continuity;
mod deadline;
mod discovery;
mod events;
mod forgery;
mod handbook;
mod harness;
mod held;
mod identity;
mod injection;
mod journal;
mod keeper;
mod kinds;
mod lanes;
mod late;
mod life;
mod links;
mod load;
mod lost;
mod mounts;
mod offenders;
mod packages;
mod plant;
mod programs;
mod putback;
mod reload;
mod remembered;
mod reporting;
mod site;
mod special;
mod stage;
mod state;
mod status;
mod storm;
mod sys;
mod trail;
mod ways;
mod writers;
