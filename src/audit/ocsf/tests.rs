#![allow(clippy::unwrap_used, reason = "a broken assumption fails the test")]

use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::record::Action;
use super::super::sample;
use super::*;
use crate::model::{Access, Failure, Mode, Object};

/// What the schema (1.6.0) requires of every event, and in what type.
const OF_ALL: [(&str, Type); 9] = [
    ("metadata.version", Type::Text),
    ("metadata.product.name", Type::Text),
    ("time", Type::Number),
    ("category_uid", Type::Number),
    ("class_uid", Type::Number),
    ("activity_id", Type::Number),
    ("type_uid", Type::Number),
    ("severity_id", Type::Number),
    ("unmapped", Type::Object),
];

/// What it requires beyond that of File System Activity; of an actor and a device, one of what they can be told by.
const OF_FILES: [(&str, Type); 7] = [
    ("actor", Type::Object),
    ("device", Type::Object),
    ("device.type_id", Type::Number),
    ("device.hostname", Type::Text),
    ("device.os.name", Type::Text),
    ("file.name", Type::Text),
    ("file.type_id", Type::Number),
];

const OF_PROCESSES: [(&str, Type); 3] =
    [("actor.app_name", Type::Text), ("device.hostname", Type::Text), ("process.pid", Type::Number)];

const OF_LIFECYCLE: [(&str, Type); 1] = [("app.name", Type::Text)];

/// What it requires of parts that may be left out: the part, and what must be in it.
const OF_PARTS: [(&str, &str, Type); 10] = [
    ("actor.process", "pid", Type::Number),
    ("actor.process.file", "name", Type::Text),
    ("actor.process.file", "type_id", Type::Number),
    ("actor.process.parent_process", "pid", Type::Number),
    ("actor.process.container", "uid", Type::Text),
    ("actor.process.container.image", "uid", Type::Text),
    ("actor.user", "uid", Type::Text),
    ("file.hashes.0", "algorithm_id", Type::Number),
    ("file.hashes.0", "value", Type::Text),
    ("attacks.0", "technique", Type::Object),
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Type {
    Number,
    Text,
    Object,
}

impl Type {
    fn is_of(self, value: &Value) -> bool {
        match self {
            Type::Number => value.is_u64(),
            Type::Text => value.as_str().is_some_and(|text| !text.is_empty()),
            Type::Object => value.is_object(),
        }
    }
}

fn parsed(record: &Record) -> Value {
    let mut line = Vec::new();
    push_event_line(record, &Device::called("web-1"), &mut line);
    assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
    assert_eq!(line.last(), Some(&b'\n'));
    serde_json::from_slice(&line).unwrap()
}

fn at<'a>(event: &'a Value, path: &str) -> Option<&'a Value> {
    event.pointer(&format!("/{}", path.replace('.', "/")))
}

/// Every action, with as much and as little as a record of it can say.
fn records() -> Vec<Record> {
    let actions = Action::ALL;
    let outcomes = [None, Some(Outcome::Allow), Some(Outcome::Deny), Some(Outcome::WouldDeny)];
    let mut records = vec![sample::denied_write(0, 1), sample::hostile(b"\n\xff/"), sample::hostile(&[0xff; 5000])];
    for action in actions {
        let bare = Record::new(action);
        records.push(bare.clone().on(Object::at("/".into())));
        records.push(bare.clone().on(Object::at("/s/x.pth".into())).by_pid(7));
        records.push(bare.in_mode(Mode::Audit));
        records.extend(outcomes.map(|outcome| Record { outcome, ..sample::full().as_action(action) }));
    }
    records
}

#[test]
fn each_event_has_what_its_class_requires() {
    for record in records() {
        let event = parsed(&record);
        let of_class: &[(&str, Type)] = match event["class_uid"].as_u64().unwrap() {
            1001 => &OF_FILES,
            1007 => &OF_PROCESSES,
            6002 => &OF_LIFECYCLE,
            class => {
                assert!(class == 0 || class == 6008, "{event}");
                &[]
            }
        };
        for (path, kind) in OF_ALL.iter().chain(of_class) {
            assert!(at(&event, path).is_some_and(|value| kind.is_of(value)), "{path} is not {kind:?}: {event}");
        }
        for (part, field, kind) in OF_PARTS {
            let Some(part) = at(&event, part) else { continue };
            assert!(part.get(field).is_some_and(|value| kind.is_of(value)), "{field} is not {kind:?}: {part}");
        }
        let [class, activity, kind] = ["class_uid", "activity_id", "type_uid"].map(|id| event[id].as_u64().unwrap());
        assert_eq!(kind, class * 100 + activity);
        assert_eq!(activity == 99, event.get("activity_name").is_some(), "99 is what has a name of its own: {event}");
        assert!(!event.to_string().contains("null"), "{event}");
    }
}

#[test]
fn names_are_those_of_the_schema() {
    let product = json!({ "name": "pthguard", "vendor_name": "pthguard", "version": env!("CARGO_PKG_VERSION") });
    let expected = json!({
        "metadata": {
            "version": "1.6.0",
            "product": product,
            "profiles": ["security_control", "container"],
            "event_code": "rename"
        },
        "time": 1_774_000_000_123_u64,
        "category_uid": 1,
        "class_uid": 1001,
        "activity_id": 5,
        "type_uid": 100_105,
        "severity_id": 4,
        "status_id": 2,
        "action_id": 2,
        "disposition_id": 2,
        "is_alert": true,
        "message": "moved to quarantine",
        "actor": {
            "process": {
                "pid": 4242,
                "file": { "name": "python3.12", "path": "/usr/bin/python3.12", "type_id": 1 },
                "cmd_line": "python3 -m pip",
                "parent_process": {
                    "pid": 4000,
                    "file": { "name": "dash", "path": "/usr/bin/dash", "type_id": 1 }
                },
                "ancestry": [
                    { "pid": 4000, "path": "/usr/bin/dash" },
                    { "pid": 3000 },
                    { "pid": 1, "path": "/usr/lib/systemd/systemd" }
                ],
                "container": {
                    "uid": "4d".repeat(32),
                    "runtime": "docker",
                    "image": { "uid": format!("sha256:{}", "ef".repeat(32)), "name": "debian:12" }
                }
            },
            "user": { "uid": "1000" }
        },
        "file": {
            "name": "evil.pth",
            "path": "/srv/app/lib/python3.12/site-packages/evil.pth",
            "type_id": 1,
            "ext": "pth",
            "uid": "18446744073709551615",
            "size": 34,
            "hashes": [{ "algorithm_id": 3, "algorithm": "SHA-256", "value": "ab".repeat(32) }]
        },
        "device": {
            "hostname": "web-1",
            "type_id": 0,
            "os": { "name": "Linux", "type": "Linux", "type_id": 200 }
        },
        "attacks": [{
            "technique": { "uid": "T1546", "name": "Event Triggered Execution" },
            "sub_technique": { "uid": "T1546.018", "name": "Python Startup Hooks" }
        }],
        "unmapped": {
            "rule": "no-shells",
            "package": { "name": "evil", "version": "1.0", "type": "record" },
            "verdict": "deny",
            "reason": "rule",
            "mode": "enforce",
            "access": "rename",
            "script": "-m pip",
            "unit": "docker.service",
            "policy_generation": "g7-1f2e3d",
            "latency_us": 123,
            "content": "code",
            "line": "import os; os.system(\"x\")",
            "old_path": "/srv/app/lib/python3.12/site-packages/evil.txt",
            "count": 1
        }
    });
    assert_eq!(parsed(&sample::full()), expected);
}

#[test]
fn outcomes_have_the_numbers_of_the_profile() {
    let numbers = |record: &Record| {
        let event = parsed(record);
        ["severity_id", "status_id", "action_id", "disposition_id"].map(|id| event[id].as_u64().unwrap_or_default())
    };
    let outcome = |outcome| Record { outcome: Some(outcome), ..sample::full() };
    assert_eq!(numbers(&outcome(Outcome::Allow)), [1, 1, 1, 1]);
    assert_eq!(numbers(&outcome(Outcome::Deny)), [4, 2, 2, 2]);
    assert_eq!(numbers(&outcome(Outcome::WouldDeny)), [4, 1, 3, 15]);
    let of = |action| Record::new(action).on(Object::at("/s/x.pth".into()));
    assert_eq!(numbers(&of(Action::Held)), [4, 1, 2, 2]);
    assert_eq!(numbers(&of(Action::Held).in_mode(Mode::Audit)), [4, 1, 3, 15]);
    assert_eq!(numbers(&of(Action::Quarantine)), [4, 1, 2, 3]);
    assert_eq!(numbers(&of(Action::Restore)), [1, 1, 4, 9]);
    assert_eq!(numbers(&of(Action::Approval)), [1, 1, 1, 8]);
    assert_eq!(numbers(&Record::failure(Failure::State)), [3, 2, 0, 0]);
}

#[test]
fn what_is_allowed_is_no_alert_and_no_attack() {
    let event = parsed(&Record { outcome: Some(Outcome::Allow), ..sample::full() });
    assert_eq!((&event["is_alert"], event.get("attacks")), (&json!(false), None));
}

#[test]
fn the_guards_own_deeds_are_its_own() {
    let quarantined = parsed(&Record::new(Action::Quarantine).on(Object::at("/s/x.pth".into())));
    assert_eq!(quarantined["actor"], json!({ "app_name": "pthguard" }));
    assert_eq!(quarantined["activity_name"], "quarantine");
    let nobody = Record { access: Some(Access::Rename), ..Record::new(Action::Rename) };
    assert_eq!(parsed(&nobody.on(Object::at("/s/x.pth".into())))["actor"], json!({ "app_name": "unknown" }));
}

#[test]
fn an_ended_process_is_the_object_and_not_the_actor() {
    let event = parsed(&sample::denied_write(5, 1).as_action(Action::Kill));
    assert_eq!(event["type_uid"], 100_702);
    assert_eq!(event["actor"], json!({ "app_name": "pthguard" }));
    assert_eq!((&event["process"]["pid"], &event["process"]["user"]), (&json!(4242), &json!({ "uid": "5" })));
    assert_eq!((event.get("file"), &event["unmapped"]["file"]["name"]), (None, &json!("x.pth")));
}

#[test]
fn records_that_are_no_file_operation() {
    let start = parsed(&Record::new(Action::Start).at(SystemTime::UNIX_EPOCH));
    assert_eq!((&start["type_uid"], &start["category_uid"], &start["time"]), (&json!(600_203), &json!(6), &json!(0)));
    assert_eq!(start["unmapped"], json!({}));
    let failure = parsed(&Record::failure(Failure::State).saying("disk full"));
    assert_eq!((&failure["type_uid"], &failure["message"]), (&json!(600_801), &json!("disk full")));
    let guarded = parsed(&Record::new(Action::SiteGuarded).on(Object::at("/s".into())));
    assert_eq!((&guarded["type_uid"], &guarded["activity_name"]), (&json!(99), &json!("site-guarded")));
    assert_eq!(guarded["metadata"]["profiles"], json!(["host"]));
    assert_eq!(guarded["unmapped"]["file"], json!({ "name": "s", "path": "/s", "type_id": 2 }));
}

#[test]
fn suppressed_records_are_of_the_class_of_what_they_count() {
    let event = parsed(&sample::full().as_action(Action::Suppressed).counting(412));
    assert_eq!((&event["type_uid"], &event["count"]), (&json!(100_105), &json!(412)));
    assert_eq!(event["metadata"]["event_code"], "suppressed");
    assert_eq!(event["unmapped"].get("suppressed"), None);
}

#[test]
fn arguments_keep_their_bounds() {
    let event = parsed(&sample::hostile(b"a b\n\"c"));
    let word = r#""a b\x0a\"c""#;
    assert_eq!(event["actor"]["process"]["cmd_line"], [word; 3].join(" "));
}

proptest! {
    #[test]
    fn any_bytes_stay_one_line_that_parses(bytes in prop::collection::vec(any::<u8>(), 1..80)) {
        let event = parsed(&sample::hostile(&bytes));
        prop_assert_eq!(&event["actor"]["process"]["file"]["path"], &json!(escape(&bytes)));
    }
}

#[test]
fn times_before_the_epoch_do_not_stop_the_auditor() {
    let record = Record::new(Action::Stop).at(SystemTime::UNIX_EPOCH - Duration::from_secs(1));
    assert_eq!(parsed(&record)["time"], 0);
}
