//! The audit records of what an administrator changes, and where a command writes them.

use std::env;
use std::path::{Path, PathBuf};

use super::Peer;
use super::desk::Revoked;
use crate::audit::{Action, JsonTarget, Record, SystemLog, Targets};
use crate::config::{self, Log};
use crate::model::{ContentClass, Object, Sha256};

const SYSLOG: &str = "/dev/log";
const JOURNAL: &str = "/run/systemd/journal/socket";
/// What the service manager tells those whom it starts, of which one is enough.
const STARTED_BY_MANAGER: [&str; 3] = ["INVOCATION_ID", "JOURNAL_STREAM", "NOTIFY_SOCKET"];

/// The journal, with its fields, for whom systemd has started; else the syslog daemon, which may be the journal, too.
fn system_log() -> SystemLog {
    let is_managed = STARTED_BY_MANAGER.iter().any(|name| env::var_os(name).is_some());
    if is_managed && Path::new(JOURNAL).exists() {
        SystemLog::Journal(JOURNAL.into())
    } else {
        SystemLog::Syslog(SYSLOG.into())
    }
}

/// Where the daemon's records go. `stderr`: whether they are shown there, too.
#[must_use]
pub fn targets(log: &Log, stderr: bool) -> Targets {
    let json = match &log.json {
        config::JsonTarget::Off => None,
        config::JsonTarget::Stdout => Some(JsonTarget::Stdout),
        config::JsonTarget::File(path) => Some(JsonTarget::File(path.clone())),
    };
    Targets { json, json_max_size: log.json_max_size, format: log.format, system: log.syslog.then(system_log), stderr }
}

/// Where a command's go: its standard output is for what it was asked, so what would go there goes to standard error.
#[must_use]
pub fn targets_of_command(log: &Log) -> Targets {
    let targets = targets(log, false);
    let json = targets.json.filter(|json| *json != JsonTarget::Stdout);
    let stderr = json.is_none() && targets.system.is_none();
    Targets { json, stderr, ..targets }
}

fn change(action: Action, path: &Path, by: &Peer) -> Record {
    Record::new(action).on(Object::at(path.to_owned())).by(by.subject()).for_login(by.login_uid)
}

/// An approval of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approving {
    /// Which file.
    pub path: PathBuf,
    /// Digest of its bytes.
    pub sha256: Sha256,
    /// How many.
    pub size: u64,
    /// What it can do.
    pub class: ContentClass,
    /// What was approved under that name until then.
    pub before: Option<Sha256>,
}

/// A file was approved.
#[must_use]
pub fn approved(approving: &Approving, by: &Peer) -> Record {
    let object = Object {
        size: Some(approving.size),
        sha256: Some(approving.sha256),
        content: Some(approving.class),
        ..Object::at(approving.path.clone())
    };
    let record = change(Action::Approval, &approving.path, by).on(object).instead_of(approving.before);
    record.saying("approved by an administrator")
}

/// Bytes were approved under a name in every directory.
#[must_use]
pub fn approved_everywhere(name: &Path, sha256: Sha256, by: &Peer) -> Record {
    let object = Object { sha256: Some(sha256), ..Object::at(name.to_owned()) };
    change(Action::Approval, name, by).on(object).saying("approved by an administrator in every directory")
}

/// An approval was taken back.
#[must_use]
pub fn revoked(revoked: &Revoked, by: &Peer) -> Record {
    let said = if revoked.path.parent().is_none_or(|parent| parent.as_os_str().is_empty()) {
        "revoked by an administrator in every directory"
    } else if revoked.still_approved {
        "revoked by an administrator; still approved by name and digest in every directory"
    } else {
        "revoked by an administrator"
    };
    change(Action::Revocation, &revoked.path, by).instead_of(Some(revoked.sha256)).saying(said)
}

/// A quarantined file came back.
#[must_use]
pub fn restored(path: &Path, id: &str, by: &Peer) -> Record {
    change(Action::Restore, path, by).saying(format!("put back from quarantine, where it is {id}"))
}

/// A quarantined file was removed for good.
#[must_use]
pub fn purged(path: &Path, id: &str, by: &Peer) -> Record {
    change(Action::Purge, path, by).saying(format!("removed from quarantine, where it was {id}"))
}

/// Somebody else than root has spoken to the control socket.
#[must_use]
pub fn refused(by: &Peer) -> Record {
    let record = Record::new(Action::Refused).by(by.subject()).for_login(by.login_uid);
    record.saying("spoke to the control socket, which is root's alone")
}
