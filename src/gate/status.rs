//! What the guard tells of itself. On the thread of whoever asks; of what the gate's own threads lock, it takes the table
//! of tracked files for the time of reading one number.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Guard;
use crate::audit::{Counters, Outcome};
use crate::config::FailureTable;
use crate::fanotify::FileId;
use crate::model::Failure;
use crate::status::{
    ByReason, ByRule, Directories, Failed, Feature, Kernel, Latency, Limit, Outcomes, Quarantine, Records, Reload,
    Sink, Status, Switch, Threads, VERSION, Verdicts,
};
use crate::watch::{Lane, QUARANTINE_CAPACITY, Role};

/// Threads beat once a second at least, and are looked at twice.
const PATIENCE: Duration = Duration::from_secs(4);
const LIMITS: &str = "/proc/sys/fs/fanotify";

/// What the thread that watches over the others has seen last.
#[derive(Debug)]
pub(super) struct Looks {
    start: Instant,
    looked_ms: AtomicU64,
    vital_ms: AtomicU64,
    others_ms: AtomicU64,
}

impl Looks {
    pub(super) fn new() -> Self {
        let [looked_ms, vital_ms, others_ms] = [const { AtomicU64::new(0) }; 3];
        Looks { start: Instant::now(), looked_ms, vital_ms, others_ms }
    }

    fn told(&self) -> Threads {
        let looked = milliseconds(self.start.elapsed()).saturating_sub(self.looked_ms.load(Relaxed));
        let (vital, others) = (self.vital_ms.load(Relaxed), self.others_ms.load(Relaxed));
        let well = [looked, vital, others].into_iter().all(|time| time < milliseconds(PATIENCE));
        Threads { well, vital_standing_ms: vital, others_standing_ms: others, looked_ms: looked }
    }
}

impl Guard {
    /// Somebody has looked after the threads: so long one of the vital ones has stood still, and one of the others. Waits
    /// for nobody.
    pub fn looked_after(&self, [vital, others]: [Duration; 2]) {
        self.looks.vital_ms.store(milliseconds(vital), Relaxed);
        self.looks.others_ms.store(milliseconds(others), Relaxed);
        self.looks.looked_ms.store(milliseconds(self.looks.start.elapsed()), Relaxed);
        self.parts.counters.latency().turn(Instant::now());
    }

    /// Another policy was loaded, or could not be.
    pub fn reloaded(&self, error: Option<String>) {
        let reload = Reload { time: rfc3339(SystemTime::now()), ok: error.is_none(), error };
        *self.last_reload.lock() = Some(reload);
    }

    /// What the guard tells of itself.
    #[must_use]
    pub fn tell(&self) -> Status {
        let (parts, ruling) = (&self.parts, self.ruling());
        let counters = &parts.counters;
        let (ever, minute) = counters.latency().waits(Instant::now());
        let since_unix = self.since.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Status {
            version: VERSION,
            program_version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            since: rfc3339(self.since),
            since_unix,
            mode: ruling.mode,
            mode_until: self.switched_for().map(|left| rfc3339(SystemTime::now() + left)),
            policy_generation: ruling.generation.to_string(),
            policy_sources: ruling.sources.to_vec(),
            last_reload: self.last_reload.lock().clone(),
            groups_taken_over: Some(self.groups_taken_over.load(Relaxed) as u64),
            directories: self.directories(),
            tracked_files: parts.watch.tracker().len() as u64,
            approvals: parts.approvals.len() as u64,
            held: parts.approvals.count_held() as u64,
            quarantine: Quarantine {
                files: parts.quarantine.store().count().ok().map(|files| files as u64),
                bytes: parts.quarantine.used(),
                capacity: QUARANTINE_CAPACITY,
            },
            verdicts: verdicts(counters),
            rules: rules(counters),
            reasons: reasons(counters),
            failures: failures(counters, &ruling.failure),
            killed: counters.kills(),
            records: Records {
                dropped: parts.audit.dropped(),
                queued: parts.audit.waiting(),
                sinks: parts.audit.lost_by_sink().into_iter().map(|(sink, lost)| Sink { sink, lost }).collect(),
            },
            textfile_errors: counters.textfile_failures(),
            latency: Latency::of(&ever),
            latency_last_minute: Latency::of(&minute),
            queued: Lane::ALL.iter().map(|lane| self.work[*lane].len() as u64).sum(),
            kernel: Kernel { release: release(), features: self.features(), limits: limits() },
            rename_gate: Switch::Off,
            discovery: self.discovery.state(),
            threads: self.looks.told(),
        }
    }

    fn directories(&self) -> Directories {
        let mut directories = Directories::default();
        self.parts.watch.sites.each(|site| {
            match site.lane {
                Lane::System => directories.system += 1,
                Lane::Users => directories.users += 1,
                Lane::Layered => directories.layered += 1,
            }
            match site.guarded.role {
                Role::Site => directories.sites += 1,
                Role::Inside { .. } => directories.inside += 1,
                Role::Target { .. } => directories.targets += 1,
            }
        });
        directories
    }

    /// What newer kernels have, as it was found when it was asked for.
    fn features(&self) -> Vec<Feature> {
        let tells_errors = self.parts.watch.groups(Lane::System).gate.tells_errors();
        let handles = fs::File::open("/").and_then(FileId::has_comparison_handles).ok();
        [
            // Without these the guard does not start.
            ("FAN_REPORT_TARGET_FID", Some(true)),
            ("FAN_REPORT_PIDFD", Some(true)),
            ("FAN_MARK_IGNORE", self.discovery.leaves_out_files()),
            ("AT_HANDLE_FID", handles),
            ("FAN_REPORT_FD_ERROR", Some(tells_errors)),
            ("FAN_REPORT_MNT", Some(self.mounts.is_told_by_group())),
        ]
        .map(|(feature, in_use)| Feature { feature: feature.to_owned(), in_use })
        .to_vec()
    }
}

fn verdicts(counters: &Counters) -> Vec<Verdicts> {
    let mut rows: Vec<Verdicts> = Vec::new();
    for (access, outcome, count) in counters.all_answers() {
        let known = rows.iter().position(|row| row.access == access);
        let row = known.unwrap_or_else(|| {
            rows.push(Verdicts { access, counts: Outcomes::default() });
            rows.len() - 1
        });
        put(&mut rows[row].counts, outcome, count);
    }
    rows
}

fn rules(counters: &Counters) -> Vec<ByRule> {
    let row = |rule: Option<String>, [allow, deny, would_deny]: [u64; 3]| {
        let counts = Outcomes { allow, deny, would_deny };
        ByRule { rule, counts }
    };
    counters.all_rules().into_iter().map(|(rule, counts)| row(rule.map(|rule| rule.to_string()), counts)).collect()
}

fn reasons(counters: &Counters) -> Vec<ByReason> {
    let mut rows: Vec<ByReason> = Vec::new();
    for (reason, outcome, count) in counters.all_reasons() {
        let reason = reason.as_str();
        if rows.last().is_none_or(|row| row.reason != reason) {
            rows.push(ByReason { reason: reason.to_owned(), counts: Outcomes::default() });
        }
        if let Some(row) = rows.last_mut() {
            put(&mut row.counts, outcome, count);
        }
    }
    rows
}

fn put(counts: &mut Outcomes, outcome: Outcome, count: u64) {
    match outcome {
        Outcome::Allow => counts.allow = count,
        Outcome::Deny => counts.deny = count,
        Outcome::WouldDeny => counts.would_deny = count,
    }
}

fn failures(counters: &Counters, table: &FailureTable) -> Vec<Failed> {
    let action = |failure: Failure| match failure {
        Failure::QueueFull => table.queue_full.as_str(),
        Failure::Timeout => table.timeout.as_str(),
        Failure::Unresolved | Failure::Content => table.unresolved.as_str(),
        Failure::UnresolvedArrival => table.unresolved_arrival.as_str(),
        Failure::NoDescriptor => "deny", // by the kernel
        Failure::WatchOverflow => "rescan",
        Failure::Mark | Failure::Quarantine | Failure::State | Failure::Kill | Failure::KernelAudit => "told",
    };
    let row = |(failure, count): (Failure, u64)| {
        let (word, action) = (failure.as_str().to_owned(), action(failure).to_owned());
        Failed { failure: word, action, count }
    };
    counters.all_failures().map(row).collect()
}

fn release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease").map(|text| text.trim_end().to_owned()).unwrap_or_default()
}

fn limits() -> Vec<Limit> {
    let read = |name: &str| fs::read_to_string(Path::new(LIMITS).join(name)).ok()?.trim().parse().ok();
    ["max_queued_events", "max_user_groups", "max_user_marks", "watchdog_timeout"]
        .into_iter()
        .filter_map(|name| Some(Limit { limit: name.to_owned(), value: read(name)? }))
        .collect()
}

fn rfc3339(time: SystemTime) -> String {
    OffsetDateTime::from(time).format(&Rfc3339).unwrap_or_default()
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
