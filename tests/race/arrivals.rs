//! Files that get a startup name without being opened: renamed, exchanged, linked.

use std::fs::{self, File};
use std::io::{self, Write};

use crate::attacker::{Attacker, Kind};
use crate::sys;

pub(crate) const KINDS: &[Kind] = &[
    Kind::promised("rename in", rename_in),
    Kind::promised("rename in, rename away", rename_in_and_away),
    Kind::promised("rename within the directory", rename_within),
    Kind::promised("rename over an approved file", rename_over),
    Kind::promised("exchange, the newcomer named first", exchange_in),
    Kind::promised("exchange, the approved file named first", exchange_out),
    Kind::promised("exchange within the directory", exchange_within),
    Kind::promised("hard link in, unlink", link_in_and_unlink),
    Kind::promised("O_TMPFILE, link, unlink", tmpfile_link),
    Kind::shown("exchange from ever new directories", exchange_from_anew),
    Kind::shown("rename in, and away to ever new directories", rename_in_and_away_anew),
];

fn rename_in(a: &mut Attacker) -> io::Result<()> {
    fs::rename(a.fresh(&a.payload)?, a.evil())
}

fn rename_in_and_away(a: &mut Attacker) -> io::Result<()> {
    fs::rename(a.fresh(&a.payload)?, a.evil())?;
    a.pause();
    fs::rename(a.evil(), a.scratch.join("away"))
}

fn rename_within(a: &mut Attacker) -> io::Result<()> {
    let harmless = a.venv.site.join("evil.txt");
    if !harmless.exists() {
        fs::rename(a.fresh(&a.payload)?, &harmless)?;
    }
    fs::rename(&harmless, a.evil())?;
    a.pause();
    fs::rename(a.evil(), &harmless)
}

fn rename_over(a: &mut Attacker) -> io::Result<()> {
    fs::rename(a.fresh(&a.payload)?, a.victim())
}

/// The kernel tells of the two files of an exchange in the order of the arguments.
fn exchange_in(a: &mut Attacker) -> io::Result<()> {
    let fresh = a.fresh(&a.payload)?;
    sys::exchange(&fresh, &a.victim())?;
    a.pause();
    sys::exchange(&fresh, &a.victim())
}

fn exchange_out(a: &mut Attacker) -> io::Result<()> {
    let fresh = a.fresh(&a.payload)?;
    sys::exchange(&a.victim(), &fresh)?;
    a.pause();
    sys::exchange(&a.victim(), &fresh)
}

fn exchange_within(a: &mut Attacker) -> io::Result<()> {
    let harmless = a.venv.site.join("evil.txt");
    if !harmless.exists() {
        fs::rename(a.fresh(&a.payload)?, &harmless)?;
    }
    sys::exchange(&harmless, &a.victim())?;
    a.pause();
    sys::exchange(&harmless, &a.victim())
}

fn link_in_and_unlink(a: &mut Attacker) -> io::Result<()> {
    fs::hard_link(a.fresh(&a.payload)?, a.evil())?;
    a.pause();
    fs::remove_file(a.evil())
}

fn tmpfile_link(a: &mut Attacker) -> io::Result<()> {
    let fd = sys::open(&a.venv.site, libc::O_TMPFILE | libc::O_RDWR, 0o644)?;
    let mut file = File::from(fd.try_clone()?);
    file.write_all(&a.payload)?;
    sys::link_fd(&fd, &a.evil())?;
    // A file with a writer is not readable in any case.
    drop((fd, file));
    a.pause();
    fs::remove_file(a.evil())
}

/// An opener that looks the name up and is overtaken by the exchange back raises an event only if the directory that the
/// payload went to is gated: here it never is.
fn exchange_from_anew(a: &mut Attacker) -> io::Result<()> {
    let dir = a.unused();
    fs::create_dir(&dir)?;
    let fresh = dir.join("fresh");
    let made = fs::write(&fresh, &a.payload).and_then(|()| sys::exchange(&fresh, &a.victim()));
    let made = made.and_then(|()| sys::exchange(&fresh, &a.victim()));
    fs::remove_dir_all(&dir)?;
    made
}

fn rename_in_and_away_anew(a: &mut Attacker) -> io::Result<()> {
    let dir = a.unused();
    fs::create_dir(&dir)?;
    let away = dir.join("away");
    let made = fs::rename(a.fresh(&a.payload)?, a.evil()).and_then(|()| fs::rename(a.evil(), &away));
    fs::remove_dir_all(&dir)?;
    made
}
