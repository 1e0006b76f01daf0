#![allow(clippy::unwrap_used, reason = "a broken assumption fails the test")]

use super::super::super::event::{Event, Operation};
use super::*;
use crate::model::Os;

/// What the lines say, with the numbers of the lines.
fn all(lines: &[String]) -> Vec<Parsed<'static>> {
    let mut groups = AuditGroups::new();
    let mut parsed = Vec::new();
    for (number, line) in (1..).zip(lines) {
        parsed.extend(groups.push(number, line.as_bytes()));
    }
    parsed.extend(std::iter::from_fn(|| groups.finish()));
    parsed
}

fn event(lines: &[String]) -> Result<Option<Event<'static>>, Malformed> {
    let mut parsed = all(lines);
    assert_eq!(parsed.len(), 1, "{parsed:?}");
    parsed.remove(0).result
}

fn line(kind: &str, serial: u32, rest: &str) -> String {
    format!("type={kind} msg=audit(1777889472.131:{serial}): {rest}")
}

fn call(serial: u32, arch: &str, syscall: u32, args: &str) -> String {
    let rest = format!(
        "arch={arch} syscall={syscall} success=yes exit=3 {args} items=2 ppid=900 pid=4242 auid=1000 uid=1000 gid=1000 euid=0 suid=0 fsuid=0 egid=0 sgid=0 fsgid=0 tty=pts0 ses=3 comm=\"python3\" exe=\"/usr/bin/python3.12\" subj=unconfined key=\"startup\"\u{1d}ARCH=x86_64 SYSCALL=openat AUID=\"u\" UID=\"u\" EUID=\"root\""
    );
    line("SYSCALL", serial, &rest)
}

fn path(serial: u32, item: u32, name: &str, nametype: &str) -> String {
    let rest = format!(
        "item={item} name={name} inode=7 dev=08:01 mode=0100644 ouid=0 ogid=0 rdev=00:00 nametype={nametype} cap_fp=0 cap_fi=0 cap_fe=0 cap_fver=0 cap_frootid=0\u{1d}OUID=\"root\" OGID=\"root\""
    );
    line("PATH", serial, &rest)
}

/// An event of two names, as the daemon logs it.
fn made(serial: u32, call: String, name: &str, nametype: &str) -> Vec<String> {
    vec![
        call,
        line("CWD", serial, "cwd=\"/usr/lib/python3\""),
        path(serial, 0, "\"/usr/lib/python3/dist-packages/\"", "PARENT"),
        path(serial, 1, name, nametype),
        line("PROCTITLE", serial, "proctitle=707974686F6E33002D6D00706970"),
        line("EOE", serial, ""),
    ]
}

const X86: &str = "c000003e";
const ARM: &str = "c00000b7";
const AT: &str = "a0=ffffff9c a1=7ffd00 a2=241 a3=1b6";

#[test]
fn a_file_that_was_made() {
    let expected = Event {
        os: Some(Os::Linux),
        extension: Some("pth".into()),
        exe: Some("/usr/bin/python3.12".into()),
        args: ["python3", "-m", "pip"].map(Into::into).to_vec(),
        uid: Some(0),
        time: Some("1777889472.131".into()),
        ..Event::new(Operation::Create, "/usr/lib/python3/dist-packages/x.pth".into())
    };
    let lines = made(7, call(7, X86, 257, AT), "\"/usr/lib/python3/dist-packages/x.pth\"", "CREATE");
    assert_eq!(event(&lines), Ok(Some(expected.clone())));
    assert_eq!(
        event(&made(7, call(7, ARM, 56, AT), "\"dist-packages/./x.pth\"", "CREATE")),
        Ok(Some(expected.clone()))
    );
    assert_eq!(event(&lines[..5]), Ok(Some(expected)), "EOE can be missing");
}

#[test]
fn names_in_hexadecimal() {
    let hex = hex::encode_upper("/s/a b\"\n.pth");
    assert_eq!(event(&made(7, call(7, X86, 257, AT), &hex, "CREATE")).unwrap().unwrap().path, "/s/a b\"\n.pth");
    let hex = hex::encode_upper(b"/s/\xff\\.pth");
    assert_eq!(event(&made(7, call(7, X86, 257, AT), &hex, "CREATE")).unwrap().unwrap().path, r"/s/\xff\\.pth");
    let hex = hex::encode_upper("x y.pth");
    assert_eq!(
        event(&made(7, call(7, X86, 257, AT), &hex, "CREATE")).unwrap().unwrap().path,
        "/usr/lib/python3/x y.pth"
    );
}

#[test]
fn a_name_cannot_pretend_to_be_a_field() {
    let lines = made(7, call(7, X86, 257, AT), "\"x.pth nametype=DELETE name=y\"", "CREATE");
    assert_eq!(event(&lines).unwrap().unwrap().path, "/usr/lib/python3/x.pth nametype=DELETE name=y");
    let twice = [vec![call(7, X86, 59, AT)], made(7, call(7, X86, 257, AT), "\"/x\"", "CREATE")].concat();
    assert_eq!(event(&twice).unwrap_err().reason, "two SYSCALL records in one audit event");
}

#[test]
fn events_that_mix() {
    let one = made(7, call(7, X86, 257, AT), "\"/s/one.pth\"", "CREATE");
    let other = made(8, call(8, X86, 257, AT), "\"/s/other.pth\"", "CREATE");
    let lines: Vec<String> = one.iter().zip(&other).flat_map(|(one, other)| [other.clone(), one.clone()]).collect();
    let parsed = all(&lines);
    let said: Vec<_> =
        parsed.iter().map(|parsed| (parsed.line, parsed.result.clone().unwrap().unwrap().path)).collect();
    assert_eq!(said, [(1, "/s/other.pth".into()), (2, "/s/one.pth".into())]);

    let of_node = |node: &str| one.iter().map(|line| format!("node={node} {line}")).collect::<Vec<_>>();
    let lines: Vec<String> = of_node("a").into_iter().zip(of_node("b")).flat_map(|(a, b)| [a, b]).collect();
    assert_eq!(all(&lines).len(), 2, "serials are of one host");
}

#[test]
fn calls_and_their_names() {
    let said = |arch, syscall, args, name, nametype| {
        event(&made(7, call(7, arch, syscall, args), name, nametype)).unwrap().map(|event| event.operation)
    };
    let name = "\"/s/x.pth\"";
    for (operation, arch, syscall, args, nametype) in [
        (Operation::Create, X86, 2, "a0=7ffd00 a1=241", "CREATE"),
        (Operation::Modify, X86, 2, "a0=7ffd00 a1=241", "NORMAL"),
        (Operation::Read, X86, 2, "a0=7ffd00 a1=80000", "NORMAL"),
        (Operation::Modify, X86, 257, "a0=ffffff9c a1=7ffd00 a2=2", "NORMAL"),
        (Operation::Modify, X86, 257, "a0=ffffffffffffff9c a1=7ffd00 a2=200", "NORMAL"),
        (Operation::Read, ARM, 56, "a0=ffffff9c a1=1 a2=0", "NORMAL"),
        (Operation::Create, X86, 85, "a0=7ffd00 a1=1a4", "CREATE"),
        (Operation::Modify, X86, 85, "a0=7ffd00 a1=1a4", "NORMAL"),
        (Operation::Rename, X86, 82, "a0=1 a1=2", "CREATE"),
        (Operation::Rename, ARM, 276, "a0=ffffff9c a1=1 a2=ffffff9c a3=2", "CREATE"),
        (Operation::Link, X86, 86, "a0=1 a1=2", "CREATE"),
        (Operation::Link, ARM, 37, "a0=ffffff9c a1=1 a2=ffffff9c a3=2", "CREATE"),
        (Operation::Symlink, X86, 266, "a0=1 a1=ffffff9c a2=2", "CREATE"),
        (Operation::Special, X86, 133, "a0=1 a1=11a4", "CREATE"),
        (Operation::Create, X86, 259, "a0=ffffff9c a1=1 a2=81a4", "CREATE"),
        (Operation::Modify, ARM, 45, "a0=1 a1=0", "NORMAL"),
        (Operation::Delete, X86, 87, "a0=1", "DELETE"),
        (Operation::Delete, ARM, 35, "a0=ffffff9c a1=1 a2=0", "DELETE"),
        (Operation::Create, "40000003", 5, "a0=7ffd00 a1=241", "CREATE"),
    ] {
        assert_eq!(said(arch, syscall, args, name, nametype), Some(operation), "{arch} {syscall} {args}");
    }
    assert_eq!(said(X86, 0x4000_0002, "a0=7ffd00 a1=241", name, "CREATE"), Some(Operation::Create), "x32");
    assert_eq!(said(X86, 59, "a0=1 a1=2", name, "NORMAL"), None, "execve");
    assert_eq!(said(X86, 257, "a0=ffffff9c a1=1 a2=410002", "\"/s\"", "NORMAL"), None, "O_TMPFILE");
    assert_eq!(said(X86, 2, "a0=1 a1=200000", name, "NORMAL"), None, "O_PATH");
    assert_eq!(
        event(&made(7, call(7, "c0000015", 5, "a1=1"), name, "NORMAL")).unwrap_err().reason,
        "an audit event of an unknown architecture"
    );
}

#[test]
fn a_rename_onto_another_file() {
    let lines = vec![
        call(7, X86, 82, "a0=1 a1=2"),
        line("CWD", 7, "cwd=\"/tmp\""),
        path(7, 0, "\"/tmp\"", "PARENT"),
        path(7, 1, "\"/s/\"", "PARENT"),
        path(7, 2, "\"x.txt\"", "DELETE"),
        path(7, 3, "\"/s/x.pth\"", "DELETE"),
        path(7, 4, "\"/s/x.pth\"", "CREATE"),
    ];
    let event = event(&lines).unwrap().unwrap();
    assert_eq!((event.operation, &*event.path), (Operation::Rename, "/s/x.pth"));
}

#[test]
fn openat2_has_a_record_of_its_own() {
    let mut lines = made(7, call(7, X86, 437, "a0=ffffff9c a1=1 a2=2 a3=18"), "\"/s/x.pth\"", "NORMAL");
    assert_eq!(event(&lines).unwrap_err().reason, "an audit event that does not tell a write from a read");
    lines.insert(1, line("OPENAT2", 7, "oflag=02 mode=0 resolve=0x0"));
    assert_eq!(event(&lines).unwrap().unwrap().operation, Operation::Modify);
}

#[test]
fn a_directory_that_is_not_logged_is_not_guessed() {
    let lines = made(7, call(7, X86, 257, "a0=5 a1=1 a2=241"), "\"x.pth\"", "CREATE");
    assert_eq!(event(&lines).unwrap_err().reason, "a name relative to a directory that the audit log does not name");
    let lines = made(7, call(7, X86, 257, "a0=5 a1=1 a2=241"), "\"/s/../t/x.pth\"", "CREATE");
    assert_eq!(event(&lines).unwrap().unwrap().path, "/t/x.pth");
    let mut lines = made(7, call(7, X86, 257, AT), "\"x.pth\"", "CREATE");
    lines.remove(1);
    assert_eq!(event(&lines).unwrap_err().reason, "an audit event without the working directory");
    assert_eq!(
        event(&made(7, call(7, X86, 257, AT), "(null)", "CREATE")).unwrap_err().reason,
        "an audit event without the name of the file"
    );
}

#[test]
fn what_is_no_operation() {
    let failed = call(7, X86, 257, AT).replace("success=yes exit=3", "success=no exit=-13");
    assert_eq!(event(&made(7, failed, "\"/s/x.pth\"", "CREATE")), Ok(None));
    assert_eq!(event(&[line("PROCTITLE", 7, "proctitle=\"auditctl\"")]), Ok(None));
    let without = made(7, line("CWD", 7, "cwd=\"/\""), "\"/s/x.pth\"", "CREATE");
    assert_eq!(event(&without[2..4]).unwrap_err().reason, "audit records without their SYSCALL");
    for line in [
        "type=USER_LOGIN msg=audit(1777889472.131:9): pid=1 uid=0",
        "----",
        "time->Mon May  4 10:11:12 2026",
        "type=EOE msg=audit(1777889472.131:9): ",
    ] {
        assert_eq!(event(&[line.to_owned()]), Ok(None), "{line}");
    }
    for line in
        ["type=PATH", "type=PATH msg=audit(x:9): ", "type=PATH msg=audit(1.0:9) ", "node=a", "type= msg=audit(", ""]
    {
        assert!(event(&[line.to_owned()]).is_err(), "{line}");
    }
}

#[test]
fn events_in_flight_are_bounded() {
    let lines: Vec<String> = (0..1000)
        .flat_map(|serial| made(serial, call(serial, X86, 257, AT), "\"/s/x.pth\"", "CREATE").into_iter().take(5))
        .collect();
    let mut groups = AuditGroups::new();
    let complete = lines.iter().filter(|line| groups.push(1, line.as_bytes()).is_some()).count();
    assert_eq!((complete, groups.groups.len()), (1000 - MAX_GROUPS, MAX_GROUPS));

    let long = format!("\"/{}\"", "x".repeat(5000));
    assert_eq!(
        event(&made(7, call(7, X86, 257, AT), &long, "CREATE")).unwrap_err().reason,
        "a name longer than 4096 bytes in an audit event"
    );
    let many: Vec<String> = (0..100).map(|item| path(7, item, "\"/s/x.pth\"", "CREATE")).collect();
    assert_eq!(
        event(&[vec![call(7, X86, 257, AT)], many].concat()).unwrap_err().reason,
        "too many names in one audit event"
    );
}
