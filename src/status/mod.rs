//! What a running guard tells of itself.
//!
//! *Owns* the form of it: one document, in which everything is a number, a word of the policy or of a record, or a name
//! from the policy's files. *Must not* ask anybody: the gate fills it in. *Hands to* people a text ([`write_text`]), to
//! monitoring the lines of the Prometheus text format ([`write_metrics`]), to programs JSON.
//!
//! No name that others than root can choose is in it: no path of a guarded directory, no program, no startup file. It can
//! be shown to whoever watches the host.

#![forbid(unsafe_code)]

mod metrics;
#[cfg(test)]
mod sample;
mod text;

use serde::{Deserialize, Serialize};

use crate::audit::Waits;
use crate::model::{Access, Mode};

pub use metrics::write_metrics;
pub use text::write_text;

/// The version of [`Status`].
pub const VERSION: u32 = 1;

/// Limits of Prometheus' buckets for the time that openers wait, in microseconds. Each is an edge that
/// [`Waits::within`] counts exactly.
pub const LIMITS_US: [u64; 19] = [
    10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000,
];

/// What a running guard tells of itself. Counts are since its start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {
    /// [`VERSION`]
    pub version: u32,
    /// The guard's own version.
    pub program_version: String,
    /// Its process.
    pub pid: u32,
    /// When it started, RFC 3339, and in seconds since 1970.
    pub since: String,
    /// The same.
    pub since_unix: u64,
    /// Enforce or audit.
    pub mode: Mode,
    /// Until when, if the mode was switched for a time; RFC 3339.
    pub mode_until: Option<String>,
    /// What records name the policy by.
    pub policy_generation: String,
    /// The files that it came from.
    pub policy_sources: Vec<String>,
    /// The last time that it was loaded anew.
    pub last_reload: Option<Reload>,
    /// How many fanotify groups were taken over from the guard before.
    pub groups_taken_over: Option<u64>,
    /// The guarded directories.
    pub directories: Directories,
    /// Files that have a startup name in them, or had one lately.
    pub tracked_files: u64,
    /// What is approved.
    pub approvals: u64,
    /// What is held: there, and read by nobody.
    pub held: u64,
    /// What was taken out of guarded directories.
    pub quarantine: Quarantine,
    /// What was answered.
    pub verdicts: Vec<Verdicts>,
    /// By which rule of the policy.
    pub rules: Vec<ByRule>,
    /// And why.
    pub reasons: Vec<ByReason>,
    /// Why no decision could be made, and what is answered then.
    pub failures: Vec<Failed>,
    /// Processes that were ended for what they did.
    pub killed: u64,
    /// The audit trail.
    pub records: Records,
    /// How often the file for monitoring could not be written.
    pub textfile_errors: u64,
    /// How long openers waited for their answer, since the start.
    pub latency: Latency,
    /// The same of the last minute.
    pub latency_last_minute: Latency,
    /// Requests that wait for a worker now.
    pub queued: u64,
    /// The kernel, and what of it is in use.
    pub kernel: Kernel,
    /// Whether renames are refused in-line instead of being undone.
    pub rename_gate: Switch,
    /// Whether site directories that nobody has named are looked for.
    pub discovery: Discovery,
    /// Whether the threads make progress.
    pub threads: Threads,
}

/// A policy was loaded anew, or was not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reload {
    /// RFC 3339.
    pub time: String,
    /// Whether it is in force.
    pub ok: bool,
    /// What is wrong with it.
    pub error: Option<String>,
}

/// How many directories are guarded. The sum of the lanes, and that of the roles, is all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Directories {
    /// That only root can write.
    pub system: u64,
    /// That others can write.
    pub users: u64,
    /// On overlayfs.
    pub layered: u64,
    /// Site directories.
    pub sites: u64,
    /// Packages of startup modules, and `__pycache__`, in them.
    pub inside: u64,
    /// Where approved path lines and links lead.
    pub targets: u64,
}

impl Directories {
    /// All of them.
    #[must_use]
    pub fn all(&self) -> u64 {
        self.system + self.users + self.layered
    }
}

/// What lies in quarantine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quarantine {
    /// Files; none if they could not be counted.
    pub files: Option<u64>,
    /// Bytes that they, and the notes on them, take up on the disk.
    pub bytes: u64,
    /// Bytes that they may take up.
    pub capacity: u64,
}

/// How often one access came to what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdicts {
    /// What was asked for.
    pub access: Access,
    /// How often.
    #[serde(flatten)]
    pub counts: Outcomes,
}

/// How often something came to each outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Outcomes {
    /// Allowed.
    pub allow: u64,
    /// Denied or undone.
    pub deny: u64,
    /// Only recorded, in audit mode.
    pub would_deny: u64,
}

impl Outcomes {
    /// Each with its word.
    #[must_use]
    pub fn each(&self) -> [(&'static str, u64); 3] {
        [("allow", self.allow), ("deny", self.deny), ("would-deny", self.would_deny)]
    }

    /// Whether it never happened.
    #[must_use]
    pub fn is_never(&self) -> bool {
        *self == Outcomes::default()
    }
}

/// How often a rule decided, or named a program that was not trusted to be it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByRule {
    /// Its name; none for all rules of policies before this one that have gone.
    pub rule: Option<String>,
    /// How often.
    #[serde(flatten)]
    pub counts: Outcomes,
}

/// How often what was answered for that reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByReason {
    /// As records say it.
    pub reason: String,
    /// How often.
    #[serde(flatten)]
    pub counts: Outcomes,
}

/// One failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failed {
    /// Its word.
    pub failure: String,
    /// What is done: allow, deny, quarantine or hold; `rescan`, or `told` where nothing waits for an answer.
    pub action: String,
    /// How often.
    pub count: u64,
}

/// The audit trail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Records {
    /// Records for which there was no room in the queue.
    pub dropped: u64,
    /// Records that wait in it now.
    pub queued: u64,
    /// Where they go.
    pub sinks: Vec<Sink>,
}

/// One place that records go to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sink {
    /// Which.
    pub sink: String,
    /// Records that it did not take.
    pub lost: u64,
}

/// How long openers waited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Latency {
    /// How many were answered.
    pub count: u64,
    /// All their waiting, in nanoseconds.
    pub sum_ns: u64,
    /// Half of them waited no longer.
    pub p50_ns: u64,
    /// Nine of ten.
    pub p90_ns: u64,
    /// 99 of a hundred.
    pub p99_ns: u64,
    /// The longest wait, exactly; the others are up to an eighth too large.
    pub max_ns: u64,
    /// How many waited no longer than each of [`LIMITS_US`].
    pub within: Vec<u64>,
}

impl Latency {
    /// What was counted.
    #[must_use]
    pub fn of(waits: &Waits) -> Self {
        let nanoseconds = |time: std::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Latency {
            count: waits.count(),
            sum_ns: nanoseconds(waits.sum()),
            p50_ns: nanoseconds(waits.quantile(500)),
            p90_ns: nanoseconds(waits.quantile(900)),
            p99_ns: nanoseconds(waits.quantile(990)),
            max_ns: nanoseconds(waits.longest()),
            within: LIMITS_US.map(|limit| waits.within(std::time::Duration::from_micros(limit))).to_vec(),
        }
    }
}

/// The kernel, and what of it is in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kernel {
    /// As `uname -r` says.
    pub release: String,
    /// What newer kernels have and older ones do without.
    pub features: Vec<Feature>,
    /// `fs.fanotify.*`
    pub limits: Vec<Limit>,
}

/// Something that newer kernels have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Feature {
    /// Its name in the kernel.
    pub feature: String,
    /// Whether it is in use; none if it was not needed yet.
    pub in_use: Option<bool>,
}

/// A limit that the kernel sets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Its name.
    pub limit: String,
    /// Its value.
    pub value: u64,
}

/// Whether something is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Switch {
    /// It is.
    On,
    /// It is not.
    Off,
}

impl Switch {
    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Switch::On => "on",
            Switch::Off => "off",
        }
    }
}

/// Whether site directories that nobody has named are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Discovery {
    /// They are not.
    Off,
    /// They will be, when the baseline is complete.
    Waiting,
    /// The file systems are being searched.
    Searching,
    /// They were searched, and what is made from now on is noticed.
    Done,
}

impl Discovery {
    /// All of them.
    pub const ALL: [Discovery; 4] = [Discovery::Off, Discovery::Waiting, Discovery::Searching, Discovery::Done];

    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Discovery::Off => "off",
            Discovery::Waiting => "waiting",
            Discovery::Searching => "searching",
            Discovery::Done => "done",
        }
    }
}

/// Whether the threads make progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Threads {
    /// Those that answer, and that the service manager's watchdog depends on.
    pub well: bool,
    /// So long one of those has stood still without which openers freeze.
    pub vital_standing_ms: u64,
    /// And one of those without which newcomers stay unjudged, and so unreadable.
    pub others_standing_ms: u64,
    /// So long ago somebody has looked.
    pub looked_ms: u64,
}
