//! By what is decided now: the rules, the mode, and what is done when no decision can be made.
//!
//! All of it changes at once, when the policy is loaded anew or the mode is switched. Who decides takes it once, at the
//! beginning, and keeps it to the end: one policy generation per event.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Guard;
use crate::audit::{Action, Outcome, Record};
use crate::config::{Config, FailureTable, cannot_enforce};
use crate::control::Peer;
use crate::fanotify::Reply;
use crate::model::{Access, Decision, Mode, Reason, Verdict, ViolationAction};
use crate::policy::Policy;
use crate::resolve::WithParent;
use crate::watch::Lane;

/// What a decision depends on beside the facts.
#[derive(Clone, Debug)]
pub struct Ruling {
    /// Enforce or audit.
    pub mode: Mode,
    /// The rules.
    pub policy: Arc<Policy>,
    /// What is answered when no decision can be made, and how soon.
    pub failure: FailureTable,
    /// What is done with a process that does what no rule lets it do.
    pub on_violation: ViolationAction,
    /// Names the policy in records.
    pub generation: Arc<str>,
    /// The files that it came from.
    pub sources: Arc<[String]>,
}

impl Ruling {
    /// What the policy files say.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        Ruling {
            mode: config.mode,
            policy: Arc::clone(&config.policy),
            failure: config.failure,
            on_violation: config.on_violation,
            generation: Arc::from(config.generation.as_str()),
            sources: config.sources.clone().into(),
        }
    }

    /// Whose parents the rules ask for.
    #[must_use]
    pub fn with_parent(&self) -> WithParent {
        let policy = Arc::clone(&self.policy);
        Box::new(move |exe| policy.asks_for_parent_of(exe))
    }

    /// What the kernel is told: in audit mode always to let the opener through.
    pub(super) fn reply(&self, verdict: impl Into<Verdict>) -> Reply {
        match (self.mode, verdict.into()) {
            (Mode::Audit, _) | (Mode::Enforce, Verdict::Allow) => Reply::Allow,
            (Mode::Enforce, Verdict::Deny) => Reply::Deny,
        }
    }

    /// What the kernel's audit records call the rule that decided.
    pub(super) fn rule_number(&self, decision: &Decision) -> u32 {
        match (decision.reason, decision.rule.as_deref()) {
            (Reason::Rule, Some(rule)) => self.policy.number_of(rule),
            _ => 0,
        }
    }

    /// A record, with what every record says.
    #[must_use]
    pub fn sign(&self, record: Record) -> Record {
        record.in_mode(self.mode).under(Arc::clone(&self.generation))
    }

    /// A record of a decision.
    pub(super) fn decided(&self, access: Access, decision: Decision) -> Record {
        Record::decided(access, decision, self.mode).under(Arc::clone(&self.generation))
    }

    /// Half of the time in which a verdict is due: more may not be spent on looking at who asks.
    pub(super) fn patience(&self) -> Duration {
        self.failure.budget / 2
    }
}

/// A mode that somebody has switched to, and what it goes back to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Switch {
    until: Option<Instant>,
    back_to: Mode,
}

impl Guard {
    /// By what is decided now.
    #[must_use]
    pub fn ruling(&self) -> Arc<Ruling> {
        self.ruling.load_full()
    }

    /// Decides by what the policy files say now. A mode that was switched to stays as long as it was meant to.
    pub fn load(&self, mut ruling: Ruling) {
        let mut switch = self.switch.lock(); // to the end: what is switched meanwhile is switched of this
        if let Some(switch) = switch.as_mut() {
            switch.back_to = std::mem::replace(&mut ruling.mode, self.ruling().mode);
        }
        if cannot_enforce(ruling.mode, &ruling.policy).is_some() {
            ruling.mode = Mode::Audit;
        }
        self.rule_by(ruling);
    }

    /// Switches the mode, for a while or until the guard is started anew.
    ///
    /// # Errors
    /// Why the policy cannot be enforced.
    pub(super) fn switch_mode(&self, mode: Mode, limit: Option<Duration>, by: &Peer) -> Result<(), &'static str> {
        let mut switch = self.switch.lock();
        let ruling = self.ruling();
        if let Some(why) = cannot_enforce(mode, &ruling.policy) {
            return Err(why);
        }
        let back_to = switch.map_or(ruling.mode, |switch| switch.back_to);
        *switch = (mode != back_to).then(|| Switch { until: limit.map(|limit| Instant::now() + limit), back_to });
        let said = match limit {
            Some(limit) if mode != back_to => {
                format!("{} for {} s, then {} again", mode.as_str(), limit.as_secs(), back_to.as_str())
            }
            Some(_) | None => mode.as_str().to_owned(),
        };
        self.rule_by(Ruling { mode, ..Ruling::clone(&ruling) });
        let record = self.ruling().sign(Record::new(Action::Mode)).by(by.subject()).for_login(by.login_uid);
        self.parts.audit.record(record.saying(format!("mode: {said}, by an administrator")));
        Ok(())
    }

    /// Goes back to the mode from before a switch whose time is over.
    pub fn end_switch(&self) {
        let mut switch = self.switch.lock();
        let Some(Switch { back_to, .. }) =
            switch.take_if(|switch| switch.until.is_some_and(|until| until <= Instant::now()))
        else {
            return;
        };
        self.rule_by(Ruling { mode: back_to, ..Ruling::clone(&self.ruling()) });
        let record = self.ruling().sign(Record::new(Action::Mode));
        self.parts
            .audit
            .record(record.saying(format!("mode: {} again, the time of the switch is over", back_to.as_str())));
    }

    /// How long a mode still holds that was switched to for a while.
    #[must_use]
    pub fn switched_for(&self) -> Option<Duration> {
        let until = self.switch.lock().as_ref()?.until?;
        Some(until.saturating_duration_since(Instant::now()))
    }

    /// Decides by this from now on. What has begun to be decided ends as it began.
    fn rule_by(&self, ruling: Ruling) {
        self.parts.resolver.expect(ruling.policy.executables(), ruling.with_parent());
        self.watch_programs(); // before their renames are judged by it
        for groups in Lane::ALL.map(|lane| self.parts.watch.groups(lane)) {
            groups.gate.set_if_forgotten(ruling.reply(Verdict::Deny));
            groups.listing.set_if_forgotten(ruling.reply(Verdict::Deny));
        }
        self.parts.counters.expect_rules(ruling.policy.rules().iter().map(|rule| Arc::clone(&rule.name)));
        self.ruling.store(Arc::new(ruling));
    }

    /// Counts a decision, for after the answer.
    pub(super) fn count(&self, ruling: &Ruling, access: Access, decision: &Decision) {
        self.parts.counters.decided(access, decision, Outcome::of(decision.verdict, ruling.mode));
    }
}
