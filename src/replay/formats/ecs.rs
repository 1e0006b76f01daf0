//! Records in the names of the Elastic Common Schema: this guard's own, Elastic Defend's, Auditbeat's.

use std::borrow::Cow;

use super::super::event::{Event, Malformed, Operation};
use super::json::{Key, Record};
use crate::audit::unescape;
use crate::model::{ContentClass, Os};

type Text<'a> = Cow<'a, str>;

/// Words of `event.action`, and what each says was done. Of several the first in this list counts: Auditbeat puts
/// together what happened shortly after one another.
///
/// `moved` is here although one way of Auditbeat's to watch says it of the old name: the other way says it of the new
/// one, and the record does not tell which it was. What changes only attributes is no operation.
const ACTIONS: &[(&str, Operation)] = &[
    ("creation", Operation::Create),
    ("created", Operation::Create),
    ("create", Operation::Create),
    ("rename", Operation::Rename),
    ("renamed", Operation::Rename),
    ("moved", Operation::Rename),
    ("link", Operation::Link),
    ("hardlink", Operation::Link),
    ("linked", Operation::Link),
    ("symlink", Operation::Symlink),
    ("symlinked", Operation::Symlink),
    ("modification", Operation::Modify),
    ("modified", Operation::Modify),
    ("overwrite", Operation::Modify),
    ("updated", Operation::Modify),
    ("update", Operation::Modify),
    ("write", Operation::Modify),
    ("deletion", Operation::Delete),
    ("deleted", Operation::Delete),
    ("delete", Operation::Delete),
    ("open", Operation::Read),
    ("read", Operation::Read),
    ("access", Operation::Read),
];

/// The words of this guard's own records; the others are no operations, but what it did itself.
const OWN_ACTIONS: [Operation; 8] = [
    Operation::Create,
    Operation::Modify,
    Operation::Rename,
    Operation::Link,
    Operation::Symlink,
    Operation::Special,
    Operation::Delete,
    Operation::Read,
];

/// What `event.type` says, for recorders that have no `event.action`.
const TYPES: &[(&str, Operation)] = &[
    ("creation", Operation::Create),
    ("change", Operation::Modify),
    ("deletion", Operation::Delete),
    ("access", Operation::Read),
];

/// Families of Linux, as `host.os.family` names them where `host.os.type` is not there.
const LINUX: &[&str] = &["debian", "redhat", "fedora", "suse", "arch", "alpine", "gentoo", "amazon", "linux"];

/// An operation that others have recorded. Those that failed are none.
pub(super) fn event(mut record: Record<'_>) -> Result<Option<Event<'_>>, Malformed> {
    if record.text(Key::EventOutcome)?.is_some_and(|outcome| outcome == "failure") {
        return Ok(None);
    }
    let categories = record.texts(Key::EventCategory);
    let is_file = categories.is_empty() || categories.iter().any(|category| category == "file");
    let actions = record.texts(Key::EventAction);
    let (words, of_words) = match actions.is_empty() {
        true => (record.texts(Key::EventType), TYPES),
        false => (actions, ACTIONS),
    };
    let Some(operation) = first_of(&words, of_words).filter(|_| is_file) else { return Ok(None) };
    Ok(described(&mut record, operation)?.map(|event| Event { os: event.os.or_else(|| os_of(&event.path)), ..event }))
}

/// An operation that this guard has recorded, allowed or not.
pub(super) fn guard(mut record: Record<'_>) -> Result<Option<Event<'_>>, Malformed> {
    let action = if record.has_guard { record.text(Key::EventAction)? } else { None };
    let of_action = |operation: &Operation| action.as_deref() == Some(operation.as_str());
    let Some(operation) = OWN_ACTIONS.into_iter().find(of_action) else { return Ok(None) };
    let Some(event) = described(&mut record, operation)? else { return Ok(None) };
    let content = record.text(Key::GuardContent)?;
    Ok(Some(Event {
        path: plain(event.path),
        extension: event.extension.map(plain),
        exe: event.exe.map(plain),
        args: event.args.into_iter().map(plain).collect(),
        script: record.text(Key::GuardScript)?.map(plain),
        parent_exe: event.parent_exe.map(plain),
        container: event.container.map(plain),
        content: ContentClass::ALL.into_iter().find(|class| content.as_deref() == Some(class.as_str())),
        line: record.text(Key::GuardLine)?.map(plain),
        verdict: record.text(Key::GuardVerdict)?,
        ..event
    }))
}

/// What the schema has words for; `None` where it says no path.
fn described<'a>(record: &mut Record<'a>, operation: Operation) -> Result<Option<Event<'a>>, Malformed> {
    let Some(path) = record.text(Key::FilePath)?.filter(|path| !path.is_empty()) else { return Ok(None) };
    let os = match record.text(Key::HostOsType)? {
        Some(word) => Os::named(&word),
        None => record.text(Key::HostOsFamily)?.and_then(|family| os_of_family(&family)),
    };
    Ok(Some(Event {
        os,
        extension: record.text(Key::FileExtension)?,
        exe: record.text(Key::ProcessExecutable)?,
        args: record.texts(Key::ProcessArgs),
        uid: record.uid(Key::EffectiveUserId).or_else(|| record.uid(Key::UserId)),
        parent_exe: record.text(Key::ParentExecutable)?,
        container: record.text(Key::ContainerId)?,
        time: record.text(Key::Timestamp)?,
        ..Event::new(operation, path)
    }))
}

fn first_of(words: &[Text<'_>], of_words: &[(&str, Operation)]) -> Option<Operation> {
    of_words.iter().find(|(word, _)| words.iter().any(|said| said == word)).map(|(_, operation)| *operation)
}

fn os_of_family(family: &str) -> Option<Os> {
    match family {
        "windows" => Some(Os::Windows),
        "darwin" => Some(Os::MacOs),
        family => LINUX.contains(&family).then_some(Os::Linux),
    }
}

/// The system that a path is certain to be of.
pub(super) fn os_of(path: &str) -> Option<Os> {
    let is_windows = match path.as_bytes() {
        [drive, b':', b'\\' | b'/', ..] => drive.is_ascii_alphabetic(),
        [b'\\', b'\\', ..] => true,
        _ => false,
    };
    is_windows.then_some(Os::Windows)
}

/// Text as it was before this guard escaped it. What was cut short, or is not UTF-8, stays as it was written.
fn plain(text: Text<'_>) -> Text<'_> {
    if !text.contains('\\') {
        return text;
    }
    let plain = unescape(&text).and_then(|bytes| String::from_utf8(bytes.into_owned()).ok());
    plain.map_or(text, Cow::Owned)
}
