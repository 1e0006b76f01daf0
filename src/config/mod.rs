//! The policy files: found, opened with care, parsed, validated, merged into one [`Config`].
//!
//! * Owns: the file format, what is a sensible rule, the order of files.
//! * Must not: decide a request (`policy` does), accept a key that has no effect, half-apply a file.
//! * Hands to: the daemon and `pthguard check`, which are told the same.
//!
//! Read in this order, what is read later wins:
//!
//! 1. the built-in default, `policy/default.toml`;
//! 2. `/etc/pthguard/pthguard.toml`;
//! 3. `/etc/pthguard/pthguard.d/*.toml` by name.
//!
//! `--config FILE` stands in for 2 and 3. A scalar or list of a later file replaces the earlier one, `extra_sites`
//! adds. The rules of a later file are asked first. `include_default = false` leaves the built-in rules and site
//! directories out, with the discovery of others; a setting that no file makes keeps its built-in value, so that a file
//! written for this version loads with the next one, which has more settings.

#![forbid(unsafe_code)]

mod error;
mod layer;
mod open;
mod programs;
mod raw;
mod render;
mod rules;
#[cfg(test)]
mod tests;

pub use self::error::{Error, Errors};

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use self::layer::{Layer, Parsed};
use self::programs::Programs;
use crate::model::{ArrivalAction, FailureAction, JsonFormat, Mode, StartupNames, Verdict, ViolationAction};
use crate::policy::{NoRule, Policy, Rule, shadows};

/// What errors and records call the default policy.
pub const BUILT_IN: &str = "built-in";

/// The default policy, as it is shipped.
const DEFAULT: &str = include_str!("../../policy/default.toml");

/// Most rules that a policy may have: they are asked one after the other while a process waits.
const MAX_RULES: usize = 1000;

/// Everything that the policy files say, validated.
#[derive(Clone, Debug)]
pub struct Config {
    /// Enforce or audit.
    pub mode: Mode,
    /// What is guarded.
    pub protect: Protect,
    /// What is done when no decision can be made.
    pub failure: FailureTable,
    /// What is done with a process that does what no rule lets it do.
    pub on_violation: ViolationAction,
    /// Where records go.
    pub log: Log,
    /// Where numbers for monitoring go.
    pub metrics: Metrics,
    /// Where approvals and the quarantine are kept.
    pub state_dir: PathBuf,
    /// Who may do what.
    pub policy: Arc<Policy>,
    /// Built-in rules that the administrator's rules replace.
    pub overridden: Vec<Overridden>,
    /// The files that were read, in order; [`BUILT_IN`] is the first.
    pub sources: Vec<String>,
    /// Twelve hexadecimal digits that change with the text of any source: records tell by it which policy decided.
    pub generation: String,
}

/// What is guarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protect {
    /// Globs of site directories.
    pub sites: Vec<String>,
    /// Which names make a startup file.
    pub startup: StartupNames,
    /// Whether `sitecustomize` and `usercustomize` are startup files, too.
    pub customize: bool,
    /// Whether the same directories are guarded in running containers.
    pub containers: bool,
    /// Larger files are never read to their end, and never approved.
    pub max_size: u64,
    /// Whether every directory called site-packages or dist-packages is guarded, too.
    pub discover: bool,
    /// Only those below one of these directories; file systems that hold none of them are not watched.
    pub discover_below: Vec<PathBuf>,
    /// But not those below what these globs match.
    pub discover_except: Vec<String>,
}

impl Protect {
    /// All names that make a startup file, `sitecustomize` and `usercustomize` among them if they are to be guarded.
    #[must_use]
    pub fn startup_names(&self) -> StartupNames {
        let names = self.startup.clone();
        if self.customize { names.and_customize() } else { names }
    }
}

/// What is done when no decision can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailureTable {
    /// A verdict is due by then.
    pub budget: Duration,
    /// The budget is used up.
    pub timeout: FailureAction,
    /// Too many requests wait.
    pub queue_full: FailureAction,
    /// The asking process cannot be identified.
    pub unresolved: FailureAction,
    /// Who brought a file by rename, link or symlink cannot be identified.
    pub unresolved_arrival: ArrivalAction,
}

/// Where records go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// To the system log.
    pub syslog: bool,
    /// As JSON lines.
    pub json: JsonTarget,
    /// How large a file of them may become; none: as large as it likes.
    pub json_max_size: Option<u64>,
    /// In which schema.
    pub format: JsonFormat,
    /// Whether the kernel's audit records have the denials, too.
    pub kernel_audit: bool,
}

/// Where numbers for monitoring go, beside whoever asks for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// A file that is replaced again and again, by its absolute path; none if there is to be none.
    pub textfile: Option<PathBuf>,
    /// How often.
    pub interval: Duration,
}

/// Where JSON lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JsonTarget {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
    /// A file, by its absolute path.
    File(PathBuf),
}

/// A built-in rule that never decides, because a rule of the administrator covers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overridden {
    /// The built-in rule.
    pub rule: Rule,
    /// The name of the rule that is asked first.
    pub by: Arc<str>,
}

/// The text of a policy file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// What errors call it.
    pub name: String,
    /// TOML.
    pub text: String,
}

/// Loads the policy: `config` alone, or what lies under /etc, on top of the built-in default.
///
/// # Errors
/// A file that cannot be read or that others could have written, and everything that is wrong with what it says.
pub fn load(config: Option<&Path>) -> Result<Config, Errors> {
    Config::from_sources(&open::sources(config)?)
}

/// Why `pthguard check` failed.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The policy is not valid; one line for each fault.
    #[error(transparent)]
    Invalid(#[from] Errors),
    /// The effective policy could not be written.
    #[error("cannot write the effective policy: {0}")]
    Output(#[from] io::Error),
}

/// Loads the policy as the daemon does and prints the effective one.
///
/// # Errors
/// What [`load`] finds, or that `out` cannot be written.
pub fn check(config: Option<&Path>, out: &mut impl Write) -> Result<(), CheckError> {
    let config = load(config)?;
    out.write_all(config.render().as_bytes())?;
    Ok(out.flush()?)
}

impl Config {
    /// Merges the administrator's files, in the order in which they are read, with the built-in default. Pure: no
    /// file is touched.
    ///
    /// # Errors
    /// All faults of all files; those that concern several files only once each file is valid.
    pub fn from_sources(sources: &[Source]) -> Result<Config, Errors> {
        let built_in = Source { name: BUILT_IN.to_owned(), text: DEFAULT.to_owned() };
        let sources: Vec<&Source> = std::iter::once(&built_in).chain(sources).collect();
        let mut errors = Vec::new();
        let mut keep = |outcome: Result<_, Vec<Error>>| outcome.map_err(|found| errors.extend(found)).ok();
        // A list of programs that a later file replaces holds for the rules of the earlier ones, too.
        let mut programs = Programs::default();
        let parsed: Vec<Parsed> =
            sources.iter().filter_map(|source| keep(Parsed::parse(source, &mut programs))).collect();
        let mut layers = Vec::new();
        for parsed in parsed {
            match parsed.validate(&programs) {
                Ok(layer) => layers.push(layer),
                Err(found) => errors.extend(found),
            }
        }
        if !errors.is_empty() {
            return Err(Errors(errors));
        }
        merge(layers, &sources)
    }
}

fn merge(mut layers: Vec<Layer>, sources: &[&Source]) -> Result<Config, Errors> {
    let include_default = latest(&layers, |layer| layer.include_default).unwrap_or(true);
    if let Some(built_in) = layers.first_mut().filter(|_| !include_default) {
        built_in.sites = None;
        built_in.extra_sites.clear();
        // Whoever names all of his directories means these.
        built_in.discover = Some(false);
        built_in.rules.clear();
    }
    let last = sources.last().map_or(BUILT_IN, |source| &source.name);
    let whole = |message: String| Errors(vec![Error { file: last.into(), line: None, message }]);

    let mut sites = latest(&layers, |layer| layer.sites.clone()).unwrap_or_default();
    for extra in layers.iter().flat_map(|layer| &layer.extra_sites) {
        if !sites.contains(extra) {
            sites.push(extra.clone());
        }
    }
    if sites.is_empty() {
        return Err(whole("protect.sites is empty, nothing would be guarded: name site directories".to_owned()));
    }
    let (policy, overridden) = merge_rules(&mut layers, &whole)?;
    let unset = |key: &str| whole(format!("{key} is not set: set it"));
    let mode = latest(&layers, |layer| layer.mode).ok_or_else(|| unset("mode"))?;
    let no_rule = latest(&layers, |layer| layer.no_rule).ok_or_else(|| unset("no_rule"))?;
    let policy = policy.otherwise(no_rule);
    if let Some(fault) = cannot_enforce(mode, &policy) {
        return Err(whole(fault.to_owned()));
    }
    Ok(Config {
        mode,
        protect: Protect {
            sites,
            startup: latest(&layers, |layer| layer.startup.clone()).ok_or_else(|| unset("protect.startup"))?,
            customize: latest(&layers, |layer| layer.customize).ok_or_else(|| unset("protect.customize"))?,
            containers: latest(&layers, |layer| layer.containers).ok_or_else(|| unset("protect.containers"))?,
            max_size: latest(&layers, |layer| layer.max_size).ok_or_else(|| unset("protect.max_size"))?,
            discover: latest(&layers, |layer| layer.discover).ok_or_else(|| unset("protect.discover"))?,
            discover_below: latest(&layers, |layer| layer.discover_below.clone())
                .ok_or_else(|| unset("protect.discover_below"))?,
            discover_except: latest(&layers, |layer| layer.discover_except.clone())
                .ok_or_else(|| unset("protect.discover_except"))?,
        },
        failure: FailureTable {
            budget: latest(&layers, |layer| layer.budget).ok_or_else(|| unset("failure.budget_ms"))?,
            timeout: latest(&layers, |layer| layer.timeout).ok_or_else(|| unset("failure.timeout"))?,
            queue_full: latest(&layers, |layer| layer.queue_full).ok_or_else(|| unset("failure.queue_full"))?,
            unresolved: latest(&layers, |layer| layer.unresolved).ok_or_else(|| unset("failure.unresolved"))?,
            unresolved_arrival: latest(&layers, |layer| layer.unresolved_arrival)
                .ok_or_else(|| unset("failure.unresolved_arrival"))?,
        },
        on_violation: latest(&layers, |layer| layer.on_violation).ok_or_else(|| unset("response.on_violation"))?,
        log: Log {
            syslog: latest(&layers, |layer| layer.syslog).ok_or_else(|| unset("log.syslog"))?,
            json: latest(&layers, |layer| layer.json.clone()).ok_or_else(|| unset("log.json"))?,
            json_max_size: latest(&layers, |layer| layer.json_max_size).ok_or_else(|| unset("log.json_max_size"))?,
            format: latest(&layers, |layer| layer.format).ok_or_else(|| unset("log.format"))?,
            kernel_audit: latest(&layers, |layer| layer.kernel_audit).ok_or_else(|| unset("log.kernel_audit"))?,
        },
        metrics: Metrics {
            textfile: latest(&layers, |layer| layer.textfile.clone()).ok_or_else(|| unset("metrics.textfile"))?,
            interval: latest(&layers, |layer| layer.interval).ok_or_else(|| unset("metrics.interval"))?,
        },
        state_dir: latest(&layers, |layer| layer.state_dir.clone()).ok_or_else(|| unset("state.dir"))?,
        policy: Arc::new(policy),
        overridden,
        sources: sources.iter().map(|source| source.name.clone()).collect(),
        generation: generation(sources),
    })
}

/// Why a policy cannot be used in a mode, if it cannot.
#[must_use]
pub fn cannot_enforce(mode: Mode, policy: &Policy) -> Option<&'static str> {
    (mode == Mode::Enforce && policy.no_rule() == NoRule::Allow).then_some(
        "with no_rule = \"allow\" whoever no rule names may write: such a policy only reports; set mode = \"audit\", or \
         no_rule = \"deny\" and rules that allow",
    )
}

/// What the last file that speaks about it says.
fn latest<T>(layers: &[Layer], setting: impl Fn(&Layer) -> Option<T>) -> Option<T> {
    layers.iter().rev().find_map(setting)
}

fn merge_rules(layers: &mut [Layer], whole: &impl Fn(String) -> Errors) -> Result<(Policy, Vec<Overridden>), Errors> {
    let built_in = layers.first().map_or(0, |layer| layer.rules.len());
    let rules: Vec<Rule> = layers.iter_mut().rev().flat_map(|layer| std::mem::take(&mut layer.rules)).collect();
    if rules.len() > MAX_RULES {
        return Err(whole(format!("the policy has {} rules, at most {MAX_RULES} are asked: merge some", rules.len())));
    }
    let mut errors = duplicates(&rules);
    errors.extend(unknown_parents(&rules));
    let administrators = rules.len() - built_in;
    let mut overridden = HashMap::new();
    for shadow in shadows(&rules) {
        let (Some(rule), Some(by)) = (rules.get(shadow.rule), rules.get(shadow.by)) else {
            continue;
        };
        if shadow.rule < administrators {
            errors.push(at(
                rule,
                format!(
                    "rule {:?} can never match: rule {:?} ({}) is asked first and covers it; narrow that one or remove \
                     this one",
                    rule.name, by.name, by.place
                ),
            ));
        } else {
            // Replacing a built-in rule is what the administrator's rules come first for.
            overridden.insert(shadow.rule, Arc::clone(&by.name));
        }
    }
    if !errors.is_empty() {
        return Err(Errors(errors));
    }
    let mut asked = Vec::new();
    let mut replaced = Vec::new();
    let heirs: HashMap<Arc<str>, Arc<str>> = overridden
        .iter()
        .filter_map(|(position, by)| Some((Arc::clone(&rules.get(*position)?.name), Arc::clone(by))))
        .collect();
    for (position, mut rule) in rules.into_iter().enumerate() {
        // A child of what a replaced rule let in is a child of what the new one lets in.
        for parent in &mut rule.parent {
            if let Some(heir) = heirs.get(parent) {
                *parent = Arc::clone(heir);
            }
        }
        match overridden.remove(&position) {
            Some(by) => replaced.push(Overridden { rule, by }),
            None => asked.push(rule),
        }
    }
    Ok((Policy::new(asked), replaced))
}

/// Records name the rule: two of one name could not be told apart.
fn duplicates(rules: &[Rule]) -> Vec<Error> {
    let mut seen: HashMap<&str, &Rule> = HashMap::new();
    let mut errors = Vec::new();
    // From the last that is asked: the built-in rule keeps its name, the later file hears of it.
    for rule in rules.iter().rev() {
        match seen.get(&*rule.name) {
            Some(other) => errors.push(at(
                rule,
                format!("there is another rule {:?} ({}): choose another name", rule.name, other.place),
            )),
            None => {
                seen.insert(&rule.name, rule);
            }
        }
    }
    errors.reverse();
    errors
}

/// A parent that no rule is called after, or one that asks for a parent itself: only one generation is looked at.
fn unknown_parents(rules: &[Rule]) -> Vec<Error> {
    let mut errors = Vec::new();
    for rule in rules {
        for parent in &rule.parent {
            let fault = match rules.iter().find(|other| other.name == *parent) {
                None => "there is no such rule: name one",
                Some(other) if other.verdict == Verdict::Deny => "that rule denies: name one that allows",
                Some(other) if !other.parent.is_empty() => "that rule has a parent itself: name one without",
                Some(_) => continue,
            };
            errors.push(at(rule, format!("rule {:?}: parent {parent:?}: {fault}", rule.name)));
        }
    }
    errors
}

fn at(rule: &Rule, message: String) -> Error {
    Error { file: Arc::clone(&rule.place.file), line: Some(rule.place.line), message }
}

fn generation(sources: &[&Source]) -> String {
    let mut hash = Sha256::new();
    for source in sources {
        // With the length before it, moving a line from one file to the next is a change.
        hash.update((source.text.len() as u64).to_be_bytes());
        hash.update(source.text.as_bytes());
    }
    hash.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}
