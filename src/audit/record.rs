//! One thing that happened, as plain data: whoever makes a record neither formats nor waits.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::image::Image;
use crate::model::{Access, Decision, Mode, Object, Reason, Sha256, Subject, Verdict};

/// What happened; the words of `event.action`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A startup file was created, or somebody tried.
    Creation,
    /// A startup file was opened for writing.
    Modification,
    /// A file got a startup name by rename or exchange.
    Rename,
    /// A file got a startup name by a hard link.
    Link,
    /// A symbolic link got a startup name.
    Symlink,
    /// A FIFO, socket or device got a startup name.
    Special,
    /// A startup file was opened for reading.
    Read,
    /// A startup file was removed.
    Deletion,
    /// A site directory was listed.
    Listing,
    /// A file was approved because it was there at the first start.
    Baseline,
    /// A file was approved.
    Approval,
    /// An approval was taken back.
    Revocation,
    /// A file is kept in place, unreadable, until somebody approves it.
    Held,
    /// A file was moved to quarantine.
    Quarantine,
    /// A file came back: from quarantine, or in place of one that had replaced it.
    Restore,
    /// A file was removed from quarantine for good.
    Purge,
    /// Somebody who is not root spoke to the control socket.
    Refused,
    /// A site directory is guarded from now on.
    SiteGuarded,
    /// A site directory is no longer there, or no longer guarded.
    SiteLost,
    /// A file system was searched for site directories.
    Search,
    /// A log file had reached its largest size and was renamed.
    LogRotated,
    /// The guard started.
    Start,
    /// The guard stops.
    Stop,
    /// The groups of a guard that has ended were taken over, with those who waited.
    Takeover,
    /// The policy was loaded anew, or could not be.
    Reload,
    /// The mode was switched.
    Mode,
    /// A process that did what no rule lets it do was ended.
    Kill,
    /// Something could not be done or decided.
    Failure,
    /// Somebody is denied again and again; most of it was counted instead of written.
    Repeated,
    /// Records like this one were counted instead of written.
    Suppressed,
}

impl Action {
    /// Every action.
    #[cfg(test)]
    pub(super) const ALL: [Action; 30] = [
        Action::Creation,
        Action::Modification,
        Action::Rename,
        Action::Link,
        Action::Symlink,
        Action::Special,
        Action::Read,
        Action::Deletion,
        Action::Listing,
        Action::Baseline,
        Action::Approval,
        Action::Revocation,
        Action::Held,
        Action::Quarantine,
        Action::Restore,
        Action::Purge,
        Action::Refused,
        Action::SiteGuarded,
        Action::SiteLost,
        Action::Search,
        Action::LogRotated,
        Action::Start,
        Action::Stop,
        Action::Takeover,
        Action::Reload,
        Action::Mode,
        Action::Kill,
        Action::Failure,
        Action::Repeated,
        Action::Suppressed,
    ];

    /// The word used in records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Creation => "creation",
            Action::Modification => "modification",
            Action::Rename => "rename",
            Action::Link => "link",
            Action::Symlink => "symlink",
            Action::Special => "special",
            Action::Read => "read",
            Action::Deletion => "deletion",
            Action::Listing => "listing",
            Action::Baseline => "baseline",
            Action::Approval => "approval",
            Action::Revocation => "revocation",
            Action::Held => "held",
            Action::Quarantine => "quarantine",
            Action::Restore => "restore",
            Action::Purge => "purge",
            Action::Refused => "refused",
            Action::SiteGuarded => "site-guarded",
            Action::SiteLost => "site-lost",
            Action::Search => "search",
            Action::LogRotated => "log-rotated",
            Action::Start => "start",
            Action::Stop => "stop",
            Action::Takeover => "takeover",
            Action::Reload => "reload",
            Action::Mode => "mode",
            Action::Kill => "kill",
            Action::Failure => "failure",
            Action::Repeated => "repeated",
            Action::Suppressed => "suppressed",
        }
    }
}

impl From<Access> for Action {
    /// The action that an access amounts to. A write counts as a modification: only who saw the file appear knows
    /// that it was a creation.
    fn from(access: Access) -> Self {
        match access {
            Access::Read => Action::Read,
            Access::Write => Action::Modification,
            Access::Rename => Action::Rename,
            Access::Link => Action::Link,
            Access::Symlink => Action::Symlink,
            Access::Special => Action::Special,
            Access::Delete => Action::Deletion,
            Access::List => Action::Listing,
        }
    }
}

/// What a verdict came to in the mode that was in force; the words of `pthguard.verdict`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Allowed by the policy or an approval.
    Allow,
    /// Denied or undone.
    Deny,
    /// Allowed because the guard only watches; it would have been denied.
    WouldDeny,
}

impl Outcome {
    /// What becomes of `verdict` in `mode`.
    #[must_use]
    pub fn of(verdict: Verdict, mode: Mode) -> Self {
        match (verdict, mode) {
            (Verdict::Allow, Mode::Enforce | Mode::Audit) => Outcome::Allow,
            (Verdict::Deny, Mode::Enforce) => Outcome::Deny,
            (Verdict::Deny, Mode::Audit) => Outcome::WouldDeny,
        }
    }

    /// The word used in records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Allow => "allow",
            Outcome::Deny => "deny",
            Outcome::WouldDeny => "would-deny",
        }
    }

    /// Whether the policy was against it, carried out or not.
    #[must_use]
    pub fn is_violation(self) -> bool {
        match self {
            Outcome::Allow => false,
            Outcome::Deny | Outcome::WouldDeny => true,
        }
    }
}

/// One thing that happened. What is not known is `None` and does not appear in what is written.
#[derive(Clone, Debug)]
pub struct Record {
    /// When.
    pub time: SystemTime,
    /// What.
    pub action: Action,
    /// What was answered, where there was a decision.
    pub outcome: Option<Outcome>,
    /// The rule that decided.
    pub rule: Option<Arc<str>>,
    /// Why it was decided so.
    pub reason: Option<Reason>,
    /// What was asked for.
    pub access: Option<Access>,
    /// The mode in force.
    pub mode: Option<Mode>,
    /// Who.
    pub subject: Option<Arc<Subject>>,
    /// Who, where nothing but the process id is known.
    pub author: Option<u32>,
    /// Who had logged in when the process came to be, where the kernel keeps that (`/proc/PID/loginuid`).
    pub login_uid: Option<u32>,
    /// What its container was made from; the auditor looks it up.
    pub image: Option<Arc<Image>>,
    /// Which file or directory.
    pub object: Option<Object>,
    /// What the file was called before a rename.
    pub old_path: Option<PathBuf>,
    /// What was approved under that name before an approval or its end.
    pub old_sha256: Option<Sha256>,
    /// From the reading of the event to its answer.
    pub latency: Option<Duration>,
    /// The policy in force.
    pub policy_generation: Option<Arc<str>>,
    /// Free text, for what has no field of its own.
    pub message: Option<String>,
    /// How many, where a record stands for several things.
    pub count: Option<u64>,
}

impl Record {
    /// Something that happened now.
    #[must_use]
    pub fn new(action: Action) -> Self {
        Record {
            time: SystemTime::now(),
            action,
            outcome: None,
            rule: None,
            reason: None,
            access: None,
            mode: None,
            subject: None,
            author: None,
            login_uid: None,
            image: None,
            object: None,
            old_path: None,
            old_sha256: None,
            latency: None,
            policy_generation: None,
            message: None,
            count: None,
        }
    }

    /// A decision that was made now on `access`. Where a write is known to be a creation, see [`Record::as_action`].
    #[must_use]
    pub fn decided(access: Access, decision: Decision, mode: Mode) -> Self {
        let record = Record {
            outcome: Some(Outcome::of(decision.verdict, mode)),
            reason: Some(decision.reason),
            access: Some(access),
            mode: Some(mode),
            ..Record::new(Action::from(access))
        };
        match (decision.reason, decision.rule) {
            // That rule let nobody in.
            (Reason::Distrusted(distrust), Some(rule)) => {
                record.saying(format!("rule {rule:?} allows this program, but {}", distrust.explanation()))
            }
            (_, rule) => Record { rule, ..record },
        }
    }

    /// A failure that happened now; its word becomes the reason.
    #[must_use]
    pub fn failure(failure: crate::model::Failure) -> Self {
        Record { reason: Some(Reason::Failure(failure)), ..Record::new(Action::Failure) }
    }

    /// The same under another action.
    #[must_use]
    pub fn as_action(self, action: Action) -> Self {
        Record { action, ..self }
    }

    /// When it happened, if not now.
    #[must_use]
    pub fn at(self, time: SystemTime) -> Self {
        Record { time, ..self }
    }

    /// The process that did it.
    #[must_use]
    pub fn by(self, subject: Arc<Subject>) -> Self {
        Record { subject: Some(subject), ..self }
    }

    /// The process that did it, of which nothing else is known.
    #[must_use]
    pub fn by_pid(self, pid: u32) -> Self {
        Record { author: Some(pid), ..self }
    }

    /// Who had logged in, where that is known.
    #[must_use]
    pub fn for_login(self, login_uid: Option<u32>) -> Self {
        Record { login_uid, ..self }
    }

    /// The file or directory that it was done to.
    #[must_use]
    pub fn on(self, object: Object) -> Self {
        Record { object: Some(object), ..self }
    }

    /// The name that a renamed file had before.
    #[must_use]
    pub fn renamed_from(self, old_path: PathBuf) -> Self {
        Record { old_path: Some(old_path), ..self }
    }

    /// What was approved under that name before.
    #[must_use]
    pub fn instead_of(self, old_sha256: Option<Sha256>) -> Self {
        Record { old_sha256, ..self }
    }

    /// Why, where there was no decision to take it from.
    #[must_use]
    pub fn because(self, reason: Reason) -> Self {
        Record { reason: Some(reason), ..self }
    }

    /// The mode in force, where there was no decision to take it from.
    #[must_use]
    pub fn in_mode(self, mode: Mode) -> Self {
        Record { mode: Some(mode), ..self }
    }

    /// How long the answer took.
    #[must_use]
    pub fn took(self, latency: Duration) -> Self {
        Record { latency: Some(latency), ..self }
    }

    /// The generation of the policy in force.
    #[must_use]
    pub fn under(self, policy_generation: Arc<str>) -> Self {
        Record { policy_generation: Some(policy_generation), ..self }
    }

    /// Free text.
    #[must_use]
    pub fn saying(self, message: impl Into<String>) -> Self {
        Record { message: Some(message.into()), ..self }
    }

    /// How many things the record stands for.
    #[must_use]
    pub fn counting(self, count: u64) -> Self {
        Record { count: Some(count), ..self }
    }

    /// What happened, of a record that counts several of a kind: that of one of them.
    #[must_use]
    pub(super) fn stands_for(&self) -> Action {
        match (self.action, self.access) {
            (Action::Suppressed | Action::Repeated, Some(access)) => Action::from(access),
            (action, _) => action,
        }
    }

    /// The effective user id of the process, where it is known.
    #[must_use]
    pub fn uid(&self) -> Option<u32> {
        self.subject.as_ref().map(|subject| subject.uids.effective)
    }

    /// The process id, where it is known.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.subject.as_ref().map(|subject| subject.pid).or(self.author)
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn audit_mode_never_says_deny() {
        assert_eq!(Outcome::of(Verdict::Deny, Mode::Audit), Outcome::WouldDeny);
        assert_eq!(Outcome::of(Verdict::Deny, Mode::Enforce), Outcome::Deny);
        assert_eq!(Outcome::of(Verdict::Allow, Mode::Audit), Outcome::Allow);
        assert_eq!(Outcome::of(Verdict::Allow, Mode::Enforce), Outcome::Allow);
    }

    #[test]
    fn subject_is_preferred_to_bare_pid() {
        assert_eq!(Record::new(Action::Rename).by_pid(7).pid(), Some(7));
        assert_eq!(sample::denied_write(5, 1).by_pid(7).pid(), Some(4242));
        assert_eq!(sample::denied_write(5, 1).uid(), Some(5));
    }
}
