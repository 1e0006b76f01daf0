//! The status as a person reads it.

use std::fmt::{self, Write};

use super::{Latency, Outcomes, Status, Threads};
use crate::audit::escape;

/// Where the values stand.
const COLUMN: usize = 14;

/// Writes the status. What has never happened is left out of the lists.
///
/// # Errors
/// What `out` says.
pub fn write_text(status: &Status, out: &mut impl Write) -> fmt::Result {
    let mut page = Page { out };
    let until = status.mode_until.as_ref().map_or(String::new(), |until| format!(", until {}", shown(until)));
    page.fact("mode", &format!("{}{until}", status.mode.as_str()))?;
    let version = shown(&status.program_version);
    page.fact("guard", &format!("pthguard {version}, process {}, since {}", status.pid, shown(&status.since)))?;
    let sources: Vec<String> = status.policy_sources.iter().map(|source| shown(source)).collect();
    page.fact("policy", &format!("{} ({})", shown(&status.policy_generation), sources.join(", ")))?;
    if let Some(reload) = &status.last_reload {
        let outcome = match &reload.error {
            _ if reload.ok => "in force".to_owned(),
            error => format!("NOT in force: {}", shown(error.as_deref().unwrap_or("it is not valid"))),
        };
        page.fact("reload", &format!("{}, {outcome}", shown(&reload.time)))?;
    }
    if let Some(groups) = status.groups_taken_over {
        page.fact("taken over", &format!("{groups} groups of the guard before"))?;
    }
    page.fact("threads", &threads(&status.threads))?;
    page.fact("discovery", status.discovery.as_str())?;
    page.fact("rename gate", status.rename_gate.as_str())?;
    page.blank()?;
    files(status, &mut page)?;
    page.blank()?;
    latency("latency", &status.latency, &mut page)?;
    latency("last minute", &status.latency_last_minute, &mut page)?;
    page.fact("queued", &format!("{} requests, {} records", status.queued, status.records.queued))?;
    page.blank()?;
    decisions(status, &mut page)?;
    trouble(status, &mut page)?;
    page.blank()?;
    kernel(status, &mut page)
}

fn files(status: &Status, page: &mut Page<'_, impl Write>) -> fmt::Result {
    let directories = &status.directories;
    page.fact(
        "directories",
        &format!(
            "{}: {} of the system, {} of users, {} on overlayfs",
            directories.all(),
            directories.system,
            directories.users,
            directories.layered
        ),
    )?;
    let (sites, inside, targets) = (directories.sites, directories.inside, directories.targets);
    page.fact("", &format!("{sites} site directories, {inside} inside of them, {targets} where path lines lead"))?;
    page.fact("files", &format!("{} tracked, {} approvals", status.tracked_files, status.approvals))?;
    let hint = if status.held > 0 { "; `pthguard approvals --held` lists them" } else { "" };
    page.fact("held", &format!("{}{hint}", status.held))?;
    let quarantine = &status.quarantine;
    let count = quarantine.files.map_or("not counted".to_owned(), |files| files.to_string());
    page.fact("quarantine", &format!("{count}, {} KiB of {}", quarantine.bytes / 1024, quarantine.capacity / 1024))
}

fn threads(threads: &Threads) -> String {
    if threads.well {
        return "well".to_owned();
    }
    format!(
        "NOT WELL: one that answers stands still for {} ms, one that judges newcomers for {} ms (looked {} ms ago)",
        threads.vital_standing_ms, threads.others_standing_ms, threads.looked_ms
    )
}

fn latency(name: &str, latency: &Latency, page: &mut Page<'_, impl Write>) -> fmt::Result {
    if latency.count == 0 {
        return page.fact(name, "nobody was answered");
    }
    let [p50, p90, p99, max] = [latency.p50_ns, latency.p90_ns, latency.p99_ns, latency.max_ns].map(time);
    page.fact(name, &format!("p50 {p50}, p90 {p90}, p99 {p99}, max {max}, of {} answers", latency.count))
}

/// A time with a unit in which it is a number that can be read.
fn time(nanoseconds: u64) -> String {
    match nanoseconds {
        ..1_000_000 => format!("{} µs", nanoseconds / 1_000),
        1_000_000..1_000_000_000 => format!("{:.1} ms", nanoseconds as f64 / 1e6),
        _ => format!("{:.2} s", nanoseconds as f64 / 1e9),
    }
}

fn decisions(status: &Status, page: &mut Page<'_, impl Write>) -> fmt::Result {
    let verdicts = status.verdicts.iter().map(|row| (row.access.as_str().to_owned(), &row.counts));
    page.table("ACCESS", verdicts)?;
    let name = |rule: Option<&str>| rule.map_or("(rules that have gone)".to_owned(), shown);
    page.table("RULE", status.rules.iter().map(|row| (name(row.rule.as_deref()), &row.counts)))?;
    page.table("REASON", status.reasons.iter().map(|row| (shown(&row.reason), &row.counts)))
}

fn trouble(status: &Status, page: &mut Page<'_, impl Write>) -> fmt::Result {
    let failures: Vec<_> = status.failures.iter().filter(|failed| failed.count > 0).collect();
    if failures.is_empty() {
        page.fact("failures", "none")?;
    }
    for (position, failed) in failures.into_iter().enumerate() {
        let name = if position == 0 { "failures" } else { "" };
        page.fact(name, &format!("{} {} ({})", shown(&failed.failure), failed.count, shown(&failed.action)))?;
    }
    if status.killed > 0 {
        page.fact("killed", &format!("{} processes", status.killed))?;
    }
    if status.textfile_errors > 0 {
        page.fact("textfile", &format!("{} times it could not be written", status.textfile_errors))?;
    }
    let records = &status.records;
    let lost: Vec<String> = records
        .sinks
        .iter()
        .filter(|sink| sink.lost > 0)
        .map(|sink| format!("{} not taken by {}", sink.lost, shown(&sink.sink)))
        .collect();
    let lost = if lost.is_empty() { String::new() } else { format!(", {}", lost.join(", ")) };
    page.fact("records", &format!("{} dropped{lost}", records.dropped))
}

fn kernel(status: &Status, page: &mut Page<'_, impl Write>) -> fmt::Result {
    page.fact("kernel", &shown(&status.kernel.release))?;
    for feature in &status.kernel.features {
        let state = match feature.in_use {
            Some(true) => "in use",
            Some(false) => "done without",
            None => "not needed yet",
        };
        page.fact("", &format!("{:<24} {state}", shown(&feature.feature)))?;
    }
    for limit in &status.kernel.limits {
        page.fact("", &format!("{:<24} {}", format!("fs.fanotify.{}", shown(&limit.limit)), limit.value))?;
    }
    Ok(())
}

fn shown(text: &str) -> String {
    escape(text.as_bytes()).into_owned()
}

struct Page<'a, W> {
    out: &'a mut W,
}

impl<W: Write> Page<'_, W> {
    fn fact(&mut self, name: &str, text: &str) -> fmt::Result {
        writeln!(self.out, "{name:<COLUMN$}{text}")
    }

    fn blank(&mut self) -> fmt::Result {
        writeln!(self.out)
    }

    /// Rows of counts, those that are not all nought.
    fn table<'r>(&mut self, title: &str, rows: impl Iterator<Item = (String, &'r Outcomes)>) -> fmt::Result {
        let rows: Vec<_> = rows.filter(|(_, counts)| !counts.is_never()).collect();
        if rows.is_empty() {
            return Ok(());
        }
        let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0).max(title.len());
        writeln!(self.out, "{title:<width$}  {:>10}  {:>10}  {:>10}", "ALLOW", "DENY", "WOULD-DENY")?;
        for (name, Outcomes { allow, deny, would_deny }) in rows {
            writeln!(self.out, "{name:<width$}  {allow:>10}  {deny:>10}  {would_deny:>10}")?;
        }
        self.blank()
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::status;
    use super::super::{Reload, Switch};
    use super::*;

    fn text(status: &Status) -> String {
        let mut text = String::new();
        write_text(status, &mut text).unwrap();
        text
    }

    #[test]
    fn it_says_what_matters_first_and_leaves_out_what_never_happened() {
        let text = text(&status());
        assert!(text.starts_with("mode          enforce\n"), "{text}");
        for line in [
            "policy        0123456789ab (built-in, /etc/pthguard/pthguard.toml)",
            "directories   13: 10 of the system, 3 of users, 0 on overlayfs",
            "latency       p50 40 µs, p90 90 µs, p99 1.2 ms, max 48.1 ms, of 900 answers",
            "last minute   nobody was answered",
            "failures      timeout 1 (deny)",
            "records       0 dropped, 7 not taken by json log /var/log/pthguard/events.ndjson",
            "rename gate   off",
            "threads       well",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line}\n{text}");
        }
        assert!(
            text.contains("read           812           4           0") || text.contains("read           812"),
            "{text}"
        );
        assert!(!text.contains("link ") && !text.contains("mark"), "{text}");
    }

    #[test]
    fn trouble_is_told_and_names_cannot_forge_lines() {
        let mut status = status();
        status.rename_gate = Switch::On;
        status.threads = Threads { well: false, vital_standing_ms: 4500, others_standing_ms: 0, looked_ms: 400 };
        status.mode_until = Some("2026-11-27T10:00:00Z".to_owned());
        let error = Some("bad\nmode          enforce\x1b[2J".to_owned());
        status.last_reload = Some(Reload { time: "2026-11-27T09:00:00Z".to_owned(), ok: false, error });
        let text = text(&status);
        assert!(text.starts_with("mode          enforce, until 2026-11-27T10:00:00Z\n"), "{text}");
        assert!(text.contains(r"NOT in force: bad\x0amode          enforce\x1b[2J"), "{text}");
        assert!(text.contains("NOT WELL: one that answers stands still for 4500 ms"), "{text}");
    }

    #[test]
    fn it_comes_back_from_json_as_it_was() {
        let status = status();
        let json = serde_json::to_string(&status).unwrap();
        assert!(json.starts_with(r#"{"version":1,"#), "{json}");
        assert!(json.contains(r#"{"access":"read","allow":812,"deny":4,"would-deny":0}"#), "{json}");
        assert_eq!(serde_json::from_str::<Status>(&json).unwrap(), status);
    }
}
