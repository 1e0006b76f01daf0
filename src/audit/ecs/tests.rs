#![allow(clippy::unwrap_used, reason = "a broken assumption fails the test")]

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::sample;
use super::*;

fn parsed(record: &Record) -> Value {
    let line = json_line(record);
    assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
    assert_eq!(line.last(), Some(&b'\n'));
    serde_json::from_slice(&line).unwrap()
}

#[test]
fn names_are_those_of_the_interface() {
    let expected = json!({
        "@timestamp": "2026-03-20T09:46:40.123456Z",
        "event": {
            "kind": "alert",
            "category": ["file", "intrusion_detection"],
            "type": ["change", "denied"],
            "action": "rename",
            "outcome": "failure",
            "reason": "rule",
            "duration": 123_456
        },
        "rule": { "name": "no-shells" },
        "file": {
            "path": "/srv/app/lib/python3.12/site-packages/evil.pth",
            "name": "evil.pth",
            "extension": "pth",
            "hash": { "sha256": "ab".repeat(32) },
            "inode": "18446744073709551615",
            "size": 34
        },
        "package": { "name": "evil", "version": "1.0", "type": "record" },
        "process": {
            "pid": 4242,
            "executable": "/usr/bin/python3.12",
            "args": ["python3", "-m", "pip"],
            "parent": { "pid": 4000, "executable": "/usr/bin/dash" }
        },
        "user": { "id": "1000" },
        "container": {
            "id": "4d".repeat(32),
            "runtime": "docker",
            "image": { "name": "debian:12", "hash": { "all": [format!("sha256:{}", "ef".repeat(32))] } }
        },
        "host": { "os": { "type": "linux" } },
        "threat": { "technique": { "id": ["T1546.018"] } },
        "pthguard": {
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
            "message": "moved to quarantine",
            "parents": ["/usr/bin/dash", "/usr/lib/systemd/systemd"],
            "count": 1
        }
    });
    assert_eq!(parsed(&sample::full()), expected);
}

#[test]
fn what_is_not_known_is_absent() {
    let record = Record::new(Action::Start).at(SystemTime::UNIX_EPOCH);
    let expected = json!({
        "@timestamp": "1970-01-01T00:00:00.000000Z",
        "event": { "kind": "event", "category": ["process"], "type": ["start"], "action": "start" },
        "host": { "os": { "type": "linux" } },
        "pthguard": {}
    });
    assert_eq!(parsed(&record), expected);
    assert_eq!(parsed(&record.by_pid(77))["process"], json!({ "pid": 77 }));
}

#[test]
fn would_deny_is_an_alert_about_something_that_succeeded() {
    let mut record = sample::full();
    record.outcome = Some(Outcome::WouldDeny);
    let value = parsed(&record);
    assert_eq!(value["event"]["kind"], "alert");
    assert_eq!(value["event"]["outcome"], "success");
    assert_eq!(value["event"]["type"], json!(["change", "allowed"]));
    assert_eq!(value["pthguard"]["verdict"], "would-deny");
    assert_eq!(value["threat"]["technique"]["id"], json!(["T1546.018"]));
}

#[test]
fn allow_is_no_alert() {
    let mut record = sample::full();
    record.outcome = Some(Outcome::Allow);
    let value = parsed(&record);
    assert_eq!(value["event"]["kind"], "event");
    assert_eq!(value["event"]["category"], json!(["file"]));
    assert_eq!(value.get("threat"), None);
}

#[test]
fn suppressed_records_carry_their_count() {
    let value = parsed(&sample::full().as_action(Action::Suppressed).counting(412));
    assert_eq!(value["event"]["action"], "suppressed");
    assert_eq!(value["event"]["type"], json!(["change", "denied"]));
    assert_eq!(value["pthguard"]["suppressed"], 412);
    assert_eq!(value["pthguard"].get("count"), None);
}

#[test]
fn a_name_of_nothing_but_the_suffix_has_its_extension() {
    let value = parsed(&Record::new(Action::Read).on(Object::at("/s/.pth".into())));
    assert_eq!(value["file"], json!({ "path": "/s/.pth", "name": ".pth", "extension": "pth" }));
}

#[test]
fn hostile_names_stay_one_line_that_parses() {
    let long = vec![0xff; 4096];
    for bytes in [&b"a\n{\"event\":1}\r.pth"[..], b"\"\\\x1b]0;title\x07\x00", b"\xff\xfe\x80.pth", &long] {
        let value = parsed(&sample::hostile(bytes));
        assert_eq!(value["process"]["executable"], *escape(bytes));
        assert_eq!(value["pthguard"]["old_path"], *escape(bytes));
        assert_eq!(value["process"]["args"].as_array().unwrap().len(), 3);
    }
}

proptest! {
    #[test]
    fn any_bytes_stay_one_line_that_parses(bytes in prop::collection::vec(any::<u8>(), 1..80)) {
        let value = parsed(&sample::hostile(&bytes));
        prop_assert_eq!(&value["process"]["executable"], &json!(escape(&bytes)));
    }
}

#[test]
fn times_that_no_calendar_holds_do_not_stop_the_auditor() {
    assert_eq!(timestamp(SystemTime::UNIX_EPOCH - Duration::from_secs(1)), "1970-01-01T00:00:00.000000Z");
    let far = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 40);
    assert_eq!(timestamp(far), "1970-01-01T00:00:00.000000Z");
}
