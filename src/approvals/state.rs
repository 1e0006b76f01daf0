//! The state directory, and who may have written what lies in it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Why the state directory cannot be used. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others than root could change it.
    #[error(
        "{path} belongs to user {owner} with mode {mode:o}, others could change it: chown root {path} and chmod go-w {path}, after a look at what it holds"
    )]
    Unsafe {
        /// The file or directory.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Its permission bits.
        mode: u32,
    },
    /// A link or a special file stands where a file of ours belongs.
    #[error(
        "{path} is no regular file; nothing was changed. Find out who put it there, and put the file back from a backup"
    )]
    NoFile {
        /// The name.
        path: PathBuf,
    },
    /// The journal is damaged.
    #[error(
        "{path}:{line}: {problem}; nothing was changed. Put the file back from a backup, or remove that line (the file that it approved then stays unreadable), or move {dir} away to record a new baseline at the next start"
    )]
    Damaged {
        /// The journal.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is wrong.
        problem: String,
        /// The state directory.
        dir: PathBuf,
    },
    /// A later version wrote the journal.
    #[error(
        "{path}:1: written by a later version of pthguard (its format is {version}, this one reads up to {known}); nothing was changed. Start that version, or move {dir} away to record a new baseline at the next start"
    )]
    Newer {
        /// The journal.
        path: PathBuf,
        /// The version of its format.
        version: u64,
        /// The latest that is known here.
        known: u64,
        /// The state directory.
        dir: PathBuf,
    },
    /// Copies or quarantined files are there, but no journal.
    #[error(
        "{path} is missing, although {dir} has been in use; nothing was changed. Put the file back from a backup, or move {dir} away to record a new baseline at the next start"
    )]
    Missing {
        /// The journal.
        path: PathBuf,
        /// The state directory.
        dir: PathBuf,
    },
}

/// Makes a state directory, 0700, if it is not there, and refuses one that others can change.
///
/// # Errors
/// [`StateError::Io`], [`StateError::Unsafe`].
pub fn prepare_directory(path: &Path) -> Result<(), StateError> {
    let io_error = |source| StateError::Io { path: path.to_owned(), source };
    match fs::DirBuilder::new().recursive(true).mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(io_error(error)),
        _ => {}
    }
    let metadata = fs::metadata(path).map_err(io_error)?;
    check_writers(path, &metadata)
}

/// Opens a file of the state, never through a link, and refuses one that others could have written.
///
/// # Errors
/// [`StateError::Io`], [`StateError::Unsafe`], [`StateError::NoFile`].
pub fn open_file(path: &Path, options: &mut OpenOptions) -> Result<File, StateError> {
    let io_error = |source| StateError::Io { path: path.to_owned(), source };
    // Not blocking: a FIFO would wait for its writer.
    let opened = options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).mode(0o600).open(path);
    let file = match opened {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ELOOP | libc::ENXIO | libc::EISDIR)) => {
            return Err(StateError::NoFile { path: path.to_owned() });
        }
        opened => opened.map_err(io_error)?,
    };
    let metadata = file.metadata().map_err(io_error)?;
    if !metadata.is_file() {
        return Err(StateError::NoFile { path: path.to_owned() });
    }
    check_writers(path, &metadata)?;
    Ok(file)
}

fn check_writers(path: &Path, metadata: &fs::Metadata) -> Result<(), StateError> {
    let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
    if owner != 0 || mode & 0o022 != 0 {
        return Err(StateError::Unsafe { path: path.to_owned(), owner, mode });
    }
    Ok(())
}

impl From<StateError> for io::Error {
    fn from(error: StateError) -> Self {
        match error {
            StateError::Io { path, source } => io::Error::new(source.kind(), format!("{}: {source}", path.display())),
            error @ (StateError::Unsafe { .. } | StateError::NoFile { .. }) => {
                io::Error::new(io::ErrorKind::PermissionDenied, error)
            }
            error @ (StateError::Damaged { .. } | StateError::Newer { .. } | StateError::Missing { .. }) => {
                io::Error::new(io::ErrorKind::InvalidData, error)
            }
        }
    }
}

/// Begins a file that will take the place of `path`: beside it, under a name that nothing reads.
///
/// # Errors
/// It cannot be made.
pub fn begin_beside(path: &Path) -> io::Result<(PathBuf, File)> {
    let new = path.with_added_extension("part");
    remove_if_there(&new)?; // what a killed process has left
    let file = open_file(&new, OpenOptions::new().append(true).create_new(true))?;
    Ok((new, file))
}

/// Writes a file so that it is there whole or not at all. Whether the disk has it yet is for the caller to see to, with
/// the file and its directory.
///
/// # Errors
/// It cannot be written; then there is nothing new.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<File> {
    let (new, mut file) = begin_beside(path)?;
    file.write_all(bytes).and_then(|()| fs::rename(&new, path)).inspect_err(|_| {
        let _ = fs::remove_file(&new);
    })?;
    Ok(file)
}

/// Waits until the disk has the names in a directory.
///
/// # Errors
/// What fsync(2) says.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Removes a file, if there is one.
///
/// # Errors
/// It is there and stays.
pub fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
