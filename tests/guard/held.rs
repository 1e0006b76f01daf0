//! What a permitted writer brings is judged by what its rule lets in: the rest is held, on disk and unreadable.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use pthguard::approvals::{Approvals, Held, Listed};
use pthguard::model::{ContentClass, Origin};
use serde_json::Value;

use crate::harness::{Config, Guard, SOON, field};
use crate::site::{Place, Venv, run, wait_for};
use crate::sys;

const TEE: &str = "exe = [\"/usr/bin/tee\"]\nuid = \"any\"";
const HARMLESS: &str = "[\"empty\", \"paths\"]";
/// Far longer than a judgement takes: whoever reads what has just been written waits for it, and is not turned away.
const PATIENT: u32 = 1000;

fn config(place: &Place) -> Config {
    Config::new(place).budget_ms(PATIENT).allow_content("tee", TEE, HARMLESS)
}

/// Write a startup file as the permitted program, which ends with it.
fn write(file: &Path, content: &[u8]) {
    let mut command = Command::new("/usr/bin/tee");
    let mut tee = command.arg(file).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    tee.stdin.take().unwrap().write_all(content).unwrap();
    assert!(tee.wait().unwrap().success(), "tee {file:?}");
}

/// The record that a file is held, and the reason that its readers' denials give.
fn assert_held(guard: &Guard, file: &Path) -> Value {
    let name = file.file_name().unwrap().to_str();
    let record = guard.wait_record("deny", &["held"], name);
    assert_eq!(fs::read(file).expect_err("held").raw_os_error(), Some(libc::EPERM), "{file:?}");
    let denial = wait_for(&format!("a denied read of {file:?}, as held"), SOON, || {
        let is_it = |record: &Value| {
            field(record, "event.action") == "read"
                && field(record, "file.path") == file.to_str().unwrap()
                && field(record, "pthguard.reason") == "held"
        };
        guard.records().into_iter().find(is_it)
    });
    assert_eq!(field(&denial, "pthguard.verdict"), "deny", "{denial}");
    record
}

/// What the state says when the guard has stopped: what is held, and what is approved.
fn stopped(guard: Guard, config: &Config) -> (Vec<(OsString, Held)>, Vec<Listed>) {
    assert!(guard.stop().0.success());
    let store = Approvals::open(config.state()).unwrap();
    (store.held().into_iter().map(|(_, name, held)| (name, held)).collect(), store.list())
}

fn origin_of<'a>(approved: &'a [Listed], name: &str) -> Option<&'a Origin> {
    approved.iter().find(|listed| listed.name == name).map(|listed| &listed.origin)
}

/// Nothing that runs: readable the moment that its writer is done, without anybody having to wait for anything else.
#[test]
fn harmless_content_is_readable_at_once() {
    let place = Place::new();
    let (venv, config) = (&place.venvs[0], config(&place));
    let guard = config.start();
    let (comment, path) = (venv.site.join("comment.pth"), venv.site.join("path.pth"));
    let target = place.path().join("library");
    fs::create_dir(&target).unwrap();
    write(&comment, b"# nothing\n");
    assert_eq!(fs::read(&comment).expect("a comment"), b"# nothing\n");
    write(&path, format!("{}\n", target.display()).as_bytes());
    assert!(fs::read(&path).is_ok(), "a path line: {}", guard.said());
    assert!(is_on_path(venv, &target), "the interpreter obeys it");
    let (held, approved) = stopped(guard, &config);
    assert!(held.is_empty(), "{held:?}");
    for name in ["comment.pth", "path.pth"] {
        assert_eq!(origin_of(&approved, name), Some(&Origin::Writer("tee".into())), "{name}");
    }
}

fn is_on_path(venv: &Venv, directory: &Path) -> bool {
    let code = "import sys; sys.exit(sys.argv[1] not in sys.path)";
    run(Command::new(&venv.python).args(["-E", "-s", "-c", code]).arg(directory)).status.success()
}

/// Code: the writer succeeds, the file stays, nobody reads it, and the record says what, whose and why. Written anew
/// without it, the file is like any other.
#[test]
fn code_is_held_until_it_is_written_away() {
    let place = Place::new();
    let (venv, config) = (&place.venvs[0], config(&place));
    let mut guard = config.start();
    let file = venv.site.join("tool.pth");
    write(&file, &place.payload());
    let record = assert_held(&guard, &file);
    assert_eq!(field(&record, "rule.name"), "tee", "{record}");
    assert_eq!(field(&record, "pthguard.content"), "code", "{record}");
    assert_eq!(field(&record, "process.executable"), "/usr/bin/tee", "{record}");
    assert!(record.to_string().contains("import os; os.close"), "which line? {record}");
    for _ in 0..5 {
        let start = place.start(venv);
        assert!(!start.canary && start.keep && start.victim && start.clean, "{start:?}");
    }
    assert_eq!(file.metadata().unwrap().len(), place.payload().len() as u64, "it stays as it was written");
    assert_eq!(guard.quarantine(), [] as [&Path; 0], "nor is it taken away");
    guard.assert_alive();
    let (held, approved) = stopped(guard, &config);
    assert!(matches!(&held[..], [(name, held)] if name == "tool.pth" && held.class == ContentClass::Code), "{held:?}");
    assert!(held[0].1.author.contains("/usr/bin/tee"), "{held:?}");
    assert_eq!(origin_of(&approved, "tool.pth"), None);

    let guard = config.start();
    write(&file, b"# nothing\n");
    assert_eq!(fs::read(&file).expect("harmless now"), b"# nothing\n");
    let (held, approved) = stopped(guard, &config);
    assert!(held.is_empty(), "{held:?}");
    assert_eq!(origin_of(&approved, "tool.pth"), Some(&Origin::Writer("tee".into())));
}

/// An approved file that its permitted writer turns into code is held, too; the approval of what it was does not
/// count for what it is.
#[test]
fn an_approved_file_that_becomes_code_is_held() {
    let place = Place::new();
    let (venv, config) = (&place.venvs[0], config(&place));
    let guard = config.start();
    let file = venv.site.join("tool.pth");
    write(&file, b"# nothing\n");
    assert!(fs::read(&file).is_ok());
    write(&file, &place.payload());
    assert_held(&guard, &file);
    assert!(!place.start(venv).canary);
    fs::remove_file(&file).unwrap();
    guard.wait_record("", &["deletion"], Some("tool.pth"));
    let (held, _) = stopped(guard, &config);
    assert!(held.is_empty(), "what is gone is listed no more: {held:?}");
}

/// A program that writes one file after another and lives on, as installers do.
struct Installer {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Installer {
    const PROGRAM: &'static str = "
import sys
for line in sys.stdin:
    name, content = line.rstrip('\\n').split('\\t')
    with open(name, 'w') as file:
        file.write(content + '\\n')
    print('done', flush=True)
";

    fn script(place: &Place) -> PathBuf {
        place.outside.join("installer.py")
    }

    fn subject(place: &Place) -> String {
        fs::write(Installer::script(place), Installer::PROGRAM).unwrap();
        format!(
            "exe = [{:?}]\nscript = [{:?}]\nuid = \"any\"",
            place.venvs[0].interpreter.exe,
            Installer::script(place)
        )
    }

    fn start(place: &Place) -> Installer {
        let mut command = Command::new(&place.venvs[0].interpreter.exe);
        command.args(["-I", "-S"]).arg(Installer::script(place)).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = sys::die_with_parent(&mut command).spawn().unwrap();
        let (orders, answers) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Installer { child, orders, answers }
    }

    fn write(&mut self, file: &Path, content: &str) {
        writeln!(self.orders, "{}\t{content}", file.display()).unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        assert_eq!(answer, "done\n");
    }

    fn end(self) {
        let Installer { mut child, orders, .. } = self;
        drop(orders);
        assert!(child.wait().unwrap().success());
    }
}

/// A path line whose directory the installation makes later is no finding; one whose directory never comes is, once the
/// installer has ended.
#[test]
fn a_missing_directory_is_waited_for() {
    let place = Place::new();
    let venv = &place.venvs[0];
    let config = Config::new(&place).budget_ms(50).allow_content("installer", &Installer::subject(&place), HARMLESS);
    let guard = config.start();
    let mut installer = Installer::start(&place);
    let (later, never) = (place.path().join("later"), place.path().join("never"));
    let (comes, missing) = (venv.site.join("comes.pth"), venv.site.join("missing.pth"));
    installer.write(&comes, later.to_str().unwrap());
    installer.write(&missing, never.to_str().unwrap());
    for file in [&comes, &missing] {
        assert_eq!(fs::read(file).expect_err("not judged yet").raw_os_error(), Some(libc::EPERM), "{file:?}");
    }
    let held = |record: &Value| field(record, "event.action") == "held";
    assert!(!guard.records().iter().any(held), "held before the installation was over");
    fs::create_dir(&later).unwrap();
    wait_for("the one whose directory has come is readable", SOON, || fs::read(&comes).ok());
    assert!(is_on_path(venv, &later));
    assert!(!guard.records().iter().any(held), "held before the installation was over");
    installer.end();
    let record = assert_held(&guard, &missing);
    assert!(field(&record, "pthguard.message").contains("never"), "does not say which directory: {record}");
    // It is not looked at again when the directory comes after all: nobody knows who makes it.
    fs::create_dir(&never).unwrap();
    assert_eq!(fs::read(&missing).expect_err("held").raw_os_error(), Some(libc::EPERM));
    let (held, approved) = stopped(guard, &config);
    assert!(matches!(&held[..], [(name, _)] if name == "missing.pth"), "{held:?}");
    assert_eq!(origin_of(&approved, "comes.pth"), Some(&Origin::Writer("installer".into())));
}

/// Code is no better for an installer that lives on: nobody reads it meanwhile, and it is held when that has ended.
#[test]
fn code_of_an_installer_that_lives_on() {
    let place = Place::new();
    let venv = &place.venvs[0];
    let config = Config::new(&place).budget_ms(50).allow_content("installer", &Installer::subject(&place), HARMLESS);
    let guard = config.start();
    let mut installer = Installer::start(&place);
    let file = venv.site.join("tool.pth");
    installer.write(&file, std::str::from_utf8(&place.payload()).unwrap().trim_end());
    for _ in 0..3 {
        let start = place.start(venv);
        assert!(!start.canary && start.keep && start.clean, "{start:?}");
    }
    installer.end();
    assert_held(&guard, &file);
    assert!(!place.start(venv).canary);
}

/// A mark of the attack that the row `truncate` of the table stands for: the file comes back, and what it had become is
/// kept.
fn assert_comes_back(place: &Place, guard: &Guard, victim: &Path, spoilt: &[u8]) {
    wait_for("the approved file is back", SOON, || fs::read(victim).ok().filter(|bytes| *bytes == place.victim()));
    let is_kept = |path: &PathBuf| fs::read(path).is_ok_and(|bytes| bytes == spoilt);
    wait_for("what it had become is in quarantine", SOON, || guard.quarantine().iter().any(is_kept).then_some(()));
    let start = place.start(&place.venvs[0]);
    assert!(!start.canary && start.keep && start.victim && start.clean, "{start:?}");
    guard.wait_record("", &["restore"], Some("victim.pth"));
}

/// truncate(2) opens nothing, so nothing can deny it. Here it turns an approved file into the payload.
#[test]
fn an_approved_file_that_a_stranger_cuts_comes_back() {
    let place = Place::new();
    let mut guard = Config::new(&place).start();
    let victim = place.venvs[0].site.join("victim.pth");
    for round in 0..3 {
        sys::truncate(&victim, place.cut()).unwrap();
        assert!(!place.start(&place.venvs[0]).canary, "round {round}");
        assert_comes_back(&place, &guard, &victim, &place.victim()[..place.cut()]);
    }
    guard.assert_alive();
}

/// The same through a descriptor from before the guard's start, which needs no open.
#[test]
fn an_approved_file_that_an_old_descriptor_changes_comes_back() {
    let place = Place::new();
    let config = Config::new(&place);
    assert!(config.start().stop().0.success());
    let victim = place.venvs[0].site.join("victim.pth");
    let old = OpenOptions::new().write(true).open(&victim).unwrap();
    let guard = config.start();
    overwrite(&old, &place.payload()).unwrap();
    for _ in 0..3 {
        let start = place.start(&place.venvs[0]);
        assert!(!start.canary && start.keep && start.clean, "{start:?}");
    }
    assert_comes_back(&place, &guard, &victim, &place.payload());
    // It belongs to what lies in quarantine, or to nothing.
    overwrite(&old, b"import this\n").unwrap();
    assert_eq!(fs::read(&victim).expect("approved"), place.victim());
}

fn overwrite(file: &File, bytes: &[u8]) -> io::Result<()> {
    file.set_len(0)?;
    file.write_all_at(bytes, 0)
}

/// Audit mode decides and records the same, answers allow, and leaves everything where it is.
#[test]
fn audit_mode_holds_nothing() {
    let place = Place::new();
    let venv = &place.venvs[0];
    let config = config(&place).audit();
    let mut guard = config.start();
    let (tool, comment) = (venv.site.join("tool.pth"), venv.site.join("comment.pth"));
    write(&comment, b"# nothing\n");
    write(&tool, &place.payload());
    assert_eq!(fs::read(&comment).expect("audit"), b"# nothing\n");
    assert_eq!(fs::read(&tool).expect("audit"), place.payload());
    assert!(place.start(venv).canary, "audit mode denies nothing");
    let record = guard.wait_record("would-deny", &["held"], Some("tool.pth"));
    assert_eq!(field(&record, "pthguard.reason"), "held", "{record}");
    assert_eq!(field(&record, "rule.name"), "tee", "{record}");
    assert!(fs::read(&tool).is_ok());
    let read = guard.wait_record("would-deny", &["read"], Some("tool.pth"));
    assert_eq!(field(&read, "pthguard.reason"), "held", "{read}");
    // A stranger's change is recorded as one, and stays.
    let victim = venv.site.join("victim.pth");
    sys::truncate(&victim, place.cut()).unwrap();
    guard.wait_record("would-deny", &["modification"], Some("victim.pth"));
    assert_eq!(fs::read(&victim).expect("audit"), place.victim()[..place.cut()]);
    let denied = |record: &Value| field(record, "pthguard.verdict") == "deny";
    assert!(!guard.records().iter().any(denied), "audit mode denied something");
    assert_eq!(guard.quarantine(), [] as [&Path; 0]);
    guard.assert_alive();
    let (held, approved) = stopped(guard, &config);
    assert!(matches!(&held[..], [(name, _)] if name == "tool.pth"), "{held:?}");
    assert_eq!(origin_of(&approved, "comment.pth"), Some(&Origin::Writer("tee".into())));
}

/// Written while the guard was down, by nobody knows whom: what runs nothing is approved, the rest is held.
#[test]
fn what_came_while_nobody_watched_is_judged_by_its_content() {
    let place = Place::new();
    let config = Config::new(&place);
    assert!(config.start().stop().0.success());
    let venv = &place.venvs[0];
    let path = |name: &str| venv.site.join(name);
    fs::write(path("code.pth"), place.payload()).unwrap();
    fs::write(path("comment.pth"), "# nothing\n").unwrap();
    fs::write(path("path.pth"), place.keep().split(|byte| *byte == b'\n').next().unwrap()).unwrap();
    fs::write(path("missing.pth"), place.path().join("missing").to_str().unwrap()).unwrap();
    let guard = config.start();
    for name in ["code.pth", "missing.pth"] {
        let record = guard.wait_record("deny", &["held"], Some(name));
        assert_eq!(field(&record, "file.path"), path(name).to_str().unwrap());
        assert_eq!(fs::read(path(name)).expect_err("held").raw_os_error(), Some(libc::EPERM), "{name}");
    }
    for name in ["comment.pth", "path.pth"] {
        assert!(fs::read(path(name)).is_ok(), "{name}");
        guard.wait_record("", &["approval"], Some(name));
    }
    let start = place.start(venv);
    assert!(!start.canary && start.keep && start.victim && start.clean, "{start:?}");
    let (held, approved) = stopped(guard, &config);
    let mut names: Vec<_> = held.iter().map(|(name, _)| name.to_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["code.pth", "missing.pth"]);
    for name in ["comment.pth", "path.pth"] {
        assert_eq!(origin_of(&approved, name), Some(&Origin::Found), "{name}");
    }
    assert_eq!(origin_of(&approved, "code.pth"), None);
}
