//! What was found, for people: by directory, findings marked.

use std::io::{self, Write};

use super::Report;
use super::finding::Severity;
use super::item::Item;

struct Style {
    colour: bool,
}

impl Style {
    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn finding(&self, text: &str) -> String {
        self.paint("1;31", text)
    }

    fn note(&self, text: &str) -> String {
        self.paint("2", text)
    }

    fn heading(&self, text: &str) -> String {
        self.paint("1", text)
    }
}

pub(super) fn write(report: &Report, colour: bool, out: &mut impl Write) -> io::Result<()> {
    let style = Style { colour };
    let mut rest = &report.items[..];
    while let Some(first) = rest.first() {
        let same = rest.iter().take_while(|item| item.directory == first.directory).count();
        let (items, after) = rest.split_at(same);
        directory(items, &style, out)?;
        rest = after;
    }
    for remark in &report.remarks {
        writeln!(out, "{}", style.note(&format!("note: {}", crate::audit::escape(remark.as_bytes()))))?;
    }
    let files = report.items.iter().filter(|item| item.name.is_some()).count();
    let bad = report.items.iter().filter(|item| !item.finding.is_empty()).count();
    let count = |number: usize, one: &str, many: &str| {
        if number == 1 { format!("1 {one}") } else { format!("{number} {many}") }
    };
    let found = match bad {
        0 => "nothing to look at".to_owned(),
        bad => style.finding(&format!("{bad} to look at")),
    };
    let directories = count(report.directories, "directory", "directories");
    writeln!(out, "{directories}, {}: {found}", count(files, "startup file", "startup files"))
}

fn directory(items: &[Item], style: &Style, out: &mut impl Write) -> io::Result<()> {
    let width = |of: &dyn Fn(&Item) -> usize| items.iter().map(of).max().unwrap_or(0).min(48);
    let names = width(&|item| name(item).chars().count());
    let owners = width(&|item| owner(item).chars().count());
    if let Some(first) = items.first() {
        writeln!(out, "{}", style.heading(&first.directory))?;
    }
    for item in items {
        let is_bad = !item.finding.is_empty();
        let mark = if is_bad { style.finding("!") } else { " ".to_owned() };
        if item.name.is_some() {
            let class = item.content.unwrap_or("-");
            let line = format!("{:<names$}  {class:<7}  {:<owners$}  {}", name(item), owner(item), approval(item));
            writeln!(out, "{mark} {}", line.trim_end())?;
        }
        for detail in &item.detail {
            let text = format!("{}: {}", detail.word.as_str(), detail.text);
            let is_finding = detail.word.severity() == Severity::Finding;
            let text = if is_finding { style.finding(&text) } else { style.note(&text) };
            let mark = if item.name.is_none() { mark.as_str() } else { " " };
            writeln!(out, "{mark}     {text}")?;
        }
        for line in &item.lines {
            writeln!(out, "      line {}: {}", line.number, line.text)?;
        }
        if item.more_lines > 0 {
            writeln!(out, "      and {} lines more", item.more_lines)?;
        }
        if is_bad && let (Some(line), Some(number)) = (&item.line, item.line_number) {
            writeln!(out, "      line {number}: {line}")?;
        }
    }
    writeln!(out)
}

fn name(item: &Item) -> &str {
    item.name.as_deref().unwrap_or_default()
}

fn owner(item: &Item) -> String {
    match (&item.owner, item.owner_source) {
        (Some(owner), Some("record") | None) => owner.clone(),
        (Some(owner), Some(source)) => format!("{owner} ({source})"),
        (None, _) => "-".to_owned(),
    }
}

fn approval(item: &Item) -> &'static str {
    match item.approval {
        Some("approved") => "approved",
        Some("other-bytes") => "approved with other bytes",
        Some("none") => "not approved",
        Some(_) | None => "",
    }
}
