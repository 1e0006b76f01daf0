//! What came of it, for people and for programs.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write};

use serde::Serialize;

use super::judge::Answer;
use super::tally::Tally;
use crate::audit::escape;

/// Writers and changes that are shown to people; `--json` has all.
const SHOWN: usize = 50;

#[derive(Serialize)]
struct Report<'a> {
    version: u32,
    records: u64,
    other: u64,
    malformed: Vec<Malformed<'a>>,
    verdicts: Vec<Counted<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    changes: Vec<Changed<'a>>,
    further: u64,
    items: Vec<Denied<'a>>,
}

#[derive(Serialize)]
struct Malformed<'a> {
    reason: &'a str,
    count: u64,
}

#[derive(Serialize)]
struct Counted<'a> {
    verdict: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    reason: &'a str,
    count: u64,
}

#[derive(Serialize)]
struct Changed<'a> {
    from: Counted<'a>,
    to: Counted<'a>,
    count: u64,
    path: &'a str,
    executable: &'a str,
    file: &'a str,
    line: u64,
}

#[derive(Serialize)]
struct Denied<'a> {
    executable: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    script: Option<&'a str>,
    /// It is an interpreter, and what it ran was not recorded.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    script_missing: bool,
    verdict: &'a str,
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    count: u64,
    operations: Vec<&'a str>,
    path: &'a str,
    file: &'a str,
    line: u64,
}

impl<'a> Report<'a> {
    fn of(tally: &'a Tally) -> Self {
        let counted = |(answer, rule, why): &'a (Answer, Option<_>, super::judge::Why), count| Counted {
            verdict: answer.as_str(),
            rule: rule.as_deref(),
            reason: why.as_str(),
            count,
        };
        let mut verdicts: Vec<_> = tally.outcomes.iter().map(|(outcome, count)| counted(outcome, *count)).collect();
        verdicts.sort_by_key(|row| (row.verdict, std::cmp::Reverse(row.count), row.rule));
        let mut changes: Vec<_> = tally
            .changes
            .iter()
            .map(|((from, to), change)| Changed {
                from: counted(from, change.count),
                to: counted(to, change.count),
                count: change.count,
                path: &change.path,
                executable: &change.exe,
                file: &change.first.file,
                line: change.first.line,
            })
            .collect();
        changes.sort_by_key(|change| (std::cmp::Reverse(change.count), change.path));
        let items = tally.writers_by_count().into_iter().map(|(who, writer)| Denied {
            executable: &who.exe,
            script: who.script.as_deref(),
            script_missing: who.is_silent,
            verdict: who.answer.as_str(),
            reason: writer.reason.as_str(),
            rule: writer.rule.as_deref(),
            count: writer.count,
            operations: writer.operations.iter().copied().collect(),
            path: &writer.path,
            file: &writer.first.file,
            line: writer.first.line,
        });
        Report {
            version: 1,
            records: tally.records,
            other: tally.others,
            malformed: tally.malformed.iter().map(|(reason, count)| Malformed { reason, count: *count }).collect(),
            verdicts,
            changes,
            further: tally.further,
            items: items.collect(),
        }
    }
}

pub(super) fn json(tally: &Tally, out: &mut impl Write) -> io::Result<()> {
    let answer = serde_json::to_string_pretty(&Report::of(tally))?;
    writeln!(out, "{}", visible(&answer))
}

/// The same JSON, with what a terminal could obey or hide as JSON escapes it. It is all in strings: beyond them JSON has
/// nothing but ASCII.
pub(super) fn visible(json: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c < '\u{7f}' || matches!(escape(c.encode_utf8(&mut [0; 4]).as_bytes()), Cow::Borrowed(_));
    if json.bytes().all(|byte| byte < 0x7f) || json.chars().all(is_plain) {
        return Cow::Borrowed(json);
    }
    let mut visible = String::with_capacity(json.len() + 64);
    for c in json.chars() {
        if is_plain(c) {
            visible.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(visible, "\\u{unit:04x}"); // writing to a String cannot fail
            }
        }
    }
    Cow::Owned(visible)
}

pub(super) fn text(tally: &Tally, other: Option<&str>, out: &mut impl Write) -> io::Result<()> {
    let report = Report::of(tally);
    let malformed: u64 = tally.malformed.values().sum();
    writeln!(
        out,
        "{} records: {} operations, {} of something else, {malformed} malformed",
        report.records,
        report.records - report.other - malformed,
        report.other
    )?;
    for (at, malformed) in &tally.shown {
        writeln!(out, "  {}:{}: {malformed}", shown(&at.file), at.line)?;
    }
    if malformed > tally.shown.len() as u64 {
        writeln!(out, "  and {} more", malformed - tally.shown.len() as u64)?;
    }
    for row in &report.verdicts {
        writeln!(out, "  {:<6} {:>10}  {}", row.verdict, row.count, by(row))?;
    }
    if !report.items.is_empty() {
        writeln!(out, "\nwould not be allowed; look at these before you enforce:")?;
    }
    for writer in report.items.iter().take(SHOWN) {
        let script = match writer.script {
            Some(script) => format!(" {}", shown(script)),
            None if writer.script_missing => " (what it ran was not recorded)".to_owned(),
            None => String::new(),
        };
        writeln!(out, "  {:>10}  {}{script}", writer.count, shown(writer.executable))?;
        let operations = writer.operations.join(", ");
        let rule = writer.rule.map(|rule| format!(", rule {}", shown(rule))).unwrap_or_default();
        writeln!(out, "              {}: {}{rule}; {operations}", writer.verdict, writer.reason)?;
        writeln!(out, "              {} ({}:{})", shown(writer.path), shown(writer.file), writer.line)?;
    }
    if report.items.len() > SHOWN || tally.further > 0 {
        let more = report.items.len().saturating_sub(SHOWN);
        writeln!(out, "  and {more} more writers, {} operations of further ones; --json has more", tally.further)?;
    }
    let Some(other) = other else { return Ok(()) };
    writeln!(out, "\nunder {}:", shown(other))?;
    if report.changes.is_empty() {
        writeln!(out, "  the same verdicts")?;
    }
    for change in report.changes.iter().take(SHOWN) {
        writeln!(
            out,
            "  {:>10}  {} ({}) -> {} ({})",
            change.count,
            change.from.verdict,
            by(&change.from),
            change.to.verdict,
            by(&change.to)
        )?;
        writeln!(
            out,
            "              {}, {} ({}:{})",
            shown(change.executable),
            shown(change.path),
            shown(change.file),
            change.line
        )?;
    }
    Ok(())
}

fn by(row: &Counted<'_>) -> String {
    match row.rule {
        Some(rule) if row.reason == "rule" => format!("rule {}", shown(rule)),
        Some(rule) => format!("{}, rule {}", row.reason, shown(rule)),
        None => row.reason.to_owned(),
    }
}

/// On one line, with nothing that a terminal obeys.
fn shown(text: &str) -> Cow<'_, str> {
    escape(text.as_bytes())
}
