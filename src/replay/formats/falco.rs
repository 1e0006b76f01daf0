//! Falco's alerts as JSON: what they hold is what the output of their rule names (`output_fields`).
//!
//! What is needed: `evt.type`; `fs.path.name`, `fs.path.source` and `fs.path.target`, or `fd.name` for what was opened;
//! `evt.arg.flags`, or `evt.is_open_write`, for what was opened; `proc.exepath`. Of use, too: `proc.cmdline`,
//! `proc.pexepath`, `user.uid`, `container.id`.

use std::borrow::Cow;

use super::super::event::{Event, Malformed, Operation};
use super::json::{Key, Record, Value};
use super::{told, uid};
use crate::model::Os;

type Text<'a> = Cow<'a, str>;

/// What Falco writes where it does not know.
const NOTHING: &[&str] = &["<NA>", "N/A"];

pub(super) fn event(mut record: Record<'_>) -> Result<Option<Event<'_>>, Malformed> {
    let Some(call) = text(&mut record, Key::FalcoType)? else { return Ok(None) };
    let result = text(&mut record, Key::FalcoResult)?;
    let failed =
        record.take(Key::FalcoFailed) == Value::Flag(true) || result.is_some_and(|result| result.starts_with('E'));
    if failed {
        return Ok(None);
    }
    // Of a link, the source is the new name, and the target is what it leads to; of a rename, the target is the new name.
    let (operation, keys) = match &*call {
        "open" | "openat" | "openat2" | "open_by_handle_at" => match opened(&mut record)? {
            Some(operation) => (operation, [Key::FalcoFd, Key::FalcoPath]),
            None => return Ok(None),
        },
        "creat" => (Operation::Create, [Key::FalcoFd, Key::FalcoPath]),
        "rename" | "renameat" | "renameat2" => (Operation::Rename, [Key::FalcoTarget, Key::FalcoPath]),
        "link" | "linkat" => (Operation::Link, [Key::FalcoSource, Key::FalcoPath]),
        "symlink" | "symlinkat" => (Operation::Symlink, [Key::FalcoSource, Key::FalcoPath]),
        "mknod" | "mknodat" => (Operation::Special, [Key::FalcoPath, Key::FalcoFd]),
        "truncate" | "ftruncate" | "write" | "writev" | "pwrite" | "pwritev" => {
            (Operation::Modify, [Key::FalcoPath, Key::FalcoFd])
        }
        "unlink" | "unlinkat" => (Operation::Delete, [Key::FalcoPath, Key::FalcoFd]),
        _ => return Ok(None),
    };
    let path = match text(&mut record, keys[0])? {
        Some(path) => path,
        None => {
            text(&mut record, keys[1])?.ok_or(Malformed::because("a Falco alert without the path: add fs.path.*"))?
        }
    };
    let uid = match record.take(Key::FalcoUid) {
        Value::Number(number) => uid(&number.to_string()),
        Value::Text(text) => uid(&text),
        Value::Absent | Value::Flag(_) | Value::List(_) | Value::Other => None,
    };
    Ok(Some(Event {
        os: Some(Os::Linux),
        exe: text(&mut record, Key::FalcoExe)?,
        args: args(&mut record)?,
        uid,
        parent_exe: text(&mut record, Key::FalcoParent)?,
        container: text(&mut record, Key::FalcoContainer)?.filter(|container| container != "host"),
        time: text(&mut record, Key::FalcoTime)?,
        ..Event::new(operation, path).with_extension_of_name()
    }))
}

fn text<'a>(record: &mut Record<'a>, key: Key) -> Result<Option<Text<'a>>, Malformed> {
    Ok(record.text(key)?.and_then(|text| told(text, NOTHING)))
}

/// What an open was for; `None` if for neither reading nor writing.
fn opened(record: &mut Record<'_>) -> Result<Option<Operation>, Malformed> {
    let flags = text(record, Key::FalcoFlags)?;
    let has = |flag: &str| flags.as_deref().is_some_and(|flags| flags.split('|').any(|one| one == flag));
    let says = |value: Value<'_>| match value {
        Value::Flag(flag) => Some(flag),
        Value::Text(text) => text.parse().ok(),
        Value::Absent | Value::Number(_) | Value::List(_) | Value::Other => None,
    };
    let is_write = says(record.take(Key::FalcoIsOpenWrite));
    let is_read = says(record.take(Key::FalcoIsOpenRead));
    if has("O_TMPFILE") || has("O_PATH") {
        return Ok(None); // no name is made, and none is read
    }
    if has("O_F_CREATED") {
        return Ok(Some(Operation::Create));
    }
    if is_write == Some(true) || ["O_WRONLY", "O_RDWR", "O_TRUNC"].into_iter().any(has) {
        return Ok(Some(Operation::Modify));
    }
    match flags.is_some() || is_write == Some(false) || is_read == Some(true) {
        true => Ok(Some(Operation::Read)),
        false => Err(Malformed::because("a Falco alert that does not tell a write from a read: add evt.arg.flags")),
    }
}

/// The command line, which Falco has made one text of: arguments with blanks in them come apart.
fn args<'a>(record: &mut Record<'a>) -> Result<Vec<Text<'a>>, Malformed> {
    let line = text(record, Key::FalcoCommandLine)?;
    let name = text(record, Key::FalcoName)?;
    let rest = text(record, Key::FalcoArgs)?;
    Ok(match (line, name) {
        (Some(line), _) => words(line),
        (None, Some(name)) => std::iter::once(name).chain(rest.into_iter().flat_map(words)).collect(),
        (None, None) => Vec::new(),
    })
}

fn words(text: Text<'_>) -> Vec<Text<'_>> {
    match text {
        Cow::Borrowed(text) => text.split_ascii_whitespace().map(Cow::Borrowed).collect(),
        Cow::Owned(text) => text.split_ascii_whitespace().map(|word| Cow::Owned(word.to_owned())).collect(),
    }
}
