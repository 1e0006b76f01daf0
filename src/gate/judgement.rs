//! What a startup file can do, beyond what its bytes say: where its path lines lead, whose it is, what it switches off.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::fcntl::OFlag;

use super::Guard;
use super::containers::holds_in;
use crate::content::{KnownFiles, KnownOwner, classify, overlaid};
use crate::fanotify::FileId;
use crate::model::{ContentClass, Object, Package, Sha256, switched_off_by};
use crate::provenance::{
    Ownership, Packaged, Target, TargetKind, distribution_owner, examine, extension_of_namespace, foreign_modules,
    recorded_owner,
};
use crate::resolve::open_path;
use crate::watch::{Role, SiteDir};

/// The judgement of one file's content.
#[derive(Clone, Debug)]
pub(super) struct Judgement {
    /// What it can do.
    pub(super) class: ContentClass,
    /// What it may turn out to do when the installation that it belongs to is complete, at best.
    pub(super) at_best: ContentClass,
    /// And at worst.
    pub(super) at_worst: ContentClass,
    /// The line that makes it so, shortened and escaped.
    pub(super) line: Option<String>,
    /// The package that says that it is its own.
    pub(super) package: Option<Package>,
    /// What a person should know beyond these.
    pub(super) remark: Option<String>,
    /// The path lines.
    pub(super) paths: Vec<Vec<u8>>,
    /// The namespaces that its lines prepare.
    pub(super) namespaces: Vec<String>,
}

impl Judgement {
    /// The judgement, for a record about the file.
    pub(super) fn describe(&self, object: Object) -> Object {
        Object { content: Some(self.class), line: self.line.clone(), package: self.package.clone(), ..object }
    }

    fn raise(&mut self, class: ContentClass, remark: String) {
        self.class = self.class.max(class);
        self.remark.get_or_insert(remark);
    }
}

impl Guard {
    /// Judges what a file says in its place; `rule` is the one that admitted its writer, and `is_over` says that the
    /// writer's process has ended: what an installation still brings is not known before. Reads the directory and what
    /// packages say of themselves: nobody must wait for it who is not patient.
    pub(super) fn judge(
        &self,
        site: &SiteDir,
        name: &OsStr,
        bytes: &[u8],
        rule: Option<&str>,
        is_over: bool,
    ) -> Judgement {
        let findings = classify(name.as_bytes(), bytes);
        let mut judgement = Judgement {
            class: findings.class,
            at_best: findings.class,
            at_worst: findings.class,
            line: findings.line.map(|line| line.excerpt()),
            package: None,
            remark: None,
            paths: findings.paths,
            namespaces: findings.namespaces,
        };
        match findings.class {
            ContentClass::Empty => self.judge_switch(site, name, &mut judgement),
            ContentClass::Paths | ContentClass::Broken => {}
            ContentClass::Known => {
                judgement.package = owner(site, name, bytes);
                judge_namespaces(site, &mut judgement);
            }
            ContentClass::Imports | ContentClass::Code if self.is_overlay(bytes) => {
                judgement.class = ContentClass::Known;
                (judgement.at_best, judgement.at_worst) = (judgement.class, judgement.class);
            }
            ContentClass::Imports | ContentClass::Code => {
                judge_owner(&self.known, site, name, bytes, rule, is_over, &mut judgement)
            }
        }
        // Whatever else a file says: its path lines add directories, too.
        if judgement.class < ContentClass::Imports {
            judge_targets(site, self.mounts.container_of(&site.guarded.path).as_deref(), &mut judgement);
        }
        // A package's claim is believed when the installation is complete: until then another one's may still come.
        judgement.at_worst = if is_over { judgement.class } else { judgement.at_worst.max(judgement.class) };
        judgement
    }

    /// uv's environment on top of others has the startup files of those processed. They are judged there, if somebody
    /// guards them.
    fn is_overlay(&self, bytes: &[u8]) -> bool {
        let is_site = |directory: &[u8]| {
            let dir = open_path(Path::new(OsStr::from_bytes(directory))).and_then(FileId::of);
            let site = dir.ok().and_then(|dir| self.parts.watch.sites.by_file(&dir));
            site.is_some_and(|site| site.guarded.role == Role::Site)
        };
        overlaid(bytes).is_some_and(|directories| directories.iter().all(|directory| is_site(directory)))
    }

    /// An empty `.start` file runs nothing, and from Python 3.15 on switches off what the `.pth` file beside it runs.
    fn judge_switch(&self, site: &SiteDir, name: &OsStr, judgement: &mut Judgement) {
        let Some(other) = switched_off_by(name).filter(|other| site.open(other, OFlag::O_PATH).is_ok()) else { return };
        let approved = self.parts.approvals.get(site.approvals, &other).and_then(|approval| approval.class);
        if approved.is_none_or(ContentClass::executes) {
            let remark = format!("switches off the import lines of {} (Python 3.15)", other.to_string_lossy());
            judgement.raise(ContentClass::Imports, remark);
            judgement.at_best = judgement.class;
        }
    }
}

/// Directories that are only added to the search path run nothing as long as nobody can put a `sitecustomize` there.
fn judge_targets(site: &SiteDir, container: Option<&Path>, judgement: &mut Judgement) {
    let (path, owner) = (&site.guarded.path, site.guarded.facts.owner);
    let mut is_certain = false;
    for line in std::mem::take(&mut judgement.paths) {
        let target = examine(path, owner, &line);
        if !holds_in(container, &target) {
            let wrong = "a path line that leads elsewhere in the container than on the host".to_owned();
            judgement.line.get_or_insert_with(|| wrong.clone());
            judgement.raise(ContentClass::Imports, wrong);
            is_certain = true;
        } else if !target.harmless || is_vital(&target.path) {
            is_certain |= target.kind != TargetKind::Missing;
            let wrong = what_is_wrong(&target);
            judgement.line.get_or_insert_with(|| wrong.clone());
            judgement.raise(ContentClass::Imports, wrong);
        }
        judgement.paths.push(line);
    }
    if is_certain {
        judgement.at_best = judgement.class;
    }
}

fn what_is_wrong(target: &Target) -> String {
    let findings: Vec<String> = target.findings.iter().map(ToString::to_string).collect();
    format!("path line {}: {}", crate::audit::escape_path(&target.path), findings.join(", "))
}

/// A directory of whose direct children every process opens some all the time. Guarding it would slow down the host, so
/// nothing that leads there counts as harmless.
pub(super) fn is_vital(path: &Path) -> bool {
    ["sh", "libc.so.6", "ld.so.cache", "passwd", "null", "self"].iter().any(|name| path.join(name).exists())
}

/// setuptools' namespace lines run no Python code, and load an extension module that has the namespace's name. It may
/// come later in the same installation; one that comes after that is looked for when the file is read.
fn judge_namespaces(site: &SiteDir, judgement: &mut Judgement) {
    if !judgement.namespaces.is_empty() {
        judgement.at_worst = ContentClass::Imports;
    }
    if let Some(namespace) = judgement.namespaces.iter().find(|namespace| is_extension(site, namespace)) {
        let remark = format!("loads an extension module called {namespace}");
        judgement.raise(ContentClass::Imports, remark);
        judgement.at_best = judgement.class;
    }
}

/// Whether an extension module has the name of a namespace, as far as that can be told.
pub(super) fn is_extension(site: &SiteDir, namespace: &str) -> bool {
    extension_of_namespace(&site.dir, namespace).map_or(true, |found| found.is_some())
}

fn owner(site: &SiteDir, name: &OsStr, bytes: &[u8]) -> Option<Package> {
    recorded_owner(&site.dir, name, Sha256::of(bytes)).package().cloned()
}

/// What the lines run that is not their package's own, or not as it came with it.
fn foreign_module(site: &SiteDir, package: &Package, bytes: &[u8]) -> Option<String> {
    match foreign_modules(&site.dir, package, bytes) {
        Ok(modules) => modules.first().map(|module| format!("{} is not as {package} lists it", module.path.display())),
        Err(error) => Some(format!("what it runs cannot be read: {error}")),
    }
}

/// A listed file is known if the package that the list names owns it. RECORD comes last in an installation.
fn judge_owner(
    known: &KnownFiles,
    site: &SiteDir,
    name: &OsStr,
    bytes: &[u8],
    rule: Option<&str>,
    is_over: bool,
    judgement: &mut Judgement,
) {
    let sha256 = Sha256::of(bytes);
    let ownership = recorded_owner(&site.dir, name, sha256);
    judgement.package = ownership.package().cloned();
    let Some(listed) = known.look_up(name, sha256) else { return };
    judgement.at_best = ContentClass::Known;
    let is_known = match (&listed.owner, &ownership) {
        // What an installer makes itself no package lists. As long as one may still say so, it is not certain.
        (KnownOwner::Writers(_), Ownership::Nobody) => {
            is_over && rule.is_some_and(|rule| listed.is_written_under(rule))
        }
        (KnownOwner::Package { .. }, Ownership::Owned(package)) if listed.is_owned_by(package) => {
            let foreign = foreign_module(site, package, bytes);
            judgement.remark = foreign.clone();
            foreign.is_none()
        }
        // Nobody waits for what was found where nobody had watched.
        (KnownOwner::Package { .. }, Ownership::Nobody) if rule.is_none() => {
            let owner = distribution_owner(Packaged { path: &site.path_of(name), bytes });
            judgement.package = owner.map(|owner| owner.package);
            judgement.package.as_ref().is_some_and(|package| listed.is_owned_by(package))
        }
        (_, other) => {
            if let Some(doubt) = other.doubt() {
                judgement.remark = Some(doubt);
            }
            false
        }
    };
    if is_known {
        judgement.class = ContentClass::Known;
    }
}
