//! Reads the policy files, and only those that nobody else could have written.
//!
//! Whoever can write the policy is let in by it. So the *opened* file is looked at, not its name: a regular file of
//! root (or of the user who runs the command, for trying a policy out), writable by nobody else, in a directory
//! where nobody else could put another one in its place.

#![forbid(unsafe_code)]

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::Source;
use super::error::{Error, Errors};

const DIRECTORY: &str = "/etc/pthguard";
const FILE: &str = "pthguard.toml";
const DROP_INS: &str = "pthguard.d";

/// Largest policy file: far more than anybody writes, little enough to read at once.
const MAX_SIZE: u64 = 1 << 20;

const OTHERS_WRITE: u32 = 0o022;
const STICKY: u32 = 0o1000;

/// The administrator's files, in the order in which they are read: `config` alone, or what lies under /etc.
pub(super) fn sources(config: Option<&Path>) -> Result<Vec<Source>, Errors> {
    match config {
        Some(file) => Ok(vec![read(file).map_err(|error| Errors(vec![error]))?]),
        None => sources_under(Path::new(DIRECTORY)),
    }
}

fn sources_under(directory: &Path) -> Result<Vec<Source>, Errors> {
    let mut files = Vec::new();
    let mut errors = Vec::new();
    let main = directory.join(FILE);
    // A link to nowhere is there: it must not count as "no policy, so the default".
    if fs::symlink_metadata(&main).is_ok() {
        files.push(main);
    }
    match drop_ins(&directory.join(DROP_INS)) {
        Ok(found) => files.extend(found),
        Err(error) => errors.push(error),
    }
    let mut sources = Vec::new();
    for file in files {
        match read(&file) {
            Ok(source) => sources.push(source),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(sources) } else { Err(Errors(errors)) }
}

/// `*.toml` by name; hidden files are an editor's.
fn drop_ins(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(fault(directory, format!("cannot be read: {error}"))),
    };
    check_directory(directory, None)?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| fault(directory, format!("cannot be read: {error}")))?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> Result<Source, Error> {
    let cannot = |error: io::Error| fault(path, format!("cannot be read: {error}"));
    // Not blocking: opening a FIFO would wait for its writer.
    let file =
        OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path).map_err(cannot)?;
    let metadata = file.metadata().map_err(cannot)?;
    if !metadata.is_file() {
        return Err(fault(path, "is not a regular file: put the policy into one"));
    }
    trusted(&metadata).map_err(|message| fault(path, message))?;
    check_place(path, &metadata)?;
    let text = text(path, file)?;
    Ok(Source { name: path.to_string_lossy().into_owned(), text })
}

fn text(path: &Path, file: File) -> Result<String, Error> {
    let mut bytes = Vec::new();
    file.take(MAX_SIZE + 1).read_to_end(&mut bytes).map_err(|error| fault(path, format!("cannot be read: {error}")))?;
    if bytes.len() as u64 > MAX_SIZE {
        return Err(fault(path, "is larger than 1MiB: split it, or is it a policy at all?"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.as_bytes().iter().take(error.utf8_error().valid_up_to());
        let line = valid.filter(|byte| **byte == b'\n').count() + 1;
        Error { line: Some(line), ..fault(path, "is not UTF-8: save it as UTF-8") }
    })
}

/// The directory that holds the name and, where the name is a symbolic link, the one that holds the file.
fn check_place(path: &Path, opened: &Metadata) -> Result<(), Error> {
    let cannot = |error: io::Error| fault(path, format!("cannot be read: {error}"));
    let real = fs::canonicalize(path).map_err(cannot)?;
    let named = fs::metadata(&real).map_err(cannot)?;
    if (named.dev(), named.ino()) != (opened.dev(), opened.ino()) {
        return Err(fault(path, "was replaced while it was read: try again"));
    }
    for place in [path, &real] {
        let parent = match place.parent() {
            Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
            Some(parent) => parent,
            None => continue,
        };
        check_directory(parent, Some(place))?;
    }
    Ok(())
}

/// In a sticky directory such as /tmp others cannot replace `entry`, if it is not theirs.
fn check_directory(directory: &Path, entry: Option<&Path>) -> Result<(), Error> {
    let metadata = fs::metadata(directory).map_err(|error| fault(directory, format!("cannot be read: {error}")))?;
    let Err(message) = trusted(&metadata) else {
        return Ok(());
    };
    let kept_by_sticky = is_trusted_owner(metadata.uid())
        && metadata.mode() & STICKY != 0
        && entry.and_then(|entry| fs::symlink_metadata(entry).ok()).is_some_and(|entry| is_trusted_owner(entry.uid()));
    if kept_by_sticky { Ok(()) } else { Err(fault(directory, message)) }
}

fn trusted(metadata: &Metadata) -> Result<(), String> {
    judge(metadata.uid(), metadata.mode(), is_trusted_owner)
}

fn is_trusted_owner(uid: u32) -> bool {
    uid == 0 || uid == nix::unistd::geteuid().as_raw()
}

fn judge(uid: u32, mode: u32, is_trusted_owner: impl Fn(u32) -> bool) -> Result<(), String> {
    if !is_trusted_owner(uid) {
        return Err(format!("belongs to user {uid}, who could change the policy: chown root:root"));
    }
    if mode & OTHERS_WRITE != 0 {
        return Err(format!("can be written by others (mode {:04o}): chmod go-w", mode & 0o7777));
    }
    Ok(())
}

fn fault(path: &Path, message: impl Into<String>) -> Error {
    Error { file: path.to_string_lossy().into(), line: None, message: message.into() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn write(path: &Path, text: &str) {
        fs::write(path, text).unwrap();
        chmod(path, 0o644);
    }

    fn message(result: Result<Source, Error>) -> String {
        result.map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn owner_and_mode_are_judged() {
        let root = |uid| uid == 0;
        assert_eq!(judge(0, 0o100_644, root), Ok(()));
        assert!(judge(1000, 0o100_644, root).unwrap_err().ends_with("chown root:root"));
        assert!(judge(0, 0o100_664, root).unwrap_err().ends_with("(mode 0664): chmod go-w"));
        assert!(judge(0, 0o100_646, root).is_err());
    }

    #[test]
    fn a_file_that_others_can_write_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("p.toml");
        write(&file, "mode = \"audit\"\n");
        assert!(read(&file).is_ok());
        chmod(&file, 0o666);
        assert!(message(read(&file)).contains("chmod go-w"));
    }

    #[test]
    fn a_directory_that_others_can_write_is_refused_unless_sticky() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("p.toml");
        write(&file, "");
        chmod(directory.path(), 0o777);
        assert!(message(read(&file)).contains("chmod go-w"));
        chmod(directory.path(), 0o1777);
        assert!(read(&file).is_ok());
    }

    #[test]
    fn a_link_is_followed_and_both_places_are_checked() {
        let directory = tempfile::tempdir().unwrap();
        let open = directory.path().join("open");
        fs::create_dir(&open).unwrap();
        write(&open.join("p.toml"), "");
        let link = directory.path().join("link.toml");
        symlink(open.join("p.toml"), &link).unwrap();
        assert!(read(&link).is_ok());
        chmod(&open, 0o777);
        assert!(message(read(&link)).contains("chmod go-w"));
    }

    #[test]
    fn what_is_not_a_policy_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        assert!(message(read(directory.path())).contains("not a regular file"));
        let fifo = directory.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(message(read(&fifo)).contains("not a regular file"));
        let file = directory.path().join("p.toml");
        fs::write(&file, b"mode = 1\n\xff").unwrap();
        chmod(&file, 0o644);
        assert!(message(read(&file)).ends_with(":2: is not UTF-8: save it as UTF-8"));
        fs::write(&file, " ".repeat((1 << 20) + 1)).unwrap();
        assert!(message(read(&file)).contains("larger than 1MiB"));
        assert!(message(read(&directory.path().join("none"))).contains("cannot be read"));
    }

    #[test]
    fn files_are_read_in_order() {
        let directory = tempfile::tempdir().unwrap();
        assert!(sources_under(directory.path()).unwrap().is_empty());
        let drop_ins = directory.path().join(DROP_INS);
        fs::create_dir(&drop_ins).unwrap();
        for name in ["20-b.toml", "10-a.toml", ".hidden.toml", "x.toml~", "README"] {
            write(&drop_ins.join(name), "");
        }
        write(&directory.path().join(FILE), "");
        let names: Vec<String> = sources_under(directory.path())
            .unwrap()
            .iter()
            .map(|source| Path::new(&source.name).file_name().unwrap().to_string_lossy().into_owned())
            .collect();
        assert_eq!(names, ["pthguard.toml", "10-a.toml", "20-b.toml"]);

        chmod(&drop_ins, 0o777);
        assert!(sources_under(directory.path()).is_err());
    }

    #[test]
    fn a_link_to_nowhere_is_not_an_absent_policy() {
        let directory = tempfile::tempdir().unwrap();
        symlink("/nonexistent/pthguard.toml", directory.path().join(FILE)).unwrap();
        assert!(sources_under(directory.path()).is_err());
    }
}
