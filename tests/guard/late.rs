//! Late writes: what was opened or mapped before the guard started, or before the file got its name, cannot change what an
//! interpreter executes. `late.c` knows the ways; each is tried on several file systems.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::harness::{Config, SOON};
use crate::site::{Place, run, wait_for};
use crate::stage::compile;
use crate::sys;

/// Whole blocks: some ways know nothing smaller.
const SIZE: usize = 8192;
/// Everywhere.
const PLAIN: &[&str] = &[
    "write",
    "pwrite",
    "mmap",
    "mmap-closed",
    "ftruncate",
    "punch",
    "copy_file_range",
    "sendfile",
    "splice",
    "io_uring",
    "scm_rights",
    "loop",
];

/// What an approved file says, and what the late writer makes of it: of the same size, so that nothing but the bytes
/// tells them apart.
struct Texts {
    before: Vec<u8>,
    after: Vec<u8>,
}

impl Texts {
    fn new(place: &Place, way: &str) -> Texts {
        let pad = |mut text: Vec<u8>| {
            text.resize(SIZE - 1, b'#');
            text.push(b'\n');
            text
        };
        let after = pad(place.payload());
        // One comment, until its first blocks are taken away.
        let before = if way == "collapse" { [vec![b'#'; SIZE], after.clone()].concat() } else { pad(place.victim()) };
        Texts { before, after }
    }
}

/// A late writer, waiting.
struct Late {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Late {
    fn begin(program: &Path, way: &str, file: &Path, new: &Path) -> Late {
        let mut command = Command::new(program);
        command.arg(way).arg(file).arg(new).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = sys::die_with_parent(&mut command).spawn().unwrap();
        let (input, output) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        let mut late = Late { child, input, output };
        assert_eq!(late.line(), "ready", "blocked: {way} on {}", file.display());
        late
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// It writes, and keeps what it has.
    fn act(&mut self) -> String {
        self.input.as_mut().unwrap().write_all(b"now\n").unwrap();
        self.line()
    }

    fn end(mut self) {
        drop(self.input.take());
        self.child.wait().unwrap();
    }
}

/// One file system, with everything that is tried on it.
struct Trial<'a> {
    place: Place,
    program: PathBuf,
    ways: Vec<&'a str>,
}

impl<'a> Trial<'a> {
    fn new(parent: &Path, ways: &[&'a str]) -> Trial<'a> {
        let place = Place::within(parent);
        let program = compile(include_str!("late.c"), &place.path().join("late"), &["-Wno-unused-result".as_ref()]);
        let trial = Trial { place, program, ways: ways.to_vec() };
        for way in ways {
            let texts = Texts::new(&trial.place, way);
            fs::write(trial.file(way), texts.before).unwrap();
            fs::write(trial.material(way), texts.after).unwrap();
        }
        trial
    }

    fn file(&self, way: &str) -> PathBuf {
        self.place.venvs[0].site.join(format!("{way}.pth"))
    }

    fn material(&self, way: &str) -> PathBuf {
        self.place.outside.join(format!("{way}.new"))
    }

    fn begin(&self, way: &str, file: &Path) -> Late {
        Late::begin(&self.program, way, file, &self.material(way))
    }

    fn assert_inert(&self, what: &str) {
        let start = self.place.start(&self.place.venvs[0]);
        assert!(!start.canary && start.keep, "{what}: {start:?}");
    }

    /// Without a guard the line runs, but for what only tears holes.
    fn unguarded(&self) {
        for way in &self.ways {
            let mut late = self.begin(way, &self.file(way));
            assert_eq!(late.act(), "done 0", "{way}");
            let start = self.place.start(&self.place.venvs[0]);
            assert_eq!(start.canary, !matches!(*way, "punch" | "zero"), "{way}: {start:?}");
            late.end();
            fs::write(self.file(way), Texts::new(&self.place, way).before).unwrap();
        }
    }

    /// Opened, and then given the name, with bytes that are approved.
    fn before_its_name(&self) {
        let mut guard = Config::new(&self.place).sites(vec![self.place.venvs[0].site.clone()]).start();
        for way in &self.ways {
            let texts = Texts::new(&self.place, way);
            let copy = self.place.outside.join("copy");
            fs::write(&copy, &texts.before).unwrap();
            let mut late = self.begin(way, &copy);
            fs::rename(&copy, self.file(way)).unwrap();
            assert_eq!(late.act(), "done 0", "{way}");
            self.assert_inert(way);
            late.end();
            // It is on its way back, perhaps.
            let read = || match fs::read(self.file(way)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                read => Some(read),
            };
            match wait_for(&format!("{way}: a file of that name"), SOON, read) {
                Ok(bytes) => assert!(bytes == texts.before, "{way}: other bytes were read"),
                Err(error) => assert_eq!(error.raw_os_error(), Some(libc::EPERM), "{way}: {error}"),
            }
        }
        guard.assert_alive();
        // Those that tell of a change are put right.
        let (status, _) = guard.stop();
        assert!(status.success());
        for way in &self.ways {
            fs::write(self.file(way), Texts::new(&self.place, way).before).unwrap();
        }
    }

    /// Opened before the guard started, of a file that was approved in an earlier run.
    fn before_the_guard(&self) {
        let config = Config::new(&self.place).home("second").sites(vec![self.place.venvs[0].site.clone()]);
        // Whoever reads a file with a writer waits for as long as that, and here are many.
        let config = config.budget_ms(20);
        assert!(config.start().stop().0.success());
        let late: Vec<Late> = self.ways.iter().map(|way| self.begin(way, &self.file(way))).collect();
        let mut guard = config.start();
        self.assert_inert("nothing has been written yet");
        let mut done = Vec::new();
        for (way, mut late) in self.ways.iter().zip(late) {
            assert_eq!(late.act(), "done 0", "{way}");
            self.assert_inert(way);
            done.push((way, late));
        }
        for (way, late) in done {
            late.end();
            let before = Texts::new(&self.place, way).before;
            // A mapping and a block device tell of nothing: what they have made is unreadable for good.
            if matches!(*way, "mmap" | "mmap-closed" | "loop") {
                let error = fs::read(self.file(way)).expect_err(way);
                assert_eq!(error.raw_os_error(), Some(libc::EPERM), "{way}: {error}");
            } else {
                wait_for(&format!("{way}: the approved file is back"), SOON, || {
                    fs::read(self.file(way)).is_ok_and(|bytes| bytes == before).then_some(())
                });
            }
        }
        self.assert_inert("afterwards");
        guard.assert_alive();
    }

    fn all(&self) {
        self.before_its_name();
        self.before_the_guard();
    }
}

/// On a file system of its own, in a loop image, which is gone with the thread.
fn on(kind: &str, work: impl FnOnce(&Path) + Send) {
    let dir = tempfile::Builder::new().prefix("pthguard-image-").tempdir().unwrap();
    let (image, mounted) = (dir.path().join("image"), dir.path().join("mounted"));
    fs::create_dir(&mounted).unwrap();
    fs::File::create(&image).unwrap().set_len(400 << 20).unwrap();
    let made = run(Command::new(format!("mkfs.{kind}")).arg("-q").arg(&image));
    assert!(made.status.success(), "blocked: mkfs.{kind} is needed: {}", made.stderr);
    sys::with_private_mounts(|| {
        let done = run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&mounted));
        assert!(done.status.success(), "blocked: {kind} cannot be mounted: {}", done.stderr);
        work(&mounted);
        Ok(())
    })
    .unwrap();
}

/// Works on an overlay; its upper layer is the directory `upper` beside it.
pub(crate) fn on_overlay(work: impl FnOnce(&Path) + Send) -> io::Result<()> {
    let dir = tempfile::Builder::new().prefix("pthguard-overlay-").tempdir().unwrap();
    let [lower, upper, scratch, merged] = ["lower", "upper", "work", "merged"].map(|name| dir.path().join(name));
    for part in [&lower, &upper, &scratch, &merged] {
        fs::create_dir(part)?;
    }
    let layer = |name: &str, path: &Path| format!("{name}={}", path.display());
    let options = [layer("lowerdir", &lower), layer("upperdir", &upper), layer("workdir", &scratch)].join(",");
    sys::with_private_mounts(|| {
        sys::mount(Some(Path::new("overlay")), &merged, Some("overlay"), 0, &options)?;
        work(&merged);
        Ok(())
    })
}

#[test]
fn in_the_directory_for_temporary_files() {
    let trial = Trial::new(&std::env::temp_dir(), PLAIN);
    trial.unguarded();
    trial.all();
}

#[test]
fn on_tmpfs() {
    Trial::new(Path::new("/dev/shm"), PLAIN).all();
}

#[test]
fn on_xfs() {
    let more = ["collapse", "zero", "direct", "ficlone"];
    on("xfs", |mounted| {
        Trial::new(mounted, &more).unguarded();
        Trial::new(mounted, &[PLAIN, &more].concat()).all();
    });
}

#[test]
fn on_btrfs() {
    on("btrfs", |mounted| Trial::new(mounted, &["write", "mmap-closed", "io_uring", "ficlone"]).all());
}

#[test]
fn on_overlayfs() {
    on_overlay(|merged| Trial::new(merged, PLAIN).all()).unwrap();
}

/// A mapping that changes all the time: between the look at the bytes and the interpreter's read(2), too. On ordinary file
/// systems the mapping is seen. On overlayfs it is not, if its descriptor is closed: a limit, in figures.
#[test]
fn limit_a_mapping_that_changes_all_the_time_on_overlayfs() {
    const STARTS: usize = 60;
    let count = |parent: &Path| {
        let trial = Trial::new(parent, &["flip"]);
        let _guard = Config::new(&trial.place).sites(vec![trial.place.venvs[0].site.clone()]).start();
        let copy = trial.place.outside.join("copy");
        fs::write(&copy, Texts::new(&trial.place, "flip").before).unwrap();
        let mut late = trial.begin("flip", &copy);
        fs::rename(&copy, trial.file("flip")).unwrap();
        assert_eq!(late.act(), "done 0");
        let ran = (0..STARTS).filter(|_| trial.place.start(&trial.place.venvs[0]).canary).count();
        late.end();
        ran
    };
    assert_eq!(count(&std::env::temp_dir()), 0, "of {STARTS} starts");
    on_overlay(|merged| println!("on overlayfs the line ran in {} of {STARTS} starts", count(merged))).unwrap();
}
