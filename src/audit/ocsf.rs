//! A record as one event of the Open Cybersecurity Schema Framework (OCSF), in JSON; what the schema has no word for is
//! under `unmapped`, in the words of the other format. The types here are the schema: a field that is not known is
//! absent, unless the schema requires it.

mod class;
mod objects;

use std::fs;

use serde::Serialize;

use self::class::{Class, Ruling, activity, severity_id, status_id};
use self::objects::{Actor, File, Process};
use super::ecs::{OwnerPackage, Pthguard, Text, push_line, saturating, since_epoch};
use super::escape::escape;
use super::record::{Outcome, Record};

/// The version of the schema whose words these are.
const VERSION: &str = "1.6.0";

const NAME: &str = "pthguard";

/// Python startup hooks in MITRE ATT&CK, and what they are a kind of.
const ATTACK: Attack = Attack {
    technique: Technique { uid: "T1546", name: "Event Triggered Execution" },
    sub_technique: Technique { uid: "T1546.018", name: "Python Startup Hooks" },
};

const PRODUCT: Product = Product { name: NAME, vendor_name: NAME, version: env!("CARGO_PKG_VERSION") };

/// The record as one line of JSON, with its line feed.
pub(super) fn push_event_line(record: &Record, device: &Device, out: &mut Vec<u8>) {
    push_line(&Event::of(record, device), out);
}

#[derive(Serialize)]
struct Event<'a> {
    metadata: Metadata,
    /// Milliseconds.
    time: u64,
    category_uid: u32,
    class_uid: u32,
    activity_id: u32,
    /// Where the schema has no number for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    activity_name: Option<&'static str>,
    type_uid: u32,
    severity_id: u32,
    status_id: u32,
    #[serde(flatten)]
    ruling: Option<Ruling>,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_alert: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    actor: Actor<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<File<'a>>,
    /// The process that was ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<Process<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    app: Option<Product>,
    device: &'a Device,
    #[serde(skip_serializing_if = "Option::is_none")]
    attacks: Option<[Attack; 1]>,
    unmapped: Unmapped<'a>,
}

#[derive(Serialize)]
struct Metadata {
    version: &'static str,
    product: Product,
    profiles: Vec<&'static str>,
    event_code: &'static str,
}

#[derive(Serialize)]
struct Product {
    name: &'static str,
    vendor_name: &'static str,
    version: &'static str,
}

#[derive(Serialize)]
struct Attack {
    technique: Technique,
    sub_technique: Technique,
}

#[derive(Serialize)]
struct Technique {
    uid: &'static str,
    name: &'static str,
}

/// The host. The schema wants something that it can be told by.
#[derive(Serialize)]
pub(super) struct Device {
    hostname: String,
    type_id: u32,
    os: Os,
}

#[derive(Serialize)]
struct Os {
    name: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    type_id: u32,
}

/// In the words of the other format.
#[derive(Serialize)]
struct Unmapped<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    package: Option<OwnerPackage<'a>>,
    /// Of an event whose class knows no file.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<File<'a>>,
    #[serde(flatten)]
    pthguard: Pthguard<'a>,
}

impl<'a> Event<'a> {
    fn of(record: &'a Record, device: &'a Device) -> Self {
        let (class, activity_id) = activity(record);
        let is_other = activity_id == class::OTHER;
        let violation = record.outcome.is_some_and(Outcome::is_violation);
        let ruling = Ruling::of(record);
        let mut unmapped = Unmapped::of(record);
        let file = record.object.as_ref().map(|object| File::of(object, record.stands_for()));
        let (file, elsewhere) = if class == Class::FileSystem { (file, None) } else { (None, file) };
        unmapped.file = elsewhere;
        Event {
            metadata: Metadata::of(record, class, ruling.is_some()),
            time: saturating(since_epoch(record.time).as_millis()),
            category_uid: class.category_uid(),
            class_uid: class.uid(),
            activity_id,
            activity_name: is_other.then_some(record.stands_for().as_str()),
            type_uid: class.uid() * 100 + activity_id,
            severity_id: severity_id(record),
            status_id: status_id(record),
            ruling,
            is_alert: ruling.map(|_| violation),
            message: unmapped.pthguard.message.take(),
            count: unmapped.pthguard.suppressed.take(),
            actor: if class == Class::Process { Actor::guard() } else { Actor::of(record) },
            file,
            process: if class == Class::Process { Process::ended(record) } else { None },
            app: (class == Class::Lifecycle).then_some(PRODUCT),
            device,
            attacks: violation.then_some([ATTACK]),
            unmapped,
        }
    }
}

impl Metadata {
    fn of(record: &Record, class: Class, is_ruled: bool) -> Self {
        let has_container = record.subject.as_ref().is_some_and(|subject| subject.container.is_some());
        let profiles = [
            ("security_control", is_ruled),
            ("container", has_container),
            // The others have a device and an actor of their own.
            ("host", matches!(class, Class::Base | Class::Lifecycle | Class::Error)),
        ];
        Metadata {
            version: VERSION,
            product: PRODUCT,
            profiles: profiles.iter().filter_map(|(name, applies)| applies.then_some(*name)).collect(),
            event_code: record.action.as_str(),
        }
    }
}

impl Device {
    /// This host, by the name that it has now.
    pub(super) fn this() -> Self {
        let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Device::called(match name.trim() {
            "" | "(none)" => "localhost",
            name => name,
        })
    }

    fn called(name: &str) -> Self {
        let os = Os { name: "Linux", kind: "Linux", type_id: 200 };
        Device { hostname: escape(name.as_bytes()).into_owned(), type_id: 0, os }
    }
}

impl<'a> Unmapped<'a> {
    fn of(record: &'a Record) -> Self {
        let mut pthguard = Pthguard::of(record);
        pthguard.parents.clear(); // they are the actor's ancestry
        Unmapped {
            rule: record.rule.as_deref().map(|name| escape(name.as_bytes())),
            package: record.object.as_ref().and_then(|object| object.package.as_ref()).map(OwnerPackage::of),
            file: None,
            pthguard,
        }
    }
}

#[cfg(test)]
mod tests;
