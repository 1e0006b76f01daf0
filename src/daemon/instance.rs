//! One daemon to a state directory.

use std::fs::OpenOptions;
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

/// The lock, held until the process ends. flock(2), because fcntl(2) locks go when *any* descriptor of the file is
/// closed.
#[derive(Debug)]
pub(super) struct Instance {
    _lock: Flock<std::fs::File>,
}

/// The state directory is in use, or cannot be locked.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct Taken {
    path: PathBuf,
    problem: String,
}

impl Instance {
    pub(super) fn lock(state: &Path) -> Result<Self, Taken> {
        let path = state.join("lock");
        let taken = |problem: String| Taken { path: path.clone(), problem };
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.map_err(|error| taken(error.to_string()))?;
        let mut lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(mut file, errno)| {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            if errno != nix::errno::Errno::EWOULDBLOCK {
                return taken(errno.to_string());
            }
            taken(format!(
                "another pthguard (process {}) uses this state directory; stop it first, or give this one another \
                 `state.dir`",
                holder.trim()
            ))
        })?;
        let written =
            lock.set_len(0).and_then(|()| lock.rewind()).and_then(|()| writeln!(&mut *lock, "{}", std::process::id()));
        written.map_err(|error| taken(error.to_string()))?;
        Ok(Instance { _lock: lock })
    }
}
