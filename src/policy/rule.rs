//! One rule: who, where and what it speaks about.

#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::{AccessSet, Environment, Owner, PathGlob, Pattern};
use crate::model::{ContentSet, Distrust, Os, Program, Request, Script, Site, Subject, Verdict};

/// The prefixes whose interpreters and site directories form one environment: Debian's pip of `/usr/bin` installs
/// into `/usr/local/lib`. Without a merged /usr some of it lies directly below the root.
const SYSTEM_PREFIXES: [&str; 3] = ["/usr", "/usr/local", "/"];

/// A rule, compiled. All conditions must hold; within a list one entry is enough.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What records call it.
    pub name: Arc<str>,
    /// What it answers.
    pub verdict: Verdict,
    /// Programs; empty is any. What is not known is none.
    pub exe: Vec<Pattern>,
    /// Scripts that an interpreter runs. With `module` empty and `command` not set, too: no condition.
    pub script: Vec<PathGlob>,
    /// Modules that an interpreter runs with `-m`.
    pub module: Vec<String>,
    /// Whether a program given on the command line (`-c`) will do; only together with `parent`.
    pub command: bool,
    /// Rules of which one must hold for the parent process as well; empty is none.
    pub parent: Vec<Arc<str>>,
    /// Effective user ids.
    pub uid: UidSet,
    /// Which environments' site directories.
    pub scope: Scope,
    /// Site directories; empty is any.
    pub sites: Vec<PathGlob>,
    /// Names of startup files; empty is any.
    pub file: Vec<String>,
    /// Whole paths of startup files; empty is any.
    pub path: Vec<Pattern>,
    /// Extensions of startup files, whatever their case; empty is any.
    pub extension: Vec<String>,
    /// Operating systems, which matters for what was recorded elsewhere; empty is any.
    pub os: Vec<Os>,
    /// What a deny rule does not speak about.
    pub except: Vec<Except>,
    /// Whose the program must be.
    pub owner: Owner,
    /// Whether variables that bring other code into the program are looked for.
    pub environment: Environment,
    /// Whether it speaks about programs in other user namespaces, mount namespaces and root directories, too, under the
    /// paths that they have there.
    pub containers: bool,
    /// What is asked for.
    pub access: AccessSet,
    /// What its writers may bring, a limit that is asked after the rule has matched: what goes beyond it is held.
    pub content: ContentSet,
    /// Where the rule is written.
    pub place: Place,
}

/// What a deny rule does not speak about: all conditions must hold; within a list one entry is enough. What cannot be
/// compared is no exception.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Except {
    /// Programs; empty is any.
    pub exe: Vec<Pattern>,
    /// Whole paths; empty is any.
    pub path: Vec<Pattern>,
    /// Names; empty is any.
    pub file: Vec<String>,
}

impl Except {
    fn holds(&self, request: &Request<'_>, paths: &Paths<'_>) -> bool {
        let is_yes = |fit| matches!(fit, Fit::Yes);
        is_yes(paths.exe.fit(&self.exe, false))
            && is_yes(fit(&self.path, || full_path(request)))
            && (self.file.is_empty() || self.file.iter().any(|name| request.name == name.as_str()))
    }
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
    /// Those of the environment that the program belongs to; for a program of the system also the user's own, and those
    /// that belong to no environment.
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
    // What `pip install --target` fills is no environment.
    let is_none = site.prefix == site.path;
    is_system(&site.prefix) || is_none || (per_user && site.owner == subject.uids.effective)
}

fn is_system(prefix: &Path) -> bool {
    SYSTEM_PREFIXES.iter().any(|system| prefix == Path::new(system))
}

/// How a condition on a path turned out.
enum Fit {
    Yes,
    No,
    /// The path is not UTF-8, no glob can be held against it.
    Unknown,
}

/// The first condition of a rule that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// The access.
    Access,
    /// The startup file's name.
    File,
    /// The startup file's path.
    Path,
    /// The startup file's extension.
    Extension,
    /// The operating system.
    Os,
    /// An exception of the rule holds.
    Excepted,
    /// The effective user.
    Uid,
    /// The executable.
    Exe,
    /// The script or module.
    Script,
    /// The site directory.
    Sites,
    /// The site directory belongs to another environment.
    Scope,
    /// The parent process.
    Parent,
    /// All of these hold, for a process that may not be what it seems to be.
    Distrust(Distrust),
}

/// The paths of a program as text.
#[derive(Clone, Copy)]
struct Names<'a> {
    path: Option<&'a str>,
    seen_as: Option<&'a str>,
}

/// What a list of a policy holds a path against.
trait Matches {
    fn matches(&self, path: &str) -> bool;
}

impl Matches for PathGlob {
    fn matches(&self, path: &str) -> bool {
        PathGlob::matches(self, path)
    }
}

impl Matches for Pattern {
    fn matches(&self, path: &str) -> bool {
        Pattern::matches(self, path)
    }
}

impl<'a> Names<'a> {
    fn of(program: &'a Program) -> Self {
        Names { path: program.path.to_str(), seen_as: program.seen_as.as_deref().and_then(Path::to_str) }
    }

    fn fit(self, globs: &[impl Matches], containers: bool) -> Fit {
        // Only a record can be silent about the program.
        if self.path == Some("") {
            return if globs.is_empty() { Fit::Yes } else { Fit::No };
        }
        let outside = fit(globs, || self.path);
        if matches!(outside, Fit::No) && containers && self.seen_as.is_some() {
            return fit(globs, || self.seen_as);
        }
        outside
    }
}

/// The paths of a request as text, looked at once for all rules.
pub(super) struct Paths<'a> {
    exe: Names<'a>,
    script: Option<Names<'a>>,
    site: Option<&'a str>,
}

impl<'a> Paths<'a> {
    pub(super) fn of(request: &Request<'a>) -> Self {
        Paths {
            exe: Names::of(&request.subject.exe),
            script: match &request.subject.script {
                Script::File(file) => Some(Names::of(file)),
                Script::None | Script::Module(_) | Script::Command | Script::Stdin => None,
            },
            site: request.site.path.to_str(),
        }
    }
}

impl Rule {
    /// Whether the rule speaks about the request. `rules` are those that `parent` may name.
    ///
    /// A deny rule takes every process for what it seems to be, an allow rule only one that cannot be another.
    pub(super) fn check(&self, request: &Request<'_>, paths: &Paths<'_>, rules: &[Rule]) -> Result<(), Mismatch> {
        require(self.access.holds(request.access, request.creates), Mismatch::Access)?;
        let named = |name: &String| request.name == name.as_str();
        require(self.file.is_empty() || self.file.iter().any(named), Mismatch::File)?;
        self.speaks_about(request)?;
        self.names(request, paths)?;
        require(self.holds(fit(&self.sites, || paths.site)), Mismatch::Sites)?;
        require(self.scope.holds(request.subject, request.site), Mismatch::Scope)?;
        require(self.parent.is_empty() || self.has_parent(request, rules), Mismatch::Parent)?;
        require(!self.except.iter().any(|except| except.holds(request, paths)), Mismatch::Excepted)?;
        match self.verdict {
            Verdict::Allow => self.trusts(request),
            Verdict::Deny => Ok(()),
        }
    }

    /// Whether it speaks about such files.
    fn speaks_about(&self, request: &Request<'_>) -> Result<(), Mismatch> {
        let os = request.recorded.map_or(Some(Os::Linux), |recorded| recorded.os);
        require(self.os.is_empty() || os.is_some_and(|os| self.os.contains(&os)), Mismatch::Os)?;
        require(self.extension.is_empty() || self.has_extension(request), Mismatch::Extension)?;
        require(self.holds(fit(&self.path, || full_path(request))), Mismatch::Path)
    }

    fn has_extension(&self, request: &Request<'_>) -> bool {
        let is_it = |extension: &str| self.extension.iter().any(|known| known.eq_ignore_ascii_case(extension));
        match request.recorded {
            Some(recorded) => recorded.extension.as_deref().is_some_and(is_it),
            // As in records: `.pth` has one.
            None => request.name.to_string_lossy().rsplit_once('.').is_some_and(|(_, extension)| is_it(extension)),
        }
    }

    /// Whether it names the program.
    fn names(&self, request: &Request<'_>, paths: &Paths<'_>) -> Result<(), Mismatch> {
        let subject = request.subject;
        require(self.uid.contains(subject.uids.effective), Mismatch::Uid)?;
        require(self.holds(paths.exe.fit(&self.exe, self.containers)), Mismatch::Exe)?;
        require(self.holds(self.fit_program(&subject.script, paths.script)), Mismatch::Script)
    }

    /// Whether it may name a process that runs this.
    pub(super) fn may_name(&self, exe: &Program) -> bool {
        !matches!(Names::of(exe).fit(&self.exe, self.containers), Fit::No)
    }

    /// Whether the process that started this one is the program of one of the rules in `parent`. Only the next one
    /// counts: further up, whatever an installer runs (a package's own build script) would be let in.
    fn has_parent(&self, request: &Request<'_>, rules: &[Rule]) -> bool {
        let Some(parent) = request.subject.parent.as_deref() else { return false };
        let request = Request { subject: parent, ..*request };
        let paths = Paths::of(&request);
        rules
            .iter()
            .filter(|rule| self.parent.contains(&rule.name))
            .any(|rule| rule.names(&request, &paths).is_ok() && rule.trusts(&request).is_ok())
    }

    fn trusts(&self, request: &Request<'_>) -> Result<(), Mismatch> {
        let (subject, site) = (request.subject, request.site);
        let script = match &subject.script {
            Script::File(file) if !self.script.is_empty() => Some(file),
            Script::File(_) | Script::None | Script::Module(_) | Script::Command | Script::Stdin => None,
        };
        let is_there = |file: &Program| file.at_path || (self.containers && file.seen_as.is_some());
        let is_of_site = |file: &Program| {
            self.owner == Owner::User && !is_system(&site.prefix) && file.path.starts_with(&site.prefix)
        };
        let conditions = [
            (self.containers || subject.in_user_namespace, Distrust::UserNamespace),
            (is_there(&subject.exe) && script.is_none_or(is_there), Distrust::NotAtPath),
            (!subject.traced, Distrust::Traced),
            (
                self.owner.trusts(subject.exe.writers, site)
                    && script.is_none_or(|file| is_of_site(file) || self.owner.trusts(file.writers, site)),
                Distrust::ProgramWritable,
            ),
            (self.environment.trusts(subject), Distrust::LoaderEnvironment),
            (self.owner.trusts(subject.code, site), Distrust::ForeignCode),
        ];
        conditions.into_iter().try_for_each(|(holds, distrust)| require(holds, Mismatch::Distrust(distrust)))
    }

    /// What cannot be compared must not open a door: it never satisfies an allow rule and always a deny rule.
    fn holds(&self, fit: Fit) -> bool {
        match fit {
            Fit::Yes => true,
            Fit::No => false,
            Fit::Unknown => self.verdict == Verdict::Deny,
        }
    }

    fn fit_program(&self, script: &Script, names: Option<Names<'_>>) -> Fit {
        if self.script.is_empty() && self.module.is_empty() && !self.command {
            return Fit::Yes;
        }
        match (script, names) {
            (Script::File(_), Some(names)) if !self.script.is_empty() => names.fit(&self.script, self.containers),
            (Script::Module(name), _) if self.module.contains(name) => Fit::Yes,
            (Script::Command, _) if self.command => Fit::Yes,
            (Script::File(_) | Script::Module(_) | Script::None | Script::Command | Script::Stdin, _) => Fit::No,
        }
    }
}

fn require(holds: bool, otherwise: Mismatch) -> Result<(), Mismatch> {
    if holds { Ok(()) } else { Err(otherwise) }
}

/// The path is put together only where somebody asks for it.
fn fit<P: AsRef<str>>(globs: &[impl Matches], path: impl FnOnce() -> Option<P>) -> Fit {
    if globs.is_empty() {
        return Fit::Yes;
    }
    match path() {
        None => Fit::Unknown,
        Some(path) if globs.iter().any(|glob| glob.matches(path.as_ref())) => Fit::Yes,
        Some(_) => Fit::No,
    }
}

/// The startup file's path, as the host on which it lies writes it.
fn full_path<'a>(request: &Request<'a>) -> Option<Cow<'a, str>> {
    match request.recorded {
        Some(recorded) => Some(Cow::Borrowed(&recorded.path)),
        None => Some(Cow::Owned(request.site.path.join(request.name).to_str()?.to_owned())),
    }
}
