//! Site directories that nobody has named: made, moved or linked into place while the guard runs, or there before.
//!
//! All on a file system of the test's own: the guard is told of every directory that is made on it.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::harness::{Config, Guard, SOON, field};
use crate::site::{Place, Stopper, Venv, interpreters, run, sh, wait_for};
use crate::sys;
use crate::writers::uv;

/// Where directories are looked for.
const OPEN: &str = "ground/open";

/// A place with a file system of its own, on which directories are looked for below `ground/open` only; what is prepared
/// lies beside that.
struct Ground {
    place: Place,
    open: PathBuf,
    hidden: PathBuf,
}

impl Ground {
    fn config(&self) -> Config {
        Config::new(&self.place).discover(&[&self.open])
    }

    /// Directories as they lead to a site directory, from the top one on.
    fn site(&self, top: &Path) -> PathBuf {
        top.join("lib/python3.12/site-packages")
    }

    /// An environment in hiding, with the payload and a harmless file in it.
    fn prepared(&self, name: &str) -> PathBuf {
        let top = self.hidden.join(name);
        let site = self.site(&top);
        fs::create_dir_all(&site).unwrap();
        fs::write(site.join("evil.pth"), self.place.payload()).unwrap();
        fs::write(site.join("comment.pth"), "# nothing\n").unwrap();
        top
    }
}

fn on(kind: &str, work: impl FnOnce(&Ground) + Send) {
    let place = Place::new();
    sys::with_private_mounts(|| {
        let at = place.path().join("ground");
        fs::create_dir(&at)?;
        if kind != "ext4" {
            sys::mount(Some(Path::new("tmpfs")), &at, Some("tmpfs"), 0, "mode=755")?;
        }
        if kind == "overlay" {
            let layers = ["lower", "upper", "work"].map(|name| at.join(name));
            layers.iter().try_for_each(fs::create_dir)?;
            let [lower, upper, work] = layers.map(|layer| layer.display().to_string());
            let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
            sys::mount(Some(Path::new("overlay")), &at, Some("overlay"), 0, &options)?;
        }
        if kind == "ext4" {
            let image = place.path().join("image");
            fs::File::create(&image)?.set_len(64 << 20)?;
            run(Command::new("mkfs.ext4").arg("-q").arg(&image)).result()?;
            run(Command::new("mount").args(["-o", "loop"]).args([&image, &at])).result()?;
        }
        let (open, hidden) = (place.path().join(OPEN), at.join("hidden"));
        fs::create_dir(&open)?;
        fs::create_dir(&hidden)?;
        work(&Ground { place, open, hidden });
        Ok(())
    })
    .unwrap_or_else(|error| panic!("blocked: no private mounts ({kind}): {error}"));
}

/// Nobody can make a startup file there.
fn is_guarded(site: &Path) -> bool {
    let probe = site.join("probe.pth");
    match fs::File::create_new(&probe) {
        Ok(_) => {
            // Unless the guard, which is at it, has taken it away already.
            let _ = fs::remove_file(&probe);
            false
        }
        Err(error) => error.raw_os_error() == Some(libc::EPERM),
    }
}

fn wait_guarded(what: &str, site: &Path) {
    wait_for(what, SOON, || is_guarded(site).then_some(()));
}

fn assert_unreadable(file: &Path) {
    let error = fs::read(file).expect_err("not approved");
    assert_eq!(error.raw_os_error(), Some(libc::EPERM), "{}: {error}", file.display());
}

/// What [`Ground::prepared`] has put there: what runs code is unreadable, what does not is not.
fn assert_scanned(site: &Path) {
    wait_guarded("guarded", site);
    wait_for("what runs nothing is readable", SOON, || fs::read(site.join("comment.pth")).ok());
    assert_unreadable(&site.join("evil.pth"));
}

#[test]
fn a_directory_made_anywhere_is_guarded() {
    for kind in ["tmpfs", "ext4", "overlay"] {
        on(kind, |ground| {
            let mut guard = ground.config().start();
            let site = ground.site(&ground.open.join("a/b/c"));
            sh("mkdir -p \"$1\"", &[site.as_os_str()]).unwrap();
            wait_guarded("made by mkdir -p", &site);
            let debian = ground.open.join("d/lib/python3/dist-packages");
            fs::create_dir_all(&debian).unwrap();
            wait_guarded("dist-packages", &debian);
            // Nothing is looked for there.
            let outside = ground.site(&ground.hidden);
            fs::create_dir_all(&outside).unwrap();
            assert!(!is_guarded(&outside));
            guard.assert_alive();
        });
    }
}

/// One rename brings the site directory together with what is above it, and what is in it.
#[test]
fn a_directory_moved_into_place_is_guarded() {
    for kind in ["tmpfs", "ext4"] {
        on(kind, |ground| {
            let mut guard = ground.config().start();
            let site = ground.open.join("site-packages");
            fs::rename(ground.site(&ground.prepared("direct")), &site).unwrap();
            assert_scanned(&site);
            let top = ground.open.join("moved");
            fs::rename(ground.prepared("whole"), &top).unwrap();
            assert_scanned(&ground.site(&top));
            let other = ground.open.join("other");
            fs::create_dir(&other).unwrap();
            sys::exchange(&ground.prepared("exchanged"), &other).unwrap();
            assert_scanned(&ground.site(&other));
            guard.assert_alive();
        });
    }
}

/// Guarded wherever it goes, and what is made in its old place is, too.
#[test]
fn a_guarded_directory_that_moves_stays_guarded() {
    on("tmpfs", |ground| {
        let mut guard = ground.config().start();
        let (top, away) = (ground.open.join("env"), ground.open.join("away"));
        let site = ground.site(&top);
        fs::create_dir_all(&site).unwrap();
        wait_guarded("made", &site);
        for _ in 0..3 {
            fs::rename(&top, &away).unwrap();
            fs::create_dir_all(&site).unwrap();
            wait_guarded("the new one", &site);
            wait_guarded("the old one", &ground.site(&away));
            let last = away.join("lib/python3.12/elsewhere");
            fs::rename(ground.site(&away), last.with_file_name("dist-packages")).unwrap();
            wait_guarded("moved alone", &last.with_file_name("dist-packages"));
            fs::remove_dir_all(&away).unwrap();
        }
        guard.assert_alive();
    });
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    sh("cp -a \"$1\" \"$2\"", &[from.as_os_str(), to.as_os_str()])
}

/// cp makes the directory and then writes into it. Whether a file comes before the gate stands or is denied is a matter of
/// time; what runs code is not readable in any case.
#[test]
fn a_copied_environment_brings_no_code() {
    on("tmpfs", |ground| {
        let mut guard = ground.config().start();
        let prepared = ground.prepared("original");
        for number in 0..20 {
            let top = ground.open.join(format!("copy{number}"));
            let _ = copy(&prepared, &top); // denied or not
            let site = ground.site(&top);
            wait_guarded("copied", &site);
            match fs::read(site.join("evil.pth")) {
                Ok(bytes) => panic!("{} bytes were read", bytes.len()),
                Err(error) => {
                    assert!(matches!(error.raw_os_error(), Some(libc::EPERM | libc::ENOENT)), "{error}");
                }
            }
        }
        guard.assert_alive();
    });
}

/// Somebody had the file open when its directory was found. It is judged when he has closed it.
#[test]
fn what_was_being_written_is_judged_when_it_is_complete() {
    use std::io::Write;
    on("tmpfs", |ground| {
        let mut guard = ground.config().start();
        let top = ground.hidden.join("top");
        let hidden = ground.site(&top);
        fs::create_dir_all(&hidden).unwrap();
        let mut harmless = fs::File::create(hidden.join("harmless.pth")).unwrap();
        let mut evil = fs::File::create(hidden.join("evil.pth")).unwrap();
        harmless.write_all(b"# nothing").unwrap();
        fs::rename(&top, ground.open.join("top")).unwrap();
        let site = ground.site(&ground.open.join("top"));
        wait_guarded("moved", &site);
        assert_unreadable(&site.join("harmless.pth"));
        harmless.write_all(b"\n").unwrap();
        evil.write_all(&ground.place.payload()).unwrap();
        drop((harmless, evil));
        wait_for("complete and harmless", SOON, || fs::read(site.join("harmless.pth")).ok());
        assert_unreadable(&site.join("evil.pth"));
        guard.assert_alive();
    });
}

/// Every interpreter at hand that can make environments.
fn makers() -> Vec<PathBuf> {
    let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("/root"), PathBuf::from);
    let versions = fs::read_dir(home.join(".pyenv/versions")).into_iter().flatten().flatten();
    let pyenv = versions.map(|version| version.path().join("bin/python3")).filter(|exe| exe.exists());
    let found: Vec<PathBuf> = pyenv.chain(interpreters().iter().map(|interpreter| interpreter.exe.clone())).collect();
    found.into_iter().filter(|exe| run(Command::new(exe).args(["-c", "import venv"])).status.success()).collect()
}

/// The site directory of an environment.
fn site_of(root: &Path) -> PathBuf {
    let mut found = glob(&root.join("lib"), "python3");
    found.pop().expect("a library directory").join("site-packages")
}

fn glob(dir: &Path, start: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().flatten().map(|entry| entry.path());
    entries.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(start))).collect()
}

#[test]
fn a_new_environment_is_guarded_before_venv_returns() {
    on("tmpfs", |ground| {
        let mut guard = ground.config().with_default().start();
        for (number, python) in makers().iter().enumerate() {
            let root = ground.open.join(format!("new/venv{number}"));
            let mut venv = Command::new(python);
            run(venv.args(["-m", "venv", "--without-pip"]).arg(&root)).result().unwrap();
            assert!(is_guarded(&site_of(&root)), "{}", python.display());
        }
        // With pip, and what it brings along: up to Python 3.11 a startup file of setuptools.
        let interpreter = &interpreters()[0];
        let root = ground.open.join("with-pip");
        run(Command::new(&interpreter.exe).args(["-m", "venv"]).arg(&root)).result().unwrap();
        let site = site_of(&root);
        assert!(is_guarded(&site));
        for file in glob(&site, "").iter().filter(|file| file.extension() == Some(OsStr::new("pth"))) {
            wait_for("setuptools' own file is approved", SOON, || fs::read(file).ok());
        }
        let start = run(Command::new(root.join("bin/python")).args(["-c", "import pip"]));
        assert!(start.status.success() && start.stderr.is_empty(), "{}", start.stderr);
        guard.assert_alive();
    });
}

/// uv has made an environment and written a startup file into it before anybody can look. If uv is gone by the time that
/// anybody does, its file is nobody's, and held.
#[test]
fn uvs_environments_are_guarded_and_work() {
    on("tmpfs", |ground| {
        let Some(uv) = uv(&ground.place) else { return };
        let subject = format!("exe = [{uv:?}]\nuid = \"any\"");
        // By its rule's name the file that it brings itself is known.
        let config = ground.config().allow_content("uv", &subject, "[\"empty\", \"paths\", \"known\"]");
        let mut guard = config.start();
        let mut approved = 0;
        for number in 0..10 {
            let root = ground.open.join(format!("uv{number}"));
            let mut venv = Command::new(&uv);
            venv.args(["venv", "--offline", "--no-config", "--python"]).arg(&interpreters()[0].exe).arg(&root);
            run(venv.env("UV_CACHE_DIR", ground.hidden.join("cache"))).result().unwrap();
            let site = site_of(&root);
            wait_guarded("made by uv", &site);
            let own = site.join("_virtualenv.pth");
            let is_judged = |record: &serde_json::Value, action: &str| {
                field(record, "event.action") == action && field(record, "file.path") == own.to_str().unwrap()
            };
            approved += wait_for("uv's own file is judged", SOON, || {
                let records = guard.records();
                let is_approved = records.iter().any(|record| is_judged(record, "approval"));
                let is_held = records.iter().any(|record| is_judged(record, "held"));
                (is_approved || is_held).then_some(u32::from(is_approved))
            });
        }
        println!("uv: its own file was approved in {approved} of 10 environments");
        assert!(approved > 0, "never approved");
        guard.assert_alive();
    });
}

/// A symbolic link is no directory: nobody is told of it by the mark of its file system.
#[test]
fn links_on_the_way_to_a_site_directory_are_followed() {
    on("tmpfs", |ground| {
        let policy = ground.open.join("app/current/python/lib/startup");
        let mut sites = ground.place.sites();
        sites.push(policy.clone());
        sites.push(ground.open.join("glob/*/lib"));
        let mut guard = ground.config().sites(sites).start();
        let plain = |name: &str| {
            let dir = ground.hidden.join(name);
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join("evil.pth"), ground.place.payload()).unwrap();
            fs::write(dir.join("comment.pth"), "# nothing\n").unwrap();
            dir
        };
        // The last part of a library directory's site directory.
        let library = ground.open.join("venv/lib/python3.12");
        fs::create_dir_all(&library).unwrap();
        symlink(plain("one"), library.join("site-packages")).unwrap();
        assert_scanned(&library.join("site-packages"));
        // The same in place of a directory that was guarded.
        let site = ground.site(&ground.open.join("replaced"));
        fs::create_dir_all(&site).unwrap();
        wait_guarded("made", &site);
        fs::rename(&site, site.with_extension("old")).unwrap();
        symlink(plain("two"), &site).unwrap();
        assert_scanned(&site);
        // A part in the middle, of a discovered directory.
        let top = ground.open.join("replaced");
        fs::create_dir_all(ground.hidden.join("top/lib/python3.12")).unwrap();
        symlink(plain("three"), ground.hidden.join("top/lib/python3.12/site-packages")).unwrap();
        fs::rename(&top, ground.open.join("replaced.old")).unwrap();
        symlink(ground.hidden.join("top"), &top).unwrap();
        assert_scanned(&site);
        // A path of the policy: nothing of it is there; then a release, then another one.
        for release in ["releases/7", "releases/8"] {
            let dir = plain(&format!("{release}/python/lib/startup"));
            fs::create_dir_all(ground.open.join("app")).unwrap();
            let link = ground.open.join("app/current");
            let _ = fs::remove_file(&link);
            symlink(ground.hidden.join(release), &link).unwrap();
            assert_scanned(&policy);
            drop(dir);
        }
        // What a link leads to is exchanged behind it.
        plain("behind/python/lib/startup");
        sys::exchange(&ground.hidden.join("releases/8"), &ground.hidden.join("behind")).unwrap();
        assert_scanned(&policy);
        // What a glob matches by then.
        fs::create_dir(ground.open.join("glob")).unwrap();
        plain("matched/lib");
        symlink(ground.hidden.join("matched"), ground.open.join("glob/new")).unwrap();
        assert_scanned(&ground.open.join("glob/new/lib"));
        guard.assert_alive();
    });
}

/// Whoever links to a directory of somebody else must not have it guarded: its owner could not write `.pth` files any more.
#[test]
fn a_strangers_link_has_nobodys_directory_guarded() {
    on("tmpfs", |ground| {
        let mut guard = ground.config().start();
        let weights = ground.hidden.join("weights");
        fs::create_dir(&weights).unwrap();
        let library = ground.open.join("lib/python3.12");
        fs::create_dir_all(&library).unwrap();
        symlink(&weights, ground.open.join("link")).unwrap();
        std::os::unix::fs::lchown(ground.open.join("link"), Some(65534), None).unwrap();
        fs::rename(ground.open.join("link"), library.join("site-packages")).unwrap();
        // The next one is dealt with after it.
        let site = ground.site(&ground.open.join("next"));
        fs::create_dir_all(&site).unwrap();
        wait_guarded("next", &site);
        assert!(!is_guarded(&weights));
        guard.assert_alive();
    });
}

/// No interpreter looks for startup files in a package's own directory, whatever it is called.
#[test]
fn a_packages_own_directory_is_left_alone() {
    on("tmpfs", |ground| {
        let mut guard = ground.config().start();
        let site = ground.site(&ground.open.join("env"));
        fs::create_dir_all(&site).unwrap();
        wait_guarded("the site directory", &site);
        let nested = site.join("package/lib/python3.12/site-packages");
        fs::create_dir_all(&nested).unwrap();
        let next = ground.site(&ground.open.join("next"));
        fs::create_dir_all(&next).unwrap();
        wait_guarded("the next one", &next);
        assert!(!is_guarded(&nested));
        fs::write(nested.join("weights.pth"), ground.place.payload()).unwrap();
        guard.assert_alive();
    });
}

/// What is there before the start and named by nobody: found, and part of the baseline at the first start.
#[test]
fn what_was_there_before_is_found() {
    on("tmpfs", |ground| {
        let top = ground.open.join("old");
        fs::rename(ground.prepared("old"), &top).unwrap();
        let site = ground.site(&top);
        // Files are as old as the second in which they were changed: the guard must start in a later one.
        let changed = || fs::metadata(site.join("evil.pth")).unwrap().modified().unwrap();
        wait_for("another second", SOON, || (changed().elapsed().unwrap() > Duration::from_secs(1)).then_some(()));
        let guard = ground.config().start();
        wait_guarded("found", &site);
        wait_for("it is part of the baseline", SOON, || fs::read(site.join("evil.pth")).ok());
        drop(guard);
        // Afterwards it is not.
        let late = ground.open.join("late");
        fs::rename(ground.prepared("late"), &late).unwrap();
        let mut guard = ground.config().start();
        assert_scanned(&ground.site(&late));
        wait_for("what is approved stays so", SOON, || fs::read(site.join("evil.pth")).ok());
        guard.assert_alive();
    });
}

fn cpu(guard: &Guard) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", guard.pid())).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

/// Directories made, moved and removed elsewhere by the thousand: nobody's reads are denied for it, and what is found is
/// guarded all the same.
#[test]
fn a_storm_of_directories_costs_no_decision() {
    on("tmpfs", |ground| {
        let mut guard = ground.config().budget_ms(500).start();
        let venv: &Venv = &ground.place.venvs[0];
        let (over, made) = (AtomicBool::new(false), AtomicU64::new(0));
        std::thread::scope(|scope| {
            let _stopper = Stopper(&over);
            for number in 0..2 {
                let (over, made) = (&over, &made);
                let dir = ground.open.join(format!("storm{number}"));
                fs::create_dir(&dir).unwrap();
                scope.spawn(move || {
                    while !over.load(Ordering::Relaxed) {
                        fs::create_dir(dir.join("a")).unwrap();
                        fs::rename(dir.join("a"), dir.join("b")).unwrap();
                        fs::remove_dir(dir.join("b")).unwrap();
                        made.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            for number in 0..10 {
                let site = ground.site(&ground.open.join(format!("beside{number}")));
                fs::create_dir_all(&site).unwrap();
                wait_guarded("made beside the storm", &site);
                let start = ground.place.start(venv);
                assert!(start.keep && start.clean, "{start:?}");
            }
        });
        println!("storm: {} directories, guard's CPU time {:?}", made.load(Ordering::Relaxed), cpu(&guard));
        guard.assert_alive();
    });
}

/// From the end of mkdir to the gate: the long form prints it (`PTHGUARD_DISCOVERY_ROUNDS`).
#[test]
fn how_soon_a_new_directory_is_guarded() {
    let rounds = std::env::var("PTHGUARD_DISCOVERY_ROUNDS").map_or(20, |rounds| rounds.parse().unwrap());
    for kind in ["tmpfs", "ext4"] {
        on(kind, |ground| {
            let mut guard = ground.config().start();
            let mut made = Windows::new(kind, "made");
            let mut moved = Windows::new(kind, "moved");
            let mut linked = Windows::new(kind, "linked over");
            for round in 0..rounds {
                let site = ground.site(&ground.open.join(format!("made{round}")));
                fs::create_dir_all(&site).unwrap();
                made.measure(&site);
                let top = ground.open.join(format!("moved{round}"));
                fs::create_dir_all(ground.site(&ground.hidden.join("top"))).unwrap();
                fs::rename(ground.hidden.join("top"), &top).unwrap();
                moved.measure(&ground.site(&top));
                let plain = ground.hidden.join(format!("plain{round}"));
                fs::create_dir(&plain).unwrap();
                fs::rename(&site, site.with_extension("old")).unwrap();
                symlink(&plain, &site).unwrap();
                linked.measure(&site);
            }
            for windows in [made, moved, linked] {
                windows.print();
            }
            guard.assert_alive();
        });
    }
}

/// How long things took.
struct Windows {
    what: String,
    times: Vec<Duration>,
}

impl Windows {
    fn new(kind: &str, what: &str) -> Windows {
        Windows { what: format!("{what} ({kind})"), times: Vec::new() }
    }

    /// From now until nobody can write there.
    fn measure(&mut self, site: &Path) {
        let begun = Instant::now();
        while !is_guarded(site) {
            assert!(begun.elapsed() < SOON, "not guarded: {}", site.display());
        }
        self.times.push(begun.elapsed());
    }

    fn print(mut self) {
        self.times.sort();
        let at = |percent: usize| self.times[(self.times.len() * percent / 100).min(self.times.len() - 1)];
        println!("{}: {} times, p50 {:?}, p99 {:?}, max {:?}", self.what, self.times.len(), at(50), at(99), at(100));
    }
}

/// Many site directories on one host: `PTHGUARD_DISCOVERY_SITES` of them, printed with what they cost.
#[test]
fn many_site_directories() {
    let count: usize = std::env::var("PTHGUARD_DISCOVERY_SITES").map_or(300, |count| count.parse().unwrap());
    on("tmpfs", |ground| {
        let site = |number: usize| ground.site(&ground.open.join(format!("many/{number}")));
        for number in 0..count {
            fs::create_dir_all(site(number)).unwrap();
            if number % 100 == 0 {
                fs::write(site(number).join("a.pth"), "# nothing\n").unwrap();
            }
        }
        let mut sites = ground.place.sites();
        let guard = ground.config().sites(sites.clone()).home("few").start();
        let begun = Instant::now();
        wait_for("the search is over", Duration::from_secs(100), || {
            guard.records().iter().any(|record| field(record, "event.action") == "search").then_some(())
        });
        assert!(is_guarded(&site(0)) && is_guarded(&site(count - 1)));
        println!("{count} site directories: found after {:?}, {} KiB resident", begun.elapsed(), memory(&guard));
        drop(guard);
        let guard = Config::new(&ground.place).home("none").start();
        let little = memory(&guard);
        drop(guard);
        sites.push(ground.open.join("many/*/lib/python3*/site-packages"));
        let begun = Instant::now();
        let mut guard = ground.config().sites(sites).home("many").start();
        let ready = begun.elapsed();
        assert!(is_guarded(&site(0)) && is_guarded(&site(count - 1)));
        println!("{count} site directories: ready after {ready:?}, {} KiB resident, {little} without", memory(&guard));
        let begun = Instant::now();
        fs::remove_dir_all(ground.open.join("many")).unwrap();
        let new = site(0);
        fs::create_dir_all(&new).unwrap();
        wait_guarded("made anew", &new);
        println!("all removed, one made anew and guarded after {:?}", begun.elapsed());
        guard.assert_alive();
    });
}

/// Resident memory of the guard, KiB.
fn memory(guard: &Guard) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", guard.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// The group whose mark lies on the file system waits for those who wait for the guard's answer: it must not be in the way
/// of their end, nor of the guard's.
#[test]
fn a_killed_guard_lets_everybody_go() {
    on("tmpfs", |ground| {
        let site = ground.site(&ground.open.join("env"));
        fs::create_dir_all(&site).unwrap();
        let keep = site.join("keep.pth");
        fs::write(&keep, "# nothing\n").unwrap();
        let guard = ground.config().sites(vec![site]).start();
        guard.pause();
        let mut opener = Command::new("cat").arg(&keep).stdout(Stdio::null()).spawn().unwrap();
        let stat = format!("/proc/{}/stat", opener.id());
        wait_for("the opener waits", SOON, || fs::read_to_string(&stat).unwrap().contains("(cat) D").then_some(()));
        guard.signal(libc::SIGKILL);
        let goes_on = sys::PidFd::open(opener.id()).unwrap().ends_within(SOON);
        opener.kill().unwrap(); // or the guard, which is waited for, would be there for ever
        assert!(opener.wait().unwrap().success() && goes_on, "the opener waits for a guard that was killed");
    });
}
