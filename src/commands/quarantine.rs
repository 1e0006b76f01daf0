//! `pthguard quarantine`

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::ask::is_confirmed;
use super::{CommandError, Options, Outcome, resolve, text, with_desk};
use crate::approvals::StateError;
use crate::audit::{escape, escape_path};
use crate::config::{self, Config};
use crate::control::{Peer, Preview, check_state};
use crate::model::Sha256;
use crate::quarantine::{DIRECTORY, Id, Item, Note, Store};

/// What is to be removed.
#[derive(Clone, Debug)]
pub enum Which {
    /// These.
    Ids(Vec<Id>),
    /// What was taken longer ago than this.
    OlderThan(Duration),
    /// Everything.
    All,
}

/// The quarantine as it is, without lock or daemon. `None` where nothing has ever been taken.
fn store(config: &Config) -> Result<Option<Store>, CommandError> {
    check_state(&config.state_dir)?;
    // Opening it would make it.
    let path = config.state_dir.join(DIRECTORY);
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StateError::Io { path, source }.into()),
        Ok(_) => Ok(Some(Store::open(&config.state_dir)?)),
    }
}

/// Prints what lies in quarantine, the newest first.
///
/// # Errors
/// [`CommandError`]
pub fn list(options: Options<'_>) -> Result<Outcome, CommandError> {
    let config = config::load(options.config)?;
    let items = store(&config)?.map_or_else(|| Ok(Vec::new()), |store| store.list())?;
    let mut out = io::stdout().lock();
    if options.json {
        text::write_json(&mut out, &items.iter().map(item_json).collect::<Vec<_>>())?;
    } else if items.is_empty() {
        writeln!(out, "nothing is in quarantine")?;
    } else {
        let rows: Vec<_> = items.iter().map(row).collect();
        text::write_table(&mut out, ["ID", "TAKEN", "WAS", "CONTENT", "REASON"], &rows)?;
    }
    Ok(Outcome::Fine)
}

fn row(item: &Item) -> [String; 5] {
    match &item.note {
        Ok(note) => [
            item.id.to_string(),
            escape(note.time.as_bytes()).into_owned(),
            escape_path(&note.path()).into_owned(),
            note.class.map_or_else(|| note.kind.as_str(), |class| class.as_str()).to_owned(),
            text::once(&note.reason).into_owned(),
        ],
        Err(problem) => [
            item.id.to_string(),
            "-".into(),
            "-".into(),
            "-".into(),
            format!("no note: {}", escape(problem.as_bytes())),
        ],
    }
}

/// Prints all that is known of one quarantined file.
///
/// # Errors
/// [`CommandError`]
pub fn show(id: &Id, options: Options<'_>) -> Result<Outcome, CommandError> {
    let config = config::load(options.config)?;
    let store = store(&config)?.ok_or_else(|| none_of(id))?;
    let item = find(&store, id)?;
    let mut out = io::stdout().lock();
    if options.json {
        text::write_json(&mut out, &[item_json(&item)])?;
        return Ok(Outcome::Fine);
    }
    match &item.note {
        Ok(note) => write_note(&mut out, note, Preview::of(&store, note, config.protect.max_size).ok().as_ref())?,
        Err(problem) => writeln!(out, "{id}\n  its note cannot be read: {}", escape(problem.as_bytes()))?,
    }
    Ok(Outcome::Fine)
}

fn none_of(id: &Id) -> CommandError {
    CommandError::Usage(format!("there is no {id} in quarantine; `pthguard quarantine list` shows what there is"))
}

fn find(store: &Store, id: &Id) -> Result<Item, CommandError> {
    store.show(id).map_err(|error| if error.kind() == io::ErrorKind::NotFound { none_of(id) } else { error.into() })
}

fn write_note(out: &mut impl Write, note: &Note, preview: Option<&Preview>) -> io::Result<()> {
    writeln!(out, "{}", note.id)?;
    let mut fact = |name: &str, text: String| writeln!(out, "  {name:<9} {text}");
    fact("was", escape_path(&note.path()).into_owned())?;
    fact("taken", format!("{}, {}", escape(note.time.as_bytes()), text::once(&note.reason)))?;
    fact("brought", format!("by {}", author(&note.author)))?;
    let mode = escape(note.mode.as_bytes());
    let owner = text::user(note.uid);
    fact(note.kind.as_str(), format!("owner {owner}, group {}, mode {mode}, {} bytes", note.gid, note.size))?;
    if let Some(target) = &note.target {
        fact("link to", escape_path(Path::new(&target.0)).into_owned())?;
    }
    if let Some(sha256) = note.sha256 {
        fact("sha256", sha256.to_string())?;
    }
    if let Some(preview) = preview {
        write_preview(&mut fact, preview)?;
    }
    if !note.finished {
        fact("unfinished", "the guard was ended while it took the file".to_owned())?;
    }
    Ok(())
}

fn write_preview(fact: &mut impl FnMut(&str, String) -> io::Result<()>, preview: &Preview) -> io::Result<()> {
    fact("content", format!("{}: {}", preview.class, text::meaning(preview.class)))?;
    for (number, line) in &preview.lines {
        fact(&format!("line {number}"), line.clone())?;
    }
    if preview.more_lines > 0 {
        fact("", format!("and {} lines more", preview.more_lines))?;
    }
    Ok(())
}

/// Whoever brought it: one line, whatever the note says.
fn author(author: &Value) -> String {
    match author {
        Value::String(text) => text::once(text).into_owned(),
        Value::Null => "somebody who is not known".to_owned(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            text::once(&author.to_string()).into_owned()
        }
    }
}

fn item_json(item: &Item) -> Value {
    match &item.note {
        Ok(note) => json!({
            "id": item.id,
            "path": escape_path(&note.path()),
            "name": escape(note.name.as_encoded_bytes()),
            "time": escape(note.time.as_bytes()),
            "kind": note.kind,
            "content": note.class,
            "sha256": note.sha256,
            "target": note.target.as_ref().map(|target| escape_path(Path::new(&target.0)).into_owned()),
            "size": note.size,
            "uid": note.uid,
            "gid": note.gid,
            "mode": escape(note.mode.as_bytes()),
            "reason": text::once(&note.reason),
            "author": note.author,
            "finished": note.finished,
        }),
        Err(problem) => json!({"id": item.id, "finding": format!("no note: {}", escape(problem.as_bytes()))}),
    }
}

/// Puts a quarantined file back where it was, or `to` there; with `approve` it is shown first, and approved.
///
/// # Errors
/// [`CommandError`]
pub fn restore(id: &Id, to: Option<&Path>, approve: bool, options: Options<'_>) -> Result<Outcome, CommandError> {
    let config = config::load(options.config)?;
    let store = store(&config)?.ok_or_else(|| none_of(id))?;
    let note = find(&store, id)?.note.map_err(|problem| CommandError::Usage(format!("{id}: its note: {problem}")))?;
    let to = to.map(|to| destination(to, &note.name)).transpose()?;
    let shown = if approve { Some(show_for_approval(&store, &note, to.as_deref(), &config)?) } else { None };
    if shown.is_some() && !is_confirmed("put it back and approve it?", options)? {
        writeln!(io::stderr(), "nothing was changed")?;
        return Ok(Outcome::Finding);
    }
    with_desk(options, |desk| {
        let restored = desk.restore(id, to.as_deref(), shown, &Peer::this_process())?;
        writeln!(
            io::stdout(),
            "put back {}; {id} stays in quarantine until it is purged",
            escape_path(&restored.path)
        )?;
        Ok(Outcome::Fine)
    })
}

/// A directory stands for the file's own name in it.
fn destination(to: &Path, name: &OsStr) -> Result<std::path::PathBuf, CommandError> {
    if to.is_dir() { Ok(resolve::directory(to)?.join(name)) } else { resolve::entry(to) }
}

fn show_for_approval(store: &Store, note: &Note, to: Option<&Path>, config: &Config) -> Result<Sha256, CommandError> {
    let preview = Preview::of(store, note, config.protect.max_size)?;
    let mut notes = io::stderr().lock();
    write_note(&mut notes, note, Some(&preview))?;
    if let Some(to) = to {
        writeln!(notes, "  {:<9} {}", "goes to", escape_path(to))?;
    }
    writeln!(notes, "  {:<9} {}", "approves", preview.sha256)?;
    Ok(preview.sha256)
}

/// Removes quarantined files for good.
///
/// # Errors
/// [`CommandError`]
pub fn purge(which: &Which, options: Options<'_>) -> Result<Outcome, CommandError> {
    let config = config::load(options.config)?;
    let Some(store) = store(&config)? else {
        writeln!(io::stderr(), "nothing is in quarantine")?;
        return Ok(Outcome::Fine);
    };
    let items = chosen(&store, which)?;
    let mut notes = io::stderr().lock();
    for item in &items {
        let was =
            item.note.as_ref().map_or_else(|_| "without a note".into(), |note| escape_path(&note.path()).into_owned());
        writeln!(notes, "{}  {was}", item.id)?;
    }
    drop(notes);
    if items.is_empty() {
        writeln!(io::stderr(), "nothing to remove")?;
        return Ok(Outcome::Fine);
    }
    if !is_confirmed(&format!("remove {} from quarantine for good?", items.len()), options)? {
        writeln!(io::stderr(), "nothing was removed")?;
        return Ok(Outcome::Finding);
    }
    let ids: Vec<Id> = items.into_iter().map(|item| item.id).collect();
    with_desk(options, |desk| {
        desk.purge(&ids, &Peer::this_process())?;
        writeln!(io::stdout(), "removed {}", ids.len())?;
        Ok(Outcome::Fine)
    })
}

fn chosen(store: &Store, which: &Which) -> Result<Vec<Item>, CommandError> {
    match which {
        Which::Ids(ids) => ids.iter().map(|id| find(store, id)).collect(),
        Which::All => Ok(store.list()?),
        Which::OlderThan(age) => {
            let limit = OffsetDateTime::now_utc() - *age;
            let is_older = |item: &Item| {
                let taken = item.note.as_ref().ok().and_then(|note| OffsetDateTime::parse(&note.time, &Rfc3339).ok());
                taken.is_some_and(|taken| taken < limit) // what cannot be dated stays
            };
            Ok(store.list()?.into_iter().filter(is_older).collect())
        }
    }
}
