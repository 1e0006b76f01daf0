//! Which Python environment a path belongs to. Pure functions over paths.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::model::Script;

/// The prefix of the environment that a site directory belongs to: `/srv/app` for
/// `/srv/app/lib/python3.11/site-packages`, `/usr` for `/usr/lib/python3/dist-packages`.
///
/// A directory that is laid out otherwise (`pip --target`) is its own environment.
#[must_use]
pub fn site_prefix(site: &Path) -> PathBuf {
    let names: Vec<&OsStr> = site.iter().collect();
    if let [.., lib, python, last] = names.as_slice()
        && matches!(last.to_str(), Some("site-packages" | "dist-packages"))
        && python.to_str().is_some_and(|name| name.starts_with("python") || name.starts_with("pypy"))
        && matches!(lib.to_str(), Some("lib" | "lib64" | "lib32"))
    {
        return names[..names.len() - 3].iter().collect();
    }
    site.to_owned()
}

/// The prefix that a program in a `bin` directory belongs to: `/srv/app` for `/srv/app/bin/pip`.
#[must_use]
pub(super) fn program_prefix(program: &Path) -> Option<PathBuf> {
    let dir = program.parent()?;
    let is_bin = matches!(dir.file_name().and_then(OsStr::to_str), Some("bin" | "sbin"));
    is_bin.then(|| dir.parent().map(Path::to_owned)).flatten()
}

/// The environment that a program would belong to: its script's, or that of the interpreter under the name that it is
/// called by.
#[must_use]
pub fn program_environment(exe: &Path, script: &Script) -> Option<PathBuf> {
    match script {
        Script::File(file) => program_prefix(&file.path).or_else(|| program_prefix(exe)),
        Script::None | Script::Module(_) | Script::Command | Script::Stdin => program_prefix(exe),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_of_site_directories() {
        for (site, prefix) in [
            ("/usr/lib/python3/dist-packages", "/usr"),
            ("/usr/local/lib/python3.11/dist-packages", "/usr/local"),
            ("/usr/lib64/python3.12/site-packages", "/usr"),
            ("/srv/app/lib/python3.13t/site-packages", "/srv/app"),
            ("/usr/lib/pypy3.9/site-packages", "/usr"),
            ("/home/a/.local/lib/python3.11/site-packages", "/home/a/.local"),
            ("/srv/plugins", "/srv/plugins"),
            ("/site-packages", "/site-packages"),
        ] {
            assert_eq!(site_prefix(Path::new(site)), Path::new(prefix), "{site}");
        }
    }

    #[test]
    fn prefixes_of_programs() {
        assert_eq!(program_prefix(Path::new("/srv/app/bin/pip")), Some("/srv/app".into()));
        assert_eq!(program_prefix(Path::new("/bin/pip")), Some("/".into()));
        assert_eq!(program_prefix(Path::new("/srv/app/pip")), None);
    }
}
