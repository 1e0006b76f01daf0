//! What interpreters do with a site directory that they may not list, because of unrest in it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::arena;
use crate::harness::{Config, SOON};
use crate::sighting;
use crate::site::wait_for;

/// It starts, without what is in the directory; a moment later it has everything again.
pub(crate) fn every_interpreter_starts(here: &Path, elsewhere: &Path) {
    let place = arena::with_interpreters(here, &arena::interpreters());
    let mut guard = Config::new(&place).start();
    for venv in &place.venvs {
        let version = venv.interpreter.version;
        let link = venv.site.join("evil.pth");
        let seen = wait_for("the directory cannot be listed, and an interpreter saw that", SOON, || {
            // It is felt for a moment only: a slow start may come after that.
            if link.symlink_metadata().is_err() {
                symlink(elsewhere.join("payload"), &link).expect("links are not stopped, but undone");
            }
            fs::read_dir(&venv.site).and_then(|mut entries| entries.next().transpose()).err()?;
            let seen = sighting::start(venv, &place.outside);
            (!seen.is_whole()).then_some(seen)
        });
        assert!(seen.is_bare(), "{version:?}: {seen:?}");
        let _ = fs::remove_file(&link); // the guard may have done that
    }
    println!("{} interpreters start without a directory that they may not list", place.venvs.len());
    guard.assert_alive();
}
