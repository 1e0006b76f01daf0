//! Starting, stopping, being stopped, being killed: nobody is left frozen, nobody is left unguarded unnoticed.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::harness::{Config, Guard, SOON};
use crate::site::{Place, Stopper, run, wait_for};
use crate::stage::copy_program;
use crate::sys;

const CAP_SYS_ADMIN: u32 = 21;

/// Threads that each open a file once. While the guard is stopped they wait in the kernel.
pub(crate) struct Openers {
    threads: Vec<JoinHandle<std::io::Result<Vec<u8>>>>,
    ids: Vec<i32>,
}

impl Openers {
    pub(crate) fn start(count: usize, file: &std::path::Path) -> Openers {
        let (tell, told): (_, Receiver<i32>) = mpsc::channel();
        let open = |_| {
            let (file, tell) = (file.to_owned(), tell.clone());
            thread::spawn(move || {
                tell.send(sys::thread_id()).unwrap();
                fs::read(file)
            })
        };
        let threads: Vec<_> = (0..count).map(open).collect();
        let ids = threads.iter().map(|_| told.recv().unwrap()).collect();
        Openers { threads, ids }
    }

    /// Wait until every thread sleeps in openat(2): the kernel waits for the guard's answer.
    pub(crate) fn wait_until_blocked(&self) {
        wait_for("all openers are blocked", SOON, || {
            let blocked = |id: &i32| {
                let task = PathBuf::from(format!("/proc/self/task/{id}"));
                let call = fs::read_to_string(task.join("syscall")).unwrap_or_default();
                let stat = fs::read_to_string(task.join("stat")).unwrap_or_default();
                let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
                call.starts_with(&format!("{} ", libc::SYS_openat)) && matches!(state, Some('D' | 'S'))
            };
            self.ids.iter().all(blocked).then_some(())
        });
    }

    /// All have come back within `limit`: what each of them got.
    pub(crate) fn finish(self, limit: Duration) -> Vec<std::io::Result<Vec<u8>>> {
        wait_for("all openers have finished", limit, || self.threads.iter().all(JoinHandle::is_finished).then_some(()));
        self.threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    }
}

fn guarded() -> (Place, Guard, PathBuf) {
    let place = Place::new();
    let guard = Config::new(&place).start();
    let keep = place.venvs[0].site.join("keep.pth");
    (place, guard, keep)
}

/// Opens that wait when SIGTERM comes are answered or let go, all of them, and the guard ends in time.
#[test]
fn sigterm_while_opens_are_pending() {
    let (_place, guard, keep) = guarded();
    guard.pause();
    let openers = Openers::start(32, &keep);
    openers.wait_until_blocked();
    guard.signal(libc::SIGTERM);
    let begin = Instant::now();
    guard.signal(libc::SIGCONT);
    let results = openers.finish(SOON);
    assert!(results.iter().all(Result::is_ok), "an approved file was denied: {results:?}");
    let (status, announced) = guard.stop();
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    assert_eq!(status.code(), Some(0));
    assert!(announced, "no STOPPING=1");
}

/// The same while new opens keep coming.
#[test]
fn sigterm_while_opens_are_being_made() {
    let (_place, guard, keep) = guarded();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let stopper = Stopper(&stop);
        let open = || {
            let mut failed = 0;
            while !stop.load(Ordering::SeqCst) {
                failed += u32::from(fs::read(&keep).is_err());
            }
            failed
        };
        let threads: Vec<_> = (0..32).map(|_| scope.spawn(open)).collect();
        let begin = Instant::now();
        let (status, announced) = guard.stop();
        let took = begin.elapsed();
        drop(stopper);
        let failed: u32 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert_eq!(failed, 0, "an approved file was denied");
        assert!(
            status.code() == Some(0) && announced && took < Duration::from_secs(5),
            "{status} {announced} {took:?}"
        );
    });
}

/// The kernel lets everybody go when the last descriptor of a group is closed.
#[test]
fn kill_9_releases_everybody() {
    let (_place, guard, keep) = guarded();
    guard.pause();
    let openers = Openers::start(16, &keep);
    openers.wait_until_blocked();
    guard.signal(libc::SIGKILL);
    let results = openers.finish(SOON);
    assert!(results.iter().all(Result::is_ok), "{results:?}");
}

/// An opener that is killed while it waits must not stop the guard or block the next one.
#[test]
fn openers_that_die_while_they_wait() {
    let (_place, mut guard, keep) = guarded();
    guard.pause();
    let mut openers: Vec<_> = (0..8).map(|_| Command::new("cat").arg(&keep).spawn().unwrap()).collect();
    for opener in &mut openers {
        let stat = format!("/proc/{}/stat", opener.id());
        wait_for("the opener waits", SOON, || fs::read_to_string(&stat).unwrap().contains("(cat) D").then_some(()));
        opener.kill().unwrap();
        opener.wait().unwrap();
    }
    guard.signal(libc::SIGCONT);
    assert!(fs::read(&keep).is_ok());
    guard.assert_alive();
}

/// Two guards on one state directory would both write the journal.
#[test]
fn a_second_instance_is_refused() {
    let place = Place::new();
    let config = Config::new(&place);
    let mut guard = config.start();
    // The first one's notification socket must stay: a place of its own for everything but the state.
    let mut second = config.command();
    second.env_remove("NOTIFY_SOCKET");
    let done = run(&mut second);
    assert_eq!(done.status.code(), Some(2), "{}", done.stderr);
    let state = config.state().to_str().unwrap();
    assert!(done.stderr.contains(state), "does not say which directory: {}", done.stderr);
    guard.assert_alive();
    let start = place.start(&place.venvs[0]);
    assert!(start.keep && start.clean, "the refused instance has disturbed the first: {start:?}");
}

/// Two guards with their own state on the same directories each see what the other one opens.
#[test]
fn two_guards_on_one_directory_do_not_wait_for_each_other() {
    let place = Place::new();
    let mut first = Config::new(&place).start();
    let mut second = Config::new(&place).home("second").start();
    for round in 0..20 {
        let evil = place.outside.join("payload.txt");
        fs::write(&evil, place.payload()).unwrap();
        fs::rename(&evil, place.venvs[0].site.join("evil.pth")).unwrap();
        for venv in &place.venvs {
            let begin = Instant::now();
            let start = place.start(venv);
            assert!(!start.canary && start.keep, "round {round}: {start:?}");
            assert!(begin.elapsed() < SOON, "round {round}: {:?}", begin.elapsed());
        }
    }
    first.assert_alive();
    second.assert_alive();
}

/// Root without CAP_SYS_ADMIN, as in many containers: said by name, not met half-way.
#[test]
fn without_cap_sys_admin() {
    let place = Place::new();
    let config = Config::new(&place);
    let mut command = config.command();
    let Err((status, said)) = config.try_start(sys::without_capability(&mut command, CAP_SYS_ADMIN)) else {
        panic!("the guard started");
    };
    assert_eq!(status.code(), Some(2), "{said}");
    assert!(said.contains("CAP_SYS_ADMIN"), "{said}");
}

/// The same for an ordinary user.
#[test]
fn as_an_ordinary_user() {
    use std::os::unix::{fs::PermissionsExt, process::CommandExt};
    let place = Place::new();
    let config = Config::new(&place);
    // The binary may lie where an ordinary user cannot reach it.
    let binary = place.path().join("pthguard");
    copy_program(env!("CARGO_BIN_EXE_pthguard"), &binary);
    drop(config.command());
    let file = place.path().join("pthguard.toml");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let mut command = Command::new(&binary);
    command.args(["run", "--config"]).arg(file).uid(65534).gid(65534);
    let done = run(&mut command);
    assert_eq!(done.status.code(), Some(2), "{}", done.stderr);
    assert!(done.stderr.contains("CAP_SYS_ADMIN") || done.stderr.contains("root"), "{}", done.stderr);
}

/// The service manager's watchdog is fed; while the guard hangs it is not.
#[test]
fn the_watchdog_is_fed() {
    let place = Place::new();
    let config = Config::new(&place);
    let guard = config.start_with(config.command().env("WATCHDOG_USEC", "200000"));
    for _ in 0..3 {
        wait_for("WATCHDOG=1", SOON, || guard.notified("WATCHDOG=1").then_some(()));
    }
}

/// `--mode` on the command line wins over the file.
#[test]
fn mode_on_the_command_line() {
    let place = Place::new();
    let config = Config::new(&place).audit();
    let _guard = config.start_with(config.command().args(["--mode", "enforce"]));
    let error = fs::write(place.venvs[0].site.join("evil.pth"), "x").expect_err("enforcing");
    assert_eq!(error.raw_os_error(), Some(libc::EPERM));
}
