//! The rules in `docs/detection/` on pthguard's records, as the library writes them.

use std::path::PathBuf;
use std::sync::Arc;

use pthguard::audit::{Action, Record, json_line};
use pthguard::model::{Access, Decision, Mode, Object, Program, Reason, Script, Subject, Verdict, Writers};
use serde_json::Value;

use crate::engines::{Opinion, ask_about, content};

/// The rules that are tested, by the names of their files.
pub(crate) const OURS: [&str; 2] = ["pthguard.eql", "pthguard.yml"];

pub(crate) fn ours() -> Vec<PathBuf> {
    OURS.into_iter().map(content).collect()
}

/// Whether all our rules fire, or none.
pub(crate) fn alert(opinion: &Opinion) -> Option<bool> {
    let mut said = OURS.iter().map(|rule| opinion.has(rule));
    let first = said.next()?;
    said.all(|other| other == first).then_some(first)
}

const FILE: &str = "/usr/lib/python3/dist-packages/evil.pth";

fn decided(access: Access, verdict: Verdict, reason: Reason, mode: Mode) -> Record {
    let program =
        Program { path: "/usr/bin/dash".into(), dev: 1, ino: 2, at_path: true, seen_as: None, writers: Writers::Root };
    Record::decided(access, Decision { verdict, rule: None, reason }, mode)
        .by(Arc::new(Subject::supposed(program, Script::None, 1000)))
        .on(Object::at(FILE.into()))
}

fn noted(action: Action) -> Record {
    Record::new(action).on(Object::at(FILE.into()))
}

#[test]
fn denials_and_held_files_alert_and_nothing_else_does() {
    use Verdict::{Allow, Deny};
    let denied = |access, mode| decided(access, Deny, Reason::NoRule, mode);
    let records = [
        ("a denied write", true, denied(Access::Write, Mode::Enforce)),
        ("a denied creation", true, denied(Access::Write, Mode::Enforce).as_action(Action::Creation)),
        ("a write under audit", true, denied(Access::Write, Mode::Audit)),
        ("an undone rename", true, denied(Access::Rename, Mode::Enforce)),
        ("a link under audit", true, denied(Access::Link, Mode::Audit)),
        ("a denied read", true, decided(Access::Read, Deny, Reason::NotApproved, Mode::Enforce)),
        ("held", true, decided(Access::Write, Deny, Reason::Held, Mode::Enforce).as_action(Action::Held)),
        ("held, without a decision", true, noted(Action::Held)),
        ("many denied writes", true, denied(Access::Write, Mode::Enforce).as_action(Action::Repeated).counting(80)),
        ("an allowed write", false, decided(Access::Write, Allow, Reason::Rule, Mode::Enforce)),
        ("the same under audit", false, decided(Access::Write, Allow, Reason::Rule, Mode::Audit)),
        ("an allowed read", false, decided(Access::Read, Allow, Reason::Approved, Mode::Enforce)),
        ("baseline", false, noted(Action::Baseline)),
        ("approval", false, noted(Action::Approval)),
        ("revocation", false, noted(Action::Revocation)),
        ("purge", false, noted(Action::Purge)),
        ("a guarded directory", false, noted(Action::SiteGuarded)),
        ("start", false, Record::new(Action::Start)),
        ("stop", false, Record::new(Action::Stop)),
    ];
    let event = |record| serde_json::from_slice(&json_line(record)).unwrap();
    let events: Vec<Value> = records.iter().map(|(_, _, record)| event(record)).collect();
    for ((what, expected, _), opinion) in records.iter().zip(ask_about(&events, &ours())) {
        assert_eq!(alert(&opinion), Some(*expected), "{what}: {:?}", opinion.fires);
    }
}
