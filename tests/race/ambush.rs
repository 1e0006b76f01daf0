//! Attackers that wait for the moment: they watch the site directory with inotify, have everything prepared, and act when
//! an interpreter has opened it, reads it, or has just finished reading it.
//!
//! A loop tries blindly, a hundred thousand times a second, and is seen doing it. An ambush is a single system call at the
//! moment that counts.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::arena::CUT;
use crate::attacker::{Attacker, Kind, gone};
use crate::calls::{self, Inotify};
use crate::sys;
use crate::unseen;

pub(crate) const KINDS: &[Kind] = &[
    Kind::promised("ambush: file over approved when listed", file_when_listed).seldom(),
    Kind::promised("ambush: file exchanged when listed", exchange_when_listed).seldom(),
    Kind::shown("ambush: symlink over approved when opened", |a| symlink_at(a, libc::IN_OPEN)),
    Kind::shown("ambush: symlink over approved while read", |a| symlink_at(a, libc::IN_ACCESS)),
    Kind::shown("ambush: symlink over approved when listed", |a| symlink_at(a, libc::IN_CLOSE_NOWRITE)),
    Kind::shown("ambush: the same, once in 300 ms", patient_symlink),
    Kind::shown("ambush: the same, before all other threads", hurried_symlink),
    Kind::shown("ambush: chain of symlinks when listed", chain_when_listed),
    Kind::shown("ambush: symlink to a file in memory when listed", memory_when_listed),
    Kind::shown("ambush: symlink for a directory of that name", symlink_for_directory),
    Kind::shown("ambush: FIFO over approved when listed", fifo_when_listed),
    Kind::shown("ambush: truncate(2) when listed", truncate_when_listed),
    Kind::shown("ambush: directory exchanged when listed", directory_when_listed),
];

/// So that a loop in which nothing happens comes to an end.
const PATIENCE: Duration = Duration::from_millis(50);
/// Between the moment and the act; not always at once, because it depends on the guard what wins.
const AIM: Duration = Duration::from_micros(60);
/// How long the interpreter gets for what it does then.
const HOLD: Duration = Duration::from_micros(600);

/// Wait until something happens to the site directory. It is watched with the processor, not by sleeping.
fn wait(a: &mut Attacker, moment: u32) -> io::Result<()> {
    if a.watch.is_none() {
        a.watch = Some(Inotify::on(&a.venv.site, moment | libc::IN_ONLYDIR)?);
    }
    let watch = a.watch.as_mut().expect("just made");
    watch.has_news(); // what is old is no news
    let begin = Instant::now();
    while !watch.has_news() {
        if begin.elapsed() > PATIENCE {
            return Err(io::ErrorKind::TimedOut.into());
        }
        std::hint::spin_loop();
    }
    a.dice.pause(AIM);
    Ok(())
}

fn hold() {
    let until = Instant::now() + HOLD;
    while Instant::now() < until {
        std::hint::spin_loop();
    }
}

/// What is over `victim.pth` is replaced by an approved file again.
fn make_good(a: &mut Attacker) -> io::Result<()> {
    hold();
    fs::rename(a.fresh(&a.approved)?, a.victim())
}

fn file_when_listed(a: &mut Attacker) -> io::Result<()> {
    let fresh = a.fresh(&a.payload)?;
    wait(a, libc::IN_CLOSE_NOWRITE)?;
    fs::rename(fresh, a.victim())?;
    make_good(a)
}

fn exchange_when_listed(a: &mut Attacker) -> io::Result<()> {
    let fresh = a.fresh(&a.payload)?;
    wait(a, libc::IN_CLOSE_NOWRITE)?;
    sys::exchange(&fresh, &a.victim())?;
    a.pause();
    sys::exchange(&fresh, &a.victim())
}

/// A link in the attacker's directory that leads to `target`.
fn link_to(a: &Attacker, target: &Path) -> io::Result<PathBuf> {
    let link = a.scratch.join("link");
    gone(&link)?;
    symlink(target, &link)?;
    Ok(link)
}

/// A target that nobody has seen before, on the other file system.
fn target(a: &mut Attacker) -> io::Result<PathBuf> {
    let name = a.unused();
    let target = a.elsewhere.join(name.file_name().expect("a name"));
    fs::write(&target, &a.payload)?;
    Ok(target)
}

fn strike(a: &mut Attacker, moment: u32, weapon: &Path) -> io::Result<()> {
    wait(a, moment)?;
    fs::rename(weapon, a.victim())?;
    make_good(a)
}

fn symlink_at(a: &mut Attacker, moment: u32) -> io::Result<()> {
    let target = target(a)?;
    let link = link_to(a, &target)?;
    let struck = strike(a, moment, &link);
    fs::remove_file(target)?;
    struck
}

/// Whoever is seen once is left alone for a while: longer than the guard is upset.
fn patient_symlink(a: &mut Attacker) -> io::Result<()> {
    symlink_at(a, libc::IN_CLOSE_NOWRITE)?;
    std::thread::sleep(Duration::from_millis(300)); // the attack, not a synchronisation
    Ok(())
}

/// What an attacker can do who is root.
fn hurried_symlink(a: &mut Attacker) -> io::Result<()> {
    if a.kept.is_empty() {
        calls::hurry();
        a.kept.push(OwnedFd::from(fs::File::open("/dev/null")?)); // once is enough
    }
    symlink_at(a, libc::IN_CLOSE_NOWRITE)?;
    std::thread::sleep(Duration::from_millis(20)); // lets the other threads of this processor run
    Ok(())
}

fn chain_when_listed(a: &mut Attacker) -> io::Result<()> {
    let mut end = target(a)?;
    for step in 0..8 {
        let next = a.elsewhere.join(format!("step{step}"));
        gone(&next)?;
        symlink(&end, &next)?;
        end = next;
    }
    let link = link_to(a, &end)?;
    strike(a, libc::IN_CLOSE_NOWRITE, &link)
}

fn memory_when_listed(a: &mut Attacker) -> io::Result<()> {
    let memory = calls::memory_file(&a.payload)?;
    let target = format!("/proc/{}/fd/{}", std::process::id(), memory.as_raw_fd());
    let link = link_to(a, Path::new(&target))?;
    strike(a, libc::IN_CLOSE_NOWRITE, &link)
}

/// A directory of a startup name is no startup file, so it may be listed; then it is a link. Nothing approved is needed.
fn symlink_for_directory(a: &mut Attacker) -> io::Result<()> {
    let target = target(a)?;
    let link = link_to(a, &target)?;
    if a.evil().symlink_metadata().is_err() {
        fs::create_dir(a.evil())?;
    }
    wait(a, libc::IN_CLOSE_NOWRITE)?;
    sys::exchange(&link, &a.evil())?;
    hold();
    let back = sys::exchange(&link, &a.evil());
    fs::remove_dir(&link).or_else(|_| gone(&link))?;
    back
}

fn fifo_when_listed(a: &mut Attacker) -> io::Result<()> {
    let path = a.scratch.join("fifo");
    let author = unseen::fifo(&path, &a.payload)?;
    let struck = strike(a, libc::IN_CLOSE_NOWRITE, &path);
    drop(author); // the reader comes to the end
    struck
}

fn truncate_when_listed(a: &mut Attacker) -> io::Result<()> {
    wait(a, libc::IN_CLOSE_NOWRITE)?;
    a.pause();
    sys::truncate(&a.victim(), CUT)?;
    make_good(a)
}

fn directory_when_listed(a: &mut Attacker) -> io::Result<()> {
    let decoy = a.scratch.join("decoy");
    if !decoy.exists() {
        crate::directories::make(a, &decoy)?;
    }
    wait(a, libc::IN_CLOSE_NOWRITE)?;
    sys::exchange(&decoy, &a.venv.site)?;
    hold();
    sys::exchange(&decoy, &a.venv.site)
}
