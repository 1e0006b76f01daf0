//! What a policy says to one recorded operation.
//!
//! A record is all there is: no file is read, no process looked at. So every process is taken for what it seems to be,
//! which a running guard does not do (`pthguard explain`), and what a file says is known only where the record tells its
//! class.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use super::event::{Event, Operation};
use crate::config::Config;
use crate::model::{
    Access, ArrivalAction, Failure, FailureAction, Reason, Recorded, Request, Site, StartupNames, Subject, Verdict,
};
use crate::policy::{NoRule, PathGlob, is_interpreter};
use crate::resolve::{recorded, site_prefix};

/// The uid that is supposed where a record does not tell one: that of an ordinary user, whom fewer rules let in.
const NOBODY: u32 = 65_534;

/// What the policy says to an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Judged<'a> {
    pub(super) verdict: Answer,
    pub(super) rule: Option<Arc<str>>,
    pub(super) reason: Why,
    /// The site directory that the policy was asked about; `None` if it was not asked.
    pub(super) site: Option<&'a str>,
}

/// What would have come of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Answer {
    Allow,
    /// Written, and readable for nobody until somebody approves it.
    Held,
    Deny,
}

impl Answer {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Answer::Allow => "allow",
            Answer::Held => "held",
            Answer::Deny => "deny",
        }
    }
}

/// Why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Why {
    /// As a running guard decides.
    Decided(Reason),
    /// No guarded directory, or no startup file.
    NotGuarded,
    /// Deleting is recorded only, reading goes by the bytes.
    NotAsked,
}

impl Why {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Why::Decided(reason) => reason.as_str(),
            Why::NotGuarded => "not-guarded",
            Why::NotAsked => "not-asked",
        }
    }
}

/// A policy that is asked about records.
pub(super) struct Judge {
    config: Config,
    sites: Vec<PathGlob>,
    startup: StartupNames,
}

impl Judge {
    pub(super) fn new(config: Config) -> Self {
        let sites = config.protect.sites.iter().filter_map(|glob| PathGlob::new(glob).ok()).collect();
        let startup = config.protect.startup_names();
        Judge { config, sites, startup }
    }

    pub(super) fn judge<'a>(&self, event: &'a Event<'_>) -> Judged<'a> {
        let answered = |verdict, reason| Judged { verdict, rule: None, reason, site: None };
        let (access, creates) = match event.operation {
            Operation::Create => (Access::Write, true),
            Operation::Modify => (Access::Write, false),
            Operation::Rename => (Access::Rename, false),
            Operation::Link => (Access::Link, false),
            Operation::Symlink => (Access::Symlink, false),
            Operation::Special => (Access::Special, false),
            Operation::Delete | Operation::Read => return answered(Answer::Allow, Why::NotAsked),
        };
        let (directory, name) = split(&event.path);
        // A policy that only reports speaks about whatever its rules name.
        let site = match self.guarded(directory, name) {
            Some(site) => site,
            None if self.config.policy.no_rule() == NoRule::Allow => directory,
            None => return answered(Answer::Allow, Why::NotGuarded),
        };
        let (verdict, rule, reason) = self.asked(event, site, name, access, creates);
        Judged { verdict, rule, reason: Why::Decided(reason), site: Some(site) }
    }

    fn asked(
        &self,
        event: &Event<'_>,
        site: &str,
        name: &str,
        access: Access,
        creates: bool,
    ) -> (Answer, Option<Arc<str>>, Reason) {
        let subject = subject(event);
        let site = Path::new(site);
        let site = Site { prefix: site_prefix(site), path: site.to_owned(), owner: subject.uids.effective };
        let recorded = Recorded {
            os: event.os,
            path: event.path.clone().into_owned(),
            extension: event.extension.clone().map(Cow::into_owned),
        };
        let request = Request::new(&subject, &site, name.as_ref(), access).creating(creates);
        let decision = self.config.policy.decide(&Request { recorded: Some(&recorded), ..request });
        if event.exe.is_none() && decision.reason == Reason::NoRule && decision.verdict == Verdict::Deny {
            return self.unresolved(access);
        }
        let is_beyond =
            |rule: &str| event.content.is_some_and(|class| !self.config.policy.content_of(rule).contains(class));
        match (decision.verdict, &decision.rule) {
            (Verdict::Allow, Some(rule)) if is_beyond(rule) => (Answer::Held, decision.rule, Reason::Held),
            (Verdict::Allow, _) => (Answer::Allow, decision.rule, decision.reason),
            (Verdict::Deny, _) => (Answer::Deny, decision.rule, decision.reason),
        }
    }

    /// The record does not tell who it was.
    fn unresolved(&self, access: Access) -> (Answer, Option<Arc<str>>, Reason) {
        let failure = &self.config.failure;
        let (failure, is_allowed) = match access {
            Access::Rename | Access::Link | Access::Symlink => {
                (Failure::UnresolvedArrival, failure.unresolved_arrival == ArrivalAction::Allow)
            }
            Access::Read | Access::Write | Access::Special | Access::Delete | Access::List => {
                (Failure::Unresolved, failure.unresolved == FailureAction::Allow)
            }
        };
        let verdict = if is_allowed { Answer::Allow } else { Answer::Deny };
        (verdict, None, Reason::Failure(failure))
    }

    /// The site directory because of which the guard would be asked: that of the file, or for code of a startup package
    /// and what Python has compiled the one in which they lie.
    fn guarded<'a>(&self, directory: &'a str, name: &str) -> Option<&'a str> {
        if self.startup.matches(name.as_bytes()) && self.is_site(directory) {
            return Some(directory);
        }
        let (above, last) = split(directory);
        let has = |names: Option<StartupNames>| names.is_some_and(|names| names.matches(name.as_bytes()));
        if has(self.startup.inside(last.as_bytes())) && self.is_site(above) {
            return Some(above);
        }
        let (site, package) = split(above);
        let inside = self.startup.inside(package.as_bytes());
        (has(inside.and_then(|inside| inside.inside(last.as_bytes()))) && self.is_site(site)).then_some(site)
    }

    fn is_site(&self, directory: &str) -> bool {
        let is_called_so = || matches!(split(directory).1, "site-packages" | "dist-packages");
        self.sites.iter().any(|glob| glob.matches(directory))
            || (self.config.protect.discover && directory.starts_with('/') && is_called_so())
    }
}

/// Directory and name, as the system that the path is of separates them.
fn split(path: &str) -> (&str, &str) {
    let at = if path.starts_with('/') { path.rfind('/') } else { path.rfind(['/', '\\']) };
    match at {
        Some(0) => ("/", &path[1..]),
        Some(at) => (&path[..at], &path[at + 1..]),
        None => ("", path),
    }
}

pub(super) fn subject(event: &Event<'_>) -> Subject {
    let args: Vec<&str> = event.args.iter().map(AsRef::as_ref).collect();
    let exe = event.exe.as_deref().unwrap_or_default();
    let parent = event.parent_exe.as_deref().map(|parent| Box::new(recorded(parent, &[], None, NOBODY)));
    let mut subject = recorded(exe, &args, event.script.as_deref(), event.uid.unwrap_or(NOBODY));
    if event.container.is_some() {
        // Its paths are those of its container.
        subject.exe.seen_as = Some(subject.exe.path.clone());
        subject.exe.at_path = false;
    }
    Subject { parent, ..subject }
}

/// What the program of an operation is called in reports: the executable and what it runs.
pub(super) fn program_of(event: &Event<'_>) -> (String, Option<String>) {
    let exe = event.exe.as_deref().unwrap_or("not recorded").to_owned();
    let script = subject(event).script.display();
    (exe, script.map(|script| script.to_string_lossy().into_owned()))
}

/// Whether an interpreter ran something that the record does not tell.
pub(super) fn is_silent(event: &Event<'_>) -> bool {
    event.args.is_empty() && event.script.is_none() && event.exe.as_deref().is_some_and(is_interpreter)
}

/// A glob that matches this path alone. Braces are refused in globs, where they do not stand in a class.
pub(super) fn glob_of(path: &str) -> String {
    glob::Pattern::escape(path).replace('{', "[{]")
}
