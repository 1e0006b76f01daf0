//! A real disk that is full.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::fault::{child, place};
use pthguard::approvals::{Approval, Approvals, Directory, Metadata, Xattrs, prepare_directory};
use pthguard::model::{Origin, Sha256};

/// A file system of its own, of one megabyte, in a private mount namespace: it is gone with the process.
struct Disk {
    path: PathBuf,
}

impl Disk {
    fn mount(path: PathBuf) -> Self {
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs"]).arg(&path).status();
        assert!(mounted.is_ok_and(|status| status.success()), "blocked: mounting a tmpfs needs root");
        Disk { path }
    }

    /// Leaves so many bytes.
    fn fill(&self, but: u64) {
        let free = {
            let stat = nix::sys::statvfs::statvfs(&self.path).unwrap();
            stat.blocks_available() * stat.fragment_size()
        };
        fs::write(self.path.join("filler"), vec![1; usize::try_from(free - but).unwrap()]).unwrap();
    }
}

fn approve(store: &Approvals, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    let id = store.directory(&Directory { path: "/srv/site-packages".into(), handle: "1:00ff".into() });
    let metadata = Metadata { uid: 0, gid: 0, mode: 0o644, mtime: 1, mtime_nsec: 2, xattrs: Xattrs::default() };
    store.approve(id, OsStr::new(name), bytes, Approval::new(Sha256::of(bytes), Origin::Baseline, metadata))
}

fn leftovers(state: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for dir in [state.to_owned(), state.join("blobs")] {
        names.extend(fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()));
    }
    names.retain(|name| name.contains(".part"));
    names
}

#[test]
fn on_a_full_disk_nothing_is_approved_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--propagation", "private", "--"]).arg(std::env::current_exe().unwrap());
    let child = child(&mut unshare, "full::script", dir.path());
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
    assert!(fs::read_dir(dir.path()).unwrap().next().is_none(), "the disk was mounted where everybody sees it");
}

#[test]
#[ignore = "the other test runs it, in a mount namespace of its own"]
fn script() {
    let disk = Disk::mount(place());
    let state = disk.path.join("state");
    prepare_directory(&state).unwrap();
    let store = Approvals::open(&state).unwrap();
    approve(&store, "a.pth", b"a").unwrap();
    store.baseline_complete().unwrap();
    for room in [0, 4096, 8192] {
        disk.fill(room);
        let mut failed = false;
        for number in 0..200 {
            let bytes = format!("{room} {number}").repeat(400);
            let known = store.list();
            if approve(&store, &format!("{room}-{number}.pth"), bytes.as_bytes()).is_err() {
                assert_eq!(store.list(), known, "room for {room} bytes, approval {number}");
                failed = true;
                break;
            }
        }
        assert!(failed, "the disk was not full");
        assert!(leftovers(&state).is_empty(), "{:?}", leftovers(&state));
        // A revocation is a line: where there is no room for it, it has not happened, and says so.
        let id = store.directory(&Directory { path: "/srv/site-packages".into(), handle: "1:00ff".into() });
        let revoked = store.revoke(id, OsStr::new("a.pth"));
        assert_eq!(revoked.is_err(), store.get(id, OsStr::new("a.pth")).is_some(), "{revoked:?}");
        let now = store.list();
        let again = Approvals::open(&state).unwrap();
        assert_eq!(again.list(), now);
        fs::remove_file(disk.path.join("filler")).unwrap();
        approve(&store, &format!("after-{room}.pth"), b"there is room again").unwrap();
        approve(&store, "a.pth", b"a").unwrap();
    }
    let all = store.list();
    drop(store);
    assert_eq!(Approvals::open(&state).unwrap().list(), all);
}
