//! A record as one line of JSON, in the names of the Elastic Common Schema; what the schema has no word for is under
//! `pthguard`. The types here are the schema: a field that is not known is absent, never null.

use std::borrow::Cow;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use time::OffsetDateTime;

use super::escape::{escape, escape_args, escape_message, escape_path};
use super::record::{Action, Outcome, Record};
use crate::model::{Access, ContentClass, Mode, Object, Package, Reason, Subject};

/// Python startup hooks in MITRE ATT&CK.
const TECHNIQUE: &str = "T1546.018";

pub(super) type Text<'a> = Cow<'a, str>;

/// The record as one line of JSON, with its line feed.
#[must_use]
pub fn json_line(record: &Record) -> Vec<u8> {
    let mut line = Vec::with_capacity(1024);
    push_json_line(record, &mut line);
    line
}

pub(super) fn push_json_line(record: &Record, out: &mut Vec<u8>) {
    push_line(&Document::of(record), out);
}

/// The document as one line of JSON.
pub(super) fn push_line(document: &impl Serialize, out: &mut Vec<u8>) {
    serde_json::to_writer(&mut *out, document)
        .expect("strings, numbers and structs always serialise, and a Vec takes them");
    out.push(b'\n');
}

#[derive(Serialize)]
struct Document<'a> {
    #[serde(rename = "@timestamp")]
    timestamp: String,
    event: Event,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<Rule<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<File<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    package: Option<OwnerPackage<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<Process<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<User>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<Container<'a>>,
    host: Host,
    #[serde(skip_serializing_if = "Option::is_none")]
    threat: Option<Threat>,
    pthguard: Pthguard<'a>,
}

#[derive(Serialize)]
struct Event {
    kind: &'static str,
    category: Vec<&'static str>,
    #[serde(rename = "type")]
    types: Vec<&'static str>,
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    /// Nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    duration: Option<u64>,
}

#[derive(Serialize)]
struct Rule<'a> {
    name: Text<'a>,
}

#[derive(Serialize)]
pub(super) struct File<'a> {
    pub(super) path: Text<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) extension: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hash: Option<Hash>,
    /// A keyword in the schema: JSON numbers lose the high bits of an inode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) inode: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) size: Option<u64>,
}

#[derive(Serialize)]
pub(super) struct Hash {
    pub(super) sha256: String,
}

#[derive(Serialize)]
pub(super) struct Process<'a> {
    pub(super) pid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) executable: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) args: Vec<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) parent: Option<Parent<'a>>,
}

#[derive(Serialize)]
pub(super) struct Parent<'a> {
    pub(super) pid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) executable: Option<Text<'a>>,
}

#[derive(Serialize)]
struct User {
    id: String,
}

#[derive(Serialize)]
pub(super) struct Container<'a> {
    pub(super) id: Text<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) runtime: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) image: Option<ContainerImage<'a>>,
}

#[derive(Serialize)]
pub(super) struct ContainerImage<'a> {
    pub(super) name: Text<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hash: Option<ImageHash<'a>>,
}

/// The schema's form of an image's digests: `sha256:` and the digits.
#[derive(Serialize)]
pub(super) struct ImageHash<'a> {
    pub(super) all: [Text<'a>; 1],
}

#[derive(Serialize)]
struct Host {
    os: Os,
}

#[derive(Serialize)]
struct Os {
    #[serde(rename = "type")]
    kind: &'static str,
}

/// The package that claims the file.
#[derive(Serialize)]
pub(super) struct OwnerPackage<'a> {
    pub(super) name: Text<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<Text<'a>>,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
}

#[derive(Serialize)]
struct Threat {
    technique: Technique,
}

#[derive(Serialize)]
struct Technique {
    id: [&'static str; 1],
}

#[derive(Serialize)]
pub(super) struct Pthguard<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) verdict: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mode: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) access: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) script: Option<String>,
    /// The systemd unit of the process; the schema has no word for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) unit: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) policy_generation: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) latency_us: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content: Option<&'static str>,
    /// The line that an interpreter would run, escaped where the content was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) line: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) old_path: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) old_sha256: Option<String>,
    /// The schema has no word for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) login_uid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<Text<'a>>,
    /// Executables of all known ancestors, nearest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) parents: Vec<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) suppressed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) count: Option<u64>,
}

impl<'a> Document<'a> {
    fn of(record: &'a Record) -> Self {
        let violation = record.outcome.is_some_and(Outcome::is_violation);
        Document {
            timestamp: timestamp(record.time),
            event: Event::of(record),
            rule: record.rule.as_deref().map(|name| Rule { name: escape(name.as_bytes()) }),
            file: record.object.as_ref().map(File::of),
            package: record.object.as_ref().and_then(|object| object.package.as_ref()).map(OwnerPackage::of),
            process: Process::of(record),
            user: record.uid().map(|uid| User { id: uid.to_string() }),
            container: Container::of(record),
            host: Host { os: Os { kind: "linux" } },
            threat: violation.then_some(Threat { technique: Technique { id: [TECHNIQUE] } }),
            pthguard: Pthguard::of(record),
        }
    }
}

impl Event {
    fn of(record: &Record) -> Self {
        let violation = record.outcome.is_some_and(Outcome::is_violation);
        let (mut category, mut types) = classify(record);
        if violation {
            category.push("intrusion_detection");
        }
        // The writer's point of view: what would have been denied did take place.
        let outcome = match record.outcome {
            Some(Outcome::Allow | Outcome::WouldDeny) => {
                types.push("allowed");
                Some("success")
            }
            Some(Outcome::Deny) => {
                types.push("denied");
                Some("failure")
            }
            None => (record.action == Action::Failure).then_some("failure"),
        };
        Event {
            kind: if violation { "alert" } else { "event" },
            category,
            types,
            action: record.action.as_str(),
            outcome,
            reason: record.reason.map(Reason::as_str),
            duration: record.latency.map(|latency| saturating(latency.as_nanos())),
        }
    }
}

/// `event.category` and the first of `event.type`.
fn classify(record: &Record) -> (Vec<&'static str>, Vec<&'static str>) {
    let (category, kind) = match record.stands_for() {
        Action::Creation | Action::Link | Action::Symlink | Action::Special | Action::Restore => ("file", "creation"),
        Action::Modification | Action::Rename => ("file", "change"),
        Action::Read | Action::Listing => ("file", "access"),
        Action::Deletion | Action::Quarantine | Action::Purge => ("file", "deletion"),
        Action::Baseline | Action::Approval | Action::Held => ("file", "info"),
        Action::Revocation => ("file", "change"),
        Action::Refused => ("authentication", "info"),
        Action::SiteGuarded | Action::SiteLost | Action::Search | Action::Suppressed | Action::Repeated => {
            ("file", "info")
        }
        Action::LogRotated => ("process", "info"),
        Action::Start => ("process", "start"),
        Action::Stop => ("process", "end"),
        Action::Kill => ("process", "end"),
        Action::Failure => ("process", "error"),
    };
    (vec![category], vec![kind])
}

impl<'a> File<'a> {
    pub(super) fn of(object: &'a Object) -> Self {
        let name = object.path.file_name().map(OsStrExt::as_bytes);
        // Not `Path::extension`, which finds none in `.pth`.
        let extension = name.and_then(|name| {
            let dot = name.iter().rposition(|byte| *byte == b'.')?;
            Some(&name[dot + 1..])
        });
        File {
            path: escape_path(&object.path),
            name: name.map(escape),
            extension: extension.filter(|extension| !extension.is_empty()).map(escape),
            hash: object.sha256.map(|sha256| Hash { sha256: sha256.to_string() }),
            inode: object.inode.map(|inode| inode.to_string()),
            size: object.size,
        }
    }
}

impl<'a> OwnerPackage<'a> {
    pub(super) fn of(package: &'a Package) -> Self {
        OwnerPackage {
            name: escape_message(&package.name),
            version: package.version.as_deref().map(escape_message),
            kind: package.source.as_str(),
        }
    }
}

impl<'a> Process<'a> {
    pub(super) fn of(record: &'a Record) -> Option<Self> {
        let Some(subject) = record.subject.as_deref() else {
            return record.author.map(|pid| Process { pid, executable: None, args: Vec::new(), parent: None });
        };
        Some(Process {
            pid: subject.pid,
            executable: Some(escape_path(&subject.exe.path)),
            args: escape_args(&subject.argv),
            parent: subject
                .parents
                .first()
                .map(|parent| Parent { pid: parent.pid, executable: parent.exe.as_deref().map(escape_path) }),
        })
    }
}

impl<'a> Container<'a> {
    pub(super) fn of(record: &'a Record) -> Option<Self> {
        let container = record.subject.as_deref()?.container.as_ref()?;
        Some(Container {
            id: escape(container.id.as_bytes()),
            runtime: container.runtime,
            image: record.image.as_deref().map(|image| ContainerImage {
                name: escape_message(&image.name),
                hash: image.id.as_deref().map(|id| ImageHash { all: [escape_message(id)] }),
            }),
        })
    }
}

impl<'a> Pthguard<'a> {
    pub(super) fn of(record: &'a Record) -> Self {
        let subject = record.subject.as_deref();
        let is_summary = matches!(record.action, Action::Suppressed | Action::Repeated);
        let (suppressed, count) = if is_summary { (record.count, None) } else { (None, record.count) };
        Pthguard {
            verdict: record.outcome.map(Outcome::as_str),
            reason: record.reason.map(Reason::as_str),
            mode: record.mode.map(Mode::as_str),
            access: record.access.map(Access::as_str),
            script: subject.and_then(script),
            unit: subject.and_then(|subject| subject.unit.as_deref()).map(|unit| escape(unit.as_bytes())),
            policy_generation: record.policy_generation.as_deref().map(|name| escape(name.as_bytes())),
            latency_us: record.latency.map(latency_us),
            content: record.object.as_ref().and_then(|object| object.content).map(ContentClass::as_str),
            line: record.object.as_ref().and_then(|object| object.line.as_deref()).map(escape_message),
            old_path: record.old_path.as_deref().map(escape_path),
            old_sha256: record.old_sha256.map(|sha256| sha256.to_string()),
            login_uid: record.login_uid,
            message: record.message.as_deref().map(escape_message),
            parents: subject.map(parents).unwrap_or_default(),
            suppressed,
            count,
        }
    }
}

fn script(subject: &Subject) -> Option<String> {
    let script = subject.script.display()?;
    Some(escape_path(Path::new(&script)).into_owned())
}

pub(super) fn latency_us(latency: Duration) -> u64 {
    saturating(latency.as_micros())
}

fn parents(subject: &Subject) -> Vec<Text<'_>> {
    subject.parents.iter().filter_map(|parent| parent.exe.as_deref()).map(escape_path).collect()
}

pub(super) fn saturating(value: u128) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

/// A time before the epoch, which only a broken clock tells, is the epoch.
pub(super) fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// RFC 3339, UTC, microseconds; always as long, so that lines sort as text.
pub(super) fn timestamp(time: SystemTime) -> String {
    let time = i128::try_from(since_epoch(time).as_nanos())
        .ok()
        .and_then(|nanos| OffsetDateTime::from_unix_timestamp_nanos(nanos).ok())
        .unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (date, clock) = (time.date(), time.time());
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z",
        date.year(),
        u8::from(date.month()),
        date.day(),
        clock.hour(),
        clock.minute(),
        clock.second(),
        clock.microsecond()
    )
}

#[cfg(test)]
mod tests;
