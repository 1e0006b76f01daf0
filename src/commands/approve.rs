//! `pthguard approve`

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::PathBuf;

use super::ask::is_confirmed;
use super::{CommandError, Options, Outcome, resolve, text, with_desk};
use crate::audit::{escape, escape_path};
use crate::control::{Desk, Peer, Seen, Shown};
use crate::model::Sha256;

/// Shows startup files and approves them as they were shown.
///
/// # Errors
/// [`CommandError`]. Unless all of the files can be looked at, none is approved.
pub fn approve(files: &[PathBuf], options: Options<'_>) -> Result<Outcome, CommandError> {
    let look = |desk: &dyn Desk| files.iter().map(|file| Ok(desk.read(&resolve::file(file)?)?)).collect();
    approve_seen(with_desk(options, look)?, options)
}

/// Shows what was seen, asks, and approves exactly that. While somebody is asked the state is not locked: he may have
/// gone to lunch, and a daemon want to start.
pub(super) fn approve_seen(seen: Vec<Seen>, options: Options<'_>) -> Result<Outcome, CommandError> {
    let mut notes = io::stderr().lock();
    let (done, mut todo): (Vec<Seen>, Vec<Seen>) = seen.into_iter().partition(|seen| seen.is_approved);
    todo.sort_by(|a, b| a.path.cmp(&b.path));
    todo.dedup_by(|a, b| a.path == b.path);
    for seen in &done {
        writeln!(notes, "{} is approved as it is", escape_path(&seen.path))?;
    }
    for seen in &todo {
        text::write_seen(&mut notes, seen)?;
    }
    drop(notes);
    let question = match todo.as_slice() {
        [] => None,
        [_] => Some("approve it?".to_owned()),
        several => Some(format!("approve these {} files?", several.len())),
    };
    if let Some(question) = question
        && !is_confirmed(&question, options)?
    {
        writeln!(io::stderr(), "nothing was approved")?;
        return Ok(Outcome::Finding);
    }
    let mut approved = Vec::new();
    let result =
        if todo.is_empty() { Ok(()) } else { with_desk(options, |desk| approve_all(desk, &todo, &mut approved)) };
    let mut out = io::stdout().lock();
    if options.json {
        let items: Vec<_> = done.iter().chain(&approved).map(text::seen_item).collect();
        text::write_json(&mut out, &items)?;
    } else {
        for seen in &approved {
            writeln!(out, "approved {}", escape_path(&seen.path))?;
        }
    }
    result.map(|()| Outcome::Fine)
}

fn approve_all(desk: &dyn Desk, todo: &[Seen], approved: &mut Vec<Seen>) -> Result<(), CommandError> {
    let by = Peer::this_process();
    for seen in todo {
        approved.push(desk.approve(&Shown::from(seen), &by)?);
    }
    Ok(())
}

/// Approves bytes under a name in every directory.
///
/// # Errors
/// [`CommandError`]
pub fn approve_everywhere(name: &OsStr, sha256: Sha256, options: Options<'_>) -> Result<Outcome, CommandError> {
    let name = resolve::name(name)?;
    let shown = escape(name.as_encoded_bytes());
    writeln!(io::stderr(), "{shown}\n  sha256    {sha256}\n  where     in every guarded directory, now and later")?;
    if !is_confirmed("approve it?", options)? {
        writeln!(io::stderr(), "nothing was approved")?;
        return Ok(Outcome::Finding);
    }
    with_desk(options, |desk| {
        desk.approve_everywhere(name, sha256, &Peer::this_process())?;
        let mut out = io::stdout().lock();
        if options.json {
            let item = serde_json::json!({"name": shown, "sha256": sha256, "everywhere": true, "approval": "approved"});
            text::write_json(&mut out, &[item])?;
        } else {
            writeln!(out, "approved {shown} in every directory")?;
        }
        Ok(Outcome::Fine)
    })
}
