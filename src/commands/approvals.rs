//! `pthguard approvals`

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{CommandError, Options, Outcome, text, with_desk};
use crate::audit::{escape, escape_path};
use crate::control::{Approved, Desk, HeldFile};

/// Prints what is approved or, with `only_held`, what is held; that there is some of it is a finding.
///
/// # Errors
/// [`CommandError`]
pub fn approvals(only_held: bool, options: Options<'_>) -> Result<Outcome, CommandError> {
    with_desk(options, |desk| if only_held { held(desk, options) } else { approved(desk, options) })
}

fn approved(desk: &dyn Desk, options: Options<'_>) -> Result<Outcome, CommandError> {
    let all = desk.approvals()?;
    let mut out = io::stdout().lock();
    if options.json {
        text::write_json(&mut out, &all.iter().map(approved_item).collect::<Vec<_>>())?;
    } else if all.is_empty() {
        writeln!(out, "nothing is approved")?;
    } else {
        let row = |one: &Approved| {
            [
                path(one).map_or_else(
                    || format!("{} in every directory", escape(one.name.as_encoded_bytes())),
                    |path| escape_path(&path).into_owned(),
                ),
                one.class.map_or("-", |class| class.as_str()).to_owned(),
                text::origin(&one.origin),
                text::brief(one.sha256),
                escape(one.since.as_bytes()).into_owned(),
            ]
        };
        let rows: Vec<_> = all.iter().map(row).collect();
        text::write_table(&mut out, ["PATH", "CONTENT", "APPROVED BY", "SHA256", "SINCE"], &rows)?;
    }
    Ok(Outcome::Fine)
}

fn path(approved: &Approved) -> Option<PathBuf> {
    approved.directory.as_ref().map(|directory| Path::new(&directory.0).join(&approved.name))
}

fn approved_item(approved: &Approved) -> Value {
    let (word, by) = text::origin_fields(&approved.origin);
    json!({
        "path": path(approved).map(|path| escape_path(&path).into_owned()),
        "name": escape(approved.name.as_encoded_bytes()),
        "everywhere": approved.directory.is_none(),
        "content": approved.class,
        "sha256": approved.sha256,
        "approval": word,
        "by": by,
        "since": escape(approved.since.as_bytes()),
    })
}

fn held(desk: &dyn Desk, options: Options<'_>) -> Result<Outcome, CommandError> {
    let all = desk.held()?;
    let mut out = io::stdout().lock();
    if options.json {
        text::write_json(&mut out, &all.iter().map(held_item).collect::<Vec<_>>())?;
    } else if all.is_empty() {
        writeln!(out, "nothing is held")?;
    } else {
        for file in &all {
            write_held(&mut out, file)?;
        }
        let count = all.len();
        writeln!(out, "{count} held: nobody reads them until `pthguard approve FILE` or `pthguard baseline DIR`")?;
    }
    Ok(if all.is_empty() { Outcome::Fine } else { Outcome::Finding })
}

fn write_held(out: &mut impl Write, file: &HeldFile) -> io::Result<()> {
    let held = &file.held;
    writeln!(out, "{}", escape_path(&file.directory.join(&file.name)))?;
    let mut fact = |name: &str, text: String| writeln!(out, "  {name:<9} {text}");
    fact("content", format!("{}: {}", held.class, text::meaning(held.class)))?;
    if let Some(line) = &held.line {
        fact("line", text::once(line).into_owned())?;
    }
    if let Some(package) = &held.package {
        fact("package", text::package(package))?;
    }
    fact("brought", format!("by {}", text::once(&held.author)))?;
    fact("held", format!("{}, since {}", escape(held.reason.as_bytes()), escape(held.since.as_bytes())))?;
    let digest = held.sha256.map_or_else(|| "not read".to_owned(), |sha256| sha256.to_string());
    fact("sha256", format!("{digest}, {} bytes", held.size))
}

fn held_item(file: &HeldFile) -> Value {
    let held = &file.held;
    json!({
        "path": escape_path(&file.directory.join(&file.name)),
        "name": escape(file.name.as_encoded_bytes()),
        "content": held.class,
        "line": held.line.as_deref().map(text::once),
        "sha256": held.sha256,
        "size": held.size,
        "owner": held.package.as_ref().map(text::owner),
        "author": text::once(&held.author),
        "reason": escape(held.reason.as_bytes()),
        "since": escape(held.since.as_bytes()),
        "approval": "held",
    })
}
