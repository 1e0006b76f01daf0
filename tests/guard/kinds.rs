//! Kinds of file systems: the same attacks on each of them.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::harness::{Config, SOON};
use crate::site::{Place, run, sh, wait_for};
use crate::sys;

/// An image on a loop device, of this many mebibytes, made by this command.
fn image(on: &Path, mib: u64, make: &[&str]) {
    let image = on.with_extension("image");
    fs::File::create(&image).unwrap().set_len(mib << 20).unwrap();
    let done = run(Command::new(make[0]).args(&make[1..]).arg(&image));
    done.result().unwrap_or_else(|error| panic!("blocked: {make:?}: {error}"));
    let done = run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(on));
    done.result().unwrap_or_else(|error| panic!("blocked: no loop device: {error}"));
}

fn overlay(on: &Path) {
    let [lower, upper, work] = ["lower", "upper", "work"].map(|name| on.with_extension(name));
    for layer in [&lower, &upper, &work] {
        fs::create_dir(layer).unwrap();
    }
    let layers = format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
    sys::mount(Some(Path::new("overlay")), on, Some("overlay"), 0, &layers).unwrap();
}

/// Write, rename, link, read and replace in site directories on a file system that `mount` has mounted.
fn attacked_on(mount: impl FnOnce(&Path) + Send) {
    let outer = tempfile::Builder::new().prefix("pthguard-test-").tempdir().unwrap();
    sys::with_private_mounts(|| {
        let on = outer.path().join("mounted");
        fs::create_dir(&on)?;
        mount(&on);
        {
            let place = Place::within(&on);
            let mut guard = Config::new(&place).start();
            attack(&place);
            guard.assert_alive();
        }
        // Nothing is held: neither by the guard, which has ended, nor by what it has left.
        wait_for("it is unmounted", SOON, || run(Command::new("umount").arg(&on)).result().ok());
        Ok(())
    })
    .unwrap();
}

fn attack(place: &Place) {
    let venv = &place.venvs[0];
    let site = &venv.site;
    let denied =
        |what: &str, error: std::io::Error| assert_eq!(error.raw_os_error(), Some(libc::EPERM), "{what}: {error}");
    let planted = || {
        let file = place.outside.join("newcomer");
        fs::write(&file, place.payload()).unwrap();
        file
    };
    denied("write", fs::write(site.join("write.pth"), place.payload()).unwrap_err());
    denied("overwrite", fs::write(site.join("victim.pth"), place.payload()).unwrap_err());
    for (way, arrive) in [("rename", "mv \"$1\" \"$2\""), ("link", "ln \"$1\" \"$2\"")] {
        let (from, to) = (planted(), site.join(format!("{way}.pth")));
        sh(arrive, &[from.as_os_str(), to.as_os_str()]).unwrap();
        if let Err(error) = fs::read(&to)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            denied(way, error);
        }
        wait_for(&format!("{way}: it is taken away"), SOON, || to.symlink_metadata().is_err().then_some(()));
        let start = place.start(venv);
        assert!(!start.canary && start.keep && start.victim && start.clean, "{way}: {start:?}");
    }
    let victim = site.join("victim.pth");
    sh("mv -f \"$1\" \"$2\"", &[planted().as_os_str(), victim.as_os_str()]).unwrap();
    wait_for("what was approved comes back", SOON, || {
        fs::read(&victim).is_ok_and(|bytes| bytes == place.victim()).then_some(())
    });
    let start = place.start(venv);
    assert!(!start.canary && start.keep && start.victim && start.clean, "replaced: {start:?}");
    sys::truncate(&victim, place.cut()).unwrap();
    let start = place.start(venv);
    assert!(!start.canary && start.keep && start.clean, "truncated: {start:?}");
    wait_for("what was approved comes back", SOON, || {
        fs::read(&victim).is_ok_and(|bytes| bytes == place.victim()).then_some(())
    });
}

#[test]
fn tmpfs() {
    attacked_on(|on| sys::mount(Some(Path::new("none")), on, Some("tmpfs"), 0, "mode=755").unwrap());
}

#[test]
fn ext4() {
    attacked_on(|on| image(on, 32, &["mkfs.ext4", "-q", "-F"]));
}

#[test]
fn xfs() {
    attacked_on(|on| image(on, 320, &["mkfs.xfs", "-q", "-f"]));
}

#[test]
fn btrfs() {
    attacked_on(|on| image(on, 128, &["mkfs.btrfs", "-q", "-f"]));
}

#[test]
fn overlayfs() {
    attacked_on(overlay);
}

/// What nobody can write is judged, too: it may have been brought there elsewhere.
#[test]
fn read_only() {
    let outer = tempfile::Builder::new().prefix("pthguard-test-").tempdir().unwrap();
    sys::with_private_mounts(|| {
        let on = outer.path().join("mounted");
        fs::create_dir(&on)?;
        image(&on, 32, &["mkfs.ext4", "-q", "-F"]);
        let place = Place::within(&on);
        // The first start, without the file.
        drop(Config::new(&place).sites(place.sites()).home_at(outer.path()).start());
        fs::write(place.venvs[0].site.join("evil.pth"), place.payload())?;
        run(Command::new("mount").args(["-o", "remount,ro"]).arg(&on)).result()?;
        let mut guard = Config::new(&place).sites(place.sites()).home_at(outer.path()).start();
        let error = fs::read(place.venvs[0].site.join("evil.pth")).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EPERM), "{error}");
        assert!(fs::read(place.venvs[0].site.join("keep.pth")).is_ok());
        guard.assert_alive();
        drop(guard);
        run(Command::new("mount").args(["-o", "remount,rw"]).arg(&on)).result()?;
        Ok(())
    })
    .unwrap();
}
