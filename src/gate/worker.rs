//! Decisions that take more than a look-up: who is asking, may it write, what are the bytes.

use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::Duration;

use super::content::Content;
use super::leases::Answered;
use super::parked::On;
use super::{Guard, Purpose, Waiting};
use crate::audit::Action;
use crate::content::classify;
use crate::fanotify::file::{hold_writers, release_writers};
use crate::fanotify::{FileId, Pidfd, Reply, WriteProbe, probe_writers};
use crate::model::{Access, Decision, Failure, FailureAction, Mode, Reason, Request, Sha256, Subject, Verdict};
use crate::policy::Policy;
use crate::resolve::{Asked, Intent, asked, begins_to_list, intent};
use crate::watch::{Lane, Permit, Place, Quarantined, Stage, TrackedFile, Writer};

const HEARTBEAT: Duration = Duration::from_millis(500);
/// How often one opener is judged anew because things changed under the judgement.
const MAX_JUDGEMENTS: usize = 4;

impl Guard {
    pub(super) fn run_worker(&self, lane: Lane) {
        while !self.is_stopping() {
            if let Some(waiting) = self.stop.receive(&self.queue[lane], HEARTBEAT)
                && !waiting.event.is_answered()
            {
                self.decide(&waiting);
            }
        }
    }

    fn decide(&self, waiting: &Arc<Waiting>) {
        if waiting.purpose == Purpose::Maker {
            let _ = self.identify(waiting.event.thread(), waiting.lane); // whoever cannot be identified is not remembered
            self.answer(waiting, Reply::Allow);
            return;
        }
        if waiting.purpose == Purpose::Listing {
            return self.decide_listing(waiting);
        }
        if waiting.purpose == Purpose::Target && !self.is_asked_for_as_startup(waiting) {
            return self.decide_other_name(waiting);
        }
        let probe = self.probe(waiting);
        // Nobody has the file open for writing, this opener included: it reads.
        let intent = if probe == WriteProbe::NoWriters {
            Intent::Read
        } else {
            intent(waiting.event.thread(), waiting.received + waiting.ruling.patience())
        };
        if waiting.purpose == Purpose::OtherLink && (intent == Intent::Read || !self.has_startup_name(waiting)) {
            if intent != Intent::Read {
                self.parts.watch.tracker().grant(waiting.lane, &waiting.file, None); // it may come back
            }
            self.answer(waiting, Reply::Allow);
            return;
        }
        match intent {
            Intent::Read => self.decide_read(waiting, probe),
            Intent::Write { .. } | Intent::Unknown => self.decide_write(waiting, intent),
        }
    }

    /// A newcomer was refused a moment ago: whoever has begun before that may have got its name.
    fn decide_listing(&self, waiting: &Waiting) {
        let (thread, until) = (waiting.event.thread(), waiting.received + waiting.ruling.patience());
        match begins_to_list(thread, until) {
            Some(true) => self.parts.watch.tracker().begin_listing(&waiting.file, thread),
            Some(false) if self.parts.watch.tracker().has_begun_listing(&waiting.file, thread) => {}
            Some(false) | None => return self.refuse_listing(waiting),
        }
        self.answer(waiting, Reply::Allow);
    }

    /// Whether an interpreter that obeys the link could have opened a link's target so.
    fn is_asked_for_as_startup(&self, waiting: &Waiting) -> bool {
        match asked(waiting.event.thread(), waiting.received + waiting.ruling.patience()) {
            Asked::For(name) => self.parts.startup.matches(name.as_bytes()),
            Asked::ForNone => false,
            Asked::Unknown => true,
        }
    }

    /// What a link leads to is opened like any file by its own name: a link locks nobody out.
    fn decide_other_name(&self, waiting: &Waiting) {
        if self.probe(waiting) != WriteProbe::NoWriters {
            self.parts.watch.tracker().grant(waiting.lane, &waiting.file, None); // perhaps to write
        }
        self.answer(waiting, Reply::Allow);
    }

    fn has_startup_name(&self, waiting: &Waiting) -> bool {
        !self.parts.watch.tracker().current_names(&waiting.file).is_empty()
    }

    fn probe(&self, waiting: &Waiting) -> WriteProbe {
        let grants = self.parts.watch.tracker().get(&waiting.file).map(|entry| entry.grants);
        let probe = probe_writers(&waiting.event);
        if let (WriteProbe::NoWriters, Some(grants)) = (probe, grants) {
            self.parts.watch.tracker().probed(&waiting.file, grants);
        }
        probe
    }

    fn decide_write(&self, waiting: &Waiting, intent: Intent) {
        let places = self.places_of(waiting);
        let object = self.object_of(waiting);
        let is_empty = object.size == Some(0);
        let created = is_empty && self.parts.watch.tracker().get(&waiting.file).is_some_and(|entry| entry.fresh);
        let Ok(subject) = self.identify(waiting.event.thread(), waiting.lane) else {
            if created && waiting.ruling.reply(waiting.ruling.failure.unresolved) == Reply::Deny {
                self.undo_creation(waiting, &places);
            }
            return self.fail(waiting, Access::Write, Failure::Unresolved);
        };
        let ruling = &waiting.ruling;
        let decision = self.may_write(&ruling.policy, &subject, &places, created);
        match (decision.verdict, ruling.mode) {
            (Verdict::Allow, _) => {
                let truncates = intent == Intent::Write { truncate: true };
                let tainted = !truncates && !is_empty && !self.has_approved_content(waiting);
                let rule = decision.rule.clone().unwrap_or_else(|| Arc::from(""));
                let permit = Permit {
                    content: ruling.policy.content_of(&rule),
                    rule,
                    // It waits for its answer, so its number is still its own.
                    writers: vec![Writer {
                        pid: subject.pid,
                        process: Pidfd::open(subject.pid).ok().map(Arc::new),
                        subject: Some(Arc::clone(&subject)),
                    }],
                    stage: Stage::Written,
                    judged: None,
                    places,
                    tainted,
                };
                self.parts.watch.tracker().grant(waiting.lane, &waiting.file, Some(permit));
                // Whoever removes it has looked for permits before; whoever looks after this finds one.
                if self.is_condemned(waiting) {
                    self.withdraw(waiting);
                    return self.fail(waiting, Access::Write, Failure::Timeout);
                }
            }
            (Verdict::Deny, Mode::Audit) => self.parts.watch.tracker().grant(waiting.lane, &waiting.file, None),
            (Verdict::Deny, Mode::Enforce) if created => self.undo_creation(waiting, &places),
            (Verdict::Deny, Mode::Enforce) => {}
        }
        let granted = ruling.reply(decision.verdict) == Reply::Allow;
        let condemned = self.condemn(ruling, &decision, &subject, intent);
        let is_answer = match &condemned {
            Some(process) => self.end_and_deny(waiting, &decision, process, &subject, &object),
            None => self.answer_decided(waiting, &decision),
        };
        if is_answer {
            self.record_answer(waiting, Access::Write, decision, Some(subject), |record| {
                let record = record.on(object);
                if created { record.as_action(Action::Creation) } else { record }
            });
        }
        if granted && !is_answer {
            self.withdraw(waiting); // the deadline was quicker: this writer does not exist
            if created && ruling.failure.timeout == FailureAction::Deny {
                self.undo_creation(waiting, &self.places_of(waiting));
            }
        }
    }

    fn is_condemned(&self, waiting: &Waiting) -> bool {
        self.parts.watch.tracker().get(&waiting.file).is_some_and(|entry| entry.is_condemned)
    }

    fn withdraw(&self, waiting: &Waiting) {
        if let Some(entry) = self.parts.watch.tracker().get_mut(&waiting.file) {
            entry.lose_writer(waiting.lane);
        }
    }

    /// A file with several names is written under all of them, so every one's directory must permit it.
    fn may_write(&self, policy: &Policy, subject: &Subject, places: &[Place], creates: bool) -> Decision {
        let mut last = Decision { verdict: Verdict::Deny, rule: None, reason: Reason::NoRule };
        for (site, name) in places {
            let Some(site) = self.parts.watch.sites.get(*site) else { continue };
            let request = Request::new(subject, &site.guarded.facts, name, Access::Write).creating(creates);
            last = policy.decide(&request);
            if last.verdict == Verdict::Deny {
                break;
            }
        }
        last
    }

    fn has_approved_content(&self, waiting: &Waiting) -> bool {
        let content = Content::read(&waiting.event, self.parts.max_size).ok();
        let sha256 = content.and_then(|content| content.sha256());
        sha256.is_some_and(|sha256| self.is_approved(&waiting.file, waiting.opened.as_ref(), sha256))
    }

    /// A denied create leaves an empty file with the final name behind. While its creator waits for the answer it
    /// can only be empty. If that process had removed an approved file of that name before (pip moves the old version
    /// out of the way), that comes back before the creator goes on: it may have thrown away all it knew of it.
    fn undo_creation(&self, waiting: &Waiting, places: &[Place]) {
        self.remove_created(&waiting.file, places);
    }

    /// Removes an empty file under all of its names. Whether it was there.
    fn remove_created(&self, file: &FileId, places: &[Place]) -> bool {
        // Before it goes, so that the notice of its creation is known to be this one's.
        if let Some(entry) = self.parts.watch.tracker().get_mut(file) {
            entry.fresh = false;
        }
        let mut is_removed = false;
        for (site, name) in places {
            let Some(site) = self.parts.watch.sites.get(*site) else { continue };
            match self.parts.quarantine.remove_leftover(&site, name, file) {
                Ok(Quarantined::Removed) => is_removed = true,
                Ok(Quarantined::Kept(_) | Quarantined::Elsewhere) => {}
                Err(_) => self.parts.counters.failed(Failure::Quarantine), // it stays, empty and unreadable
            }
            if self.parts.watch.tracker().take_displaced(site.id, name) {
                self.put_back(&site, name);
            }
        }
        is_removed
    }

    /// What a creation left behind whose open was answered by a thread that must not touch directories.
    pub(super) fn remove_left_behind(&self, file: &FileId) {
        if !self.parts.watch.tracker().condemn_leftover(file) {
            return;
        }
        let places = self.parts.watch.tracker().current_names(file);
        if !self.remove_created(file, &places)
            && let Some(entry) = self.parts.watch.tracker().get_mut(file)
        {
            entry.is_condemned = false; // something has become of it
        }
    }

    /// An open for reading can create a file, too (`O_RDONLY | O_CREAT`).
    fn is_empty_and_nobodys(&self, waiting: &Waiting, content: &Content) -> bool {
        waiting.ruling.mode == Mode::Enforce
            && content.size() == Some(0)
            && self.parts.watch.tracker().get(&waiting.file).is_some_and(|entry| entry.fresh)
            && probe_writers(&waiting.event) == WriteProbe::NoWriters
    }

    fn decide_read(&self, waiting: &Arc<Waiting>, mut probe: WriteProbe) {
        // Whoever cannot be parked, because what it waits for has just happened, is judged once more.
        for _ in 0..MAX_JUDGEMENTS {
            let entry = self.parts.watch.tracker().get(&waiting.file).cloned();
            let is_final = match probe {
                WriteProbe::NoWriters => true,
                // Those who write are waiting at the gate like this opener, or were let through and are counted.
                WriteProbe::Writers => entry.as_ref().is_some_and(TrackedFile::is_final),
                WriteProbe::Unknown => entry.as_ref().is_none_or(|entry| !entry.has_writers()),
            };
            if is_final {
                // Nothing changes from here until it has been read.
                let is_held =
                    waiting.ruling.mode == Mode::Enforce && hold_writers(&waiting.event) == WriteProbe::NoWriters;
                let content = match Content::read(&waiting.event, self.parts.max_size) {
                    Ok(content) => content,
                    Err(_) => return self.fail(waiting, Access::Read, Failure::Content),
                };
                let sha256 = content.sha256();
                if sha256.is_some_and(|sha256| self.is_approved(&waiting.file, waiting.opened.as_ref(), sha256))
                    && self.is_tight(waiting, &content)
                {
                    let decision = Decision { verdict: Verdict::Allow, rule: None, reason: Reason::Approved };
                    self.conclude(waiting, Access::Read, decision, None, |record| record);
                    if is_held {
                        self.leases.keep(waiting.file, Answered::ByWorker { _waiting: Arc::clone(waiting) });
                    }
                    return;
                }
                release_writers(&waiting.event);
                // A permitted writer has closed it, or a newcomer waits to be judged: it may be approved in a moment.
                let is_decided = entry.is_none_or(|entry| !entry.is_unsettled());
                if is_decided || sha256.is_none() {
                    return self.decide_unapproved(waiting, &content);
                }
                self.parts.watch.ask_to_settle(&waiting.file);
            }
            if self.park(waiting, On::File(waiting.file)) {
                return;
            }
            probe = self.probe(waiting);
        }
        self.not_final(waiting);
    }

    /// Whether those stand guard on whom an approved file's path lines depend.
    fn is_tight(&self, waiting: &Waiting, content: &Content) -> bool {
        if !self.parts.watch.tracker().get(&waiting.file).is_some_and(|entry| entry.is_loose) {
            return true;
        }
        let Content::Bytes(bytes) = content else { return false };
        self.places_of(waiting).iter().all(|(site, name)| {
            let Some(site) = self.parts.watch.sites.get(*site) else { return true };
            self.tighten(&site, name, &waiting.file, &classify(name.as_encoded_bytes(), bytes))
        })
    }

    fn why_unapproved(&self, file: &FileId, places: &[Place], sha256: Option<Sha256>) -> Reason {
        let Some(sha256) = sha256 else { return Reason::TooLarge };
        let stage = |entry: &TrackedFile| entry.permit.as_ref().map(|permit| permit.stage);
        if self.parts.watch.tracker().get(file).and_then(stage) == Some(Stage::Beyond) {
            return Reason::Held; // as soon as its installation is over
        }
        let is_held = |(site, name): &Place| {
            let site = self.parts.watch.sites.get(*site);
            site.is_some_and(|site| self.parts.approvals.is_held(site.approvals, name, sha256))
        };
        if places.iter().any(is_held) { Reason::Held } else { Reason::NotApproved }
    }

    /// Bytes that nobody approved: only a rule with `access = ["read"]` lets a program see them.
    fn decide_unapproved(&self, waiting: &Waiting, content: &Content) {
        let Ok(subject) = self.identify(waiting.event.thread(), waiting.lane) else {
            return self.fail(waiting, Access::Read, Failure::Unresolved);
        };
        let places = self.places_of(waiting);
        let decision = places
            .iter()
            .filter_map(|(site, name)| {
                let site = self.parts.watch.sites.get(*site)?;
                let request = Request::new(&subject, &site.guarded.facts, name, Access::Read);
                Some(waiting.ruling.policy.decide(&request))
            })
            .find(|decision| decision.reason == Reason::Rule)
            .unwrap_or_else(|| {
                let reason = self.why_unapproved(&waiting.file, &places, content.sha256());
                Decision { verdict: Verdict::Deny, rule: None, reason }
            });
        if decision.verdict == Verdict::Deny && self.is_empty_and_nobodys(waiting, content) {
            self.undo_creation(waiting, &places);
        }
        let object = self.object_of(waiting);
        let name = object.path.file_name().unwrap_or_default().to_owned();
        let object = content.describe(&name, object);
        self.conclude(waiting, Access::Read, decision, Some(subject), |record| record.on(object));
    }
}
