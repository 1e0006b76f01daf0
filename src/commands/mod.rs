//! The commands that change or show the state: `approve`, `revoke`, `approvals`, `baseline`, `quarantine`; and `events`.
//!
//! *Owns* what a person is shown and asked. *Must not* touch the state but through a [`crate::control::Desk`], except to
//! read the quarantine, which needs no lock. *Hands to* `main` an exit status.
//!
//! Nothing from a file, a name or a process reaches the terminal unescaped.

#![forbid(unsafe_code)]

mod approvals;
mod approve;
mod ask;
mod baseline;
mod events;
mod quarantine;
mod resolve;
mod revoke;
mod text;

use std::io;
use std::path::Path;

pub use approvals::approvals;
pub use approve::{approve, approve_everywhere};
pub use baseline::baseline;
pub use events::events;
pub use quarantine::{Which, list, purge, restore, show};
pub use revoke::{revoke, revoke_everywhere};
pub use text::parse_age;

use crate::approvals::StateError;
use crate::config;
use crate::control::{Access, Desk, Refusal};

/// How a command is carried out.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// The policy, which says where the state is.
    pub config: Option<&'a Path>,
    /// Nobody is asked.
    pub yes: bool,
    /// What is shown is JSON.
    pub json: bool,
}

/// What a command comes to; its exit status.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done, nothing to report.
    Fine,
    /// There is something that a person should look at, or that he has declined.
    Finding,
}

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The policy is not valid.
    #[error(transparent)]
    Policy(#[from] config::Errors),
    /// The state says no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The quarantine cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// The arguments make no sense.
    #[error("{0}")]
    Usage(String),
    /// Nobody can be asked.
    #[error("there is no terminal to ask on, and nothing was changed: look at what is shown above, then add --yes")]
    NoTerminal,
    /// Standard output or input fails.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Lets `act` have the state, and sees that what it did is recorded, also when it fails on the way.
fn with_desk<T>(
    options: Options<'_>,
    act: impl FnOnce(&dyn Desk) -> Result<T, CommandError>,
) -> Result<T, CommandError> {
    let access = Access::to(&config::load(options.config)?)?;
    let done = act(access.desk());
    let recorded = access.finish();
    let done = done?;
    recorded?;
    Ok(done)
}
