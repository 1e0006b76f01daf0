//! Ending processes that do what no rule lets them do (`response.on_violation = "kill"`).
//!
//! A process is ended only where it is certain that this very process did it, and that it was the policy that spoke
//! against it. Not for what could not be decided in time, not for reading, not in audit mode. A blocked opener is ended
//! *before* it gets its answer: it never comes to its next instruction, and none of its threads sees the denial. The
//! author of something that was noticed afterwards is ended by the descriptor that came with the notification.
//!
//! Never ended are process 1 and the daemon. A kernel thread has no executable, so it is never identified.

use super::remembered::Known;
use super::{Guard, Waiting};
use crate::audit::{Action, Record, escape_path};
use crate::fanotify::Pidfd;
use crate::model::{Decision, Failure, Mode, Object, Subject, Verdict, ViolationAction, Writers};
use crate::resolve::Intent;

impl Guard {
    fn is_to_be_ended(&self, decision: &Decision, subject: &Subject) -> bool {
        self.parts.on_violation == ViolationAction::Kill
            && self.parts.mode == Mode::Enforce
            && decision.verdict == Verdict::Deny
            && decision.reason.is_judgement()
            && subject.pid > 1
            && subject.pid != std::process::id()
    }

    /// A hold on a blocked opener that is to be ended. Where the system call does not tell that it writes (openat2,
    /// io_uring), somebody else may be the writer, and it is not.
    pub(super) fn condemn(&self, decision: &Decision, subject: &Subject, intent: Intent) -> Option<Pidfd> {
        let is_writer = matches!(intent, Intent::Write { .. });
        (is_writer && self.is_to_be_ended(decision, subject)).then(|| self.parts.resolver.hold(subject)).flatten()
    }

    /// Answers a condemned opener, ending it first, and records that.
    pub(super) fn end_and_deny(
        &self,
        waiting: &Waiting,
        decision: &Decision,
        process: &Pidfd,
        subject: &Subject,
        object: &Object,
    ) -> bool {
        let mut ended = Ok(());
        let (reply, rule) = (self.reply(Verdict::Deny), self.rule_number(decision));
        let is_answer = waiting.event.answer_after(reply, rule, || ended = self.end(process, subject, object));
        if let Err(error) = ended {
            self.cannot_end(subject, object, &error);
        }
        is_answer
    }

    /// Ends the author of a denied newcomer, if there is no doubt that it is the process that brought it, and that it
    /// was this program then: only of programs of root's it is known when they are executed.
    pub(super) fn end_author(&self, decision: &Decision, author: &Known, object: &Object) {
        let subject = author.subject.as_ref();
        if !self.is_to_be_ended(decision, subject) || subject.exe.writers != Writers::Root {
            return;
        }
        let Some(process) = author.process.as_ref().filter(|process| process.is_alive()) else { return };
        if let Err(error) = self.end(process, subject, object) {
            self.cannot_end(subject, object, &error);
        }
    }

    fn end(&self, process: &Pidfd, subject: &Subject, object: &Object) -> std::io::Result<()> {
        process.kill()?;
        self.parts.counters.killed();
        let record = Record::new(Action::Kill)
            .in_mode(self.parts.mode)
            .under(std::sync::Arc::clone(&self.parts.generation))
            .by(std::sync::Arc::new(subject.clone()))
            .on(object.clone());
        let message = format!("process {}, {}, was ended", subject.pid, escape_path(&subject.exe.path));
        self.parts.audit.record(record.saying(message));
        Ok(())
    }

    fn cannot_end(&self, subject: &Subject, object: &Object, error: &std::io::Error) {
        let message = format!("process {} could not be ended: {error}", subject.pid);
        self.failed(Failure::Kill, object.path.clone(), &message);
    }
}
