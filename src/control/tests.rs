//! The protocol over a real socket, before a desk that only counts.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::client::Remote;
use super::desk::{Approved, Desk, HeldFile, Name, Refusal, Restored, Revoked, Seen, Shown, Why};
use super::socket::StateDir;
use super::{Peer, Server};
use crate::audit::Audit;
use crate::model::{Origin, Sha256};
use crate::quarantine::Id;

/// Refuses everything but what it is asked to count.
#[derive(Debug, Default)]
struct Counting {
    approvals: AtomicUsize,
    purged: AtomicUsize,
}

fn refusal() -> Refusal {
    Refusal::new(Why::NotFound, "nothing is there")
}

impl Desk for Counting {
    fn read(&self, _: &Path) -> Result<Seen, Refusal> {
        Err(refusal())
    }

    fn approve(&self, _: &Shown, _: &Peer) -> Result<Seen, Refusal> {
        Err(refusal())
    }

    fn approve_everywhere(&self, _: &OsStr, _: Sha256, by: &Peer) -> Result<(), Refusal> {
        assert_eq!((by.pid, by.uid), (std::process::id(), 0));
        self.approvals.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn revoke(&self, path: &Path, _: &Peer) -> Result<Vec<Revoked>, Refusal> {
        Ok(vec![Revoked { path: path.to_owned(), sha256: Sha256::of(b""), still_approved: false }])
    }

    fn revoke_everywhere(&self, _: &OsStr, _: Sha256, _: &Peer) -> Result<Vec<Revoked>, Refusal> {
        Err(refusal())
    }

    /// More than one answer holds.
    fn approvals(&self) -> Result<Vec<Approved>, Refusal> {
        let approved = |number: u32| Approved {
            directory: Some(Name(format!("/{}/{number:08}", "d".repeat(1000)).into())),
            name: "x.pth".into(),
            sha256: Sha256::of(b""),
            origin: Origin::Baseline,
            class: None,
            since: String::new(),
        };
        Ok((0..5000).map(approved).collect())
    }

    fn held(&self) -> Result<Vec<HeldFile>, Refusal> {
        Ok(Vec::new())
    }

    fn restore(&self, _: &Id, _: Option<&Path>, _: Option<Sha256>, _: &Peer) -> Result<Restored, Refusal> {
        Err(refusal())
    }

    fn purge(&self, ids: &[Id], _: &Peer) -> Result<(), Refusal> {
        self.purged.fetch_add(ids.len(), Ordering::SeqCst);
        Ok(())
    }

    fn refused(&self, _: &Peer) {}
}

struct Stage {
    dir: TempDir,
    desk: Arc<Counting>,
    server: Option<Server>,
}

impl Stage {
    fn new() -> Stage {
        let dir = tempfile::tempdir().unwrap();
        // Longer than a socket address has room for.
        let state = dir.path().join("s".repeat(120));
        std::fs::create_dir(&state).unwrap();
        std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o700)).unwrap();
        let desk = Arc::new(Counting::default());
        let server = Some(Server::start(&state, Arc::clone(&desk) as _, Audit::disconnected(), || {}).unwrap());
        Stage { dir, desk, server }
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("s".repeat(120))
    }

    fn remote(&self) -> Remote {
        Remote::find(StateDir::open(&self.state()).unwrap()).unwrap()
    }

    fn connect(&self) -> UnixStream {
        let stream = StateDir::open(&self.state()).unwrap().connect(Duration::from_secs(5)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// What is answered to these bytes.
    fn say(&self, bytes: &[u8]) -> Option<Value> {
        let mut stream = self.connect();
        let _ = stream.write_all(bytes); // the daemon may have had enough of it
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        (!answer.is_empty()).then(|| serde_json::from_str(&answer).unwrap())
    }

    fn approve_one(&self) {
        let by = Peer::this_process();
        self.remote().approve_everywhere(OsStr::new("x.pth"), Sha256::of(b"x"), &by).unwrap();
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let server = self.server.take().unwrap();
        server.stop().join().unwrap();
        assert!(!self.state().join("control").exists());
    }
}

#[test]
fn requests_are_carried_out_for_root() {
    let stage = Stage::new();
    let mode = std::fs::symlink_metadata(stage.state().join("control")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let (remote, by) = (stage.remote(), Peer::this_process());
    stage.approve_one();
    assert_eq!(stage.desk.approvals.load(Ordering::SeqCst), 1);
    assert_eq!(remote.read(Path::new("/x.pth")).unwrap_err(), refusal());
    assert_eq!(remote.revoke(Path::new("/x.pth"), &by).unwrap()[0].path, Path::new("/x.pth"));
    assert_eq!(remote.approvals().unwrap(), stage.desk.approvals().unwrap());
    let ids: Vec<Id> = (0..2000).map(|_| Id::new()).collect();
    remote.purge(&ids, &by).unwrap();
    assert_eq!(stage.desk.purged.load(Ordering::SeqCst), 2000);
}

#[test]
fn malformed_and_oversized_requests_are_answered_and_harm_nobody() {
    let stage = Stage::new();
    let why = |bytes: &[u8]| stage.say(bytes).unwrap()["body"]["refused"]["why"].as_str().unwrap().to_owned();
    assert_eq!(why(b"\n"), "malformed");
    assert_eq!(why(b"{\"version\":1,\"body\":\"dance\"}\n"), "malformed");
    assert_eq!(why(b"\xff\xfe\n"), "malformed");
    assert_eq!(why(&[vec![b'['; 60_000], b"\n".to_vec()].concat()), "malformed");
    assert_eq!(why(&[b'x'; 70_000]), "malformed", "without a line feed");
    assert_eq!(stage.say(b""), None, "connected, and gone");
    stage.approve_one();
}

#[test]
fn the_slow_and_the_silent_do_not_block_others_for_long() {
    let stage = Stage::new();
    let begin = Instant::now();
    let silent = [(); 2].map(|()| stage.connect());
    let mut slow = stage.connect();
    slow.write_all(b"{\"version\":1,").unwrap();
    stage.approve_one();
    assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
    drop((silent, slow));
    // Who does not take his answer away.
    let mut deaf = stage.connect();
    deaf.write_all(b"{\"version\":1,\"body\":{\"approvals\":{\"after\":null}}}\n").unwrap();
    stage.approve_one();
}

#[test]
fn a_stale_socket_is_replaced_and_nothing_else_is() {
    let stage = Stage::new();
    let other = tempfile::tempdir().unwrap();
    std::fs::set_permissions(other.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let start = || Server::start(other.path(), Arc::clone(&stage.desk) as _, Audit::disconnected(), || {});
    let socket = other.path().join("control");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let server = start().unwrap();
    assert!(Remote::find(StateDir::open(other.path()).unwrap()).is_ok());
    server.stop().join().unwrap();
    std::fs::write(&socket, "precious").unwrap();
    assert!(start().is_err());
    assert_eq!(std::fs::read_to_string(&socket).unwrap(), "precious");
}

#[test]
fn a_state_directory_that_others_can_change_is_refused() {
    let stage = Stage::new();
    let dir = tempfile::tempdir().unwrap();
    for (owner, mode) in [(61_234, 0o700), (0, 0o720), (0, 0o702)] {
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        std::os::unix::fs::chown(dir.path(), Some(owner), None).unwrap();
        let refused = StateDir::open(dir.path()).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::PermissionDenied, "{owner} {mode:o}");
        assert!(Server::start(dir.path(), Arc::clone(&stage.desk) as _, Audit::disconnected(), || {}).is_err());
    }
}
