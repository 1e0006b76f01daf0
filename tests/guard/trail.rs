//! The audit trail: one JSON object a line whatever a name or an argument holds, limited in a flood, with a count.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use serde_json::Value;

use crate::harness::{Config, field, lookup};
use crate::site::{Place, run};

/// Each of these would break a trail, a terminal or a parser that takes names for text.
const HOSTILE: [&[u8]; 9] = [
    b"line\nbreak.pth",
    b"\r\n{\"event\":{\"action\":\"start\"}}\r\n.pth",
    b"quote\"backslash\\.pth",
    b"\x1b[2J\x1b]0;title\x07.pth",
    b"\xff\xfe\x80.pth",
    "\u{2028}\u{85}\u{202e}.pth".as_bytes(),
    b"${jndi:ldap:}%s%n.pth",
    b"' OR 1=1 --.pth",
    &LONG,
];

/// The longest name there is.
const LONG: [u8; 255] = {
    let mut name = [b'a'; 255];
    name[251] = b'.';
    name[252] = b'p';
    name[253] = b't';
    name[254] = b'h';
    name
};

#[test]
fn hostile_names_and_arguments_stay_one_record_a_line() {
    let place = Place::new();
    let guard = Config::new(&place).start();
    // Its own record of the start may come after it has said that it is ready.
    guard.wait_record("", &["start"], None);
    let before = guard.records().len();
    for name in HOSTILE {
        let path = place.venvs[0].site.join(OsStr::from_bytes(name));
        let mut shell = Command::new("sh");
        shell.arg0(OsStr::from_bytes(b"a\n{\"pthguard\":{\"verdict\":\"allow\"}}\n\xff"));
        let done = run(shell.args(["-c", ": > \"$1\"", "\nsh\n"]).arg(&path));
        assert!(!done.status.success(), "{path:?} was written");
    }
    guard.wait_record("deny", &["creation"], Some("%s%n.pth"));
    let (_, records) = (guard.wait_record("deny", &["creation"], Some("aaaa.pth")), guard.records());
    let denials = records[before..].iter().filter(|record| field(record, "pthguard.verdict") == "deny").count();
    assert!(denials >= HOSTILE.len(), "{denials} records for {} denials", HOSTILE.len());
    for record in &records[before..] {
        assert_ne!(field(record, "pthguard.verdict"), "allow", "a forged record: {record}");
        assert_ne!(field(record, "event.action"), "start", "a forged record: {record}");
    }
    let said = guard.said();
    assert!(!said.contains('\x1b') && !said.contains("\n{\"event\""), "raw bytes on standard error: {said:?}");
}

/// The names that other tools look for.
#[test]
fn a_denial_says_who_what_where_and_why() {
    let place = Place::new();
    let guard = Config::new(&place).start();
    let path = place.venvs[0].site.join("evil.pth");
    let done = run(Command::new("sh").args(["-c", ": > \"$1\"", "sh"]).arg(&path));
    assert!(!done.status.success());
    let record = guard.wait_record("deny", &["creation"], Some("evil.pth"));
    assert_eq!(field(&record, "file.path"), path.to_str().unwrap());
    assert_eq!(field(&record, "file.name"), "evil.pth");
    assert_eq!(field(&record, "pthguard.mode"), "enforce");
    let shell = fs::canonicalize("/bin/sh").unwrap();
    assert_eq!(field(&record, "process.executable"), shell.to_str().unwrap());
    for present in ["@timestamp", "process.pid", "user.id", "event.kind", "pthguard.reason"] {
        assert!(lookup(&record, present).is_some_and(|value| !value.is_null()), "no {present} in {record}");
    }
}

/// 5,000 denials: all denied, few written, and none lost from the count.
#[test]
fn a_flood_is_limited_and_counted() {
    const FLOOD: usize = 5000;
    let place = Place::new();
    let guard = Config::new(&place).start();
    let path = place.venvs[0].site.join("flood.pth");
    let denied = (0..FLOOD).filter(|_| fs::write(&path, "x").is_err_and(|e| e.raw_os_error() == Some(libc::EPERM)));
    assert_eq!(denied.count(), FLOOD, "the log is limited, enforcement is not");
    guard.wait_record("deny", &["creation"], Some("flood.pth"));
    let (events, state) = (place.path().join("events.ndjson"), guard.stop());
    assert_eq!(state.0.code(), Some(0));
    let text = fs::read_to_string(events).unwrap();
    let records: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let denials = || records.iter().filter(|record| field(record, "pthguard.verdict") == "deny");
    let count = |record: &Value| lookup(record, "pthguard.suppressed").and_then(Value::as_u64);
    // Opens for writing, and whatever else the guard took the left-overs of denied creates for.
    let (writes, others): (Vec<_>, Vec<_>) = denials().partition(|record| field(record, "pthguard.access") == "write");
    let written = writes.iter().filter(|record| count(record).is_none()).count();
    let suppressed: u64 = writes.iter().filter_map(|record| count(record)).sum();
    println!("{written} written, {suppressed} suppressed of {FLOOD}");
    let other: u64 = others.iter().map(|record| count(record).unwrap_or(1)).sum();
    assert_eq!(other, 0, "the left-over of a denied create was judged as an arrival: {:?}", others.first());
    assert!(written < FLOOD / 2, "{written} records: a flood fills the disk");
    assert_eq!(written as u64 + suppressed, FLOOD as u64, "{written} written, {suppressed} counted as suppressed");
}
