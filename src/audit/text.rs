//! A record as one line for people: `deny write /path/x.pth pid=1 uid=0 exe=/usr/bin/dash reason=no-rule …`.
//!
//! Values are escaped, and in quotes where a blank in them could pass for the line's own: a file called
//! `x uid=0 exe=apt.pth` cannot forge a field.

use std::ffi::OsStr;
use std::fmt::Display;
use std::os::unix::ffi::OsStrExt;

use super::ecs::{latency_us, timestamp};
use super::escape::{escape_briefly, quote};
use super::record::{Action, Outcome, Record};
use crate::model::{Access, Mode, Reason};

/// The record as one line of text, without line feed.
#[must_use]
pub fn text_line(record: &Record) -> String {
    let mut line = Line(String::with_capacity(256));
    let access = record.access.map(Access::as_str);
    match (record.action, record.outcome) {
        (Action::Suppressed | Action::Repeated | Action::Held, _) | (_, None) => {
            line.word(record.action.as_str());
            line.words(record.outcome.map(Outcome::as_str));
            line.words(access);
        }
        (action, Some(outcome)) => {
            line.word(outcome.as_str());
            line.word(access.unwrap_or(action.as_str()));
        }
    }
    // What a reader needs most comes first and no value is long: syslog daemons cut messages at 8 KiB, and a long path
    // must not push out who used it.
    let object = record.object.as_ref();
    line.words(object.map(|object| quote(escape_briefly(object.path.as_os_str().as_bytes()))));
    if record.outcome.is_some() && record.action == Action::Creation {
        line.pair("action", record.action.as_str());
    }
    line.pairs("pid", record.pid());
    line.pairs("uid", record.uid());
    line.pairs("login_uid", record.login_uid);
    let subject = record.subject.as_deref();
    line.text("exe", subject.map(|subject| subject.exe.path.as_os_str()));
    line.pairs("reason", record.reason.map(Reason::as_str));
    line.pairs("mode", record.mode.map(Mode::as_str));
    line.pairs("count", record.count);
    line.pairs("sha256", object.and_then(|object| object.sha256));
    line.pairs("content", object.and_then(|object| object.content));
    line.text("line", object.and_then(|object| object.line.as_deref()));
    line.text("package", object.and_then(|object| object.package.as_ref()).map(ToString::to_string).as_deref());
    line.pairs("latency_us", record.latency.map(latency_us));
    line.text("rule", record.rule.as_deref());
    line.text("script", subject.and_then(|subject| subject.script.display()).as_deref());
    let container = subject.and_then(|subject| subject.container.as_ref());
    line.text("container", container.map(|container| brief_id(&container.id)));
    line.text("image", record.image.as_deref().map(|image| &image.name));
    line.text("unit", subject.and_then(|subject| subject.unit.as_deref()));
    let parent = subject.and_then(|subject| subject.parents.first());
    line.text("parent", parent.and_then(|parent| parent.exe.as_deref()));
    line.text("from", record.old_path.as_deref());
    line.pairs("before", record.old_sha256);
    line.text("policy", record.policy_generation.as_deref());
    line.text("message", record.message.as_deref());
    line.0
}

/// The first digits of an id, which is how engines show it and how many they need to find it; a name is kept whole.
fn brief_id(id: &str) -> &str {
    if id.len() == 64 { id.get(..12).unwrap_or(id) } else { id }
}

/// The line for standard error, which has nobody else to say where it comes from.
pub(super) fn push_stderr_line(record: &Record, out: &mut Vec<u8>) {
    out.extend_from_slice(b"pthguard: ");
    out.extend_from_slice(text_line(record).as_bytes());
    out.push(b'\n');
}

/// The line for somebody who follows: nobody else tells him when it was.
pub(super) fn push_timed_line(record: &Record, out: &mut Vec<u8>) {
    out.extend_from_slice(timestamp(record.time).as_bytes());
    out.push(b' ');
    out.extend_from_slice(text_line(record).as_bytes());
    out.push(b'\n');
}

struct Line(String);

impl Line {
    fn word(&mut self, word: &str) {
        if !self.0.is_empty() {
            self.0.push(' ');
        }
        self.0.push_str(word);
    }

    fn words(&mut self, word: Option<impl AsRef<str>>) {
        if let Some(word) = word {
            self.word(word.as_ref());
        }
    }

    fn pair(&mut self, key: &str, value: impl Display) {
        self.word(&format!("{key}={value}"));
    }

    fn pairs(&mut self, key: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.pair(key, value);
        }
    }

    fn text(&mut self, key: &str, raw: Option<impl AsRef<OsStr>>) {
        if let Some(raw) = raw {
            self.pair(key, quote(escape_briefly(raw.as_ref().as_bytes())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn a_denial_reads_from_left_to_right() {
        assert_eq!(
            text_line(&sample::denied_write(0, 1)),
            "deny write /usr/lib/python3/dist-packages/x.pth pid=4242 uid=0 exe=/usr/bin/python3.12 \
             reason=no-rule mode=enforce script=\"-m pip\" parent=/usr/bin/dash"
        );
        assert!(
            text_line(&sample::full()).contains(" container=4d4d4d4d4d4d image=debian:12 unit=docker.service parent=")
        );
        assert!(text_line(&sample::full()).ends_with("policy=g7-1f2e3d message=\"moved to quarantine\""));
    }

    #[test]
    fn records_without_outcome_begin_with_their_action() {
        assert_eq!(text_line(&Record::new(Action::SiteLost).saying("gone")), "site-lost message=gone");
        let suppressed = sample::denied_write(0, 1).as_action(Action::Suppressed).counting(9);
        assert!(text_line(&suppressed).starts_with("suppressed deny write /usr"));
    }

    #[test]
    fn a_name_cannot_forge_a_field_or_a_line() {
        let line = text_line(&sample::hostile(b"x.pth uid=0 \"exe=/usr/bin/apt\"\n\x1b[2J\xff.pth"));
        assert!(line.contains(
            r#"deny write "/site-packages/x.pth uid=0 \"exe=/usr/bin/apt\"\x0a\x1b[2J\xff.pth" pid=4242 uid=0 exe="x.pth uid"#
        ));
        assert!(!line.chars().any(char::is_control));
    }

    #[test]
    fn long_names_do_not_push_out_who_and_why() {
        let line = text_line(&sample::hostile(&[0xff; 4096]));
        assert!(line.find("reason=no-rule").is_some_and(|at| at < 5000), "{line}");
        assert!(line.len() < 16 * 1024);
    }
}
