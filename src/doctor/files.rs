//! Where the guard keeps what it knows, and where its records go.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use nix::sys::statvfs::statvfs;

use super::{Check, Question};
use crate::audit::escape_path;
use crate::config::{Config, JsonTarget};

/// With less room than this on the disk somebody should look; with less than that approvals cannot be written.
const LITTLE: u64 = 512 * 1024 * 1024;
const NOTHING: u64 = 8 * 1024 * 1024;
const OTHERS_WRITE: u32 = 0o022;

pub(super) fn checks(config: &Config, is_root: bool) -> Vec<Check> {
    vec![
        state_directory(&config.state_dir, is_root),
        json_log(&config.log.json),
        system_log(config.log.syslog),
        textfile(config),
    ]
}

fn state_directory(path: &Path, is_root: bool) -> Check {
    let question = Question("state-directory");
    let shown = escape_path(path);
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            question.ok(format!("{shown} is not there yet: the first start makes it")).with_room(path)
        }
        Err(_) if !is_root => question.unknown(&shown),
        Err(error) => question.fail(format!("{shown}: {error}"), "see `state.dir` in the policy"),
        Ok(found) if !found.is_dir() => {
            question.fail(format!("{shown} is no directory"), "see `state.dir` in the policy")
        }
        Ok(found) if is_others(&found) => question.fail(
            format!("{shown} belongs to user {} with mode {:04o}", found.uid(), found.mode() & 0o7777),
            format!(
                "look at what it holds, then chown root {shown} and chmod 0700 {shown}: others could change approvals"
            ),
        ),
        Ok(found) => question.ok(format!("{shown}, mode {:04o}", found.mode() & 0o7777)).with_room(path),
    }
}

fn is_others(found: &Metadata) -> bool {
    found.uid() != 0 || found.mode() & OTHERS_WRITE != 0
}

impl Check {
    /// The same with what room there is on the disk, which makes it worse if it is little.
    fn with_room(self, path: &Path) -> Check {
        let there = path.ancestors().find(|above| above.exists()).unwrap_or(Path::new("/"));
        let Ok(disk) = statvfs(there) else { return self };
        let room = disk.blocks_available().saturating_mul(disk.fragment_size());
        let found = format!("{}, {} MiB free", self.found, room / (1024 * 1024));
        let question = Question(self.check);
        match room {
            ..NOTHING => {
                question.fail(found, "make room: approvals, copies of approved files and quarantine are written there")
            }
            NOTHING..LITTLE => question.warn(found, "make room: the quarantine alone may take up 256 MiB"),
            _ => Check { found, ..self },
        }
    }
}

fn json_log(target: &JsonTarget) -> Check {
    let question = Question("log");
    let path = match target {
        JsonTarget::Off => return question.ok("no JSON lines are written"),
        JsonTarget::Stdout => return question.ok("JSON lines go to standard output"),
        JsonTarget::File(path) => path,
    };
    let shown = escape_path(path);
    match fs::symlink_metadata(path) {
        Ok(found) if !found.is_file() => {
            question.fail(format!("{shown} is no regular file"), "remove it, or name another in `log.json`")
        }
        Ok(found) if is_others(&found) => question.warn(
            format!("{shown} belongs to user {} with mode {:04o}", found.uid(), found.mode() & 0o7777),
            "others than root can change the records",
        ),
        Ok(_) => question.ok(shown),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            question.ok(format!("{shown} is not there yet: the guard makes it"))
        }
        Err(error) => question.warn(format!("{shown}: {error}"), "run it as root, or see `log.json` in the policy"),
    }
}

fn system_log(is_wanted: bool) -> Check {
    const SOCKET: &str = "/dev/log";
    let question = Question("syslog");
    if !is_wanted {
        return question.ok("not wanted");
    }
    match fs::metadata(SOCKET) {
        Ok(found) if found.file_type().is_socket() => question.ok(format!("{SOCKET} listens")),
        Ok(_) | Err(_) => question.warn(
            format!("there is no {SOCKET}: records are lost there"),
            "start a log daemon, or set log.syslog = false",
        ),
    }
}

fn textfile(config: &Config) -> Check {
    let question = Question("textfile");
    let Some(path) = &config.metrics.textfile else { return question.ok("none is wanted") };
    let directory = path.parent().unwrap_or(Path::new("/"));
    match fs::symlink_metadata(directory) {
        Ok(found) if found.is_dir() => question.ok(escape_path(path)),
        Ok(_) => question.fail(
            format!("{} is no directory; a link to one is not followed", escape_path(directory)),
            "name the collector's directory itself in `metrics.textfile`",
        ),
        Err(error) => question.fail(
            format!("{}: {error}", escape_path(directory)),
            "make the directory, or name the one that node_exporter reads (--collector.textfile.directory)",
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::super::State;
    use super::*;

    #[test]
    fn who_can_change_approvals_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let state = |mode| {
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
            state_directory(dir.path(), true)
        };
        let open = state(0o722);
        assert_eq!(open.state, State::Fail, "{open:?}");
        assert!(open.advice.unwrap().contains("chmod 0700"));
        let absent = state_directory(&dir.path().join("absent"), true);
        assert!(absent.found.contains("first start makes it"), "{absent:?}");
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        assert_eq!(state_directory(&file, true).state, State::Fail);
    }

    #[test]
    fn a_log_that_is_no_file_and_a_collector_that_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let state = || json_log(&JsonTarget::File(log.clone())).state;
        assert_eq!(state(), State::Ok, "the guard makes it");
        symlink("/dev/null", &log).unwrap();
        assert_eq!(state(), State::Fail);
        let text = format!("[metrics]\ntextfile = {:?}\n", dir.path().join("absent/x.prom"));
        let source = crate::config::Source { name: "x".to_owned(), text };
        let config = Config::from_sources(&[source]).unwrap();
        assert_eq!(textfile(&config).state, State::Fail);
    }
}
