//! The commands that change approvals while no daemon runs: the real binary on a state directory of the test's own.
//!
//! - `approving`: approve and revoke, what is shown, who is recorded
//! - `held`: what is held, and `baseline`
//! - `quarantine`: list, show, restore, purge
//! - `robust`: many at once, killed on the way, a state that cannot be used
//! - `stage`: what the tests are made of

#![allow(clippy::unwrap_used, reason = "a test ends where its premises do")]

mod approving;
mod held;
mod quarantine;
mod robust;
mod stage;
