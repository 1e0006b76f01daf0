//! One policy file, validated: what it sets, and its rules.
//!
//! All faults of a file are reported together; a value that is overridden later is checked all the same.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use toml::{Spanned, Value};

use super::error::{Error, Faults};
use super::programs::Programs;
use super::raw::{RawFailure, RawFile, RawLog, RawMetrics, RawProtect, Text, Texts};
use super::{JsonTarget, Source, rules};
use crate::model::{ArrivalAction, FailureAction, JsonFormat, Mode, StartupNames, ViolationAction};
use crate::policy::{NoRule, PathGlob, Pattern, Rule};

/// The longest that a process may be kept waiting for a verdict.
const MAX_BUDGET_MS: i64 = 10_000;

/// The largest size that `max_size` may name: the content of a startup file is held in memory.
const MAX_MAX_SIZE: u64 = 1 << 30;

/// The shortest and the longest time between two versions of the file for monitoring, in seconds.
const INTERVALS: std::ops::RangeInclusive<u64> = 1..=3600;
/// The smallest size that `log.json_max_size` may name: a smaller file would be rotated all the time.
const MIN_JSON_MAX_SIZE: u64 = 64 << 10;

const ACTIONS: [(&str, FailureAction); 2] = [("deny", FailureAction::Deny), ("allow", FailureAction::Allow)];

/// What one file says. `None` is what it leaves to the files before it.
#[derive(Default)]
pub(super) struct Layer {
    pub(super) include_default: Option<bool>,
    pub(super) mode: Option<Mode>,
    pub(super) no_rule: Option<NoRule>,
    pub(super) sites: Option<Vec<String>>,
    pub(super) extra_sites: Vec<String>,
    pub(super) startup: Option<StartupNames>,
    pub(super) customize: Option<bool>,
    pub(super) discover: Option<bool>,
    pub(super) discover_below: Option<Vec<PathBuf>>,
    pub(super) discover_except: Option<Vec<String>>,
    pub(super) containers: Option<bool>,
    pub(super) max_size: Option<u64>,
    pub(super) budget: Option<Duration>,
    pub(super) timeout: Option<FailureAction>,
    pub(super) queue_full: Option<FailureAction>,
    pub(super) unresolved: Option<FailureAction>,
    pub(super) unresolved_arrival: Option<ArrivalAction>,
    pub(super) on_violation: Option<ViolationAction>,
    pub(super) syslog: Option<bool>,
    pub(super) json: Option<JsonTarget>,
    pub(super) json_max_size: Option<Option<u64>>,
    pub(super) format: Option<JsonFormat>,
    pub(super) kernel_audit: Option<bool>,
    pub(super) textfile: Option<Option<PathBuf>>,
    pub(super) interval: Option<Duration>,
    pub(super) state_dir: Option<PathBuf>,
    pub(super) rules: Vec<Rule>,
}

/// One file, parsed; what it says is not looked at yet.
pub(super) struct Parsed {
    raw: RawFile,
    faults: Faults,
}

impl Parsed {
    /// Parses one file and takes its lists of programs over.
    pub(super) fn parse(source: &Source, programs: &mut Programs) -> Result<Self, Vec<Error>> {
        let mut faults = Faults::new(Arc::from(source.name.as_str()), &source.text);
        match toml::from_str::<RawFile>(&source.text) {
            Ok(mut raw) => {
                programs.define(&mut raw, &mut faults);
                Ok(Parsed { raw, faults })
            }
            Err(error) => {
                let message = error.message().lines().collect::<Vec<_>>().join(", ");
                faults.add(&error.span().unwrap_or_default(), message);
                Err(faults.into_found())
            }
        }
    }

    /// Validates it; `programs` is what all files define.
    pub(super) fn validate(self, programs: &Programs) -> Result<Layer, Vec<Error>> {
        let Parsed { raw, mut faults } = self;
        let mut layer = Layer::default();
        layer.read(raw, programs, &mut faults);
        let found = faults.into_found();
        if found.is_empty() { Ok(layer) } else { Err(found) }
    }
}

impl Layer {
    fn read(&mut self, raw: RawFile, programs: &Programs, faults: &mut Faults) {
        self.include_default = raw.include_default;
        self.mode = word(&raw.mode, "mode", &[("audit", Mode::Audit), ("enforce", Mode::Enforce)], faults);
        self.no_rule = word(&raw.no_rule, "no_rule", &[("deny", NoRule::Deny), ("allow", NoRule::Allow)], faults);
        self.read_protect(&raw.protect, faults);
        self.read_failure(&raw.failure, faults);
        let violations = [("deny", ViolationAction::Deny), ("kill", ViolationAction::Kill)];
        self.on_violation = word(&raw.response.on_violation, "response.on_violation", &violations, faults);
        self.read_log(&raw.log, faults);
        self.read_metrics(&raw.metrics, faults);
        self.state_dir = raw.state.dir.as_ref().and_then(|dir| absolute(dir, "state.dir", faults));

        // Two lists in TOML, one order in the file.
        let mut rules: Vec<_> = (raw.allow.into_iter().map(rules::Kind::Allow))
            .chain(raw.deny.into_iter().map(rules::Kind::Deny))
            .collect();
        rules.sort_by_key(rules::Kind::start);
        self.rules = rules.into_iter().filter_map(|rule| rules::compile(rule, programs, faults)).collect();
    }

    fn read_protect(&mut self, raw: &RawProtect, faults: &mut Faults) {
        self.sites = raw.sites.as_ref().map(|_| sites(&raw.sites, "protect.sites", faults));
        self.extra_sites = sites(&raw.extra_sites, "protect.extra_sites", faults);
        self.startup = raw.startup.as_ref().and_then(|list| {
            let names: Vec<&str> = list.get_ref().iter().map(|name| name.get_ref().as_str()).collect();
            match StartupNames::new(&names) {
                Ok(_) if names.is_empty() => {
                    faults.add(&list.span(), "protect.startup is empty: name what to guard, [\"*.pth\", \"*.start\"]");
                    None
                }
                Ok(startup) => Some(startup),
                Err(name) => {
                    let span =
                        list.get_ref().iter().find(|item| *item.get_ref() == name).map_or(list.span(), Spanned::span);
                    faults.add(
                        &span,
                        format!("protect.startup: {name:?} is not a star, a dot and a suffix: write it like \"*.pth\""),
                    );
                    None
                }
            }
        });
        self.customize = raw.customize;
        self.discover = raw.discover;
        self.discover_below = raw.discover_below.as_ref().map(|list| {
            if list.get_ref().is_empty() {
                faults.add(&list.span(), "protect.discover_below is empty: name directories, or set discover = false");
            }
            let key = "protect.discover_below";
            list.get_ref().iter().filter_map(|directory| absolute(directory, key, faults)).collect()
        });
        let except = &raw.discover_except;
        self.discover_except = except.as_ref().map(|_| sites(except, "protect.discover_except", faults));
        self.containers = raw.containers;
        self.max_size = raw.max_size.as_ref().and_then(|value| {
            let size = size(value.get_ref()).filter(|size| (1..=MAX_MAX_SIZE).contains(size));
            if size.is_none() {
                faults.add(
                    &value.span(),
                    "protect.max_size must be a size from 1 byte to 1GiB: write it like \"1MiB\", \"512KiB\" or 4096",
                );
            }
            size
        });
    }

    fn read_failure(&mut self, raw: &RawFailure, faults: &mut Faults) {
        self.budget = raw.budget_ms.as_ref().and_then(|budget| {
            let milliseconds = *budget.get_ref();
            if (1..=MAX_BUDGET_MS).contains(&milliseconds) {
                return Some(Duration::from_millis(milliseconds.unsigned_abs()));
            }
            faults.add(
                &budget.span(),
                format!("failure.budget_ms must be from 1 to {MAX_BUDGET_MS}, not {milliseconds}: the default is 50"),
            );
            None
        });
        self.timeout = word(&raw.timeout, "failure.timeout", &ACTIONS, faults);
        self.queue_full = word(&raw.queue_full, "failure.queue_full", &ACTIONS, faults);
        self.unresolved = word(&raw.unresolved, "failure.unresolved", &ACTIONS, faults);
        let arrivals =
            [("quarantine", ArrivalAction::Quarantine), ("hold", ArrivalAction::Hold), ("allow", ArrivalAction::Allow)];
        self.unresolved_arrival = word(&raw.unresolved_arrival, "failure.unresolved_arrival", &arrivals, faults);
    }

    fn read_log(&mut self, raw: &RawLog, faults: &mut Faults) {
        self.syslog = raw.syslog;
        self.kernel_audit = raw.kernel_audit;
        self.json = raw.json.as_ref().and_then(|target| match target.get_ref().as_str() {
            "" => Some(JsonTarget::Off),
            "-" => Some(JsonTarget::Stdout),
            path if is_path(path) => Some(JsonTarget::File(path.into())),
            other => {
                faults.add(
                    &target.span(),
                    format!(
                        "log.json must be an absolute path, \"-\" for standard output or \"\" for none, not {other:?}"
                    ),
                );
                None
            }
        });
        self.json_max_size = raw.json_max_size.as_ref().and_then(|value| {
            if value.get_ref().as_str() == Some("unlimited") {
                return Some(None);
            }
            let size = size(value.get_ref()).filter(|size| *size >= MIN_JSON_MAX_SIZE);
            if size.is_none() {
                faults.add(
                    &value.span(),
                    "log.json_max_size must be a size of 64KiB or more, or \"unlimited\": write it like \"256MiB\"",
                );
            }
            size.map(Some)
        });
        let formats = [JsonFormat::Ecs, JsonFormat::Ocsf].map(|format| (format.as_str(), format));
        self.format = word(&raw.format, "log.format", &formats, faults);
    }

    fn read_metrics(&mut self, raw: &RawMetrics, faults: &mut Faults) {
        self.textfile = raw.textfile.as_ref().and_then(|target| match target.get_ref().as_str() {
            "" => Some(None),
            // The collector reads no others, and no program that reads a directory of its own does.
            path if is_path(path) && Path::new(path).extension().is_some_and(|extension| extension == "prom") => {
                Some(Some(path.into()))
            }
            other => {
                faults.add(
                    &target.span(),
                    format!(
                        "metrics.textfile must be an absolute path that ends in .prom, or \"\" for none, not {other:?}"
                    ),
                );
                None
            }
        });
        self.interval = raw.interval.as_ref().and_then(|interval| {
            let seconds = seconds(interval.get_ref()).filter(|seconds| INTERVALS.contains(seconds));
            if seconds.is_none() {
                let message = "metrics.interval must be from \"1s\" to \"60m\": the default is \"15s\"";
                faults.add(&interval.span(), message);
            }
            seconds.map(Duration::from_secs)
        });
    }
}

/// One of a few words.
pub(super) fn word<T: Copy>(text: &Text, key: &str, words: &[(&str, T)], faults: &mut Faults) -> Option<T> {
    let text = text.as_ref()?;
    let found = words.iter().find(|(word, _)| word == text.get_ref());
    if found.is_none() {
        let choice: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
        faults.add(&text.span(), format!("{key} must be {}, not {:?}", choice.join(" or "), text.get_ref()));
    }
    found.map(|(_, value)| *value)
}

/// The globs of a list that are valid; the others are reported.
pub(super) fn globs(list: &Texts, key: &str, faults: &mut Faults) -> Vec<PathGlob> {
    compiled(list, key, faults, PathGlob::new)
}

/// The patterns of a list that are valid; the others are reported.
pub(super) fn patterns(list: &Texts, key: &str, faults: &mut Faults) -> Vec<Pattern> {
    compiled(list, key, faults, Pattern::new)
}

fn compiled<T, E: std::fmt::Display>(
    list: &Texts,
    key: &str,
    faults: &mut Faults,
    compile: impl Fn(&str) -> Result<T, E>,
) -> Vec<T> {
    let mut compiled = Vec::new();
    for text in list.iter().flat_map(Spanned::get_ref) {
        match compile(text.get_ref()) {
            Ok(one) => compiled.push(one),
            Err(error) => faults.add(&text.span(), format!("{key}: {:?} {error}", text.get_ref())),
        }
    }
    compiled.shrink_to_fit(); // kept as long as the policy
    compiled
}

fn sites(list: &Texts, key: &str, faults: &mut Faults) -> Vec<String> {
    globs(list, key, faults).iter().map(|glob| glob.as_str().to_owned()).collect()
}

fn absolute(text: &Spanned<String>, key: &str, faults: &mut Faults) -> Option<PathBuf> {
    if is_path(text.get_ref()) {
        return Some(text.get_ref().into());
    }
    faults.add(&text.span(), format!("{key} must be an absolute path, not {:?}", text.get_ref()));
    None
}

fn is_path(text: &str) -> bool {
    Path::new(text).is_absolute() && !text.contains('\0')
}

/// `15s`, `1m`.
fn seconds(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at(text.find(|character: char| !character.is_ascii_digit())?);
    let factor = match unit {
        "s" => 1,
        "m" => 60,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// `4096`, `"512KiB"`, `"1MiB"`, `"1GiB"`.
fn size(value: &Value) -> Option<u64> {
    if let Some(bytes) = value.as_integer() {
        return bytes.try_into().ok();
    }
    let text = value.as_str()?;
    let (number, unit) = text.split_at(text.find(|character: char| !character.is_ascii_digit())?);
    let factor = match unit.trim_start() {
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}
