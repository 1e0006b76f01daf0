//! From a path as it is typed to one that the desk takes.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use super::CommandError;
use crate::audit::escape_path;

/// The path of a startup file: absolute, its directory resolved, its last component as it is.
pub(super) fn file(path: &Path) -> Result<PathBuf, CommandError> {
    if fs::symlink_metadata(path).is_ok_and(|found| found.is_dir()) {
        let shown = escape_path(path);
        return Err(CommandError::Usage(format!(
            "{shown} is a directory; `pthguard baseline {shown}` accepts what is held in it"
        )));
    }
    entry(path)
}

/// The same for a file that need not be there, nor its directory.
pub(super) fn entry(path: &Path) -> Result<PathBuf, CommandError> {
    let no_file = || CommandError::Usage(format!("{}: the path of a startup file is needed", escape_path(path)));
    let name = path.file_name().ok_or_else(no_file)?;
    let absolute = std::path::absolute(path)?;
    let directory = absolute.parent().ok_or_else(no_file)?;
    Ok(fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned()).join(name))
}

/// The canonical path of a directory.
pub(super) fn directory(path: &Path) -> Result<PathBuf, CommandError> {
    let usage = |what: &dyn std::fmt::Display| CommandError::Usage(format!("{}: {what}", escape_path(path)));
    let directory = fs::canonicalize(path).map_err(|error| usage(&error))?;
    if !directory.is_dir() {
        return Err(usage(&"not a directory; `pthguard approve FILE` approves one file"));
    }
    Ok(directory)
}

/// A name for `--name`: one component.
pub(super) fn name(name: &OsStr) -> Result<&OsStr, CommandError> {
    if Path::new(name).file_name() == Some(name) {
        Ok(name)
    } else {
        Err(CommandError::Usage(format!(
            "--name {}: the name of a file, without its directory",
            escape_path(name.as_ref())
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_is_resolved_and_the_last_component_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        fs::create_dir(root.join("site")).unwrap();
        std::os::unix::fs::symlink("site", root.join("alias")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", root.join("site/x.pth")).unwrap();
        assert_eq!(file(&root.join("alias/x.pth")).unwrap(), root.join("site/x.pth"));
        assert_eq!(entry(&root.join("gone/x.pth")).unwrap(), root.join("gone/x.pth"));
        assert_eq!(directory(&root.join("alias")).unwrap(), root.join("site"));
        for path in ["site", "alias/.."] {
            assert!(matches!(file(&root.join(path)), Err(CommandError::Usage(_))), "{path}");
        }
        assert!(entry(Path::new("/")).is_err());
        for bad in ["", "a/b.pth", "..", "/", "a/"] {
            assert!(name(OsStr::new(bad)).is_err(), "{bad:?}");
        }
        assert!(name(OsStr::new("x.pth")).is_ok());
    }
}
