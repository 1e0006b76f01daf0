//! From a decision to the answer, the counters and the record, in that order.

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use super::triage::is_being_made;
use super::{Guard, Purpose, Waiting};
use crate::audit::{Action, Record};
use crate::fanotify::Reply;
use crate::model::{Access, Decision, Failure, FailureAction, Object, Reason, Subject, Verdict};
use crate::watch::SiteId;

impl From<FailureAction> for Verdict {
    fn from(action: FailureAction) -> Self {
        match action {
            FailureAction::Allow => Verdict::Allow,
            FailureAction::Deny => Verdict::Deny,
        }
    }
}

impl Guard {
    /// Answers an opener, unless somebody has, and notes how long it has waited. Returns whether this was the answer.
    pub(super) fn answer(&self, waiting: &Waiting, reply: Reply) -> bool {
        self.answer_by_rule(waiting, reply, 0)
    }

    /// The same as a decision says.
    pub(super) fn answer_decided(&self, waiting: &Waiting, decision: &Decision) -> bool {
        let ruling = &waiting.ruling;
        self.answer_by_rule(waiting, ruling.reply(decision.verdict), ruling.rule_number(decision))
    }

    fn answer_by_rule(&self, waiting: &Waiting, reply: Reply, rule: u32) -> bool {
        let is_answer = waiting.event.answer_by_rule(reply, rule);
        if is_answer {
            self.waited(waiting.received);
        }
        is_answer
    }

    /// Somebody who has waited since then was answered.
    pub(super) fn waited(&self, received: Instant) {
        self.parts.counters.latency().record(received.elapsed());
    }

    /// Answers, then counts and records. Approved reads are only counted: there are several in each start of an
    /// interpreter. Returns whether this was the answer.
    pub(super) fn conclude(
        &self,
        waiting: &Waiting,
        access: Access,
        decision: Decision,
        subject: Option<Arc<Subject>>,
        describe: impl FnOnce(Record) -> Record,
    ) -> bool {
        let is_answer = self.answer_decided(waiting, &decision);
        if is_answer {
            self.record_answer(waiting, access, decision, subject, describe);
        }
        is_answer
    }

    /// Counts and records what was answered.
    pub(super) fn record_answer(
        &self,
        waiting: &Waiting,
        access: Access,
        decision: Decision,
        subject: Option<Arc<Subject>>,
        describe: impl FnOnce(Record) -> Record,
    ) {
        self.count(&waiting.ruling, access, &decision);
        if decision.reason == Reason::Approved {
            return;
        }
        let mut record = waiting.ruling.decided(access, decision).took(waiting.received.elapsed());
        record = match subject {
            Some(subject) => record.by(subject),
            None => record.by_pid(waiting.event.thread()),
        };
        self.parts.audit.record(describe(record));
    }

    /// No decision could be made: the action that the policy names, and its counter.
    pub(super) fn fail(&self, waiting: &Waiting, access: Access, failure: Failure) {
        let (ruling, table) = (&waiting.ruling, &waiting.ruling.failure);
        let action = match failure {
            Failure::QueueFull => table.queue_full,
            Failure::Timeout => table.timeout,
            Failure::Unresolved
            | Failure::UnresolvedArrival
            | Failure::NoDescriptor
            | Failure::WatchOverflow
            | Failure::Mark
            | Failure::Quarantine
            | Failure::State
            | Failure::Content
            | Failure::Kill
            | Failure::KernelAudit => table.unresolved,
        };
        self.parts.counters.failed(failure);
        let decision = Decision { verdict: action.into(), rule: None, reason: Reason::Failure(failure) };
        if ruling.reply(decision.verdict) == Reply::Allow {
            self.parts.watch.tracker().grant(waiting.lane, &waiting.file, None); // it may be a writer
        }
        let is_left_behind = access != Access::List
            && ruling.reply(decision.verdict) == Reply::Deny
            && waiting.purpose == Purpose::Startup
            && is_being_made(&waiting.event)
            && self.parts.watch.tracker().leave_behind(waiting.file);
        let object = Object::at(self.path_of(waiting));
        self.conclude(waiting, access, decision, None, |record| record.on(object));
        if is_left_behind {
            self.parts.watch.ask_to_settle(&waiting.file);
        }
    }

    /// The content did not become final within the budget.
    pub(super) fn not_final(&self, waiting: &Waiting) {
        let decision =
            Decision { verdict: waiting.ruling.failure.timeout.into(), rule: None, reason: Reason::NotFinal };
        let object = Object::at(self.path_of(waiting));
        self.conclude(waiting, Access::Read, decision, None, |record| record.on(object));
    }

    /// The places that an opener's file has: the one that it was opened under if that is one of them, else all.
    pub(super) fn places_of(&self, waiting: &Waiting) -> Vec<(SiteId, OsString)> {
        let tracker = self.parts.watch.tracker();
        let current = tracker.current_names(&waiting.file);
        if current.is_empty() {
            return tracker.get(&waiting.file).map(|entry| entry.names.to_vec()).unwrap_or_default();
        }
        current
    }

    /// The path that a record names: in a guarded directory if the file has a place there.
    pub(super) fn path_of(&self, waiting: &Waiting) -> PathBuf {
        if waiting.purpose == Purpose::Listing {
            let site = self.parts.watch.sites.by_file(&waiting.file);
            return site.map(|site| site.guarded.path.clone()).unwrap_or_default();
        }
        let opened = waiting.opened.as_ref();
        let places = self.places_of(waiting);
        let place = places.iter().find(|(_, name)| opened.is_some_and(|opened| opened.name() == name));
        match place.or(places.last()).and_then(|(site, name)| Some(self.parts.watch.sites.get(*site)?.path_of(name))) {
            Some(path) => path,
            None => opened.map(|opened| opened.path().to_owned()).unwrap_or_default(),
        }
    }

    /// What a record says of the file behind an event.
    pub(super) fn object_of(&self, waiting: &Waiting) -> Object {
        let mut object = Object::at(self.path_of(waiting));
        if let Ok(file) = nix::sys::stat::fstat(&waiting.event) {
            object.inode = Some(file.st_ino);
            object.size = u64::try_from(file.st_size).ok();
        }
        object
    }

    /// A record of something that is no decision.
    pub(super) fn note(&self, action: Action, path: PathBuf) -> Record {
        self.ruling().sign(Record::new(action)).on(Object::at(path))
    }
}

/// What a record says of an open file's inode.
pub(super) fn with_inode(mut object: Object, metadata: &std::fs::Metadata) -> Object {
    object.inode = Some(metadata.ino());
    object.size = Some(metadata.len());
    object
}
