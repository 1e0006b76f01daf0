//! The lines of the Prometheus text format (version 0.0.4), names and units by Prometheus' conventions. Pure.

#[cfg(test)]
mod tests;

use std::fmt::{self, Write};

use super::{Discovery, LIMITS_US, Latency, Outcomes, Status, Switch};
use crate::model::Mode;

/// What a metric is.
#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// Writes all metrics of a status.
///
/// # Errors
/// What `out` says.
pub fn write_metrics(status: &Status, out: &mut impl Write) -> fmt::Result {
    let mut page = Page { out };
    about_the_guard(status, &mut page)?;
    about_files(status, &mut page)?;
    about_decisions(status, &mut page)?;
    about_trouble(status, &mut page)?;
    about_the_kernel(status, &mut page)
}

fn about_the_guard(status: &Status, page: &mut Page<'_, impl Write>) -> fmt::Result {
    page.family("pthguard_build_info", Kind::Gauge, "The version of the running guard; always 1.")?;
    page.sample("pthguard_build_info", &[("version", &status.program_version)], 1)?;
    page.gauge("pthguard_start_time_seconds", "When the guard started, in seconds since 1970.", status.since_unix)?;
    page.family("pthguard_mode", Kind::Gauge, "1 for the mode that is in force.")?;
    for mode in [Mode::Enforce, Mode::Audit] {
        page.sample("pthguard_mode", &[("mode", mode.as_str())], u64::from(mode == status.mode))?;
    }
    page.gauge(
        "pthguard_mode_is_temporary",
        "1 if the mode was switched for a time and goes back by itself.",
        u64::from(status.mode_until.is_some()),
    )?;
    page.family("pthguard_policy_info", Kind::Gauge, "The generation of the policy that is in force; always 1.")?;
    page.sample("pthguard_policy_info", &[("generation", &status.policy_generation)], 1)?;
    page.gauge("pthguard_policy_rules", "Rules of the policy.", rules_in_force(status))?;
    if let Some(reload) = &status.last_reload {
        let help = "1 if the policy that was loaded last is in force, 0 if it is not valid.";
        page.gauge("pthguard_policy_last_reload_successful", help, u64::from(reload.ok))?;
    }
    if let Some(groups) = status.groups_taken_over {
        let help = "Fanotify groups that this guard has taken over from the one before it.";
        page.gauge("pthguard_groups_taken_over", help, groups)?;
    }
    let help = "1 if every thread that answers, or judges newcomers, makes progress.";
    page.gauge("pthguard_threads_well", help, u64::from(status.threads.well))?;
    page.family("pthguard_discovery", Kind::Gauge, "1 for what the search for further site directories is at.")?;
    for state in Discovery::ALL {
        page.sample("pthguard_discovery", &[("state", state.as_str())], u64::from(state == status.discovery))?;
    }
    let help = "1 if renames are refused in-line, 0 if they are undone.";
    page.gauge("pthguard_rename_gate", help, u64::from(status.rename_gate == Switch::On))
}

fn rules_in_force(status: &Status) -> u64 {
    status.rules.iter().filter(|row| row.rule.is_some()).count() as u64
}

fn about_files(status: &Status, page: &mut Page<'_, impl Write>) -> fmt::Result {
    let directories = &status.directories;
    page.family("pthguard_directories", Kind::Gauge, "Guarded directories, by who can write them.")?;
    for (lane, count) in
        [("system", directories.system), ("users", directories.users), ("layered", directories.layered)]
    {
        page.sample("pthguard_directories", &[("lane", lane)], count)?;
    }
    page.family("pthguard_directories_by_role", Kind::Gauge, "Guarded directories, by why they are.")?;
    for (role, count) in [("site", directories.sites), ("inside", directories.inside), ("target", directories.targets)]
    {
        page.sample("pthguard_directories_by_role", &[("role", role)], count)?;
    }
    page.gauge("pthguard_tracked_files", "Files that have a startup name, or had one lately.", status.tracked_files)?;
    page.gauge("pthguard_approvals", "Approvals.", status.approvals)?;
    page.gauge("pthguard_held_files", "Files that wait for somebody to look at them; nobody reads them.", status.held)?;
    if let Some(files) = status.quarantine.files {
        page.gauge("pthguard_quarantine_files", "Files that were taken out of guarded directories.", files)?;
    }
    page.gauge("pthguard_quarantine_bytes", "Bytes that the quarantine takes up.", status.quarantine.bytes)?;
    let help = "Bytes that the quarantine may take up.";
    page.gauge("pthguard_quarantine_capacity_bytes", help, status.quarantine.capacity)
}

fn about_decisions(status: &Status, page: &mut Page<'_, impl Write>) -> fmt::Result {
    let name = "pthguard_decisions_total";
    page.family(name, Kind::Counter, "Decisions, by what was asked for and what came of it.")?;
    for row in &status.verdicts {
        page.outcomes(name, "access", row.access.as_str(), &row.counts)?;
    }
    let name = "pthguard_rule_decisions_total";
    page.family(name, Kind::Counter, "Decisions in which a rule of the policy spoke.")?;
    for row in &status.rules {
        // Rules that have gone: a rule's name is never empty.
        page.outcomes(name, "rule", row.rule.as_deref().unwrap_or(""), &row.counts)?;
    }
    let name = "pthguard_reason_decisions_total";
    page.family(name, Kind::Counter, "Decisions, by their reason.")?;
    for row in &status.reasons {
        page.outcomes(name, "reason", &row.reason, &row.counts)?;
    }
    page.counter("pthguard_killed_processes_total", "Processes that were ended for what they did.", status.killed)?;
    write_histogram(&status.latency, page)?;
    page.family(
        "pthguard_decision_duration_max_seconds",
        Kind::Gauge,
        "The longest time from the read of an event to its answer.",
    )?;
    page.sample("pthguard_decision_duration_max_seconds", &[], Seconds(status.latency.max_ns))?;
    page.gauge("pthguard_requests_queued", "Requests that wait for a worker.", status.queued)
}

fn write_histogram(latency: &Latency, page: &mut Page<'_, impl Write>) -> fmt::Result {
    let name = "pthguard_decision_duration_seconds";
    page.family(name, Kind::Histogram, "Time from the read of an event to its answer, in which its opener waits.")?;
    let bucket = format!("{name}_bucket");
    for (limit, count) in LIMITS_US.into_iter().zip(&latency.within) {
        page.sample(&bucket, &[("le", &Seconds(limit * 1000).to_string())], count)?;
    }
    page.sample(&bucket, &[("le", "+Inf")], latency.count)?;
    page.sample(&format!("{name}_sum"), &[], Seconds(latency.sum_ns))?;
    page.sample(&format!("{name}_count"), &[], latency.count)
}

fn about_trouble(status: &Status, page: &mut Page<'_, impl Write>) -> fmt::Result {
    let name = "pthguard_failures_total";
    page.family(name, Kind::Counter, "Times that no decision could be made or carried out, by why.")?;
    for failed in &status.failures {
        page.sample(name, &[("failure", &failed.failure)], failed.count)?;
    }
    let help = "Times that the file for the textfile collector could not be written.";
    page.counter("pthguard_textfile_errors_total", help, status.textfile_errors)?;
    let help = "Audit records for which there was no room in the queue.";
    page.counter("pthguard_records_dropped_total", help, status.records.dropped)?;
    page.gauge("pthguard_records_queued", "Audit records that wait to be written.", status.records.queued)?;
    let name = "pthguard_records_lost_total";
    page.family(name, Kind::Counter, "Audit records that a sink did not take.")?;
    for sink in &status.records.sinks {
        page.sample(name, &[("sink", &sink.sink)], sink.lost)?;
    }
    Ok(())
}

fn about_the_kernel(status: &Status, page: &mut Page<'_, impl Write>) -> fmt::Result {
    page.family("pthguard_kernel_info", Kind::Gauge, "The kernel's release; always 1.")?;
    page.sample("pthguard_kernel_info", &[("release", &status.kernel.release)], 1)?;
    let name = "pthguard_kernel_feature";
    page.family(name, Kind::Gauge, "1 for what newer kernels have and is in use, 0 for what is done without.")?;
    for feature in &status.kernel.features {
        if let Some(in_use) = feature.in_use {
            page.sample(name, &[("feature", &feature.feature)], u64::from(in_use))?;
        }
    }
    Ok(())
}

struct Page<'a, W> {
    out: &'a mut W,
}

impl<W: Write> Page<'_, W> {
    fn family(&mut self, name: &str, kind: Kind, help: &str) -> fmt::Result {
        writeln!(self.out, "# HELP {name} {help}\n# TYPE {name} {}", kind.as_str())
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl fmt::Display) -> fmt::Result {
        self.out.write_str(name)?;
        for (position, (label, text)) in labels.iter().enumerate() {
            write!(self.out, "{}{label}=\"", if position == 0 { '{' } else { ',' })?;
            write_escaped(self.out, text)?;
            self.out.write_char('"')?;
        }
        let end = if labels.is_empty() { "" } else { "}" };
        writeln!(self.out, "{end} {value}")
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.family(name, Kind::Gauge, help)?;
        self.sample(name, &[], value)
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.family(name, Kind::Counter, help)?;
        self.sample(name, &[], value)
    }

    fn outcomes(&mut self, name: &str, label: &str, text: &str, counts: &Outcomes) -> fmt::Result {
        counts
            .each()
            .into_iter()
            .try_for_each(|(outcome, count)| self.sample(name, &[(label, text), ("outcome", outcome)], count))
    }
}

/// The value of a label. What shows nothing is shown as a question: it could turn a terminal's line around.
fn write_escaped(out: &mut impl Write, text: &str) -> fmt::Result {
    text.chars().try_for_each(|c| match c {
        '\\' => out.write_str("\\\\"),
        '"' => out.write_str("\\\""),
        '\n' => out.write_str("\\n"),
        ' '..='~' => out.write_char(c),
        c if c.escape_debug().len() == 1 => out.write_char(c),
        _ => out.write_char('\u{fffd}'),
    })
}

/// Nanoseconds, written as seconds without loss: floating point is for whoever reads it.
struct Seconds(u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 1_000_000_000, self.0 % 1_000_000_000);
        if rest == 0 {
            return write!(f, "{whole}");
        }
        let digits = format!("{rest:09}");
        write!(f, "{whole}.{}", digits.trim_end_matches('0'))
    }
}
