//! Runs one of the ignored tests of this binary in a process of its own, with a fault.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// What happens at the Nth change.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// The process ends before it.
    Die,
    /// The process ends after it; a write is done by half.
    Half,
    /// It fails; those that follow do not.
    Fail,
    /// It fails, and so does all that follows.
    Full,
}

impl Fault {
    fn word(self) -> &'static str {
        match self {
            Fault::Die => "die",
            Fault::Half => "half",
            Fault::Fail => "fail",
            Fault::Full => "full",
        }
    }
}

/// How the process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It came to its end.
    Whole,
    /// The fault ended it.
    Killed,
}

/// The exit status of a process that the library ends.
const DEAD: i32 = 86;

/// In this process's environment, where the child finds what it works on.
pub(crate) const PLACE: &str = "STATE_TEST_PLACE";

/// How long a child may take: some thousand times what it needs.
const LIMIT: Duration = Duration::from_secs(60);

/// More changes than any of the scripts makes.
const TOO_MANY: usize = 2000;

/// Runs the ignored test `script` with the `at`th change below `place`/state or `place`/site gone wrong.
pub(crate) fn run(script: &str, place: &Path, fault: Fault, at: usize) -> Ended {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .env("LD_PRELOAD", library())
        .env("FAULT_BELOW", place.join("s")) // state, site
        .env("FAULT_HOW", fault.word())
        .env("FAULT_AT", at.to_string());
    let child = child(&mut command, script, place);
    match child.status.code() {
        Some(0) => Ended::Whole,
        Some(DEAD) => Ended::Killed,
        other => panic!("{fault:?} at {at}: {other:?}: {}", String::from_utf8_lossy(&child.stderr)),
    }
}

/// Runs an ignored test of this binary in a process of its own, with a time limit.
pub(crate) fn child(command: &mut Command, script: &str, place: &Path) -> Output {
    command.args([script, "--exact", "--ignored", "--nocapture", "--test-threads=1"]).env(PLACE, place);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = child.stderr.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        said.read_to_end(&mut text).map(|_| text)
    });
    let end = Instant::now() + LIMIT;
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if Instant::now() < end => std::thread::park_timeout(Duration::from_millis(1)),
            None => {
                child.kill().unwrap();
                panic!("{script} still ran after {LIMIT:?}");
            }
        }
    };
    Output { status, stdout: Vec::new(), stderr: reader.join().unwrap().unwrap() }
}

/// How many changes a script makes when nothing goes wrong. Each run begins in a place that `prepare` has made.
pub(crate) fn count(script: &str, prepare: impl Fn() -> tempfile::TempDir) -> usize {
    let is_beyond = |at| run(script, prepare().path(), Fault::Die, at) == Ended::Whole;
    let (mut within, mut beyond) = (0, TOO_MANY);
    assert!(is_beyond(beyond), "more than {TOO_MANY} changes");
    while beyond - within > 1 {
        let middle = within.midpoint(beyond);
        *(if is_beyond(middle) { &mut beyond } else { &mut within }) = middle;
    }
    assert!(within > 0, "the library has not counted");
    within
}

/// The directory that the test has made for its child.
pub(crate) fn place() -> PathBuf {
    std::env::var_os(PLACE).expect("run by another test").into()
}

/// The library, compiled once.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = LIBRARY.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fault.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/state/fault.c");
        let gcc = Command::new("gcc").args(["-O1", "-Wall", "-shared", "-fPIC", "-o"]).arg(&path).arg(source).output();
        let gcc = gcc.expect("blocked: gcc (with libc6-dev) is needed");
        assert!(gcc.status.success(), "blocked: {}", String::from_utf8_lossy(&gcc.stderr));
        (dir, path)
    });
    path
}
