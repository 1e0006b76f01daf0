//! `pthguard explain`: what the policy says to a request, and why the rules before do not.
//!
//! *Owns* how a request is put together from what a person knows, and how the answer is shown. *Must not* decide:
//! [`crate::policy`] does, the way that it does for the gate.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::audit::escape;
use crate::config::{self, Config};
use crate::model::{Access, Decision, Reason, Request, Script, Site, Subject, Verdict};
use crate::policy::{Mismatch, PathGlob, Rule};
use crate::resolve::{Resolver, Unresolved, program_at, program_environment, site_prefix};

/// Whom to ask about.
#[derive(Clone, Debug)]
pub enum Who {
    /// A process that runs.
    Process(u32),
    /// A program that might.
    Program {
        /// The executable.
        exe: PathBuf,
        /// What it runs.
        runs: Runs,
        /// As whom.
        uid: u32,
    },
}

/// What an interpreter might run.
#[derive(Clone, Debug)]
pub enum Runs {
    /// Nothing: it is a program of its own.
    Nothing,
    /// A script.
    Script(PathBuf),
    /// `-m MODULE`
    Module(String),
    /// `-c COMMAND`
    Command,
}

/// A question.
#[derive(Clone, Debug)]
pub struct Question {
    /// Who would do it.
    pub who: Who,
    /// What.
    pub access: Access,
    /// To which startup file; it need not exist.
    pub path: PathBuf,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// The policy is not valid.
    #[error(transparent)]
    Policy(#[from] config::Errors),
    /// The path names no file in a directory.
    #[error("{}: give the path of a startup file, /usr/lib/python3/dist-packages/x.pth say", .0.display())]
    Path(PathBuf),
    /// The process cannot be looked at.
    #[error(transparent)]
    Process(#[from] Unresolved),
    /// The answer could not be written, or /proc not be read.
    #[error(transparent)]
    System(#[from] io::Error),
}

/// What the policy says.
#[derive(Debug, Serialize)]
struct Answer {
    version: u32,
    verdict: &'static str,
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    /// Whether the guard would be asked at all.
    guarded: bool,
    access: &'static str,
    path: String,
    facts: BTreeMap<&'static str, String>,
    /// The rules, in the order in which they are asked, up to the one that answers.
    items: Vec<Asked>,
}

/// A rule that was asked.
#[derive(Debug, Serialize)]
struct Asked {
    rule: String,
    place: String,
    matches: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    mismatch: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    because: Option<String>,
}

/// Answers a question under the policy that `config` names, as the daemon would load it.
///
/// # Errors
/// [`ExplainError`]
pub fn explain(
    config: Option<&Path>,
    question: &Question,
    json: bool,
    out: &mut impl Write,
) -> Result<Verdict, ExplainError> {
    let config = config::load(config)?;
    let (site, name) = site_of(&question.path)?;
    let subject = subject(&config, &question.who)?;
    let request = Request::new(&subject, &site, name.as_ref(), question.access);
    let is_guarded = is_guarded(&config, &site, &name);
    let decision = config.policy.decide(&request);
    let answer = Answer::of(&config, &request, &decision, is_guarded);
    if json {
        serde_json::to_writer_pretty(&mut *out, &answer).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        answer.write(out)?;
    }
    out.flush()?;
    Ok(if is_guarded { decision.verdict } else { Verdict::Allow })
}

/// The site directory that a path lies in, by the name that the daemon has for it.
fn site_of(path: &Path) -> Result<(Site, std::ffi::OsString), ExplainError> {
    let no_file = || ExplainError::Path(path.to_owned());
    let name = path.file_name().ok_or_else(no_file)?.to_owned();
    let given = std::path::absolute(path)?;
    let given = given.parent().ok_or_else(no_file)?;
    let directory = fs::canonicalize(given).unwrap_or_else(|_| given.to_owned());
    let owner = fs::metadata(&directory).map_or(0, |directory| directory.uid());
    Ok((Site { prefix: site_prefix(&directory), path: directory, owner }, name))
}

fn is_guarded(config: &Config, site: &Site, name: &std::ffi::OsStr) -> bool {
    let protect = &config.protect;
    let covers = |glob: &String| {
        let matches = |glob: PathGlob| site.path.to_str().is_some_and(|path| glob.matches(path));
        PathGlob::new(glob).is_ok_and(matches)
    };
    protect.startup.matches(name.as_encoded_bytes()) && protect.sites.iter().any(covers)
}

fn subject(config: &Config, who: &Who) -> Result<Subject, ExplainError> {
    match who {
        Who::Process(pid) => {
            let executables = config.policy.executables();
            Ok(Resolver::new(executables, Box::new(|_| true))?.subject_of_thread(*pid)?)
        }
        Who::Program { exe, runs, uid } => {
            let script = match runs {
                Runs::Nothing => Script::None,
                Runs::Script(path) => Script::File(program_at(path)),
                Runs::Module(name) => Script::Module(name.clone()),
                Runs::Command => Script::Command,
            };
            let environment = program_environment(exe, &script);
            Ok(Subject { environment, ..Subject::supposed(program_at(exe), script, *uid) })
        }
    }
}

impl Answer {
    fn of(config: &Config, request: &Request<'_>, decision: &Decision, guarded: bool) -> Self {
        let mut items = Vec::new();
        for (rule, mismatch) in config.policy.checked(request) {
            items.push(Asked::of(rule, mismatch, request));
            if mismatch.is_none() {
                break;
            }
        }
        Answer {
            version: 1,
            verdict: match decision.verdict {
                Verdict::Allow => "allow",
                Verdict::Deny => "deny",
            },
            reason: decision.reason.as_str(),
            rule: decision.rule.as_deref().filter(|_| decision.reason == Reason::Rule).map(text),
            guarded,
            access: request.access.as_str(),
            path: text(&request.site.path.join(request.name).to_string_lossy()),
            facts: facts(request),
            items,
        }
    }

    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        if !self.guarded {
            writeln!(out, "not guarded: the policy does not name this directory, or not this name; if it did:")?;
        }
        match &self.rule {
            Some(rule) => writeln!(out, "{}: rule {rule}", self.verdict)?,
            None => writeln!(out, "{}: {}", self.verdict, self.reason)?,
        }
        writeln!(out, "  {:<12} {} {}", "access", self.access, self.path)?;
        for (name, value) in &self.facts {
            writeln!(out, "  {name:<12} {value}")?;
        }
        writeln!(out, "rules, in the order in which they are asked:")?;
        for item in &self.items {
            let because = item.because.as_deref().unwrap_or("it matches");
            writeln!(out, "  {:<14} {because}  ({})", item.rule, item.place)?;
        }
        Ok(())
    }
}

impl Asked {
    fn of(rule: &Rule, mismatch: Option<Mismatch>, request: &Request<'_>) -> Self {
        Asked {
            rule: text(&rule.name),
            place: text(&rule.place.to_string()),
            matches: mismatch.is_none(),
            mismatch: mismatch.map(Mismatch::as_str),
            because: mismatch.map(|mismatch| text(&mismatch.explain(rule, request))),
        }
    }
}

/// What the decision was made from.
fn facts(request: &Request<'_>) -> BTreeMap<&'static str, String> {
    let Request { subject, site, .. } = request;
    let shown = |path: &Path| text(&path.to_string_lossy());
    let mut facts = BTreeMap::from([("exe", shown(&subject.exe.path))]);
    if let Some(script) = subject.script.display() {
        facts.insert("script", text(&script.to_string_lossy()));
    }
    facts.insert("uid", subject.uids.effective.to_string());
    if let Some(environment) = &subject.environment {
        facts.insert("environment", shown(environment));
    }
    if let Some(parent) = &subject.parent {
        facts.insert("parent", shown(&parent.exe.path));
    }
    facts.insert("directory", format!("{}, owner {}, of {}", shown(&site.path), site.owner, shown(&site.prefix)));
    facts
}

/// On one line, with nothing that a terminal obeys.
fn text(text: &str) -> String {
    escape(text.as_bytes()).into_owned()
}
