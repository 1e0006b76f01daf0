//! The same file planted by a shell, by dpkg and by pip, in the words of every recorder.

use serde_json::Value;

use super::place::{Place, Said, document, expected, lines, status, text};
use super::records::{self, BASH, DPKG, FILE, PIP, Who};

fn denied() -> Said {
    expected("deny", None, "no-rule")
}

fn by(rule: &str) -> Said {
    expected("allow", Some(rule), "rule")
}

fn of(record: fn(Who) -> Value) -> String {
    records::all(&[BASH, DPKG, PIP].map(record))
}

#[test]
fn recorders_that_tell_the_command_line() {
    let place = Place::new();
    let auditd = [(1, BASH), (2, DPKG), (3, PIP)].map(|(serial, who)| records::auditd(serial, who)).concat();
    for (format, records) in [
        ("own", of(|who| records::own(who, None))),
        ("ecs", of(records::ecs)),
        ("dotted", of(records::dotted)),
        ("wrapped", of(records::wrapped)),
        ("falco", of(records::falco)),
        ("auditd", auditd),
    ] {
        assert_eq!(place.each(records), (1, vec![denied(), by("dpkg"), by("pip")]), "{format}");
    }
}

/// An interpreter that ran something unknown is nobody.
#[test]
fn recorders_that_do_not() {
    let place = Place::new();
    let pretty = serde_json::to_string_pretty(&[BASH, DPKG, PIP].map(records::powershell)).unwrap();
    let windows = records::utf16(&pretty.replace('\n', "\r\n"));
    for (format, records) in [
        ("winlogbeat", of(records::winlogbeat).into_bytes()),
        ("powershell", pretty.into_bytes()),
        ("windows powershell", windows),
    ] {
        assert_eq!(place.each(&records), (1, vec![denied(), by("dpkg"), denied()]), "{format}");
        let (_, answer) = place.json(&["records"]);
        let silent: Vec<_> = answer["items"].as_array().unwrap().iter().map(|item| &item["script_missing"]).collect();
        assert_eq!(silent, [&Value::Bool(true); 2], "{format}: {answer:#}");
    }
}

#[test]
fn what_a_file_says_counts_where_it_is_told() {
    let place = Place::new();
    let records = [None, Some("paths"), Some("code"), Some("broken")].map(|content| records::own(PIP, content));
    let held = || expected("held", Some("pip"), "held");
    assert_eq!(place.each(records::all(&records)), (1, vec![by("pip"), by("pip"), held(), held()]));
}

#[test]
fn a_format_that_is_named_is_the_only_one() {
    let place = Place::new();
    let file = place.file("records", of(records::ecs));
    let file = file.to_str().unwrap();
    for (format, verdicts) in
        [("ecs", ["deny", "allow", "allow"]), ("sysmon", ["none"; 3]), ("auditd", ["malformed"; 3])]
    {
        let output = place.run(&["--format", format, "--each", file]);
        let said: Vec<_> =
            lines(&output).into_iter().map(|line| line["verdict"].as_str().unwrap().to_owned()).collect();
        assert_eq!(said, verdicts, "{format}");
        assert_eq!(status(&output), i32::from(format == "ecs"));
    }
    assert_eq!(status(&place.run(&["--format", "syslog", file])), 2);
}

#[test]
fn several_files_and_standard_input_in_one_go() {
    let place = Place::new();
    place.file("a", of(records::ecs));
    place.file("b", [records::auditd(1, BASH), records::falco(BASH).to_string()].concat());
    let input = format!("{}\n\n{}", records::winlogbeat(DPKG), records::winlogbeat(BASH));
    let output = place.fed(&["--each", "a", "-", "b"], input.as_bytes());
    let said: Vec<_> = lines(&output)
        .into_iter()
        .map(|line| (line["file"].as_str().unwrap().to_owned(), line["line"].as_u64().unwrap()))
        .collect();
    // What the audit daemon logs of one event are six lines, and it is told when the last was read.
    let expected = [("a", 1), ("a", 2), ("a", 3), ("-", 1), ("-", 3), ("b", 1), ("b", 7)];
    assert_eq!(said, expected.map(|(file, line)| (file.to_owned(), line)));
    let output = place.fed(&["--json", "a", "-", "b"], input.as_bytes());
    let answer = document(&output);
    assert_eq!((status(&output), &answer["records"]), (1, &7.into()));
    // Sysmon's has no command line and counts by itself.
    let bash = &answer["items"][0];
    assert_eq!((&bash["executable"], &bash["count"]), (&BASH.exe.into(), &3.into()), "{answer:#}");
    assert_eq!((&bash["path"], &bash["file"], &bash["line"]), (&FILE.into(), &"a".into(), &1.into()));
    assert!(text(&place.fed(&["-"], b"")).starts_with("0 records: "));
}
