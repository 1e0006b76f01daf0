//! A command's end: the daemon's desk, over the socket.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use super::desk::{Approved, Desk, HeldFile, Key, Name, Refusal, Restored, Revoked, Seen, Shown, Why};
use super::peer::Peer;
use super::protocol::{Answer, MAX_ANSWER, Page, Request, from_line, to_line};
use super::socket::{StateDir, read_line, write_line};
use crate::model::{Mode, Sha256};
use crate::quarantine::Id;
use crate::status::Status;

/// How long the daemon may take: other commands may be before this one, and disks slow.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pages of a list after which a daemon is not believed any more.
const MAX_PAGES: usize = 10_000;

/// Quarantined files in one request, so that it stays within its limit.
const PURGED_AT_ONCE: usize = 500;

/// The daemon.
#[derive(Debug)]
pub struct Remote(StateDir);

impl Remote {
    /// The daemon that listens in a state directory.
    ///
    /// # Errors
    /// Nobody listens.
    pub(super) fn find(state: StateDir) -> io::Result<Self> {
        state.connect(PATIENCE)?; // the daemon sees a peer that has gone
        Ok(Remote(state))
    }

    fn ask(&self, request: &Request) -> Result<Answer, Refusal> {
        let lost = |error: io::Error| {
            let message = format!("the daemon does not answer on its control socket: {error}; is it stopped?");
            Refusal::new(Why::System, message)
        };
        let deadline = Instant::now() + PATIENCE;
        let line = to_line(request)?;
        let stream = self.0.connect(PATIENCE).map_err(lost)?;
        // A daemon that has refused already does not read the request, but its answer is there.
        let written = write_line(&stream, &line, deadline);
        let answer = read_line(&stream, MAX_ANSWER, deadline).map_err(|error| lost(written.err().unwrap_or(error)))?;
        let answer = from_line(&answer)?;
        if let Answer::Refused(refusal) = answer { Err(refusal) } else { Ok(answer) }
    }

    fn list<T>(
        &self,
        request: impl Fn(Option<Key>) -> Request,
        page: impl Fn(Answer) -> Option<Page<T>>,
        key: impl Fn(&T) -> Key,
    ) -> Result<Vec<T>, Refusal> {
        let mut items: Vec<T> = Vec::new();
        for _ in 0..MAX_PAGES {
            let after = items.last().map(&key);
            let Page { items: next, more } = page(self.ask(&request(after))?).ok_or_else(unexpected)?;
            items.extend(next);
            if !more {
                return Ok(items);
            }
        }
        Err(unexpected())
    }
}

fn unexpected() -> Refusal {
    Refusal::new(Why::Malformed, "control socket: the daemon answers something else than was asked")
}

/// The daemon knows who asks from the connection, so `by` goes nowhere.
impl Desk for Remote {
    fn read(&self, path: &Path) -> Result<Seen, Refusal> {
        let Answer::Seen(seen) = self.ask(&Request::Read { path: Name(path.into()) })? else {
            return Err(unexpected());
        };
        Ok(*seen)
    }

    fn approve(&self, shown: &Shown, _by: &Peer) -> Result<Seen, Refusal> {
        let Answer::Seen(seen) = self.ask(&Request::Approve { shown: shown.clone() })? else {
            return Err(unexpected());
        };
        Ok(*seen)
    }

    fn approve_everywhere(&self, name: &OsStr, sha256: Sha256, _by: &Peer) -> Result<(), Refusal> {
        let Answer::Done = self.ask(&Request::ApproveEverywhere { name: Name(name.into()), sha256 })? else {
            return Err(unexpected());
        };
        Ok(())
    }

    fn revoke(&self, path: &Path, _by: &Peer) -> Result<Vec<Revoked>, Refusal> {
        let Answer::Revoked(revoked) = self.ask(&Request::Revoke { path: Name(path.into()) })? else {
            return Err(unexpected());
        };
        Ok(revoked)
    }

    fn revoke_everywhere(&self, name: &OsStr, sha256: Sha256, _by: &Peer) -> Result<Vec<Revoked>, Refusal> {
        let Answer::Revoked(revoked) = self.ask(&Request::RevokeEverywhere { name: Name(name.into()), sha256 })? else {
            return Err(unexpected());
        };
        Ok(revoked)
    }

    fn approvals(&self) -> Result<Vec<Approved>, Refusal> {
        let page = |answer| if let Answer::Approvals(page) = answer { Some(page) } else { None };
        self.list(|after| Request::Approvals { after }, page, Approved::key)
    }

    fn held(&self) -> Result<Vec<HeldFile>, Refusal> {
        let page = |answer| if let Answer::Held(page) = answer { Some(page) } else { None };
        self.list(|after| Request::Held { after }, page, HeldFile::key)
    }

    fn restore(&self, id: &Id, to: Option<&Path>, approve: Option<Sha256>, _by: &Peer) -> Result<Restored, Refusal> {
        let to = to.map(|to| Name(to.into()));
        let Answer::Restored(restored) = self.ask(&Request::Restore { id: id.clone(), to, approve })? else {
            return Err(unexpected());
        };
        Ok(restored)
    }

    fn purge(&self, ids: &[Id], _by: &Peer) -> Result<(), Refusal> {
        for ids in ids.chunks(PURGED_AT_ONCE) {
            let Answer::Done = self.ask(&Request::Purge { ids: ids.to_vec() })? else { return Err(unexpected()) };
        }
        Ok(())
    }

    fn switch_mode(&self, mode: Mode, limit: Option<Duration>, _by: &Peer) -> Result<(), Refusal> {
        let seconds = limit.map(|limit| limit.as_secs());
        let Answer::Done = self.ask(&Request::Mode { mode, seconds })? else { return Err(unexpected()) };
        Ok(())
    }

    fn status(&self) -> Result<Status, Refusal> {
        let Answer::Status(status) = self.ask(&Request::Status)? else { return Err(unexpected()) };
        Ok(*status)
    }

    fn refused(&self, _by: &Peer) {}
}
