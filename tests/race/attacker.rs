//! One attacker: what it has at hand, whatever its way in.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::arena::{Fs, approved, payload};
use crate::seed::Dice;
use crate::site::Venv;
use crate::sys;

/// The longest pause between the two halves of an attempt: what an interpreter takes from listing the directory to the
/// last startup file, and some more.
const PAUSE: Duration = Duration::from_micros(300);

/// A way in. What is run without a guard first, to see that it works, and then with one.
#[derive(Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// Whether no start may execute it, lose its packages or miss an approved file. If not, the numbers are only shown
    /// (`docs/threat-model.md`, "What is not promised").
    pub(crate) promised: bool,
    /// Whether everything has to be what it was once the loop has ended.
    pub(crate) restored: bool,
    /// Whether it runs in an ordinary `cargo test`, too.
    pub(crate) always: bool,
    /// What it needs before its first attempt, without a guard.
    pub(crate) prepare: fn(&mut Attacker) -> io::Result<()>,
    pub(crate) attempt: fn(&mut Attacker) -> io::Result<()>,
    /// On which file systems it is possible.
    pub(crate) on: fn(Fs) -> bool,
}

impl Kind {
    /// A way in that may never work, and leaves nothing.
    pub(crate) const fn promised(name: &'static str, attempt: fn(&mut Attacker) -> io::Result<()>) -> Kind {
        Kind { name, promised: true, restored: true, always: true, prepare: |_| Ok(()), attempt, on: |_| true }
    }

    /// A way in whose numbers are only shown.
    pub(crate) const fn shown(name: &'static str, attempt: fn(&mut Attacker) -> io::Result<()>) -> Kind {
        Kind { name, promised: false, restored: false, always: false, prepare: |_| Ok(()), attempt, on: |_| true }
    }

    pub(crate) const fn after(self, prepare: fn(&mut Attacker) -> io::Result<()>) -> Kind {
        Kind { prepare, ..self }
    }

    pub(crate) const fn on(self, on: fn(Fs) -> bool) -> Kind {
        Kind { on, ..self }
    }
}

/// An attacker on one environment, alone there.
pub(crate) struct Attacker<'a> {
    pub(crate) venv: &'a Venv,
    /// A directory of its own on the same file system.
    pub(crate) scratch: PathBuf,
    /// A directory of its own on another one.
    pub(crate) elsewhere: PathBuf,
    pub(crate) payload: Vec<u8>,
    pub(crate) approved: Vec<u8>,
    pub(crate) dice: Dice,
    /// What a loop keeps from one attempt to the next.
    pub(crate) kept: Vec<OwnedFd>,
    made: u64,
}

impl Attacker<'_> {
    /// Its directories hold a file with the payload each.
    pub(crate) fn new<'a>(venv: &'a Venv, scratch: PathBuf, elsewhere: PathBuf, dice: Dice) -> Attacker<'a> {
        for dir in [&scratch, &elsewhere] {
            fs::create_dir_all(dir).expect("a directory of the test's own");
            fs::write(dir.join("payload"), payload()).expect("a directory of the test's own");
        }
        let (payload, approved) = (payload(), approved());
        Attacker { venv, scratch, elsewhere, payload, approved, dice, kept: Vec::new(), made: 0 }
    }

    /// A name in the site directory that is nobody's.
    pub(crate) fn evil(&self) -> PathBuf {
        self.venv.site.join("evil.pth")
    }

    /// The approved file that attackers fight over.
    pub(crate) fn victim(&self) -> PathBuf {
        self.venv.site.join("victim.pth")
    }

    pub(crate) fn pause(&mut self) {
        self.dice.pause(PAUSE);
    }

    /// A name in the attacker's own directory that was never used before.
    pub(crate) fn unused(&mut self) -> PathBuf {
        self.made += 1;
        self.scratch.join(format!("made{}", self.made))
    }

    /// A new file with these bytes: a new inode each time, so that none is known from the last attempt.
    pub(crate) fn fresh(&self, bytes: &[u8]) -> io::Result<PathBuf> {
        let path = self.scratch.join("fresh");
        gone(&path)?;
        fs::write(&path, bytes)?;
        Ok(path)
    }

    /// A new file with approved bytes, open for reading and writing.
    pub(crate) fn fresh_approved(&self) -> io::Result<(PathBuf, File)> {
        let path = self.fresh(&self.approved)?;
        let file = File::from(sys::open(&path, libc::O_RDWR, 0)?);
        Ok((path, file))
    }
}

/// Remove a name, if it is there.
pub(crate) fn gone(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
