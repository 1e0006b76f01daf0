//! From a policy to whoever keeps its state now: the daemon, or nobody.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use super::client::Remote;
use super::desk::{Desk, Refusal, Why};
use super::offline::Offline;
use super::socket::StateDir;
use crate::approvals::{Instance, Taken};
use crate::audit::escape_path;
use crate::config::Config;

/// How long a command waits for another one, for a daemon that starts, or for one that ends.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it looks.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A way to the state.
#[derive(Debug)]
pub enum Access {
    /// No daemon runs; the lock is held as long as this lives.
    Offline(Box<Offline>),
    /// The daemon does it.
    Daemon(Remote),
}

impl Access {
    /// Takes the state's lock or, where the daemon has it, connects to the daemon. The lock tells whether a daemon runs,
    /// not the socket: that may have been left behind by one that was killed.
    ///
    /// # Errors
    /// [`Refusal`]: there is no state, it cannot be used, or whoever has the lock does not answer.
    pub fn to(config: &Config) -> Result<Self, Refusal> {
        let state = &config.state_dir;
        let end = Instant::now() + PATIENCE;
        loop {
            let dir = StateDir::open(state).map_err(|error| no_state(state, &error))?;
            let taken = match Instance::lock_now(state) {
                Ok(lock) => return Ok(Access::Offline(Box::new(Offline::open(config, lock)?))),
                Err(taken @ Taken::By { .. }) => taken,
                Err(Taken::State(error)) => return Err(Refusal::new(Why::System, error.to_string())),
            };
            match Remote::find(dir) {
                Ok(daemon) => return Ok(Access::Daemon(daemon)),
                // Another command has the lock, or a daemon that does not listen yet or any more.
                Err(_) if Instant::now() < end => std::thread::sleep(LOOK_AGAIN),
                Err(error) => {
                    let message = format!("{taken}; its control socket: {error}");
                    return Err(Refusal::new(Why::System, message));
                }
            }
        }
    }

    /// Connects to the daemon, if one runs: for those who only look. Nothing is locked, made or written.
    ///
    /// # Errors
    /// Nobody listens, or the state directory is not there, not the caller's to read, or not root's alone.
    pub fn to_daemon(config: &Config) -> io::Result<Self> {
        StateDir::open(&config.state_dir).and_then(Remote::find).map(Access::Daemon)
    }

    /// Whoever does it.
    #[must_use]
    pub fn desk(&self) -> &dyn Desk {
        match self {
            Access::Offline(desk) => desk.as_ref(),
            Access::Daemon(desk) => desk,
        }
    }

    /// Ends it, and waits until the records of what was done are written.
    ///
    /// # Errors
    /// [`Refusal`]: some were not.
    pub fn finish(self) -> Result<(), Refusal> {
        match self {
            Access::Offline(desk) => desk.finish(),
            Access::Daemon(_) => Ok(()),
        }
    }
}

/// Refuses a state directory that is not there, or that others than root could have changed.
///
/// # Errors
/// [`Refusal`]
pub fn check_state(state: &Path) -> Result<(), Refusal> {
    StateDir::open(state).map(drop).map_err(|error| no_state(state, &error))
}

fn no_state(state: &Path, error: &io::Error) -> Refusal {
    let state = escape_path(state);
    let hint = if error.kind() == io::ErrorKind::NotFound {
        "; `state.dir` in the policy says where it is, and the daemon makes it when it first starts"
    } else if error.kind() == io::ErrorKind::PermissionDenied {
        "; it must be root's alone, and this command be run by root"
    } else {
        ""
    };
    Refusal::new(Why::System, format!("the state directory {state} cannot be used: {error}{hint}"))
}
