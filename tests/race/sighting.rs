//! Interpreters in a loop, and what they saw: whole starts, and `site` alone in forked children, which is the same code
//! between listing a site directory and the last startup file, many times as often.

use std::io::Read;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::arena::PACKAGE;
use crate::site::Venv;
use crate::sys::{self, PidFd};

/// A FIFO without an author blocks whoever opens it.
const LIMIT: Duration = Duration::from_secs(10);

/// What one start saw, as its exit status.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sighting(u8);

impl Sighting {
    const EXECUTED: u8 = 1;
    const KEPT: u8 = 2;
    const VICTIM: u8 = 4;
    const PACKAGES: u8 = 8;
    const BROKEN: Sighting = Sighting(128);

    fn has(self, bit: u8) -> bool {
        self.0 < Self::BROKEN.0 && self.0 & bit != 0
    }

    /// Everything is as it was before any attack.
    pub(crate) fn is_whole(self) -> bool {
        self.0 == Self::KEPT | Self::VICTIM | Self::PACKAGES
    }

    /// It ended well, and has seen nothing that lies in the site directory.
    pub(crate) fn is_bare(self) -> bool {
        self.0 == 0
    }

    /// What loops do not fight over works, and nothing planted ran.
    pub(crate) fn is_sound(self) -> bool {
        self.0 | Self::VICTIM == Self::KEPT | Self::VICTIM | Self::PACKAGES
    }
}

/// What many starts saw.
#[derive(Debug, Default)]
pub(crate) struct Sightings {
    /// How many.
    pub(crate) count: AtomicU64,
    /// Ran bytes that nobody approved.
    pub(crate) executed: AtomicU64,
    /// Could not import what lies in the site directory.
    pub(crate) without_packages: AtomicU64,
    /// Did not run the line of an approved file that nobody attacks.
    pub(crate) missed: AtomicU64,
    /// Blocked, or ended with an error.
    pub(crate) broken: AtomicU64,
}

impl Sightings {
    fn add(&self, seen: Sighting) {
        let count = |counter: &AtomicU64, is_so: bool| counter.fetch_add(u64::from(is_so), Ordering::Relaxed);
        let is_broken = seen.0 >= Sighting::BROKEN.0;
        count(&self.executed, seen.has(Sighting::EXECUTED));
        count(&self.broken, is_broken);
        count(&self.without_packages, !is_broken && !seen.has(Sighting::PACKAGES));
        count(&self.missed, !is_broken && seen.has(Sighting::PACKAGES) && !seen.has(Sighting::KEPT));
        count(&self.count, true);
    }

    /// How many could list their directory, and read what is approved in it.
    pub(crate) fn served(&self) -> u64 {
        let refused = [&self.without_packages, &self.missed, &self.broken].map(Self::get);
        // The count goes up last, so it may lack what the others have.
        Self::get(&self.count).saturating_sub(refused.iter().sum())
    }

    pub(crate) fn get(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }
}

/// Start the environment's interpreter once.
pub(crate) fn start(venv: &Venv, outside: &Path) -> Sighting {
    let report = format!(
        "import sys, os\ntry:\n import {PACKAGE}\n seen = 8\nexcept ImportError:\n seen = 0\n\
         for bit, name in (1, 'evil'), (2, 'keep'), (4, 'victim'):\n \
         seen |= bit if getattr(sys, 'pthguard_' + name, 0) else 0\nos._exit(seen)"
    );
    let mut python = Command::new(&venv.python);
    // From the outside directory: the empty first entry of sys.path must not be a site directory.
    python.current_dir(outside).args(["-E", "-s", "-B", "-c", &report]);
    python.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = python.spawn().expect("the interpreter");
    let handle = PidFd::open(child.id()).expect("a child of ours");
    if !handle.ends_within(LIMIT) {
        child.kill().expect("a child of ours");
    }
    let status = child.wait().expect("a child of ours");
    status.code().and_then(|code| u8::try_from(code).ok()).map_or(Sighting::BROKEN, |code| match code {
        // An error that stops an interpreter, and what no bits stand for.
        16.. => Sighting::BROKEN,
        code => Sighting(code),
    })
}

/// Start interpreters, one after the other, each in the next environment, until `stop`.
pub(crate) fn start_in_a_loop(venvs: &[Venv], outside: &Path, first: usize, stop: &AtomicBool, into: &Sightings) {
    for venv in venvs.iter().cycle().skip(first) {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        into.add(start(venv, outside));
    }
}

/// A process that forks children, each of which does what `site` does at a start.
pub(crate) struct Forker {
    child: Child,
    output: ChildStdout,
}

impl Forker {
    /// Each child reads the next of the environments' site directories.
    pub(crate) fn new(venvs: &[Venv], outside: &Path) -> Forker {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/race/runner.py");
        let mut python = Command::new(&venvs[0].python);
        python.current_dir(outside).args(["-E", "-s", "-B", "-S"]).arg(script);
        python.args(venvs.iter().map(|venv| &venv.site));
        python.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = sys::die_with_parent(&mut python).spawn().expect("the interpreter");
        let output = child.stdout.take().expect("its output is a pipe");
        Forker { child, output }
    }

    /// Count what the children see until it is enough.
    pub(crate) fn count_until(mut self, into: &Sightings, is_enough: impl Fn() -> bool) {
        let mut bytes = [0; 64];
        while !is_enough() {
            let read = self.output.read(&mut bytes).expect("a pipe");
            assert!(read > 0, "the process that forks has ended");
            for byte in &bytes[..read] {
                into.add(Sighting(*byte));
            }
        }
    }
}

impl Drop for Forker {
    fn drop(&mut self) {
        self.child.kill().expect("a child of ours");
        self.child.wait().expect("a child of ours");
    }
}
