//! The schema's objects: who, and which file.

use std::borrow::Cow;

use serde::Serialize;

use super::super::ecs::{self, Text};
use super::super::escape::{escape_path, quote};
use super::super::record::{Action, Record};
use super::NAME;
use crate::model::Object;

/// Kinds of files.
const UNKNOWN: u32 = 0;
const REGULAR: u32 = 1;
const FOLDER: u32 = 2;
const SYMBOLIC_LINK: u32 = 7;

const SHA_256: u32 = 3;

#[derive(Serialize)]
pub(super) struct File<'a> {
    /// Required: the path itself where it has no last component.
    name: Text<'a>,
    path: Text<'a>,
    type_id: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    ext: Option<Text<'a>>,
    /// The inode.
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hashes: Option<[Fingerprint; 1]>,
}

#[derive(Serialize)]
struct Fingerprint {
    algorithm_id: u32,
    algorithm: &'static str,
    value: String,
}

#[derive(Serialize)]
pub(super) struct Actor<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<Process<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<User>,
    #[serde(skip_serializing_if = "Option::is_none")]
    app_name: Option<&'static str>,
}

#[derive(Serialize)]
struct User {
    uid: String,
}

#[derive(Serialize)]
pub(super) struct Process<'a> {
    pid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<File<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cmd_line: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_process: Option<Parent<'a>>,
    /// All that are known, nearest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ancestry: Vec<Ancestor<'a>>,
    /// Of a process that acts, it is the actor's.
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<User>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<Container<'a>>,
}

#[derive(Serialize)]
struct Parent<'a> {
    pid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<File<'a>>,
}

#[derive(Serialize)]
struct Ancestor<'a> {
    pid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<Text<'a>>,
}

#[derive(Serialize)]
struct Container<'a> {
    uid: Text<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    runtime: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<Image<'a>>,
}

#[derive(Serialize)]
struct Image<'a> {
    /// Required: the name where the digest is not known.
    uid: Text<'a>,
    name: Text<'a>,
}

impl<'a> File<'a> {
    pub(super) fn of(object: &'a Object, action: Action) -> Self {
        let file = ecs::File::of(object);
        let hashes =
            file.hash.map(|hash| [Fingerprint { algorithm_id: SHA_256, algorithm: "SHA-256", value: hash.sha256 }]);
        File {
            name: file.name.unwrap_or_else(|| file.path.clone()),
            path: file.path,
            type_id: type_id(object, action),
            ext: file.extension,
            uid: file.inode,
            size: file.size,
            hashes,
        }
    }

    /// The file of a program; none, where its path could not be read.
    fn program(path: Text<'a>) -> Option<Self> {
        if path.is_empty() {
            return None;
        }
        let name = path.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or(&path).to_owned();
        let name = Cow::Owned(name);
        Some(File { name, path, type_id: REGULAR, ext: None, uid: None, size: None, hashes: None })
    }
}

/// What comes by rename or link may be of any kind until its bytes were read.
fn type_id(object: &Object, action: Action) -> u32 {
    let kind = match action {
        Action::Symlink => SYMBOLIC_LINK,
        Action::Listing | Action::SiteGuarded | Action::SiteLost | Action::Search => FOLDER,
        Action::Creation | Action::Modification | Action::Read => REGULAR,
        Action::Rename | Action::Link | Action::Special | Action::Deletion => UNKNOWN,
        Action::Baseline | Action::Approval | Action::Revocation | Action::Held => UNKNOWN,
        Action::Quarantine | Action::Restore | Action::Purge | Action::Kill | Action::Failure => UNKNOWN,
        Action::Refused | Action::Start | Action::Stop | Action::Repeated | Action::Suppressed => UNKNOWN,
        Action::LogRotated => UNKNOWN,
    };
    if kind == UNKNOWN && object.sha256.is_some() { REGULAR } else { kind }
}

impl<'a> Actor<'a> {
    /// The guard itself.
    pub(super) fn guard() -> Self {
        Actor { process: None, user: None, app_name: Some(NAME) }
    }

    pub(super) fn of(record: &'a Record) -> Self {
        let Some(process) = Process::of(record) else {
            // What somebody asked for and could not be named is not the guard's doing.
            let is_others = record.access.is_some()
                || matches!(record.action, Action::Deletion | Action::Suppressed | Action::Repeated | Action::Refused);
            return if is_others { Actor { app_name: Some("unknown"), ..Actor::guard() } } else { Actor::guard() };
        };
        Actor { process: Some(process), user: User::of(record), app_name: None }
    }
}

impl User {
    fn of(record: &Record) -> Option<Self> {
        record.uid().map(|uid| User { uid: uid.to_string() })
    }
}

impl<'a> Process<'a> {
    /// The process that did it.
    fn of(record: &'a Record) -> Option<Self> {
        let process = ecs::Process::of(record)?;
        let parents = record.subject.as_deref().map(|subject| subject.parents.as_slice()).unwrap_or_default();
        let words: Vec<Text<'_>> = process.args.into_iter().map(quote).collect();
        Some(Process {
            pid: process.pid,
            file: process.executable.and_then(File::program),
            cmd_line: (!words.is_empty()).then(|| words.join(" ")),
            parent_process: process
                .parent
                .map(|parent| Parent { pid: parent.pid, file: parent.executable.and_then(File::program) }),
            ancestry: parents
                .iter()
                .map(|parent| Ancestor { pid: parent.pid, path: parent.exe.as_deref().map(escape_path) })
                .collect(),
            user: None,
            container: Container::of(record),
        })
    }

    /// The process that was ended.
    pub(super) fn ended(record: &'a Record) -> Option<Self> {
        Process::of(record).map(|process| Process { user: User::of(record), ..process })
    }
}

impl<'a> Container<'a> {
    fn of(record: &'a Record) -> Option<Self> {
        let container = ecs::Container::of(record)?;
        let image = container.image.map(|image| Image {
            uid: match image.hash {
                Some(ecs::ImageHash { all: [id] }) => id,
                None => image.name.clone(),
            },
            name: image.name,
        });
        Some(Container { uid: container.id, runtime: container.runtime, image })
    }
}
