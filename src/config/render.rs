//! The effective policy as a policy file: what was merged from where, in the order in which it is asked.

#![forbid(unsafe_code)]

use std::fmt::{self, Write as _};

use super::{Config, JsonTarget};
use crate::model::{ContentSet, Verdict};
use crate::policy::{Pattern, Rule, UidSet};

impl Config {
    /// The effective policy, in TOML. It stands for itself: loaded alone, it gives the same policy again.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = self.write_toml(&mut text);
        text
    }

    fn write_toml(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "# The effective policy, generation {}, from:", self.generation)?;
        for source in &self.sources {
            writeln!(out, "#   {}", source.escape_debug())?;
        }
        writeln!(out, "include_default = false")?;
        writeln!(out, "mode = {}", quoted(self.mode.as_str()))?;
        writeln!(out, "no_rule = {}", quoted(self.policy.no_rule().as_str()))?;

        writeln!(out, "\n[protect]")?;
        list(out, "sites", self.protect.sites.iter().map(String::as_str))?;
        let startup: Vec<String> = self.protect.startup.patterns().collect();
        list(out, "startup", startup.iter().map(String::as_str))?;
        writeln!(out, "customize = {}", self.protect.customize)?;
        writeln!(out, "containers = {}", self.protect.containers)?;
        writeln!(out, "max_size = {}", size(self.protect.max_size))?;
        writeln!(out, "discover = {}", self.protect.discover)?;
        let below: Vec<_> = self.protect.discover_below.iter().map(|directory| directory.to_string_lossy()).collect();
        list(out, "discover_below", below.iter().map(AsRef::as_ref))?;
        // Left out, it would be the built-in one.
        if self.protect.discover_except.is_empty() {
            writeln!(out, "discover_except = []")?;
        }
        list(out, "discover_except", self.protect.discover_except.iter().map(String::as_str))?;

        let failure = &self.failure;
        writeln!(out, "\n[failure]")?;
        writeln!(out, "budget_ms = {}", failure.budget.as_millis())?;
        writeln!(out, "timeout = {}", quoted(failure.timeout.as_str()))?;
        writeln!(out, "queue_full = {}", quoted(failure.queue_full.as_str()))?;
        writeln!(out, "unresolved = {}", quoted(failure.unresolved.as_str()))?;
        writeln!(out, "unresolved_arrival = {}", quoted(failure.unresolved_arrival.as_str()))?;

        writeln!(out, "\n[response]\non_violation = {}", quoted(self.on_violation.as_str()))?;

        writeln!(out, "\n[log]\nsyslog = {}", self.log.syslog)?;
        let json = match &self.log.json {
            JsonTarget::Off => "".into(),
            JsonTarget::Stdout => "-".into(),
            JsonTarget::File(path) => path.to_string_lossy(),
        };
        writeln!(out, "json = {}", quoted(&json))?;
        let max_size = self.log.json_max_size.map_or_else(|| quoted("unlimited"), size);
        writeln!(out, "json_max_size = {max_size}")?;
        writeln!(out, "format = {}", quoted(self.log.format.as_str()))?;
        writeln!(out, "kernel_audit = {} # a reload refuses another one: stop and start", self.log.kernel_audit)?;

        let textfile = self.metrics.textfile.as_deref().map(|path| path.to_string_lossy()).unwrap_or_default();
        writeln!(out, "\n[metrics]\ntextfile = {}", quoted(&textfile))?;
        writeln!(out, "interval = \"{}s\"", self.metrics.interval.as_secs())?;

        writeln!(out, "\n[state]")?;
        let dir = quoted(&self.state_dir.to_string_lossy());
        writeln!(out, "dir = {dir} # a reload refuses another one: stop and start")?;

        writeln!(out, "\n# Rules, in the order in which they are asked; no_rule answers what none matches.")?;
        for (number, rule) in (1..).zip(self.policy.rules()) {
            write_rule(out, number, rule)?;
        }
        for replaced in &self.overridden {
            writeln!(
                out,
                "\n# {}: rule {:?} is replaced by rule {:?}",
                replaced.rule.place.to_string().escape_debug(),
                replaced.rule.name,
                replaced.by
            )?;
        }
        Ok(())
    }
}

fn write_rule(out: &mut String, number: u32, rule: &Rule) -> fmt::Result {
    let table = match rule.verdict {
        Verdict::Allow => "allow",
        Verdict::Deny => "deny",
    };
    writeln!(out, "\n# {number}: {}\n[[{table}]]", rule.place.to_string().escape_debug())?;
    writeln!(out, "name = {}", quoted(&rule.name))?;
    list(out, "exe", rule.exe.iter().map(Pattern::as_str))?;
    let command = rule.command.then_some("-c");
    list(out, "script", rule.script.iter().map(|glob| glob.as_str()).chain(command))?;
    list(out, "module", rule.module.iter().map(String::as_str))?;
    list(out, "parent", rule.parent.iter().map(|name| &**name))?;
    match &rule.uid {
        UidSet::Any => writeln!(out, "uid = \"any\"")?,
        UidSet::Only(uids) => writeln!(out, "uid = {uids:?}")?,
    }
    if rule.verdict == Verdict::Allow {
        writeln!(out, "owner = {}", quoted(rule.owner.as_str()))?;
        writeln!(out, "environment = {}", quoted(rule.environment.as_str()))?;
    }
    if rule.containers {
        writeln!(out, "containers = true")?;
    }
    writeln!(out, "scope = {}", quoted(rule.scope.as_str()))?;
    list(out, "sites", rule.sites.iter().map(|glob| glob.as_str()))?;
    list(out, "file", rule.file.iter().map(String::as_str))?;
    list(out, "path", rule.path.iter().map(Pattern::as_str))?;
    list(out, "extension", rule.extension.iter().map(String::as_str))?;
    list(out, "os", rule.os.iter().map(|os| os.as_str()))?;
    let access: Vec<String> = rule.access.words().map(quoted).collect();
    writeln!(out, "access = [{}]", access.join(", "))?;
    if rule.verdict == Verdict::Allow && rule.access.brings_content() {
        if rule.content == ContentSet::ANY {
            writeln!(out, "content = \"any\"")?;
        } else {
            let content: Vec<String> = rule.content.iter().map(|class| quoted(class.as_str())).collect();
            writeln!(out, "content = [{}]", content.join(", "))?;
        }
    }
    for except in &rule.except {
        writeln!(out, "[[{table}.except]]")?;
        list(out, "exe", except.exe.iter().map(Pattern::as_str))?;
        list(out, "path", except.path.iter().map(Pattern::as_str))?;
        list(out, "file", except.file.iter().map(String::as_str))?;
    }
    Ok(())
}

/// A list, one entry a line; nothing for an empty one, which a file may not hold.
fn list<'a>(out: &mut String, key: &str, items: impl Iterator<Item = &'a str>) -> fmt::Result {
    let mut items = items.peekable();
    if items.peek().is_none() {
        return Ok(());
    }
    writeln!(out, "{key} = [")?;
    for item in items {
        writeln!(out, "    {},", quoted(item))?;
    }
    writeln!(out, "]")
}

/// A TOML string, on one line.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if control.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(control));
            }
            plain => quoted.push(plain),
        }
    }
    quoted.push('"');
    quoted
}

fn size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match UNITS.iter().find(|(unit, _)| bytes.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("\"{}{name}\"", bytes / unit),
        None => bytes.to_string(),
    }
}
