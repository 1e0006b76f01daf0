//! The state on disk, while no daemon runs.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::desk::{Approved, Desk, HeldFile, Refusal, Restored, Revoked, Seen, Shown, Why};
use super::look::{Looked, Place, place, split};
use super::putback::{self, PutBack};
use super::{Peer, ledger, record};
use crate::approvals::{Approvals, Instance};
use crate::audit::{Audit, Auditor, Record, escape_path};
use crate::config::Config;
use crate::model::{Mode, Sha256, StartupNames};
use crate::quarantine::{Id, Store};
use crate::status::Status;
use crate::watch::Sites;

/// How long the last records may take to be written.
const FLUSH: Duration = Duration::from_secs(5);

/// The state, locked.
#[derive(Debug)]
pub struct Offline {
    approvals: Approvals,
    quarantine: Store,
    guarded: Vec<PathBuf>,
    startup: StartupNames,
    max_size: u64,
    mode: Mode,
    generation: Arc<str>,
    audit: Audit,
    auditor: Auditor,
    _lock: Instance,
}

impl Offline {
    /// Opens the state in the directory of the policy, and the audit trail: a change that cannot be recorded is not made.
    ///
    /// # Errors
    /// [`Refusal`]: one of them cannot be used, or the daemon has never come to the end of its first start.
    pub(super) fn open(config: &Config, lock: Instance) -> Result<Self, Refusal> {
        let refused = |error: &dyn std::fmt::Display| Refusal::new(Why::System, error.to_string());
        let approvals = Approvals::open(&config.state_dir).map_err(|error| refused(&error))?;
        if approvals.is_first_start() {
            let message = format!(
                "{}: nothing is recorded yet; start the daemon, which accepts what is there as its baseline",
                escape_path(&config.state_dir)
            );
            return Err(Refusal::new(Why::NoBaseline, message));
        }
        let quarantine = Store::open(&config.state_dir).map_err(|error| refused(&error))?;
        let guarded = Sites::expand(&config.protect.sites).map_err(|error| refused(&error))?;
        let (audit, auditor) = Audit::start(record::targets_of_command(&config.log), || {}).map_err(|error| {
            Refusal::new(Why::System, format!("cannot start the audit trail (policy: log.json): {error}"))
        })?;
        Ok(Offline {
            approvals,
            quarantine,
            guarded,
            startup: config.protect.startup.clone(),
            max_size: config.protect.max_size,
            mode: config.mode,
            generation: Arc::from(config.generation.as_str()),
            audit,
            auditor,
            _lock: lock,
        })
    }

    pub(super) fn finish(self) -> Result<(), Refusal> {
        let flush = self.auditor.finish(FLUSH);
        let missing = flush.unwritten + flush.dropped + flush.lost;
        if flush.finished && missing == 0 {
            return Ok(());
        }
        let message = format!("what was done is done, but {missing} records of it could not be written (policy: log)");
        Err(Refusal::new(Why::System, message))
    }

    fn record(&self, record: Record) {
        self.audit.record(record.in_mode(self.mode).under(Arc::clone(&self.generation)));
    }

    /// Whether a name is a startup file's in a directory; none for a directory that is not guarded.
    fn is_startup(&self, directory: &Path, name: &OsStr) -> Option<bool> {
        let name = name.as_bytes();
        let is_site = |path: &Path| self.guarded.iter().any(|guarded| guarded == path);
        if is_site(directory) {
            return Some(self.startup.matches(name));
        }
        let (parent, last) = (directory.parent(), directory.file_name().unwrap_or_default());
        let inside = parent.filter(|parent| is_site(parent)).and_then(|_| self.startup.inside(last.as_bytes()));
        if let Some(inside) = inside {
            return Some(inside.matches(name));
        }
        // The daemon has guarded it: because of a path line, or under another policy.
        self.is_known(directory).then(|| self.startup.matches(name) || StartupNames::customize().matches(name))
    }

    fn is_known(&self, directory: &Path) -> bool {
        let approved = self.approvals.list().into_iter().filter_map(|listed| listed.directory);
        let held = self.approvals.held().into_iter().map(|(directory, ..)| directory);
        approved.chain(held).any(|known| known.path == directory)
    }

    /// A startup file's place in a guarded directory.
    fn place(&self, path: &Path) -> Result<Place, Refusal> {
        let (directory, name) = split(path)?;
        match self.is_startup(directory, name) {
            Some(true) => place(path),
            Some(false) => Err(Refusal::not_startup(path)),
            None => Err(Refusal::not_guarded(path)),
        }
    }

    fn look(&self, path: &Path) -> Result<(Place, Looked, Seen), Refusal> {
        let place = self.place(path)?;
        let looked = Looked::at(&place, self.max_size)?;
        let id = self.approvals.directory(&place.directory);
        let seen = looked.seen(&place, &self.approvals, id, self.max_size);
        Ok((place, looked, seen))
    }

    fn revoked(&self, revoked: Revoked, by: &Peer, all: &mut Vec<Revoked>) {
        self.record(record::revoked(&revoked, by));
        all.push(revoked);
    }
}

impl Offline {
    fn not_running(&self) -> Refusal {
        Refusal::not_running(self.quarantine.path().parent().unwrap_or(Path::new("/")))
    }
}

impl Desk for Offline {
    fn read(&self, path: &Path) -> Result<Seen, Refusal> {
        self.look(path).map(|(_, _, seen)| seen)
    }

    fn approve(&self, shown: &Shown, by: &Peer) -> Result<Seen, Refusal> {
        let (place, looked, seen) = self.look(&shown.path)?;
        let id = self.approvals.directory(&place.directory);
        ledger::check(&place, &looked, shown)?;
        let approving = ledger::approve(&self.approvals, id, &place, &looked, &seen, by)?;
        self.record(record::approved(&approving, by));
        Ok(looked.seen(&place, &self.approvals, id, self.max_size))
    }

    fn approve_everywhere(&self, name: &OsStr, sha256: Sha256, by: &Peer) -> Result<(), Refusal> {
        let path = Path::new(name);
        if !self.startup.matches(name.as_bytes()) {
            return Err(Refusal::not_startup(path));
        }
        let approved = self.approvals.approve_everywhere(name, sha256, ledger::administrator(by));
        approved.map_err(|error| ledger::cannot_keep(path, &error))?;
        self.record(record::approved_everywhere(path, sha256, by));
        Ok(())
    }

    fn revoke(&self, path: &Path, by: &Peer) -> Result<Vec<Revoked>, Refusal> {
        let mut all = Vec::new();
        ledger::revoke(&self.approvals, path, |revoked| self.revoked(revoked, by, &mut all))?;
        Ok(all)
    }

    fn revoke_everywhere(&self, name: &OsStr, sha256: Sha256, by: &Peer) -> Result<Vec<Revoked>, Refusal> {
        let mut all = Vec::new();
        ledger::revoke_everywhere(&self.approvals, name, sha256, |revoked| self.revoked(revoked, by, &mut all))?;
        Ok(all)
    }

    fn approvals(&self) -> Result<Vec<Approved>, Refusal> {
        Ok(ledger::approvals(&self.approvals))
    }

    fn held(&self) -> Result<Vec<HeldFile>, Refusal> {
        Ok(ledger::held(&self.approvals))
    }

    fn restore(&self, id: &Id, to: Option<&Path>, approve: Option<Sha256>, by: &Peer) -> Result<Restored, Refusal> {
        let putback = PutBack::new(&self.quarantine, id, to)?;
        let path = putback.path();
        let (to, name) = split(path)?;
        if self.is_startup(to, name) == Some(true) {
            let place = place(path)?;
            let directory = self.approvals.directory(&place.directory);
            let approve = approve.map(|sha256| (sha256, by));
            let approving =
                putback.put_under_guard(&self.approvals, directory, &place, self.max_size, approve, |_| Ok(()))?;
            if let Some(approving) = approving {
                self.record(record::approved(&approving, by));
            }
        } else {
            putback.put_elsewhere(approve)?;
        }
        self.record(record::restored(path, id.as_str(), by));
        Ok(Restored { path: path.to_owned() })
    }

    fn purge(&self, ids: &[Id], by: &Peer) -> Result<(), Refusal> {
        ids.iter().try_for_each(|id| {
            let path = putback::purge(&self.quarantine, id)?;
            self.record(record::purged(&path, id.as_str(), by));
            Ok(())
        })
    }

    fn switch_mode(&self, _mode: Mode, _limit: Option<Duration>, _by: &Peer) -> Result<(), Refusal> {
        Err(self.not_running())
    }

    fn status(&self) -> Result<Status, Refusal> {
        Err(self.not_running())
    }

    fn refused(&self, _by: &Peer) {}
}
