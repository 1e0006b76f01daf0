//! How things are said: tables, words, JSON documents.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use nix::unistd::{Uid, User};
use serde::Serialize;
use serde_json::{Value, json};

use crate::audit::{escape, escape_path};
use crate::control::Seen;
use crate::model::{ContentClass, Origin, Package, Sha256};

/// Digits of a digest that are shown where there is little room.
const BRIEF: usize = 12;

/// A JSON document of items.
pub(super) fn write_json(out: &mut impl Write, items: &[Value]) -> io::Result<()> {
    #[derive(Serialize)]
    struct Document<'a> {
        version: u32,
        items: &'a [Value],
    }
    serde_json::to_writer_pretty(&mut *out, &Document { version: 1, items })?;
    writeln!(out)?;
    out.flush()
}

/// Rows under headings, the columns as wide as they must be.
pub(super) fn write_table<const N: usize>(
    out: &mut impl Write,
    headings: [&str; N],
    rows: &[[String; N]],
) -> io::Result<()> {
    let headings = headings.map(str::to_owned);
    let all = || std::iter::once(&headings).chain(rows);
    let width = |column: usize| all().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    for row in all() {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    out.flush()
}

/// A user, by name where there is one.
pub(super) fn user(uid: u32) -> String {
    match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => format!("{} ({uid})", escape(user.name.as_bytes())),
        Ok(None) | Err(_) => uid.to_string(),
    }
}

/// Text that was escaped when it was written down, and is not escaped a second time unless it has to be.
pub(super) fn once(text: &str) -> Cow<'_, str> {
    let is_printable = escape(text.replace('\\', "").as_bytes()).len() == text.replace('\\', "").len();
    if is_printable { Cow::Borrowed(text) } else { escape(text.as_bytes()) }
}

/// The first digits of a digest.
pub(super) fn brief(sha256: Sha256) -> String {
    let mut digits = sha256.to_string();
    digits.truncate(BRIEF);
    digits
}

/// Who approved.
pub(super) fn origin(origin: &Origin) -> String {
    match origin {
        Origin::Baseline => "baseline".to_owned(),
        Origin::Writer(rule) => format!("rule {}", escape(rule.as_bytes())),
        Origin::Found => "found harmless".to_owned(),
        Origin::Administrator { uid } => format!("administrator {}", user(*uid)),
    }
}

/// The same for programs: a word, and what it says more.
pub(super) fn origin_fields(origin: &Origin) -> (&'static str, Value) {
    match origin {
        Origin::Baseline => ("baseline", Value::Null),
        Origin::Writer(rule) => ("writer", json!(escape(rule.as_bytes()))),
        Origin::Found => ("found", Value::Null),
        Origin::Administrator { uid } => ("administrator", json!(uid)),
    }
}

/// What a class means to whoever has to decide.
pub(super) fn meaning(class: ContentClass) -> &'static str {
    match class {
        ContentClass::Empty => "does nothing",
        ContentClass::Paths => "adds directories to the module search path",
        ContentClass::Known => "runs an idiom or a file that is known",
        ContentClass::Imports => "runs a module of the environment at every start of Python",
        ContentClass::Code => "runs code at every start of Python",
        ContentClass::Broken => "keeps some versions of Python from starting",
    }
}

/// A package, and who says so.
pub(super) fn package(package: &Package) -> String {
    let version =
        package.version.as_deref().map_or(String::new(), |version| format!(" {}", escape(version.as_bytes())));
    format!("{}{version} (says {})", escape(package.name.as_bytes()), package.source.as_str())
}

/// One startup file with everything that helps to decide.
pub(super) fn write_seen(out: &mut impl Write, seen: &Seen) -> io::Result<()> {
    writeln!(out, "{}", escape_path(&seen.path))?;
    let mut fact = |name: &str, text: String| writeln!(out, "  {name:<9} {text}");
    if let Some(target) = &seen.target {
        fact("link to", escape_path(Path::new(&target.0)).into_owned())?;
    }
    fact("file", format!("owner {}, group {}, mode {:04o}, {} bytes", user(seen.uid), seen.gid, seen.mode, seen.size))?;
    fact("sha256", seen.sha256.to_string())?;
    fact("content", format!("{}: {}", seen.class, meaning(seen.class)))?;
    for (number, line) in &seen.lines {
        fact(&format!("line {number}"), line.clone())?;
    }
    if seen.more_lines > 0 {
        fact("", format!("and {} lines more; look at the file", seen.more_lines))?;
    }
    if let Some(sha256) = seen.companion {
        fact(
            "beside",
            format!("its .start file ({}): from Python 3.15 on that runs, and the lines here do not", brief(sha256)),
        )?;
    }
    if let Some(known) = &seen.package {
        fact("package", package(known))?;
    }
    if let Some(remark) = &seen.remark {
        fact("mind", once(remark).into_owned())?;
    }
    if let Some(held) = &seen.held {
        let (reason, since) = (escape(held.reason.as_bytes()), escape(held.since.as_bytes()));
        fact("held", format!("{reason}, since {since}"))?;
        fact("brought", format!("by {}", once(&held.author)))?;
        if held.sha256.is_some_and(|sha256| sha256 != seen.sha256) {
            fact("changed", "since it is held: these are other bytes".to_owned())?;
        }
    }
    match &seen.approved {
        Some((sha256, by)) if *sha256 != seen.sha256 => {
            fact("instead of", format!("{}, approved by {}", brief(*sha256), origin(by)))
        }
        Some(_) | None => Ok(()),
    }
}

/// The same for programs.
pub(super) fn seen_item(seen: &Seen) -> Value {
    let lines: Vec<Value> = seen.lines.iter().map(|(number, text)| json!({"number": number, "text": text})).collect();
    json!({
        "path": escape_path(&seen.path),
        "name": name_of(&seen.path),
        "target": seen.target.as_ref().map(|target| escape_path(Path::new(&target.0)).into_owned()),
        "content": seen.class,
        "lines": lines,
        "more_lines": seen.more_lines,
        "sha256": seen.sha256,
        "size": seen.size,
        "uid": seen.uid,
        "gid": seen.gid,
        "mode": format!("{:04o}", seen.mode),
        "owner": seen.package.as_ref().map(owner),
        "finding": seen.remark.as_deref().map(once),
        "approval": if seen.is_approved { "approved" } else if seen.held.is_some() { "held" } else { "none" },
    })
}

/// A package as the value of `owner`.
pub(super) fn owner(package: &Package) -> String {
    escape(package.to_string().as_bytes()).into_owned()
}

/// The last component of a path.
pub(super) fn name_of(path: &Path) -> String {
    escape(path.file_name().unwrap_or(OsStr::new("")).as_bytes()).into_owned()
}

/// An age: a number and `s`, `m`, `h`, `d` or `w`.
///
/// # Errors
/// Something else.
pub fn parse_age(text: &str) -> Result<Duration, String> {
    let usage = || format!("{text:?} is no age: a number and s, m, h, d or w, as in 30d");
    let unit = text.chars().last().ok_or_else(usage)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        'w' => 604_800,
        _ => return Err(usage()),
    };
    let digits = &text[..text.len() - 1];
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(usage()); // `+5` is a number to `parse`
    }
    let number: u64 = digits.parse().map_err(|_| usage())?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(usage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages() {
        assert_eq!(parse_age("30d"), Ok(Duration::from_secs(30 * 86_400)));
        assert_eq!(parse_age("0s"), Ok(Duration::ZERO));
        for text in ["", "d", "30", "-1d", "+1d", "1.5h", "1 d", "99999999999999999999d", "18446744073709551615w", "3é"]
        {
            assert!(parse_age(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_was_escaped_is_not_escaped_again_unless_it_must_be() {
        assert_eq!(once(r"import x; \x1b[2J é"), r"import x; \x1b[2J é");
        assert_eq!(once("a\x1b[2J\\"), r"a\x1b[2J\\");
        assert_eq!(once("a\u{202e}b"), r"a\u{202e}b");
    }

    #[test]
    fn columns_stand_below_each_other() {
        let mut out = Vec::new();
        write_table(&mut out, ["A", "NAME"], &[["long".into(), "x".into()], ["é".into(), String::new()]]).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "A     NAME\nlong  x\né\n");
    }
}
