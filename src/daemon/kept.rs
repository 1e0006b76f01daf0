//! What outlives the process: the groups, the ledger of who waits, the list of what is guarded.
//!
//! All groups, those included that stop nobody: while the kernel takes any mark off a file, its directory or its file system
//! it lets whoever opens the file through without asking (`fsnotify_prepare_user_wait`, Linux 6.18), and a mark on which
//! somebody waits stays in that state until he is answered.
//!
//! The service manager keeps them (`FDSTORE=1`, sd_notify(3)) while the process is gone: after a crash, during an upgrade
//! and a restart. Where the daemon executes itself anew it hands them over itself. As long as they are kept, whoever opens
//! something in a guarded directory waits; so whoever cannot start with them gives them up ([`give_up`]).

use std::collections::HashMap;
use std::env;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::process::Command;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use sd_notify::NotifyState;

use crate::fanotify::process::inherited;
use crate::watch::Lane;

/// Where a daemon that executes itself says which descriptors it has left open: `NAME=NUMBER`, separated by colons.
const HANDED_OVER: &str = "PTHGUARD_KEPT";
/// What the service manager says of those that it keeps.
const FROM_MANAGER: [&str; 3] = ["LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID"];

pub(super) const LEDGER: &str = "pthguard-ledger";
pub(super) const DISCOVERY: &str = "pthguard-discovery";
pub(super) const WAYS: &str = "pthguard-ways";
pub(super) const GUARDED: &str = "pthguard-guarded";

pub(super) fn gate(lane: Lane) -> String {
    format!("pthguard-gate-{}", lane.as_str())
}

pub(super) fn listing(lane: Lane) -> String {
    format!("pthguard-listing-{}", lane.as_str())
}

pub(super) fn changes(lane: Lane) -> String {
    format!("pthguard-changes-{}", lane.as_str())
}

/// Descriptors that an earlier process has left, by name.
#[derive(Debug, Default)]
pub(super) struct Kept(HashMap<String, OwnedFd>);

impl Kept {
    /// Takes what was left; as a rule nothing was.
    pub(super) fn receive() -> Self {
        let handed_over = env::var(HANDED_OVER).unwrap_or_default();
        let handed_over = handed_over.split(':').filter_map(|pair| {
            let (name, number) = pair.split_once('=')?;
            Some((number.parse().ok()?, name.to_owned()))
        });
        let kept_by_manager = sd_notify::listen_fds_with_names().into_iter().flatten();
        let all = handed_over.chain(kept_by_manager);
        Kept(all.filter_map(|(number, name)| Some((name, inherited(number)?))).collect())
    }

    pub(super) fn take(&mut self, name: &str) -> Option<OwnedFd> {
        self.0.remove(name)
    }
}

/// Has the service manager keep something from now on, in place of what it may keep under that name and nobody understands.
pub(super) fn keep(name: &str, descriptor: BorrowedFd<'_>) {
    forget(name);
    // Without FDPOLL=0 it would watch them, and drop one that reports an error (systemd 246).
    let state = [NotifyState::FdStore, NotifyState::FdName(name), NotifyState::Custom("FDPOLL=0")];
    let _ = sd_notify::notify_with_fds(&state, &[descriptor]); // one that does not listen keeps nothing
}

/// Nobody keeps anything any more: whoever waits goes on as soon as this process has ended.
pub(super) fn give_up() {
    // Those first that somebody waits for, as everywhere.
    let gates = Lane::ALL.into_iter().flat_map(|lane| [gate(lane), listing(lane)]);
    let others = [LEDGER, DISCOVERY, WAYS, GUARDED].map(str::to_owned);
    for name in gates.chain(Lane::ALL.map(changes)).chain(others) {
        forget(&name);
    }
}

fn forget(name: &str) {
    super::notify(&[NotifyState::FdStoreRemove, NotifyState::FdName(name)]);
}

/// Hands descriptors over to what `command` executes in this process's place.
///
/// # Errors
/// What fcntl(2) says.
pub(super) fn hand_over(command: &mut Command, kept: &[(String, BorrowedFd<'_>)]) -> io::Result<()> {
    let mut handed_over = Vec::new();
    for (name, descriptor) in kept {
        fcntl(descriptor, FcntlArg::F_SETFD(FdFlag::empty()))?;
        handed_over.push(format!("{name}={}", descriptor.as_raw_fd()));
    }
    for name in FROM_MANAGER {
        command.env_remove(name);
    }
    command.env(HANDED_OVER, handed_over.join(":"));
    Ok(())
}
