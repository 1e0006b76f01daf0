//! Site directories that another one takes the place of, with everything in it.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::arena::furnish;
use crate::attacker::{Attacker, Kind, gone};
use crate::sys;

pub(crate) const KINDS: &[Kind] = &[
    Kind::shown("directory renamed away, another renamed in", replace).after(decoy),
    Kind::shown("directory exchanged", exchange).after(decoy),
    Kind::shown("directory exchanged with ever new ones", exchange_anew),
    Kind::shown("directory above exchanged", exchange_above).after(decoy_above),
    Kind::shown("symbolic link above pointed elsewhere", repoint).after(link_above),
];

fn decoy_of(a: &Attacker) -> PathBuf {
    a.scratch.join("decoy")
}

/// What stands in for the site directory: all that was in it, and the payload under an old and a new name.
pub(crate) fn make(a: &Attacker, dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    furnish(dir)?;
    fs::write(dir.join("victim.pth"), &a.payload)?;
    fs::write(dir.join("evil.pth"), &a.payload)
}

fn decoy(a: &mut Attacker) -> io::Result<()> {
    make(a, &decoy_of(a))
}

fn replace(a: &mut Attacker) -> io::Result<()> {
    let away = a.scratch.join("away");
    fs::rename(&a.venv.site, &away)?;
    // The site directory has to come back, whatever fails in between.
    let moved = fs::rename(decoy_of(a), &a.venv.site);
    a.pause();
    let back = moved.and_then(|()| fs::rename(&a.venv.site, decoy_of(a)));
    fs::rename(away, &a.venv.site)?;
    a.pause();
    back
}

fn exchange(a: &mut Attacker) -> io::Result<()> {
    sys::exchange(&decoy_of(a), &a.venv.site)?;
    a.pause();
    sys::exchange(&decoy_of(a), &a.venv.site)?;
    a.pause();
    Ok(())
}

fn exchange_anew(a: &mut Attacker) -> io::Result<()> {
    let dir = a.unused();
    make(a, &dir)?;
    sys::exchange(&dir, &a.venv.site)?;
    a.pause();
    sys::exchange(&dir, &a.venv.site)?;
    fs::remove_dir_all(dir)
}

/// `lib/python3.N` of the environment.
fn above(a: &Attacker) -> PathBuf {
    a.venv.site.parent().expect("a site directory has one").to_owned()
}

fn decoy_above(a: &mut Attacker) -> io::Result<()> {
    make(a, &decoy_of(a).join("site-packages"))
}

fn exchange_above(a: &mut Attacker) -> io::Result<()> {
    let above = above(a);
    sys::exchange(&decoy_of(a), &above)?;
    a.pause();
    sys::exchange(&decoy_of(a), &above)?;
    a.pause();
    Ok(())
}

/// The directory above becomes a symbolic link to where it was moved.
fn link_above(a: &mut Attacker) -> io::Result<()> {
    decoy_above(a)?;
    let (above, real) = (above(a), a.scratch.join("real"));
    fs::rename(&above, &real)?;
    symlink(real, above)
}

fn repoint(a: &mut Attacker) -> io::Result<()> {
    let (above, next) = (above(a), a.venv.root.join("next"));
    for target in [decoy_of(a), a.scratch.join("real")] {
        gone(&next)?;
        symlink(target, &next)?;
        fs::rename(&next, &above)?;
        a.pause();
    }
    Ok(())
}
