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
    with_desk(options, |desk| {
        let mut seen = Vec::new();
        for file in files {
            seen.push(desk.read(&resolve::file(file)?)?);
        }
        approve_seen(desk, seen, options)
    })
}

/// Shows what was seen, asks, and approves exactly that.
pub(super) fn approve_seen(desk: &dyn Desk, seen: Vec<Seen>, options: Options<'_>) -> Result<Outcome, CommandError> {
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
    let by = Peer::this_process();
    let mut approved = Vec::new();
    let mut failed = None;
    for seen in &todo {
        match desk.approve(&Shown::from(seen), &by) {
            Ok(seen) => approved.push(seen),
            Err(refusal) => {
                failed = Some(refusal);
                break;
            }
        }
    }
    let mut out = io::stdout().lock();
    if options.json {
        let items: Vec<_> = done.iter().chain(&approved).map(text::seen_item).collect();
        text::write_json(&mut out, &items)?;
    } else {
        for seen in &approved {
            writeln!(out, "approved {}", escape_path(&seen.path))?;
        }
    }
    failed.map_or(Ok(Outcome::Fine), |refusal| Err(refusal.into()))
}

/// Approves bytes under a name in every directory.
///
/// # Errors
/// [`CommandError`]
pub fn approve_everywhere(name: &OsStr, sha256: Sha256, options: Options<'_>) -> Result<Outcome, CommandError> {
    let name = resolve::name(name)?;
    let shown = escape(name.as_encoded_bytes());
    with_desk(options, |desk| {
        writeln!(io::stderr(), "{shown}\n  sha256    {sha256}\n  where     in every guarded directory, now and later")?;
        if !is_confirmed("approve it?", options)? {
            writeln!(io::stderr(), "nothing was approved")?;
            return Ok(Outcome::Finding);
        }
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
