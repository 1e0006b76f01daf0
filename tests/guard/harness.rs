//! The guard under test: the real binary, guarding the test's own directories only.
//!
//! A guard that hangs freezes whoever opens a guarded file, the test included. So it dies with the thread that
//! started it, and a watchdog kills it when its time is up: the kernel then lets everybody go, and the test fails.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::site::{Place, wait_for};
use crate::sys::{self, PidFd};

/// For everything that ought to happen at once, on a machine that is busy with other tests.
pub(crate) const SOON: Duration = Duration::from_secs(10);
/// A test that needs longer is stuck.
const GUARD_LIMIT: Duration = Duration::from_secs(120);

/// What the policy file of a test says.
pub(crate) struct Config {
    sites: Vec<PathBuf>,
    mode: &'static str,
    no_rule: &'static str,
    budget_ms: u32,
    unresolved_arrival: &'static str,
    limit: Duration,
    rules: String,
    include_default: bool,
    home: PathBuf,
    state: PathBuf,
    built_in: bool,
    /// What is said of discovery.
    discover: String,
    containers: bool,
    /// What is said of the log beside the file.
    log: String,
}

impl Config {
    /// Enforce in the site directories of `place`, nobody may write.
    pub(crate) fn new(place: &Place) -> Config {
        Config {
            sites: place.sites(),
            mode: "enforce",
            no_rule: "deny",
            // Longer than the default: tests share a slow machine, and none but those that say so measure time.
            budget_ms: 500,
            unresolved_arrival: "quarantine",
            limit: GUARD_LIMIT,
            rules: String::new(),
            include_default: false,
            home: place.path().to_owned(),
            state: place.path().join("state"),
            built_in: false,
            discover: "discover = false".to_owned(),
            containers: false,
            log: "syslog = false".to_owned(),
        }
    }

    /// Enforce the built-in policy, which names the machine's own directories: for a root file system of the test's own.
    /// `sites` are guarded in addition.
    #[allow(dead_code, reason = "only the installers' tests have a root of their own")]
    pub(crate) fn built_in(home: &Path, sites: Vec<PathBuf>) -> Config {
        Config {
            sites,
            mode: "enforce",
            no_rule: "deny",
            budget_ms: 500,
            unresolved_arrival: "quarantine",
            limit: GUARD_LIMIT,
            rules: String::new(),
            include_default: true,
            home: home.to_owned(),
            state: home.join("state"),
            built_in: true,
            discover: "discover = false".to_owned(),
            containers: false,
            log: "syslog = false".to_owned(),
        }
    }

    /// Add rules as they are written in a policy file.
    #[allow(dead_code, reason = "not every test binary needs it")]
    pub(crate) fn rules(mut self, rules: &str) -> Config {
        self.rules.push_str(rules);
        self
    }

    /// Guard running containers, too.
    #[allow(dead_code, reason = "only the containers' tests have any")]
    pub(crate) fn containers(mut self) -> Config {
        self.containers = true;
        self
    }

    /// Say this of the log, beside where the file is.
    #[allow(dead_code, reason = "not every test binary needs it")]
    pub(crate) fn log(mut self, keys: &str) -> Config {
        self.log = keys.to_owned();
        self
    }

    pub(crate) fn audit(mut self) -> Config {
        self.mode = "audit";
        self
    }

    /// Report only what these rules deny.
    #[allow(dead_code, reason = "not every test binary needs it")]
    pub(crate) fn reporting(mut self, rules: &str) -> Config {
        self.no_rule = "allow";
        self.audit().rules(rules)
    }

    pub(crate) fn budget_ms(mut self, budget_ms: u32) -> Config {
        self.budget_ms = budget_ms;
        self
    }

    /// What becomes of a newcomer whose author is not known.
    #[allow(dead_code, reason = "not every test binary needs it")]
    pub(crate) fn unresolved_arrival(mut self, action: &'static str) -> Config {
        self.unresolved_arrival = action;
        self
    }

    /// Let the guard live longer before the test is taken for hung.
    #[allow(dead_code, reason = "only the race needs it")]
    pub(crate) fn limit(mut self, limit: Duration) -> Config {
        self.limit = limit;
        self
    }

    /// Guard also what is found below these directories. File systems that hold one of them are watched as a whole: they
    /// have to be the test's own.
    #[allow(dead_code, reason = "for those that have file systems of their own")]
    pub(crate) fn discover(mut self, below: &[&Path]) -> Config {
        self.discover = format!("discover = true\ndiscover_below = {below:?}");
        self
    }

    /// With the built-in rules behind those of the test. The site directories stay the test's own.
    #[allow(dead_code, reason = "for who is named there only")]
    pub(crate) fn with_default(mut self) -> Config {
        self.include_default = true;
        self
    }

    pub(crate) fn sites(mut self, sites: Vec<PathBuf>) -> Config {
        self.sites = sites;
        self
    }

    /// Another policy file, log and state directory in the same place.
    pub(crate) fn home(mut self, name: &str) -> Config {
        self.home.push(name);
        fs::create_dir(&self.home).unwrap();
        self.state = self.home.join("state");
        self
    }

    /// Policy file, log and state directory somewhere else than in the place.
    #[allow(dead_code, reason = "only file systems that nobody can write need it")]
    pub(crate) fn home_at(mut self, home: &Path) -> Config {
        self.home = home.to_owned();
        self.state = home.join("state");
        self
    }

    /// Where a guard keeps its state that has been told so by another policy file than the test's.
    #[allow(dead_code, reason = "only installed guards have one")]
    pub(crate) fn state_in(mut self, state: &str) -> Config {
        self.state = PathBuf::from(state);
        self
    }

    /// Add an `[[allow]]` table that holds for every user and directory and for any content.
    pub(crate) fn allow(self, name: &str, subject: &str) -> Config {
        self.allow_content(name, subject, "\"any\"")
    }

    /// The same for some content only, written as in a policy file.
    pub(crate) fn allow_content(mut self, name: &str, subject: &str, content: &str) -> Config {
        self.rules.push_str(&format!(
            "[[allow]]\nname = {name:?}\n{subject}\nscope = \"any\"\naccess = [\"write\", \"rename\", \"link\"]\n\
             content = {content}\n"
        ));
        self
    }

    /// Where policy file, log and state directory lie.
    #[allow(dead_code, reason = "not every test binary needs it")]
    pub(crate) fn home_dir(&self) -> &Path {
        &self.home
    }

    pub(crate) fn state(&self) -> &Path {
        &self.state
    }

    pub(crate) fn events(&self) -> PathBuf {
        self.home.join("events.ndjson")
    }

    /// Write the policy file, for a guard that is to start or that reads it anew.
    pub(crate) fn write(&self) -> PathBuf {
        let file = self.home.join("pthguard.toml");
        let sites = if self.built_in {
            format!("extra_sites = {:?}", self.sites)
        } else {
            format!("sites = {:?}\nmax_size = \"1MiB\"", self.sites)
        };
        let text = format!(
            "include_default = {include_default}\nmode = {mode:?}\nno_rule = {no_rule:?}\n[protect]\n{discover}\n{sites}\ncontainers = {containers}\n\
             [failure]\nbudget_ms = {budget}\nunresolved_arrival = {unresolved:?}\n[log]\n{log}\njson = {events:?}\n[state]\ndir = {state:?}\n{rules}",
            include_default = self.include_default,
            mode = self.mode,
            no_rule = self.no_rule,
            discover = self.discover,
            containers = self.containers,
            budget = self.budget_ms,
            unresolved = self.unresolved_arrival,
            log = self.log,
            events = self.events(),
            state = self.state,
            rules = self.rules,
        );
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        file
    }

    /// The command that runs the guard, for tests that change something about it.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pthguard"));
        command.arg("run").arg("--config").arg(self.write()).env_remove("NOTIFY_SOCKET").env_remove("WATCHDOG_USEC");
        command
    }

    /// Start the guard and wait until it says that it is ready.
    pub(crate) fn start(&self) -> Guard {
        self.start_with(&mut self.command())
    }

    pub(crate) fn start_with(&self, command: &mut Command) -> Guard {
        match self.try_start(command) {
            Ok(guard) => guard,
            Err((status, said)) => panic!("the guard did not start: {status}\n{said}"),
        }
    }

    /// Start the guard: ready, or ended with this status and these words.
    pub(crate) fn try_start(&self, command: &mut Command) -> Result<Guard, (ExitStatus, String)> {
        let (socket_path, said) = (self.home.join("notify"), self.home.join("guard.stderr"));
        if let Err(error) = fs::remove_file(&socket_path) {
            assert_eq!(error.kind(), io::ErrorKind::NotFound, "{error}");
        }
        let socket = UnixDatagram::bind(&socket_path).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        command.env("NOTIFY_SOCKET", &socket_path).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(fs::File::create(&said).unwrap());
        let child = sys::die_with_parent(command).spawn().unwrap();
        let handle = Arc::new(PidFd::open(child.id()).unwrap());
        let (watchdog, overdue) = watch_over(Arc::clone(&handle), self.limit);
        let mut guard =
            Guard { child, handle, socket, events: self.events(), said, state: self.state.clone(), watchdog, overdue };
        let deadline = Instant::now() + Duration::from_secs(30);
        while !guard.notified("READY=1") {
            if let Some(status) = guard.child.try_wait().unwrap() {
                return Err((status, guard.said()));
            }
            assert!(Instant::now() < deadline, "the guard was not ready within 30 s\n{}", guard.said());
        }
        Ok(guard)
    }
}

/// Kill the guard when its time is up, and say so.
fn watch_over(handle: Arc<PidFd>, limit: Duration) -> (Sender<()>, Arc<AtomicBool>) {
    let overdue = Arc::new(AtomicBool::new(false));
    let (watchdog, finished) = mpsc::channel();
    let flag = Arc::clone(&overdue);
    thread::spawn(move || {
        if finished.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
            flag.store(true, Ordering::SeqCst);
            handle.signal(libc::SIGKILL);
        }
    });
    (watchdog, overdue)
}

/// A running guard; killed when dropped.
pub(crate) struct Guard {
    child: Child,
    handle: Arc<PidFd>,
    socket: UnixDatagram,
    events: PathBuf,
    said: PathBuf,
    state: PathBuf,
    watchdog: Sender<()>,
    overdue: Arc<AtomicBool>,
}

impl Guard {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: i32) {
        self.handle.signal(signal);
    }

    /// Stop the guard as a debugger would. A signal takes a moment to arrive, and until it has a thread may still answer.
    pub(crate) fn pause(&self) {
        self.signal(libc::SIGSTOP);
        wait_for("all threads of the guard are stopped", SOON, || {
            let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap().flatten();
            let stopped = |stat: String| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'));
            tasks.into_iter().all(|task| fs::read_to_string(task.path().join("stat")).is_ok_and(stopped)).then_some(())
        });
    }

    /// What the guard wrote to standard error.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.said).unwrap_or_default()
    }

    /// Whether the next message on the notification socket, if there is one, contains `word`.
    pub(crate) fn notified(&self, word: &str) -> bool {
        let mut buffer = [0; 4096];
        self.socket.recv(&mut buffer).is_ok_and(|length| String::from_utf8_lossy(&buffer[..length]).contains(word))
    }

    #[allow(dead_code, reason = "only the installers' tests read the trail of a guard that has stopped")]
    pub(crate) fn events(&self) -> &Path {
        &self.events
    }

    /// The audit trail: each line has to be one JSON object.
    pub(crate) fn records(&self) -> Vec<Value> {
        records_in(&self.events)
    }

    /// Wait for a record with this verdict, one of these actions, and `name` at the end of its path.
    pub(crate) fn wait_record(&self, verdict: &str, actions: &[&str], name: Option<&str>) -> Value {
        wait_for(&format!("a record {verdict} {actions:?} {name:?}, among {}", self.events.display()), SOON, || {
            self.records().into_iter().find(|record| {
                field(record, "pthguard.verdict") == verdict
                    && actions.contains(&field(record, "event.action"))
                    && name.is_none_or(|name| field(record, "file.path").ends_with(name))
            })
        })
    }

    /// Everything that lies in quarantine, without the descriptions.
    pub(crate) fn quarantine(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.state.join("quarantine")) else {
            return Vec::new();
        };
        entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_none_or(|e| e != "json" && e != "part"))
            .collect()
    }

    /// Stop in the ordinary way: the exit status, and whether the guard announced it.
    pub(crate) fn stop(mut self) -> (ExitStatus, bool) {
        self.signal(libc::SIGTERM);
        let in_time = self.handle.ends_within(SOON);
        assert!(in_time, "the guard still ran {SOON:?} after SIGTERM\n{}", self.said());
        let status = self.child.wait().unwrap();
        let mut announced = false;
        // The sender is gone: what has been sent is in the socket already.
        while !announced {
            let mut buffer = [0; 4096];
            let Ok(length) = self.socket.recv(&mut buffer) else {
                break;
            };
            announced = String::from_utf8_lossy(&buffer[..length]).contains("STOPPING=1");
        }
        (status, announced)
    }

    /// Fail unless the guard still runs.
    pub(crate) fn assert_alive(&mut self) {
        let status = self.child.try_wait().unwrap();
        assert!(status.is_none(), "the guard ended: {status:?}\n{}", self.said());
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.handle.signal(libc::SIGKILL);
        self.child.wait().expect("our own child");
        // The watchdog may have ended already; then it has set its flag.
        let _ = self.watchdog.send(());
        let overdue = self.overdue.load(Ordering::SeqCst);
        if thread::panicking() {
            eprintln!("--- the guard said:\n{}", self.said());
            eprintln!("--- its last records:\n{}", tail(&self.events));
        } else {
            assert!(!overdue, "the guard had to be killed when its time was up\n{}", self.said());
        }
    }
}

/// An audit trail: each line has to be one JSON object.
pub(crate) fn records_in(events: &Path) -> Vec<Value> {
    let text = fs::read_to_string(events).unwrap_or_default();
    let complete = text.rfind('\n').map_or("", |end| &text[..=end]);
    let parse = |line: &str| {
        let record: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(record.is_object(), "{line}");
        record
    };
    complete.split('\n').filter(|line| !line.is_empty()).map(parse).collect()
}

fn tail(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}

/// A string in nested objects, `event.action` say; empty if it is not there.
pub(crate) fn field<'a>(record: &'a Value, path: &str) -> &'a str {
    lookup(record, path).and_then(Value::as_str).unwrap_or_default()
}

/// A value in nested objects.
pub(crate) fn lookup<'a>(record: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(record, |value, key| value.get(key))
}
