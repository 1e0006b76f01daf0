//! Sysmon's events 11 (a file was created or overwritten), 23 and 26 (deleted), for Windows and for Linux.
//!
//! They come as Winlogbeat sends them, with named fields; as `Get-WinEvent | ConvertTo-Json` prints them, with the fields
//! in their order or only as a message; and as exported event logs. Event 2 changes times and is no operation.

use std::borrow::Cow;

use super::super::event::{Event, Malformed, Operation};
use super::ecs::os_of;
use super::json::{Key, Record};
use super::told;
use crate::model::Os;

type Text<'a> = Cow<'a, str>;

/// What Sysmon writes where it does not know.
const NOTHING: &[&str] = &["-", "<unknown process>"];

/// What an event says.
#[derive(Debug, Default)]
struct Fields<'a> {
    path: Option<Text<'a>>,
    image: Option<Text<'a>>,
    user: Option<Text<'a>>,
    time: Option<Text<'a>>,
}

impl<'a> Fields<'a> {
    fn or(self, other: Fields<'a>) -> Self {
        Fields {
            path: self.path.or(other.path),
            image: self.image.or(other.image),
            user: self.user.or(other.user),
            time: self.time.or(other.time),
        }
    }
}

/// Whether Sysmon wrote a record.
pub(super) fn wrote(record: &Record<'_>) -> bool {
    let providers = [Key::WinlogProvider, Key::EventProvider, Key::Provider];
    providers.into_iter().any(|key| record.is(key, &["Microsoft-Windows-Sysmon", "Linux-Sysmon"]))
}

pub(super) fn event(mut record: Record<'_>) -> Result<Option<Event<'_>>, Malformed> {
    let ids = [Key::WinlogEventId, Key::EventCode, Key::Id];
    let id = ids.into_iter().find_map(|key| record.number(key));
    let operation = match id {
        Some(11) => Operation::Create,
        Some(23 | 26) => Operation::Delete,
        _ => return Ok(None),
    };
    let named = Fields {
        path: record.text(Key::TargetFilename)?,
        image: record.text(Key::Image)?,
        user: record.text(Key::User)?,
        time: record.text(Key::UtcTime)?,
    };
    let mut fields = named.or(in_order(record.texts(Key::Properties), operation));
    if fields.path.is_none()
        && let Some(message) = record.text(Key::Message)?
    {
        fields = fields.or(in_message(message)?);
    }
    let fields = fields.or(Fields {
        path: record.text(Key::FilePath)?,
        image: record.text(Key::ProcessExecutable)?,
        user: None,
        time: record.text(Key::Timestamp)?.or(record.text(Key::TimeCreated)?),
    });
    let path = fields.path.and_then(|path| told(path, NOTHING));
    let path = path.ok_or(Malformed::because("a Sysmon event without TargetFilename"))?;
    let os = os_of(&path).or_else(|| path.starts_with('/').then_some(Os::Linux));
    let is_root = os == Some(Os::Linux) && fields.user.as_deref() == Some("root");
    Ok(Some(Event {
        os,
        exe: fields.image.and_then(|image| told(image, NOTHING)),
        // Other users have a name only.
        uid: is_root.then_some(0),
        time: fields.time,
        ..Event::new(operation, path).with_extension_of_name()
    }))
}

/// The fields of an event by their order, which differs between versions: the first ones had no `RuleName`, and later
/// ones have more at the end. Where PowerShell has not printed them they have no text.
fn in_order(mut values: Vec<Text<'_>>, operation: Operation) -> Fields<'_> {
    let (image, path, user) = match (operation, values.len()) {
        (Operation::Create, 6) => (3, 4, None),
        (Operation::Create, 7..) => (4, 5, Some(7)),
        (_, 7..) => (5, 6, Some(4)),
        _ => return Fields::default(),
    };
    // The times are the only ones that begin with a year; it stands before the process.
    let time = usize::from(values.len() > 6);
    let mut take = |at: usize| values.get_mut(at).map(std::mem::take).filter(|text| is_field(text));
    Fields { path: take(path), image: take(image), user: user.and_then(&mut take), time: take(time) }
}

/// Below its depth PowerShell prints the name of a type where an object would be.
fn is_field(text: &str) -> bool {
    !text.is_empty() && !text.starts_with("System.Diagnostics.Eventing.")
}

/// The fields of an event by their names in its message.
fn in_message(message: Text<'_>) -> Result<Fields<'_>, Malformed> {
    let mut fields = Fields::default();
    for line in message.lines() {
        let Some((name, value)) = line.split_once(": ") else { continue };
        let (field, twice) = match name.trim_start() {
            "TargetFilename" => (&mut fields.path, "TargetFilename is there twice"),
            "Image" => (&mut fields.image, "Image is there twice"),
            "User" => (&mut fields.user, "User is there twice"),
            "UtcTime" => (&mut fields.time, "UtcTime is there twice"),
            _ => continue,
        };
        // A name can have a line feed in it, and what looks like another field.
        if field.replace(Cow::Owned(value.trim_end_matches('\r').to_owned())).is_some() {
            return Err(Malformed::because(twice));
        }
    }
    Ok(fields)
}
