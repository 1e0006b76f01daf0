//! Why no decision could be made, and what is done then.

use serde::{Deserialize, Serialize};

/// Why no decision could be made. Each has an action (policy, `[failure]`) and a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// The queue to the workers was full.
    QueueFull,
    /// The decision was not made within the budget.
    Timeout,
    /// The asking process could not be identified from /proc.
    Unresolved,
    /// The author of a rename, link or symlink could not be identified.
    UnresolvedArrival,
    /// The kernel could not open the file for the event (a write lease, no descriptors left) and denied by itself.
    NoDescriptor,
    /// The watch queue overflowed; the directories are read again.
    WatchOverflow,
    /// A mark could not be placed on a startup file or site directory.
    Mark,
    /// A denied newcomer could not be moved to quarantine, or a replaced file not be put back.
    Quarantine,
    /// An approval could not be written to the state directory.
    State,
    /// The content of a startup file could not be read.
    Content,
    /// An offender that the policy wants ended could not be.
    Kill,
    /// The kernel takes no denials into its audit records.
    KernelAudit,
}

impl Failure {
    /// Every failure, for tables and counters.
    pub const ALL: [Failure; 12] = [
        Failure::QueueFull,
        Failure::Timeout,
        Failure::Unresolved,
        Failure::UnresolvedArrival,
        Failure::NoDescriptor,
        Failure::WatchOverflow,
        Failure::Mark,
        Failure::Quarantine,
        Failure::State,
        Failure::Content,
        Failure::Kill,
        Failure::KernelAudit,
    ];

    /// The word used in policy files, records and counters.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Failure::QueueFull => "queue-full",
            Failure::Timeout => "timeout",
            Failure::Unresolved => "unresolved",
            Failure::UnresolvedArrival => "unresolved-arrival",
            Failure::NoDescriptor => "no-descriptor",
            Failure::WatchOverflow => "watch-overflow",
            Failure::Mark => "mark",
            Failure::Quarantine => "quarantine",
            Failure::State => "state",
            Failure::Content => "content",
            Failure::Kill => "kill",
            Failure::KernelAudit => "kernel-audit",
        }
    }
}

/// What is answered when a decision could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FailureAction {
    /// Let the process go on.
    Allow,
    /// EPERM.
    Deny,
}

impl FailureAction {
    /// The word used in policy files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            FailureAction::Allow => "allow",
            FailureAction::Deny => "deny",
        }
    }
}

/// What is done with a process that did what no rule lets it do, beside denying it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ViolationAction {
    /// Nothing.
    Deny,
    /// It is ended (SIGKILL).
    Kill,
}

impl ViolationAction {
    /// The word used in policy files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            ViolationAction::Deny => "deny",
            ViolationAction::Kill => "kill",
        }
    }
}

/// What is done with a newcomer whose author could not be identified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ArrivalAction {
    /// Move it to quarantine.
    Quarantine,
    /// Leave it where it is, unreadable.
    Hold,
    /// Approve it.
    Allow,
}

impl ArrivalAction {
    /// The word used in policy files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            ArrivalAction::Quarantine => "quarantine",
            ArrivalAction::Hold => "hold",
            ArrivalAction::Allow => "allow",
        }
    }
}
