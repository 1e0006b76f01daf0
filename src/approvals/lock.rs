//! One process to a state directory at a time: the daemon for as long as it runs, a command for as long as it takes.

use std::fs::OpenOptions;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::state::{StateError, open_file};

/// How often a lock that is taken is tried again.
const TRY_AGAIN: Duration = Duration::from_millis(20);
/// How long a daemon that starts waits for a command to be done.
const COMMANDS: Duration = Duration::from_secs(5);

/// The lock, held until it is dropped or the process ends. flock(2), because fcntl(2) locks go when *any* descriptor of
/// the file is closed.
#[derive(Debug)]
pub struct Instance {
    lock: Flock<std::fs::File>,
}

/// What a process uses the state directory for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To guard: until it is stopped.
    Daemon,
    /// To carry out a command: for a moment.
    Command,
}

/// Who has the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its process number.
    pub pid: u32,
    /// What for.
    pub purpose: Purpose,
}

/// The state directory is in use, or cannot be locked.
#[derive(Debug, thiserror::Error)]
pub enum Taken {
    /// Somebody has the lock.
    #[error("{path}: {}", describe(.holder.as_ref()))]
    By {
        /// The lock.
        path: PathBuf,
        /// Who it is, where that is known.
        holder: Option<Holder>,
    },
    /// The lock cannot be taken for another reason.
    #[error(transparent)]
    State(#[from] StateError),
}

fn describe(holder: Option<&Holder>) -> String {
    match holder {
        Some(Holder { pid, purpose: Purpose::Daemon }) => format!(
            "another pthguard (process {pid}) uses this state directory; stop it first, or give this one another \
             `state.dir`"
        ),
        Some(Holder { pid, purpose: Purpose::Command }) => {
            format!("a pthguard command (process {pid}) uses this state directory; try again when it is done")
        }
        None => "another pthguard uses this state directory; try again, or see with fuser(1) who it is".to_owned(),
    }
}

impl Instance {
    /// Locks the state directory for a daemon. Waits for a command that is under way, but not for another daemon.
    ///
    /// # Errors
    /// [`Taken`].
    pub fn lock(state: &Path) -> Result<Self, Taken> {
        let is_daemon = |holder: Option<Holder>| holder.is_some_and(|holder| holder.purpose == Purpose::Daemon);
        Self::take(state, Purpose::Daemon, COMMANDS, is_daemon)
    }

    /// Locks the state directory for a command, if nobody has it.
    ///
    /// # Errors
    /// [`Taken`]; it tells a daemon from another command.
    pub fn lock_now(state: &Path) -> Result<Self, Taken> {
        Self::take(state, Purpose::Command, Duration::ZERO, |_| true)
    }

    /// Locks the state directory for a command, and waits so long for whoever has it.
    ///
    /// # Errors
    /// [`Taken`].
    pub fn lock_within(state: &Path, limit: Duration) -> Result<Self, Taken> {
        Self::take(state, Purpose::Command, limit, |_| false)
    }

    fn take(
        state: &Path,
        purpose: Purpose,
        limit: Duration,
        gives_up: impl Fn(Option<Holder>) -> bool,
    ) -> Result<Self, Taken> {
        let path = state.join("lock");
        let io_error = |source: io::Error| Taken::State(StateError::Io { path: path.clone(), source });
        let mut file = open_file(&path, OpenOptions::new().read(true).write(true).create(true).truncate(false))?;
        let end = Instant::now() + limit;
        loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(mut lock) => {
                    write_holder(&mut lock, purpose).map_err(io_error)?;
                    return Ok(Instance { lock });
                }
                Err((mut unlocked, Errno::EWOULDBLOCK)) => {
                    let holder = read_holder(&mut unlocked);
                    if gives_up(holder) || Instant::now() >= end {
                        return Err(Taken::By { path, holder });
                    }
                    file = unlocked;
                    std::thread::sleep(TRY_AGAIN);
                }
                Err((_, errno)) => return Err(io_error(errno.into())),
            }
        }
    }
}

/// A lock that nobody has names nobody.
impl Drop for Instance {
    fn drop(&mut self) {
        let _ = self.lock.set_len(0);
    }
}

fn write_holder(file: &mut std::fs::File, purpose: Purpose) -> io::Result<()> {
    let word = match purpose {
        Purpose::Daemon => "daemon",
        Purpose::Command => "command",
    };
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{} {word}", std::process::id())
}

/// Whoever wrote its number last, if it is alive: one that was killed has left it there.
fn read_holder(file: &mut std::fs::File) -> Option<Holder> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(64).read_to_string(&mut text).ok()?;
    let (pid, word) = text.trim_end().split_once(' ')?;
    let purpose = match word {
        "daemon" => Purpose::Daemon,
        "command" => Purpose::Command,
        _ => return None,
    };
    let pid = pid.parse().ok()?;
    Path::new("/proc").join(u32::to_string(&pid)).exists().then_some(Holder { pid, purpose })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn one_at_a_time_and_the_error_tells_who() {
        let dir = tempfile::tempdir().unwrap();
        let daemon = Instance::lock(dir.path()).unwrap();
        let error = Instance::lock(dir.path()).unwrap_err();
        assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
        let error = Instance::lock_now(dir.path()).unwrap_err();
        let me = Holder { pid: std::process::id(), purpose: Purpose::Daemon };
        assert!(matches!(error, Taken::By { holder: Some(holder), .. } if holder == me), "{error}");
        let began = Instant::now();
        Instance::lock_within(dir.path(), Duration::from_millis(60)).unwrap_err();
        assert!(began.elapsed() >= Duration::from_millis(60));
        drop(daemon);
        Instance::lock_now(dir.path()).unwrap();
    }

    #[test]
    fn commands_and_a_starting_daemon_wait_for_a_command() {
        let dir = tempfile::tempdir().unwrap();
        let command = Instance::lock_now(dir.path()).unwrap();
        std::thread::scope(|scope| {
            let waiting = [
                scope.spawn(|| Instance::lock_within(dir.path(), Duration::from_secs(60)).map(drop)),
                scope.spawn(|| Instance::lock(dir.path()).map(drop)),
            ];
            drop(command);
            for thread in waiting {
                thread.join().unwrap().unwrap();
            }
        });
    }

    #[test]
    fn what_a_killed_process_has_left_names_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        for text in ["4194999 daemon\n", "x daemon\n", "", "1\n", "1 king\n"] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(read_holder(&mut std::fs::File::open(&path).unwrap()), None, "{text:?}");
        }
    }

    #[test]
    fn a_link_in_its_place_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = dir.path().join("elsewhere");
        std::fs::write(&elsewhere, "precious").unwrap();
        symlink(&elsewhere, dir.path().join("lock")).unwrap();
        assert!(matches!(Instance::lock(dir.path()), Err(Taken::State(StateError::NoFile { .. }))));
        assert_eq!(std::fs::read_to_string(&elsewhere).unwrap(), "precious");
    }
}
