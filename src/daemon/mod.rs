//! The composition root: what the parts are made from, in which order they start and stop, who watches them.
//!
//! *Owns* privileges, signals, the instance lock, readiness and watchdog. *Must not* decide anything about files.
//!
//! Stop order: stop reading and release the groups (nobody waits any more), join the threads, flush the audit trail,
//! each within a time limit.

#![forbid(unsafe_code)]

mod health;
mod privileges;
mod signals;

use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, bounded};
use sd_notify::NotifyState;

use crate::approvals::{Approvals, Instance, StateError, Taken, prepare_directory};
use crate::audit::{Action, Audit, Auditor, Counters, Record};
use crate::config::{self, Config};
use crate::control::{self, Server};
use crate::discovery::Scope;
use crate::fanotify::{NotificationGroup, PermissionGroup, Reply};
use crate::gate::{Guard, NotGuarded, Parts, Survey};
use crate::model::{Failure, Mode};
use crate::resolve::Resolver;
use crate::watch::{Groups, Notice, PerLane, Quarantine, Watch};
use health::Health;
use signals::{Signal, Signals};

/// Notices that wait for the arrivals thread. More are a storm: then the directories are read again instead.
const NOTICES: usize = 16_384;
/// How long the threads may take to see that it is over.
const JOIN: Duration = Duration::from_millis(600);
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
/// [`StartError`]; nothing is guarded then.
pub fn run(config_file: Option<&Path>, mode: Option<Mode>) -> Result<(), StartError> {
    let mut config = config::load(config_file)?;
    config.mode = mode.unwrap_or(config.mode);
    if let Some(why) = config::cannot_enforce(config.mode, &config.policy) {
        return Err(StartError::OnlyReports(why));
    }
    privileges::check(config.on_violation, config.log.kernel_audit)?;
    privileges::raise_descriptor_limit();
    privileges::prefer();
    // Before the first thread: all of them must block the signals that this thread waits for.
    let signals = Signals::block().map_err(system("cannot block signals"))?;
    prepare_directory(&config.state_dir)?;
    let _instance = Instance::lock(&config.state_dir)?;
    let approvals = Approvals::open(&config.state_dir)?;
    let first_start = approvals.is_first_start();

    let (audit, auditor) = start_audit(&config)?;
    let counters = Arc::new(Counters::new());
    let guard = assemble(&config, approvals, audit.clone(), Arc::clone(&counters))?;
    guard.adopt_this_thread();
    let threads = guard.start().map_err(system("cannot start a thread"))?;

    guard.watch_programs();
    guard.prepare_discovery();
    let (survey, not_guarded) = guard.guard_sites()?;
    if first_start {
        let complete = guard.approvals().baseline_complete();
        complete.map_err(system(format!("cannot write the baseline to {}", config.state_dir.display())))?;
    }
    guard.begin_discovery();
    announce(&config, survey, &not_guarded, first_start, &audit);
    let server = listen(&config, &guard, &audit);
    notify(&[NotifyState::Ready, NotifyState::Status(&format!("guarding {} site directories", survey.directories))]);

    supervise(&guard, &signals, &audit);

    notify(&[NotifyState::Stopping]);
    let threads = threads.into_iter().chain(server.map(Server::stop)).collect();
    stop(&guard, threads, &audit, auditor, &counters);
    Ok(())
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
) -> Result<Arc<Guard>, StartError> {
    let if_forgotten = match config.mode {
        Mode::Enforce => Reply::Deny,
        Mode::Audit => Reply::Allow,
    };
    let is_audited = config.log.kernel_audit && takes_audit(config.mode, &audit, &counters);
    let permission_group = || {
        let make = if is_audited { PermissionGroup::audited } else { PermissionGroup::new };
        make(if_forgotten).map(Arc::new).map_err(|source| StartError::Kernel {
            what: "cannot make a fanotify group for permission events",
            source,
            hint: "this needs CAP_SYS_ADMIN in the initial user namespace and a kernel with \
                   CONFIG_FANOTIFY_ACCESS_PERMISSIONS",
        })
    };
    let queues = PerLane::new(|_| bounded(NOTICES));
    let groups = PerLane::try_new(|lane| {
        let changes = NotificationGroup::new().map_err(|source| StartError::Kernel {
            what: "cannot make a fanotify group that reports names",
            source,
            hint: "this needs Linux 5.17 or later",
        })?;
        let notices: Sender<Notice> = Clone::clone(&queues[lane].0);
        Ok::<_, StartError>(Groups { changes, gate: permission_group()?, listing: permission_group()?, notices })
    })?;
    let notices = PerLane::new(|lane| queues[lane].1.clone());
    let startup = config.protect.startup_names();
    let watch = Watch::new(groups, startup.clone(), Arc::clone(&counters));
    let resolver = Resolver::new(config.policy.executables(), config.policy.asks_for_parents());
    let resolver = resolver.map_err(system("cannot read /proc/self/ns/user (is /proc mounted?)"))?;
    let quarantine = Quarantine::open(&config.state_dir, config.protect.max_size)?;
    let discover = config
        .protect
        .discover
        .then(|| Scope::new(config.protect.discover_below.clone(), &config.protect.discover_except));
    Guard::new(Parts {
        mode: config.mode,
        policy: config.policy.clone(),
        resolver,
        failure: config.failure,
        on_violation: config.on_violation,
        sites: config.protect.sites.clone(),
        discover: discover.transpose()?,
        startup,
        customize: config.protect.customize,
        containers: config.protect.containers,
        generation: Arc::from(config.generation.as_str()),
        max_size: config.protect.max_size,
        watch,
        notices,
        approvals,
        quarantine,
        audit,
        counters,
    })
    .map_err(system("cannot make an eventfd or a fanotify group (fs.fanotify.max_user_groups)"))
}

/// Whether this kernel takes denials into its audit records; if not, that is told, and no reason to guard nothing.
fn takes_audit(mode: Mode, audit: &Audit, counters: &Counters) -> bool {
    match PermissionGroup::audited(Reply::Allow) {
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

/// Waits for the signal to stop, and sees that the threads make progress. Takes no lock of theirs: whoever watches over
/// them must not hang with them.
fn supervise(guard: &Guard, signals: &Signals, audit: &Audit) {
    let mut health = Health::new(sd_notify::watchdog_enabled());
    loop {
        match signals.wait(health.tick()) {
            Some(Signal::Stop) => return,
            Some(Signal::Reopen) => {
                audit.reopen();
            }
            Some(Signal::Reload) => {
                audit.reopen();
                eprintln!("pthguard: SIGHUP: this version reads its policy only at the start; restart it");
            }
            None => {}
        }
        if health.check(guard.heartbeats()) {
            notify(&[NotifyState::Watchdog]);
        }
    }
}

fn stop(guard: &Guard, threads: Vec<JoinHandle<()>>, audit: &Audit, auditor: Auditor, counters: &Counters) {
    guard.stop();
    let deadline = Instant::now() + JOIN;
    while threads.iter().any(|thread| !thread.is_finished()) && Instant::now() < deadline {
        std::thread::park_timeout(Duration::from_millis(5));
    }
    counters.records_dropped(audit.dropped());
    counters.records_lost(audit.lost());
    counters.log_rotations(audit.rotations());
    audit.record(Record::new(Action::Stop).saying(counters.to_string().trim_end().replace('\n', "; ")));
    let flush = auditor.finish(FLUSH);
    if !flush.finished || flush.lost > 0 {
        eprintln!("pthguard: records not written: {} in the queue, {} lost", flush.unwritten, flush.lost);
    }
}

/// Tells the service manager, if there is one. One that does not listen any more is no reason to complain.
fn notify(state: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(state);
}
