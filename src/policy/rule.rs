//! One rule: who, where and what it speaks about.

#![forbid(unsafe_code)]

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::PathGlob;
use crate::model::{Access, Request, Script, Site, Subject, Verdict};

/// The prefixes whose interpreters and site directories form one environment: Debian's pip of `/usr/bin` installs
/// into `/usr/local/lib`.
const SYSTEM_PREFIXES: [&str; 2] = ["/usr", "/usr/local"];

/// A rule, compiled. All conditions must hold; within a list one entry is enough.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What records call it.
    pub name: Arc<str>,
    /// What it answers.
    pub verdict: Verdict,
    /// Programs; empty is any. Where the path of the executable proves nothing, a rule that names one never matches.
    pub exe: Vec<PathGlob>,
    /// Scripts that an interpreter runs. With `module` empty too: no condition.
    pub script: Vec<PathGlob>,
    /// Modules that an interpreter runs with `-m`.
    pub module: Vec<String>,
    /// Effective user ids.
    pub uid: UidSet,
    /// Which environments' site directories.
    pub scope: Scope,
    /// Site directories; empty is any.
    pub sites: Vec<PathGlob>,
    /// What is asked for.
    pub access: AccessSet,
    /// Where the rule is written.
    pub place: Place,
}

/// A file and a line in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file, or `built-in`.
    pub file: Arc<str>,
    /// Line, from 1.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// Which users a rule speaks about. The effective id is compared: it is what the kernel's own checks went by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UidSet {
    /// Everybody.
    Any,
    /// These.
    Only(Vec<u32>),
}

impl UidSet {
    fn contains(&self, uid: u32) -> bool {
        match self {
            UidSet::Any => true,
            UidSet::Only(list) => list.contains(&uid),
        }
    }

    pub(super) fn covers(&self, other: &UidSet) -> bool {
        match (self, other) {
            (UidSet::Any, _) => true,
            (UidSet::Only(_), UidSet::Any) => false,
            (UidSet::Only(_), UidSet::Only(list)) => list.iter().all(|uid| self.contains(*uid)),
        }
    }
}

/// Which site directories a rule speaks about, seen from the subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Those of the environment that the program belongs to, and the user's own for a program of the system.
    SameEnvironment,
    /// All.
    Any,
}

impl Scope {
    /// The word used in policy files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Scope::SameEnvironment => "same-environment",
            Scope::Any => "any",
        }
    }

    fn holds(self, subject: &Subject, site: &Site) -> bool {
        match self {
            Scope::Any => true,
            Scope::SameEnvironment => {
                subject.environment.as_deref().is_some_and(|environment| same_environment(environment, subject, site))
            }
        }
    }
}

fn same_environment(environment: &Path, subject: &Subject, site: &Site) -> bool {
    if environment == site.prefix {
        return true;
    }
    if !is_system(environment) {
        return false;
    }
    let per_user = site.prefix.file_name().is_some_and(|name| name == ".local");
    is_system(&site.prefix) || (per_user && site.owner == subject.uids.effective)
}

fn is_system(prefix: &Path) -> bool {
    SYSTEM_PREFIXES.iter().any(|system| prefix == Path::new(system))
}

/// A set of accesses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessSet(u8);

impl AccessSet {
    /// The accesses that a rule can speak about, in the order in which they are shown. `special` is always denied,
    /// `delete` is only recorded, `list` is never a question of who.
    pub const RULED: [Access; 5] = [Access::Read, Access::Write, Access::Rename, Access::Link, Access::Symlink];

    /// No access.
    pub const EMPTY: AccessSet = AccessSet(0);

    /// The set with `access` added.
    #[must_use]
    pub fn with(self, access: Access) -> Self {
        AccessSet(self.0 | AccessSet::bit(access))
    }

    /// Whether `access` is in the set.
    #[must_use]
    pub fn contains(self, access: Access) -> bool {
        self.0 & AccessSet::bit(access) != 0
    }

    /// Whether the set has one of the accesses that bring content under a startup name.
    #[must_use]
    pub fn brings_content(self) -> bool {
        [Access::Write, Access::Rename, Access::Link, Access::Symlink].into_iter().any(|access| self.contains(access))
    }

    /// The accesses in the set that a rule can speak about.
    pub fn iter(self) -> impl Iterator<Item = Access> {
        AccessSet::RULED.into_iter().filter(move |access| self.contains(*access))
    }

    pub(super) fn covers(self, other: AccessSet) -> bool {
        other.0 & !self.0 == 0
    }

    fn bit(access: Access) -> u8 {
        match access {
            Access::Read => 1,
            Access::Write => 1 << 1,
            Access::Rename => 1 << 2,
            Access::Link => 1 << 3,
            Access::Symlink => 1 << 4,
            Access::Special => 1 << 5,
            Access::Delete => 1 << 6,
            Access::List => 1 << 7,
        }
    }
}

/// How a condition on a path turned out.
enum Fit {
    Yes,
    No,
    /// The path is not UTF-8, no glob can be held against it.
    Unknown,
}

/// The paths of a request as text, looked at once for all rules.
pub(super) struct Paths<'a> {
    exe: Option<&'a str>,
    script: Option<&'a str>,
    site: Option<&'a str>,
}

impl<'a> Paths<'a> {
    pub(super) fn of(request: &Request<'a>) -> Self {
        Paths {
            exe: request.subject.exe.path.to_str(),
            script: match &request.subject.script {
                Script::File(path) => path.to_str(),
                Script::None | Script::Module(_) | Script::Command | Script::Stdin => None,
            },
            site: request.site.path.to_str(),
        }
    }
}

impl Rule {
    /// Whether the rule speaks about the request.
    pub(super) fn matches(&self, request: &Request<'_>, paths: &Paths<'_>) -> bool {
        let subject = request.subject;
        self.access.contains(request.access)
            && self.uid.contains(subject.uids.effective)
            && (self.exe.is_empty() || subject.exe.at_path)
            && self.holds(fit(&self.exe, paths.exe))
            && self.holds(self.fit_program(&subject.script, paths.script))
            && self.holds(fit(&self.sites, paths.site))
            && self.scope.holds(subject, request.site)
    }

    /// What cannot be compared must not open a door: it never satisfies an allow rule and always a deny rule.
    fn holds(&self, fit: Fit) -> bool {
        match fit {
            Fit::Yes => true,
            Fit::No => false,
            Fit::Unknown => self.verdict == Verdict::Deny,
        }
    }

    fn fit_program(&self, script: &Script, path: Option<&str>) -> Fit {
        if self.script.is_empty() && self.module.is_empty() {
            return Fit::Yes;
        }
        match script {
            Script::File(_) if !self.script.is_empty() => fit(&self.script, path),
            Script::Module(name) if self.module.contains(name) => Fit::Yes,
            Script::File(_) | Script::Module(_) | Script::None | Script::Command | Script::Stdin => Fit::No,
        }
    }
}

fn fit(globs: &[PathGlob], path: Option<&str>) -> Fit {
    match path {
        _ if globs.is_empty() => Fit::Yes,
        None => Fit::Unknown,
        Some(path) if globs.iter().any(|glob| glob.matches(path)) => Fit::Yes,
        Some(_) => Fit::No,
    }
}
