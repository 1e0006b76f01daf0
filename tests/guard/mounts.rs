//! What is mounted over a guarded directory or above it, what is unmounted, and file systems that never answer.

use std::fs;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Config, Guard, SOON, field};
use crate::site::{Place, run, wait_for};
use crate::sys;

/// How long an approved read may take while something is stuck elsewhere.
const PROMPT: Duration = Duration::from_secs(5);

fn records(guard: &Guard, action: &str, path: &Path) -> usize {
    let is_it = |record: &Value| {
        field(record, "event.action") == action && field(record, "file.path") == path.to_str().unwrap()
    };
    guard.records().iter().filter(|record| is_it(record)).count()
}

fn wait_guarded(guard: &Guard, site: &Path, times: usize) {
    wait_for(&format!("{site:?} is guarded {times} times"), SOON, || {
        (records(guard, "site-guarded", site) >= times).then_some(())
    });
}

/// A directory with the payload and what else an interpreter finds in a site directory.
fn evil(place: &Place, at: &Path) {
    fs::create_dir_all(at).unwrap();
    fs::write(at.join("evil.pth"), place.payload()).unwrap();
    fs::write(at.join("comment.pth"), "# nothing\n").unwrap();
    fs::write(at.join("keep.pth"), place.keep()).unwrap();
}

/// What is in the directory is judged, and nobody may write there.
fn assert_judged(place: &Place, site: &Path) {
    let venv = &place.venvs[0];
    let error = fs::read(site.join("evil.pth")).expect_err("not approved");
    assert_eq!(error.raw_os_error(), Some(libc::EPERM), "{error}");
    assert!(fs::read(site.join("comment.pth")).is_ok(), "what runs nothing is readable");
    let start = place.start(venv);
    assert!(!start.canary && start.clean, "{start:?}");
    assert_closed(place, site);
}

fn assert_closed(place: &Place, site: &Path) {
    let error = fs::write(site.join("more.pth"), place.payload()).expect_err("guarded");
    assert_eq!(error.raw_os_error(), Some(libc::EPERM), "{error}");
}

/// As if nothing had been: what was approved is read, and nobody may write.
fn assert_as_before(place: &Place) {
    let venv = &place.venvs[0];
    let start = place.start(venv);
    assert!(!start.canary && start.keep && start.victim && start.clean, "{start:?}");
    assert_closed(place, &venv.site);
}

/// A file that was read a moment ago is still open: the guard holds its lease for the reader.
fn unmount(at: &Path) {
    wait_for(&format!("umount {at:?}"), SOON, || run(Command::new("umount").arg(at)).result().ok());
}

/// Mounts, looks, writes beneath while it is covered, and unmounts; `mount` says what stands at the site directory then.
fn covered(over: impl FnOnce(&Place, &Path) -> PathBuf + Send) {
    let place = Place::new();
    sys::with_private_mounts(|| {
        let mut guard = Config::new(&place).start();
        let site = place.venvs[0].site.clone();
        // Another way to the directory below, as another mount namespace or an open descriptor have one.
        let open = fs::File::open(&site)?;
        let below = PathBuf::from(format!("/proc/self/fd/{}", open.as_raw_fd()));
        let mounted = over(&place, &site);
        wait_guarded(&guard, &site, 2);
        assert_judged(&place, &site);
        assert_closed(&place, &below);
        unmount(&mounted);
        assert_as_before(&place);
        assert_eq!(records(&guard, "site-guarded", &site), 2, "the directory below was guarded all the time");
        guard.assert_alive();
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_bind_mount_over_the_directory() {
    covered(|place, site| {
        let other = place.outside.join("other");
        evil(place, &other);
        sys::mount(Some(&other), site, None, libc::MS_BIND, "").unwrap();
        site.to_owned()
    });
}

#[test]
fn an_overlay_over_the_directory() {
    covered(|place, site| {
        let [upper, work] = ["upper", "work"].map(|name| place.outside.join(name));
        evil(place, &upper);
        fs::create_dir(&work).unwrap();
        let layers = format!("lowerdir={},upperdir={},workdir={}", site.display(), upper.display(), work.display());
        sys::mount(Some(Path::new("overlay")), site, Some("overlay"), 0, &layers).unwrap();
        site.to_owned()
    });
}

#[test]
fn a_bind_mount_over_what_is_above_the_directory() {
    covered(|place, site| {
        let (lib, other) = (site.parent().unwrap(), place.outside.join("lib"));
        evil(place, &other.join(site.file_name().unwrap()));
        sys::mount(Some(&other), lib, None, libc::MS_BIND, "").unwrap();
        lib.to_owned()
    });
}

/// A new file system is empty: what it gets is written while it is there. Nothing is at the directory's path in between.
#[test]
fn a_new_file_system_above_the_directory() {
    covered(|place, site| {
        let lib = site.parent().unwrap();
        sys::mount(Some(Path::new("none")), lib, Some("tmpfs"), 0, "mode=755").unwrap();
        // Filled elsewhere on it and moved into place at once.
        let filled = lib.join("filled");
        evil(place, &filled);
        fs::rename(filled, site).unwrap();
        lib.to_owned()
    });
}

/// A file system with guarded directories can be unmounted, comes back, and is guarded again.
#[test]
fn a_guarded_file_system_is_unmounted_and_comes_back() {
    let place = Place::new();
    sys::with_private_mounts(|| {
        let disk = place.outside.join("disk");
        fs::create_dir(&disk)?;
        sys::mount(Some(Path::new("none")), &disk, Some("tmpfs"), 0, "mode=755")?;
        let site = disk.join("venv/site-packages");
        evil(&place, &site);
        let other = place.outside.join("other");
        fs::create_dir(&other)?;
        sys::mount(Some(&disk), &other, None, libc::MS_BIND, "")?;
        let mut sites = place.sites();
        sites.push(site.clone());
        let mut guard = Config::new(&place).sites(sites).start();
        for round in 1..=3 {
            wait_guarded(&guard, &site, round);
            assert_closed(&place, &site);
            // A directory that was renamed to from a guarded one is held for a minute.
            let (from, to) = (site.join(format!("evil{round}.pth")), disk.join("beside"));
            fs::create_dir_all(&to)?;
            let file = to.join(format!("file{round}"));
            fs::write(&file, place.payload())?;
            fs::rename(&file, &from)?;
            let _ = fs::rename(&from, &file);
            // The guard may be at work on what was done last for a moment.
            wait_for("it is unmounted", SOON, || run(Command::new("umount").arg(&disk)).result().ok());
            wait_for("the loss is recorded", SOON, || (records(&guard, "site-lost", &site) >= round).then_some(()));
            sys::mount(Some(&other), &disk, None, libc::MS_BIND, "")?;
        }
        guard.assert_alive();
        Ok(())
    })
    .unwrap();
}

fn loop_image(place: &Place) -> PathBuf {
    let image = place.outside.join("image");
    fs::File::create(&image).unwrap().set_len(16 << 20).unwrap();
    let done = run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image));
    done.result().unwrap_or_else(|error| panic!("blocked: mkfs.ext4: {error}"));
    image
}

fn mount_loop(image: &Path, on: &Path) {
    let done = run(Command::new("mount").args(["-o", "loop"]).arg(image).arg(on));
    done.result().unwrap_or_else(|error| panic!("blocked: no loop device: {error}"));
}

/// A disk that was unmounted and mounted anew, as that of a container is when it starts, has the same handles as before and
/// other inodes. What is approved there is read by whatever path, what carried marks carries them again, and who had a file
/// open before is seen.
#[test]
fn a_guarded_disk_that_is_mounted_anew() {
    let place = Place::new();
    sys::with_private_mounts(|| {
        let [disk, other] = ["disk", "other"].map(|name| place.outside.join(name));
        fs::create_dir(&disk)?;
        fs::create_dir(&other)?;
        let image = loop_image(&place);
        mount_loop(&image, &disk);
        let site = disk.join("lib/site-packages");
        evil(&place, &site);
        fs::hard_link(site.join("comment.pth"), disk.join("link"))?;
        fs::hard_link(site.join("keep.pth"), disk.join("held open"))?;
        let mut sites = place.sites();
        sites.push(site.clone());
        let mut guard = Config::new(&place).sites(sites).start();
        assert!(fs::read(site.join("keep.pth")).is_ok(), "the baseline");
        unmount(&disk);
        wait_for("the loss is recorded", SOON, || (records(&guard, "site-lost", &site) == 1).then_some(()));
        wait_for("the disk has been let go", SOON, || {
            let devices = run(Command::new("losetup").arg("--associated").arg(&image));
            devices.stdout.is_empty().then_some(())
        });
        guard.pause();
        mount_loop(&image, &disk);
        let writer = fs::File::options().write(true).open(disk.join("held open"))?;
        guard.signal(libc::SIGCONT);
        wait_guarded(&guard, &site, 2);
        sys::mount(Some(&disk), &other, None, libc::MS_BIND, "")?;
        let elsewhere = other.join("lib/site-packages");
        assert_eq!(fs::read(elsewhere.join("comment.pth"))?, b"# nothing\n");
        let error = fs::write(disk.join("link"), place.payload()).expect_err("its inode is that of a startup file");
        assert_eq!(error.raw_os_error(), Some(libc::EPERM), "{error}");
        let error = fs::read(elsewhere.join("keep.pth")).expect_err("it is being written");
        assert_eq!(error.raw_os_error(), Some(libc::EPERM), "{error}");
        drop(writer);
        wait_for("it is read", SOON, || fs::read(elsewhere.join("keep.pth")).ok());
        guard.assert_alive();
        drop(guard);
        unmount(&other);
        unmount(&disk);
        Ok(())
    })
    .unwrap();
}

/// A copy of a file system has the identifier of the original: the two cannot be told apart, and that is said.
#[test]
fn a_copy_of_a_guarded_file_system_is_reported() {
    let place = Place::new();
    sys::with_private_mounts(|| {
        let [one, two] = ["one", "two"].map(|name| place.outside.join(name));
        fs::create_dir(&one)?;
        fs::create_dir(&two)?;
        let (image, copy) = (loop_image(&place), place.outside.join("copy"));
        mount_loop(&image, &one);
        evil(&place, &one.join("lib/site-packages"));
        unmount(&one);
        fs::copy(&image, &copy)?;
        mount_loop(&image, &one);
        let mut sites = place.sites();
        sites.extend([one.join("lib/site-packages"), two.join("lib/site-packages")]);
        let mut guard = Config::new(&place).sites(sites).start();
        mount_loop(&copy, &two);
        let told = two.join("lib/site-packages");
        wait_for("it is told", SOON, || (records(&guard, "failure", &told) == 1).then_some(()));
        assert_closed(&place, &one.join("lib/site-packages"));
        guard.assert_alive();
        drop(guard);
        wait_for("both are unmounted", SOON, || run(Command::new("umount").arg(&one).arg(&two)).result().ok());
        Ok(())
    })
    .unwrap();
}

/// A FUSE file system whose server never answers; it is gone when this is dropped.
struct Silent(fs::File);

impl Silent {
    fn mount(at: &Path) -> Silent {
        let device = fs::File::options().read(true).write(true).open("/dev/fuse");
        let device = device.expect("blocked: no /dev/fuse (CONFIG_FUSE_FS)");
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0,allow_other", device.as_raw_fd());
        sys::mount(Some(Path::new("silent")), at, Some("fuse"), libc::MS_NODEV | libc::MS_NOSUID, &options).unwrap();
        Silent(device)
    }
}

/// The other environments work as if nothing were stuck.
fn assert_prompt(place: &Place, guard: &Guard) {
    let began = Instant::now();
    let venv = place.venvs.last().unwrap();
    let start = place.start(venv);
    assert!(!start.canary && start.keep && start.victim && start.clean, "{start:?}");
    assert_closed(place, &venv.site);
    // A rename is undone: the thread that deals with newcomers goes on.
    let (from, to) = (place.outside.join("newcomer"), venv.site.join("newcomer.pth"));
    fs::write(&from, place.payload()).unwrap();
    fs::rename(&from, &to).unwrap();
    wait_for("the newcomer is taken away", SOON, || to.symlink_metadata().is_err().then_some(()));
    assert!(began.elapsed() < PROMPT, "{:?}", began.elapsed());
    let late = |record: &&Value| field(record, "pthguard.reason") == "timeout";
    assert_eq!(guard.records().iter().filter(late).count(), 0);
}

/// A file is renamed from a guarded directory to one over which a file system is mounted that never answers.
#[test]
fn a_neighbour_below_a_file_system_that_never_answers() {
    let place = Place::new();
    sys::with_private_mounts(|| {
        let mut guard = Config::new(&place).start();
        for (number, above) in ["a", "b/c"].iter().enumerate() {
            let site = &place.venvs[0].site;
            let dir = place.outside.join(above);
            fs::create_dir_all(&dir)?;
            let covered = place.outside.join(above.split('/').next().unwrap());
            let beneath = fs::File::open(&dir)?;
            let beneath_path = PathBuf::from(format!("/proc/self/fd/{}", beneath.as_raw_fd()));
            let silent = Silent::mount(&covered);
            for attempt in 0..20 {
                let name = format!("evil{number}{attempt}.pth");
                fs::write(place.outside.join("x"), place.payload())?;
                fs::rename(place.outside.join("x"), site.join(&name))?;
                let _ = fs::rename(site.join(&name), beneath_path.join("x"));
            }
            assert_prompt(&place, &guard);
            drop(silent.0);
            sys::umount_lazily(&covered)?;
        }
        guard.assert_alive();
        Ok(())
    })
    .unwrap();
}

/// The policy names directories on a file system that never answers, before the start and later.
#[test]
fn a_site_directory_on_a_file_system_that_never_answers() {
    let place = Place::new();
    sys::with_private_mounts(|| {
        let (before, later) = (place.outside.join("before"), place.outside.join("later"));
        fs::create_dir(&before)?;
        evil(&place, &later.join("lib/site-packages"));
        let first = Silent::mount(&before);
        let mut sites = place.sites();
        sites.push(before.join("lib/site-packages"));
        sites.push(place.outside.join("lat*/lib/site-packages"));
        let mut guard = Config::new(&place).sites(sites).start();
        wait_for("it is told that it is not guarded", SOON, || {
            (records(&guard, "failure", &before) == 1).then_some(())
        });
        assert_prompt(&place, &guard);
        let second = Silent::mount(&later);
        wait_for("it is told of the second", SOON, || (records(&guard, "failure", &later) == 1).then_some(()));
        assert_prompt(&place, &guard);
        sys::umount_lazily(&later)?;
        drop((first.0, second.0));
        assert_closed(&place, &later.join("lib/site-packages"));
        guard.assert_alive();
        Ok(())
    })
    .unwrap();
}

/// How long a directory that was mounted over a guarded one stays open to everybody: from the end of mount(2) to the first
/// denied write. `PTHGUARD_MOUNTS=N` asks for N mounts.
#[test]
fn the_time_until_what_was_mounted_is_guarded() {
    let rounds = std::env::var("PTHGUARD_MOUNTS").map_or(10, |rounds| rounds.parse().expect("a number"));
    let place = Place::new();
    let mut times = sys::with_private_mounts(|| {
        let mut guard = Config::new(&place).start();
        let site = place.venvs[0].site.clone();
        let mut times = Vec::new();
        for round in 0..rounds {
            let other = place.outside.join(format!("other{round}"));
            evil(&place, &other);
            sys::mount(Some(&other), &site, None, libc::MS_BIND, "")?;
            let began = Instant::now();
            while fs::write(site.join("probe.pth"), "").is_ok() {
                assert!(began.elapsed() < SOON, "not guarded");
            }
            times.push(began.elapsed());
            // The name that was there before the gate is a newcomer.
            wait_for("it is unmounted", SOON, || run(Command::new("umount").arg(&site)).result().ok());
            wait_for("the loss is recorded", SOON, || (records(&guard, "site-lost", &site) > round).then_some(()));
        }
        guard.assert_alive();
        Ok(times)
    })
    .unwrap();
    times.sort();
    let at = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)];
    println!("{} mounts: guarded after {:?} at the median, {:?} at the 99th percentile", times.len(), at(50), at(99));
}
