//! What the guard relies on in the kernel, on a directory of the test's own. A test that fails here says that the kernel
//! is another one than the code was written for.

#![allow(clippy::unwrap_used, reason = "a test ends where its premises do")]

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use nix::poll::{PollFd, PollFlags, poll};
use pthguard::fanotify::group::Opening;
use pthguard::fanotify::wire::{AuditRule, Info, Response};
use pthguard::fanotify::{Changes, FileId, Ledger, NotificationGroup, Opens, PermissionEvent, PermissionGroup, Reply};

/// Milliseconds that a test waits for the kernel.
const LIMIT: u16 = 10_000;

struct Gated {
    dir: tempfile::TempDir,
    group: PermissionGroup,
}

fn ledger() -> Arc<Ledger> {
    Arc::new(Ledger::new().unwrap())
}

fn group(if_forgotten: Reply) -> io::Result<PermissionGroup> {
    PermissionGroup::new(if_forgotten, ledger(), 0)
}

impl Gated {
    fn new(group: io::Result<PermissionGroup>) -> Gated {
        let group = group.expect("these tests need root, in the initial user namespace");
        let dir = tempfile::tempdir().unwrap();
        group.mark(Opens::Children, File::open(dir.path()).unwrap()).unwrap();
        Gated { dir, group }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("x.pth")
    }

    /// Opens in a thread of its own, which waits in the kernel.
    fn open(&self, open: fn(&Path) -> io::Result<File>) -> JoinHandle<io::Result<File>> {
        let path = self.path();
        thread::spawn(move || open(&path))
    }

    fn next_event(&self) -> PermissionEvent {
        wait(&self.group);
        let mut openings = Vec::new();
        self.group.read(&mut openings).unwrap();
        match openings.pop().unwrap() {
            Opening::Waiting(event) => event,
            Opening::NotOpened(errno) => panic!("{errno}"),
        }
    }
}

fn wait(group: impl AsFd) {
    let mut fds = [PollFd::new(group.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut fds, LIMIT), Ok(1), "the kernel reported nothing");
}

fn errno(result: io::Result<File>) -> Option<i32> {
    result.err().and_then(|error| error.raw_os_error())
}

#[test]
fn a_denied_create_leaves_an_empty_file_and_gets_eperm() {
    let gated = Gated::new(group(Reply::Allow));
    let opener = gated.open(|path| File::create_new(path));
    assert!(gated.next_event().answer(Reply::Deny));
    assert_eq!(errno(opener.join().unwrap()), Some(libc::EPERM));
    assert_eq!(fs::metadata(gated.path()).unwrap().len(), 0);
}

#[test]
fn an_event_is_answered_once_and_a_forgotten_one_when_it_is_dropped() {
    for (if_forgotten, expected) in [(Reply::Allow, None), (Reply::Deny, Some(libc::EPERM))] {
        let gated = Gated::new(group(if_forgotten));
        let opener = gated.open(|path| File::create_new(path));
        drop(gated.next_event());
        assert_eq!(errno(opener.join().unwrap()), expected);
    }
    let gated = Gated::new(group(Reply::Deny));
    let opener = gated.open(|path| File::create_new(path));
    let event = gated.next_event();
    assert!(event.answer(Reply::Allow));
    assert!(!event.answer(Reply::Deny));
    assert!(opener.join().unwrap().is_ok());
}

#[test]
fn an_answer_with_a_rule_for_the_audit_records_is_taken() {
    let rule = AuditRule { number: 7, subject_trust: 2, object_trust: 0 };
    for group in [PermissionGroup::audited(Reply::Allow, ledger(), 0), group(Reply::Allow)] {
        let gated = Gated::new(group);
        let opener = gated.open(|path| File::create_new(path));
        assert!(gated.next_event().answer_audited(Reply::Deny, rule));
        assert_eq!(errno(opener.join().unwrap()), Some(libc::EPERM));
    }
}

/// What the kernel is told of a rule is what it takes, not the answer without one that follows where it does not.
#[test]
fn the_kernel_takes_the_number_of_a_rule_from_an_audited_group_only() {
    let rule = AuditRule { number: 7, subject_trust: 2, object_trust: 2 };
    for (group, taken) in [(PermissionGroup::audited(Reply::Allow, ledger(), 0), true), (group(Reply::Allow), false)] {
        let gated = Gated::new(group);
        let opener = gated.open(|path| File::create_new(path));
        let event = gated.next_event();
        let number = event.as_fd().as_raw_fd();
        let written = [Response::new(number, false, Some(rule)), Response::without_rule(number, false)]
            .map(|response| nix::unistd::write(&gated.group, response.as_bytes()));
        if taken {
            assert_eq!(written, [Ok(24), Err(nix::errno::Errno::ENOENT)], "the first was the answer");
        } else {
            assert_eq!(written, [Err(nix::errno::Errno::EINVAL); 2]);
        }
        drop(event);
        assert_eq!(opener.join().unwrap().is_err(), taken);
    }
}

#[test]
fn releasing_a_group_lets_everybody_go_whoever_still_holds_an_event() {
    let gated = Gated::new(group(Reply::Deny));
    let read = gated.open(|path| File::create_new(path));
    let event = gated.next_event();
    let unread = gated.open(|path| File::open(path));
    wait(&gated.group);
    gated.group.release().unwrap();
    assert!(read.join().unwrap().is_ok());
    assert!(unread.join().unwrap().is_ok());
    assert!(event.answer(Reply::Deny), "an answer to nobody");
}

/// As under a service manager that keeps the group: an answer that comes too late is left to the next process.
#[test]
fn an_answer_after_the_release_is_left_to_whoever_holds_the_group() {
    let ledger = ledger();
    let gated = Gated::new(PermissionGroup::new(Reply::Deny, Arc::clone(&ledger), 0));
    let kept = gated.group.as_fd().try_clone_to_owned().unwrap();
    let opener = gated.open(|path| File::create_new(path));
    let event = gated.next_event();
    gated.group.release().unwrap();
    assert!(event.answer(Reply::Allow));
    let left = ledger.left();
    assert_eq!(left.len(), 1, "{left:?}");
    let successor = PermissionGroup::adopt(kept, false, Reply::Deny, ledger, 0).unwrap();
    assert!(successor.answer_number(left[0].number, Reply::Allow), "nobody waits for {left:?}");
    assert!(opener.join().unwrap().is_ok());
}

#[test]
fn the_thread_that_opens_is_the_one_that_is_told() {
    let gated = Gated::new(group(Reply::Allow));
    let path = gated.path();
    let opener = thread::spawn(move || {
        File::create_new(path).unwrap();
        nix::unistd::gettid().as_raw().cast_unsigned()
    });
    let event = gated.next_event();
    let told = event.thread();
    drop(event);
    assert_eq!(told, opener.join().unwrap());
}

#[test]
fn a_rename_is_told_with_both_places_and_the_file_before_it_returns() {
    let group = NotificationGroup::new().expect("these tests need root and Linux 5.17");
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (dir.path().join("evil.txt"), dir.path().join("x.pth"));
    fs::write(&old, "x").unwrap();
    let site = File::open(dir.path()).unwrap();
    group.mark(Changes::Entries, &site).unwrap();
    fs::rename(&old, &new).unwrap();
    assert_eq!(group.queued().unwrap(), 1, "queued before rename(2) has returned");
    let mut told = Vec::new();
    let read = group.read(&mut Vec::new(), |event, pidfd| {
        assert_eq!(event.pid.cast_unsigned(), std::process::id());
        assert!(pidfd.is_some());
        for info in event.infos() {
            match info {
                Info::OldEntry(place) => told.push(format!("old {} {}", place.name.display(), place.dir == id(&site))),
                Info::NewEntry(place) => told.push(format!("new {} {}", place.name.display(), place.dir == id(&site))),
                Info::Target(file) => told.push(format!("file {}", file == id(&File::open(&new).unwrap()))),
                Info::Entry(_) | Info::Dir(_) | Info::Pidfd(_) | Info::Other(_) => {}
            }
        }
    });
    assert_eq!(read.unwrap(), 1);
    told.sort();
    assert_eq!(told, ["file true", "new x.pth true", "old evil.txt true"]);
}

/// What a queue of many events is said to hold is what can be read from it, whatever the kernel counts.
#[test]
fn a_long_queue_is_counted_in_events() {
    const MANY: usize = 1000;
    let group = NotificationGroup::new().expect("these tests need root and Linux 5.17");
    let dir = tempfile::tempdir().unwrap();
    group.mark(Changes::Entries, File::open(dir.path()).unwrap()).unwrap();
    for number in 0..MANY {
        std::os::unix::fs::symlink("nowhere", dir.path().join(format!("{number}.pth"))).unwrap();
    }
    assert_eq!(group.queued().unwrap(), MANY);
    let mut read = 0;
    while read < MANY {
        match group.read(&mut Vec::new(), |_, _| {}).unwrap() {
            0 => panic!("only {read} events could be read"),
            some => read += some,
        }
    }
    assert_eq!(group.queued().unwrap(), 0);
}

fn id(file: &File) -> FileId {
    FileId::of(file).unwrap()
}

/// The answer to the last read of a directory's entries comes after all that the reads before it have shown was told.
#[test]
fn a_listing_asks_for_each_read_of_entries_and_once_more_for_the_end() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("x.pth"), "").unwrap();
    let group = group(Reply::Deny).expect("these tests need root, in the initial user namespace");
    group.mark(Opens::Listing, File::open(dir.path()).unwrap()).unwrap();
    let path = dir.path().to_owned();
    let lister = thread::spawn(move || {
        let entries = fs::read_dir(path).unwrap().map(|entry| entry.map(|entry| entry.file_name()));
        entries.collect::<Vec<_>>()
    });
    for reply in [Reply::Allow, Reply::Deny] {
        wait(&group);
        let mut openings = Vec::new();
        group.read(&mut openings).unwrap();
        let [Opening::Waiting(event)] = openings.as_slice() else { panic!("{openings:?}") };
        assert!(!lister.is_finished());
        assert!(event.answer(reply));
    }
    let listed = lister.join().unwrap();
    let [Ok(name), Err(end)] = listed.as_slice() else { panic!("{listed:?}") };
    assert_eq!(name, "x.pth");
    assert_eq!(end.raw_os_error(), Some(libc::EPERM));
}

/// The thread that answers listings may look names up.
#[test]
fn looking_up_a_new_name_waits_for_no_answer() {
    let dir = tempfile::tempdir().unwrap();
    let open = File::open(dir.path()).unwrap();
    let group = group(Reply::Deny).expect("these tests need root, in the initial user namespace");
    group.mark(Opens::Listing, &open).unwrap();
    let found = nix::fcntl::openat(&open, "not-there", nix::fcntl::OFlag::O_PATH, nix::sys::stat::Mode::empty());
    assert_eq!(found.map(drop), Err(nix::errno::Errno::ENOENT));
    assert!(group.is_empty());
}
