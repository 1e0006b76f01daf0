//! The composition root: what the parts are made from, in which order they start and stop, who watches them.
//!
//! *Owns* privileges, signals, the instance lock, readiness and watchdog. *Must not* decide anything about files.
//!
//! Stop order: end the threads, those last that read what openers ask; release the groups (nobody waits any more); flush the
//! audit trail; each within a time limit.

#![forbid(unsafe_code)]

mod health;
mod kept;
mod privileges;
mod reload;
mod signals;
mod starting;
mod textfile;

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use sd_notify::NotifyState;

use crate::approvals::{Approvals, Instance, StateError, Taken, prepare_directory};
use crate::audit::{Action, Audit, Auditor, Counters, Record};
use crate::backlog::Backlog;
use crate::config::{self, Config};
use crate::control::{self, Server};
use crate::discovery::Scope;
use crate::fanotify::{Ledger, NotificationGroup, PermissionGroup, Reply, memory};
use crate::gate::{Guard, GuardedList, Inherited, NotGuarded, Parts, Ruling, Survey, Threads};
use crate::model::{Failure, Mode};
use crate::resolve::Resolver;
use crate::watch::{Groups, PerLane, Quarantine, Watch};
use health::Health;
use kept::Kept;
pub use privileges::{DESCRIPTORS, needed_capabilities};
use signals::{Signal, Signals};
use textfile::Writer;

/// Notices that wait for an arrivals thread. More are a storm: then the directories are read again instead.
const NOTICES: usize = 16_384;
/// How long the threads may take to see that it is over.
const JOIN: Duration = Duration::from_millis(600);
/// How long whoever waits for a guard that takes over waits while it makes no progress, and how long at most: whoever can
/// make site directories must not decide how long others wait.
const TAKEOVER: Duration = Duration::from_secs(20);
const TAKEOVER_AT_MOST: Duration = Duration::from_secs(90);
/// How long the audit trail may take to be written out.
const FLUSH: Duration = Duration::from_millis(300);

/// Why the daemon does not start. The messages are for the person who started it.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The policy is not valid.
    #[error(transparent)]
    Config(#[from] config::Errors),
    /// Capabilities are missing.
    #[error(transparent)]
    Privileges(#[from] privileges::Missing),
    /// The state directory cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// Another daemon uses the state directory.
    #[error(transparent)]
    Instance(#[from] Taken),
    /// The kernel lacks what the gate needs.
    #[error("{what}: {source}; {hint}")]
    Kernel {
        /// What was tried.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
        /// What that means.
        hint: &'static str,
    },
    /// Something else of the system.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// The policy cannot be enforced.
    #[error("{0}")]
    OnlyReports(&'static str),
    /// A glob of the policy.
    #[error("protect.sites, protect.discover_except: {0}")]
    Glob(#[from] glob::PatternError),
}

fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> StartError {
    move |source| StartError::System { what: what.into(), source }
}

/// Runs the guard until a signal ends it.
///
/// # Errors
/// [`StartError`]; nothing is guarded then, and nobody waits who was left waiting by an earlier guard.
pub fn run(config_file: Option<&Path>, mode: Option<Mode>) -> Result<(), StartError> {
    // First of all: what an earlier guard has left must keep its numbers.
    let kept = Kept::receive();
    memory::share_heaps();
    let options = Options { config_file: config_file.map(Path::to_owned), mode };
    let running = Running::start(options, kept).inspect_err(|_| kept::give_up())?;
    running.supervise();
    Ok(())
}

/// What the daemon was told on its command line.
#[derive(Clone, Debug)]
struct Options {
    config_file: Option<PathBuf>,
    mode: Option<Mode>,
}

impl Options {
    /// What the policy files say now.
    fn load(&self) -> Result<Config, StartError> {
        let mut config = config::load(self.config_file.as_deref())?;
        config.mode = self.mode.unwrap_or(config.mode);
        match config::cannot_enforce(config.mode, &config.policy) {
            Some(why) => Err(StartError::OnlyReports(why)),
            None => Ok(config),
        }
    }
}

/// A daemon that guards.
#[derive(Debug)]
struct Running {
    options: Options,
    config: Config,
    guard: Arc<Guard>,
    threads: Threads,
    server: Option<Server>,
    textfile: Option<Writer>,
    audit: Audit,
    auditor: Auditor,
    counters: Arc<Counters>,
    ledger: Arc<Ledger>,
    signals: Signals,
    _instance: Instance,
}

impl Running {
    fn start(options: Options, mut kept: Kept) -> Result<Self, StartError> {
        let (ledger, inherited) = take_ledger(&mut kept)?;
        let config = options.load()?;
        privileges::check(config.on_violation, config.log.kernel_audit)?;
        privileges::raise_descriptor_limit();
        privileges::prefer();
        privileges::give_up_the_rest().map_err(system("cannot give up capabilities"))?;
        // Before the first thread: all of them must block the signals that this thread waits for.
        let signals = Signals::block().map_err(system("cannot block signals"))?;
        prepare_directory(&config.state_dir)?;
        let instance = Instance::lock(&config.state_dir)?;
        let approvals = Approvals::open(&config.state_dir)?;
        let first_start = approvals.is_first_start();

        let (audit, auditor) = start_audit(&config)?;
        let counters = Arc::new(Counters::new());
        let guard = assemble(&config, approvals, audit.clone(), Arc::clone(&counters), &ledger, kept, inherited)?;
        let is_in_time = guard.takes_over().then(|| let_go_unless_told(&guard)).transpose()?;
        guard.answer_unknown();
        guard.adopt_this_thread();
        let threads = guard.start().map_err(system("cannot start a thread"))?;

        guard.watch_programs();
        guard.prepare_discovery();
        let (survey, not_guarded) = starting::told(&guard, || guard.guard_sites())?;
        guard.take_over();
        drop(is_in_time);
        if first_start {
            let complete = guard.approvals().baseline_complete();
            complete.map_err(system(format!("cannot write the baseline to {}", config.state_dir.display())))?;
        }
        guard.begin_discovery();
        announce(&config, survey, &not_guarded, first_start, &audit);
        guard.looked_after([Duration::ZERO; 2]); // nobody has, during a long survey
        let server = listen(&config, &guard, &audit);
        let textfile = textfile::start(&config.metrics, &guard, &counters, &audit);
        say_ready(survey.directories);
        memory::give_back(); // what the start needed and nobody needs any more
        Ok(Running {
            options,
            config,
            guard,
            threads,
            server,
            textfile,
            audit,
            auditor,
            counters,
            ledger,
            signals,
            _instance: instance,
        })
    }

    /// Waits for signals, and sees that the threads make progress. Takes no lock of theirs while it does: whoever watches
    /// over them must not hang with them.
    fn supervise(mut self) {
        let mut health = Health::new(sd_notify::watchdog_enabled());
        loop {
            match self.signals.wait(health.tick()) {
                Some(Signal::Stop) => return self.stop(),
                Some(Signal::Reopen) => {
                    self.audit.reopen();
                }
                Some(Signal::Reload) => {
                    self.audit.reopen();
                    if let Some(command) = self.reload() {
                        self.become_anew(command);
                    }
                }
                None => {}
            }
            if self.guard.switched_for().is_some_and(|left| left.is_zero()) {
                self.guard.end_switch();
            }
            let is_due = health.check(self.guard.heartbeats());
            self.guard.looked_after(health.standing());
            if is_due {
                notify(&[NotifyState::Watchdog]);
            }
        }
    }

    /// Lets everybody go, unless a service manager keeps the groups: it lets them go when it does not start another guard.
    fn stop(self) {
        notify(&[NotifyState::Stopping]);
        self.wait_for_answers();
        end(self.threads, self.server, self.textfile);
        self.guard.release();
        self.counters.records_dropped(self.audit.dropped());
        self.counters.records_lost(self.audit.lost());
        self.counters.log_rotations(self.audit.rotations());
        let sum = self.counters.to_string().trim_end().replace('\n', "; ");
        self.audit.record(self.guard.ruling().sign(Record::new(Action::Stop)).saying(sum));
        flush(self.auditor);
        // Events that nobody has answered are not to be answered now: a successor does, or nobody waits any more.
        std::mem::forget(self.guard);
    }

    /// Gives those who are being judged the time that a verdict may take.
    fn wait_for_answers(&self) {
        let deadline = Instant::now() + self.config.failure.budget + JOIN / 4;
        while !self.ledger.is_clear() && Instant::now() < deadline {
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }
}

/// The ledger of an earlier guard with what is left in it, or a new one. One that cannot be read is of another version:
/// whoever waits is answered without being judged.
fn take_ledger(kept: &mut Kept) -> Result<(Arc<Ledger>, Inherited), StartError> {
    if let Some(ledger) = kept.take(kept::LEDGER).and_then(|ledger| Ledger::adopt(ledger).ok()) {
        let inherited = Inherited::of(&ledger);
        return Ok((Arc::new(ledger), inherited));
    }
    let ledger = Ledger::new().map_err(system("cannot make a memfd"))?;
    kept::keep(kept::LEDGER, ledger.as_fd());
    Ok((Arc::new(ledger), Inherited::unknown()))
}

/// Whoever waits for a guard that takes over does not wait for ever: ends the daemon, and with it the groups, when one
/// directory after the other is guarded no more, unless what is given back is dropped before.
fn let_go_unless_told(guard: &Arc<Guard>) -> Result<Sender<()>, StartError> {
    let (told, is_in_time) = bounded::<()>(0);
    let guard = Arc::clone(guard);
    let watch = move || {
        let (begun, mut before) = (Instant::now(), 0);
        while is_in_time.recv_timeout(TAKEOVER) == Err(RecvTimeoutError::Timeout) {
            let guarded = guard.watch().sites.all().len();
            if guarded > before && begun.elapsed() < TAKEOVER_AT_MOST {
                before = guarded;
                continue;
            }
            eprintln!(
                "pthguard: the directories are not known again after {} s; letting everybody go",
                begun.elapsed().as_secs()
            );
            kept::give_up();
            std::process::abort();
        }
    };
    let thread = std::thread::Builder::new().name("pth-takeover".into()).spawn(watch);
    thread.map(|_| told).map_err(system("cannot start a thread"))
}

/// Opens the control socket. Without it nothing can be approved, which is no reason to guard nothing.
fn listen(config: &Config, guard: &Arc<Guard>, audit: &Audit) -> Option<Server> {
    let own = Arc::clone(guard);
    let desk = Arc::clone(guard) as _;
    let server = Server::start(&config.state_dir, desk, audit.clone(), move || own.adopt_this_thread());
    server
        .inspect_err(|error| {
            let message = format!("no control socket in {}: {error}", config.state_dir.display());
            eprintln!("pthguard: {message}; commands cannot reach this daemon");
            audit.record(Record::new(Action::Failure).in_mode(config.mode).saying(message));
        })
        .ok()
}

fn start_audit(config: &Config) -> Result<(Audit, Auditor), StartError> {
    // On a terminal somebody looks on; without syslog it is where a service manager or container engine looks.
    let stderr = io::stderr().is_terminal() || !config.log.syslog;
    Audit::start(control::record::targets(&config.log, stderr), || {})
        .map_err(system("cannot start the audit trail (policy: log.json)"))
}

fn assemble(
    config: &Config,
    approvals: Approvals,
    audit: Audit,
    counters: Arc<Counters>,
    ledger: &Arc<Ledger>,
    mut kept: Kept,
    inherited: Inherited,
) -> Result<Arc<Guard>, StartError> {
    let ruling = Ruling::of(config);
    let if_forgotten = match config.mode {
        Mode::Enforce => Reply::Deny,
        Mode::Audit => Reply::Allow,
    };
    let is_audited = config.log.kernel_audit && takes_audit(config.mode, &audit, &counters);
    let mut taken_over = 0;
    // What nobody waits for is kept first: the last that is kept is the first that the service manager lets go (see
    // `released_first` in `fanotify::group`).
    let changes = PerLane::try_new(|lane| notification_group(&mut kept, &kept::changes(lane)))?;
    let told = [notification_group(&mut kept, kept::DISCOVERY)?, notification_group(&mut kept, kept::WAYS)?];
    let (guarded, before) = match kept.take(kept::GUARDED) {
        Some(list) => GuardedList::adopt(list),
        None => {
            let list = GuardedList::new().map_err(system("cannot make a memfd"))?;
            kept::keep(kept::GUARDED, list.descriptor().map_err(system("cannot make a memfd"))?.as_fd());
            (list, Vec::new())
        }
    };
    let queues = PerLane::new(|_| Backlog::new(NOTICES));
    let groups = changes.try_map(|lane, changes| {
        let notices = queues[lane].0.clone();
        let mut permission_group = |name: String, number| {
            let adopt =
                |group| PermissionGroup::adopt(group, is_audited, if_forgotten, Arc::clone(ledger), number).ok();
            let adopted = kept.take(&name).and_then(adopt);
            taken_over += usize::from(adopted.is_some());
            let group = match adopted {
                Some(group) => group,
                None => new_permission_group(is_audited, if_forgotten, ledger, &name, number)?,
            };
            Ok::<_, StartError>(Arc::new(group))
        };
        let number = 2 * lane as u32;
        let gate = permission_group(kept::gate(lane), number)?;
        let listing = permission_group(kept::listing(lane), number + 1)?;
        Ok::<_, StartError>(Groups { changes, gate, listing, notices })
    })?;
    let inherited = inherited.with(taken_over, before);
    let notices = PerLane::new(|lane| queues[lane].1.clone());
    let startup = config.protect.startup_names();
    let watch = Watch::new(groups, startup.clone(), Arc::clone(&counters));
    let resolver = Resolver::new(config.policy.executables(), ruling.with_parent());
    let resolver = resolver.map_err(system("cannot read /proc/self/ns/user (is /proc mounted?)"))?;
    let quarantine = Quarantine::open(&config.state_dir, config.protect.max_size)?;
    let discover = config
        .protect
        .discover
        .then(|| Scope::new(config.protect.discover_below.clone(), &config.protect.discover_except));
    let parts = Parts {
        resolver,
        sites: config.protect.sites.clone(),
        discover: discover.transpose()?,
        startup,
        customize: config.protect.customize,
        containers: config.protect.containers,
        max_size: config.protect.max_size,
        watch,
        notices,
        approvals,
        quarantine,
        audit,
        counters,
        guarded,
    };
    Guard::new(parts, ruling, told, inherited).map_err(system("cannot make an eventfd"))
}

/// A group that an earlier guard has left, or a new one.
fn notification_group(kept: &mut Kept, name: &str) -> Result<NotificationGroup, StartError> {
    if let Some(group) = kept.take(name).and_then(|group| NotificationGroup::adopt(group).ok()) {
        return Ok(group);
    }
    let group = NotificationGroup::new().map_err(|source| StartError::Kernel {
        what: "cannot make a fanotify group that reports names",
        source,
        hint: "this needs Linux 5.17 or later, and groups (fs.fanotify.max_user_groups)",
    })?;
    kept::keep(name, group.as_fd());
    Ok(group)
}

fn new_permission_group(
    is_audited: bool,
    if_forgotten: Reply,
    ledger: &Arc<Ledger>,
    name: &str,
    number: u32,
) -> Result<PermissionGroup, StartError> {
    let make = if is_audited { PermissionGroup::audited } else { PermissionGroup::new };
    let group = make(if_forgotten, Arc::clone(ledger), number);
    let group = group.map_err(|source| StartError::Kernel {
        what: "cannot make a fanotify group for permission events",
        source,
        hint: "this needs CAP_SYS_ADMIN in the initial user namespace and a kernel with \
               CONFIG_FANOTIFY_ACCESS_PERMISSIONS",
    })?;
    kept::keep(name, group.as_fd());
    Ok(group)
}

/// Whether this kernel takes denials into its audit records; if not, that is told, and no reason to guard nothing.
fn takes_audit(mode: Mode, audit: &Audit, counters: &Counters) -> bool {
    match Ledger::new().and_then(|ledger| PermissionGroup::audited(Reply::Allow, Arc::new(ledger), 0)) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            let message = "this kernel has no auditing of system calls: log.kernel_audit has no effect";
            eprintln!("pthguard: {message}");
            counters.failed(Failure::KernelAudit);
            audit.record(Record::failure(Failure::KernelAudit).in_mode(mode).saying(message));
            false
        }
        _ => true, // whatever else is wrong is said when the groups are made
    }
}

/// What is guarded, in three lines.
fn announce(config: &Config, survey: Survey, not_guarded: &[NotGuarded], first_start: bool, audit: &Audit) {
    let lines = [
        format!(
            "pthguard {}: mode {}, policy {} ({})",
            env!("CARGO_PKG_VERSION"),
            config.mode.as_str(),
            config.generation,
            config.sources.join(", "),
        ),
        format!(
            "guarding {} site directories with {} startup files; {} execute code at start-up, {} are not approved, {} have \
             further names (hard links)",
            survey.directories, survey.files, survey.executing, survey.held, survey.linked,
        ),
        if first_start {
            format!("first start: these files are the baseline now, kept in {}", config.state_dir.display())
        } else {
            format!("approvals are kept in {}", config.state_dir.display())
        },
    ];
    for line in &lines {
        eprintln!("{line}");
    }
    for error in not_guarded {
        eprintln!("pthguard: {error}");
    }
    let record = Record::new(Action::Start).in_mode(config.mode).under(Arc::from(config.generation.as_str()));
    audit.record(record.saying(lines[..2].join("; ")));
}

fn end(threads: Threads, server: Option<Server>, textfile: Option<Writer>) {
    threads.end(server.map(Server::stop).into_iter().chain(textfile.map(Writer::stop)), JOIN);
}

fn flush(auditor: Auditor) {
    let flush = auditor.finish(FLUSH);
    if !flush.finished || flush.lost > 0 {
        eprintln!("pthguard: records not written: {} in the queue, {} lost", flush.unwritten, flush.lost);
    }
}

fn say_ready(directories: usize) {
    notify(&[NotifyState::Ready, NotifyState::Status(&format!("guarding {directories} site directories"))]);
}

/// Tells the service manager, if there is one. One that does not listen any more is no reason to complain.
fn notify(state: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(state);
}
