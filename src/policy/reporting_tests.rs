//! Rules that say what other tools' rules say, and policies that only report.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

use super::tests::{patterns, rule};
use super::*;
use crate::model::{Os, Program, Recorded, Script, Site, Subject};

fn deny() -> Rule {
    Rule { access: AccessSet::CREATE.with(Access::Rename), ..rule("reported", Verdict::Deny) }
}

/// A creation as it was recorded on some host.
struct Sample {
    subject: Subject,
    site: Site,
    name: &'static str,
    recorded: Recorded,
}

impl Sample {
    fn new(exe: &str, directory: &str, name: &'static str) -> Self {
        Sample {
            subject: Subject::supposed(Program::at(exe), Script::None, 0),
            site: Site { path: directory.into(), prefix: directory.into(), owner: 0 },
            name,
            recorded: Recorded {
                os: Some(Os::Linux),
                path: format!("{directory}/{name}"),
                extension: name.rsplit_once('.').map(|(_, extension)| extension.to_owned()),
            },
        }
    }

    fn request(&self) -> Request<'_> {
        let request = Request::new(&self.subject, &self.site, self.name.as_ref(), Access::Write).creating(true);
        Request { recorded: Some(&self.recorded), ..request }
    }

    fn is_reported(&self, rule: &Rule) -> bool {
        let decision = Policy::new(vec![rule.clone()]).otherwise(NoRule::Allow).decide(&self.request());
        decision.verdict == Verdict::Deny
    }
}

#[test]
fn a_policy_that_only_reports_allows_the_rest() {
    let sample = Sample::new("/usr/bin/x", "/usr/lib/python3/site-packages", "a.pth");
    let nothing = Policy::new(Vec::new()).otherwise(NoRule::Allow);
    for access in [Access::Write, Access::Rename, Access::Special] {
        let decision = nothing.decide(&Request { access, ..sample.request() });
        assert_eq!((decision.verdict, decision.reason), (Verdict::Allow, Reason::NoRule), "{access:?}");
    }
    assert_eq!(nothing.content_of(""), ContentSet::ANY);
    assert_eq!(Policy::new(Vec::new()).content_of(""), ContentSet::EMPTY);
    assert!(sample.is_reported(&deny()));
}

#[test]
fn a_creation_is_a_write_and_not_every_write_is_one() {
    let sample = Sample::new("/usr/bin/x", "/d", "a.pth");
    let verdict = |rule: Rule, creates| {
        Policy::new(vec![rule]).otherwise(NoRule::Allow).decide(&sample.request().creating(creates)).verdict
    };
    assert_eq!((verdict(deny(), true), verdict(deny(), false)), (Verdict::Deny, Verdict::Allow));
    let write = Rule { access: AccessSet::EMPTY.with(Access::Write), ..deny() };
    assert_eq!((verdict(write.clone(), true), verdict(write.clone(), false)), (Verdict::Deny, Verdict::Deny));
    let create = Rule { access: AccessSet::CREATE, ..deny() };
    assert_eq!(shadows(&[write.clone(), create.clone()]), [Shadow { rule: 1, by: 0 }]);
    assert_eq!(shadows(&[create, write]), []);
}

#[test]
fn the_whole_path_is_compared_as_its_host_writes_it() {
    let mut sample = Sample::new("C:\\a.exe", "C:\\Python\\Lib\\site-packages", "a.pth");
    sample.recorded.path = "C:\\Python\\Lib\\site-packages\\a.pth".to_owned();
    let rule = Rule { path: patterns(&[r"regex:(?i)\\lib\\site-packages\\[^\\]*\.pth$"]), ..deny() };
    assert!(sample.is_reported(&rule));
    // Of what is asked here the path is put together.
    let here = Sample::new("/usr/bin/x", "/usr/lib/python3/site-packages", "a.pth");
    let rule = Rule { path: patterns(&["like:/usr/*/SITE-PACKAGES/a.pth"]), ..deny() };
    let request = Request { recorded: None, ..here.request() };
    assert_eq!(Policy::new(vec![rule]).decide(&request).reason, Reason::Rule);
}

#[test]
fn an_extension_is_what_the_record_says() {
    let mut sample = Sample::new("/usr/bin/x", "/d", "a.PTH");
    let rule = Rule { extension: vec!["pth".to_owned()], ..deny() };
    assert!(sample.is_reported(&rule));
    sample.recorded.extension = None;
    assert!(!sample.is_reported(&rule));
    let here = Request { recorded: None, ..sample.request() };
    assert_eq!(Policy::new(vec![rule]).decide(&here).reason, Reason::Rule);
}

#[test]
fn the_operating_system_is_this_one_or_the_records() {
    let mut sample = Sample::new("/usr/bin/x", "/d", "a.pth");
    let rule = Rule { os: vec![Os::Windows], ..deny() };
    assert!(!sample.is_reported(&rule));
    sample.recorded.os = Some(Os::Windows);
    assert!(sample.is_reported(&rule));
    sample.recorded.os = None;
    assert!(!sample.is_reported(&rule) && sample.is_reported(&deny()));
}

#[test]
fn an_exception_holds_when_all_of_it_does() {
    let exe = patterns(&["like:*\\python.exe", "/usr/bin/python3"]);
    let rule = Rule { except: vec![Except { exe, file: vec!["a.pth".to_owned()], ..Except::default() }], ..deny() };
    assert!(!Sample::new("/usr/bin/python3", "/d", "a.pth").is_reported(&rule));
    assert!(!Sample::new("C:\\PYTHON.exe", "/d", "a.pth").is_reported(&rule));
    assert!(Sample::new("/usr/bin/python3", "/d", "b.pth").is_reported(&rule));
    assert!(Sample::new("/usr/bin/python4", "/d", "a.pth").is_reported(&rule));
}

/// A record need not say which program it was.
#[test]
fn a_program_that_is_not_known_is_none() {
    let sample = Sample::new("", "/d", "a.pth");
    assert!(sample.is_reported(&deny()), "a rule that asks for no program");
    assert!(!sample.is_reported(&Rule { exe: patterns(&["like:*"]), ..deny() }));
    let except = vec![Except { exe: patterns(&["like:*"]), ..Except::default() }];
    assert!(sample.is_reported(&Rule { except, ..deny() }), "nor is it an exception");
}

/// What cannot be compared opens no door here either.
#[test]
fn a_path_that_is_no_text_is_reported() {
    use std::os::unix::ffi::OsStrExt;
    let sample = Sample::new("/usr/bin/x", "/d", "a.pth");
    let name = std::ffi::OsStr::from_bytes(b"\xff.pth");
    let request = Request { recorded: None, name, ..sample.request() };
    let rule = Rule { path: patterns(&["/nowhere/*"]), ..deny() };
    assert_eq!(Policy::new(vec![rule.clone()]).decide(&request).reason, Reason::Rule);
    let except = vec![Except { path: patterns(&["regex:."]), ..Except::default() }];
    assert_eq!(Policy::new(vec![Rule { except, ..rule }]).decide(&request).reason, Reason::Rule);
}
