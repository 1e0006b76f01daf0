//! Exit statuses, and the three forms of the answer.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use super::place::{Place, error, lines, status, text};
use super::records::{self, BASH, DPKG, FILE, PIP, ecs_of};

#[test]
fn exit_statuses() {
    let place = Place::new();
    place.file("allowed", records::all(&[records::ecs(DPKG)]));
    place.file("denied", records::all(&[records::ecs(BASH)]));
    place.file("held", records::all(&[records::own(PIP, Some("code"))]));
    place.file("malformed", "{\n");
    place.file("empty", "");
    for form in [&[][..], &["--json"], &["--each"]] {
        for (file, expected) in [("allowed", 0), ("denied", 1), ("held", 1), ("malformed", 0), ("empty", 0)] {
            let output = place.run(&[form, &[file]].concat());
            assert_eq!((status(&output), error(&output)), (expected, ""), "{form:?} {file}");
        }
    }
}

#[test]
fn what_cannot_be_answered_is_said() {
    let place = Place::new();
    place.file("allowed", records::all(&[records::ecs(DPKG)]));
    place.policy_file("bad.toml", "mode = \"sometimes\"\n");
    let open = place.policy_file("open.toml", "");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o666)).unwrap();
    for (arguments, said) in [
        (&["missing"][..], "cannot read missing: No such file"),
        (&["allowed", "missing"], "cannot read missing: No such file"),
        (&["."], "cannot read .: Is a directory"),
        (&["--diff", "bad.toml", "allowed"], "bad.toml:1: "),
        (&["--diff", "open.toml", "allowed"], "can be written by others"),
        (&["--diff", "missing.toml", "allowed"], "missing.toml: cannot be read"),
        (&[], "required"),
        (&["--json", "--each", "allowed"], "cannot be used with"),
        (&["--json", "--suggest", "x", "allowed"], "cannot be used with"),
    ] {
        let output = place.run(arguments);
        assert_eq!((status(&output), text(&output)), (2, ""), "{arguments:?}");
        assert!(error(&output).contains(said), "{arguments:?}: {}", error(&output));
    }
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_pthguard"));
    command.args(["replay", "--config", "bad.toml", "allowed"]).current_dir(&place.root);
    assert_eq!(status(&command.output().unwrap()), 2);
}

#[test]
fn a_line_for_each_record_in_order() {
    let place = Place::new();
    let records = [
        records::own(PIP, Some("code")).to_string(),
        String::new(),
        "not a record".to_owned(),
        records::ecs(BASH).to_string(),
        json!({ "event": { "action": "login" } }).to_string(),
        records::ecs(DPKG).to_string(),
        ecs_of("/tmp/x.pth", BASH, 0).to_string(),
        records::ecs(BASH).to_string().replace("\"creation\"", "\"deletion\""),
        "{\"a\"".to_owned(),
    ];
    place.file("records", records.join("\n"));
    let output = place.run(&["--each", "records"]);
    assert_eq!(status(&output), 1);
    let line = |line, verdict, reason| json!({ "file": "records", "line": line, "verdict": verdict, "reason": reason });
    let by = |at, verdict, reason, rule| {
        let mut line: Value = line(at, verdict, reason);
        line["rule"] = Value::from(rule);
        line
    };
    let none = json!({ "file": "records", "line": 5, "verdict": "none" });
    let expected = [
        by(1, "held", "held", "pip"),
        line(3, "malformed", "of no known format"),
        line(4, "deny", "no-rule"),
        none,
        by(6, "allow", "rule", "dpkg"),
        line(7, "allow", "not-guarded"),
        line(8, "allow", "not-asked"),
        line(9, "malformed", "JSON that ends too early"),
    ];
    assert_eq!(lines(&output), expected);

    let (_, answer) = place.json(&["records"]);
    assert_eq!((&answer["records"], &answer["other"]), (&8.into(), &1.into()));
    let counted = |verdict: &str| {
        let rows = answer["verdicts"].as_array().unwrap().iter().filter(|row| row["verdict"] == verdict);
        rows.map(|row| row["count"].as_u64().unwrap()).sum::<u64>()
    };
    assert_eq!((counted("allow"), counted("held"), counted("deny")), (3, 1, 1), "{answer:#}");
    assert_eq!(answer["malformed"].as_array().unwrap().len(), 2);
}

/// Who is not known is a failure, as where the guard runs.
#[test]
fn nobody_in_particular() {
    let place = Place::new();
    let mut nobody = records::ecs(BASH);
    nobody.as_object_mut().unwrap().remove("process");
    let mut arrived = nobody.clone();
    arrived["event"]["action"] = "rename".into();
    let (status, said) = place.each(records::all(&[nobody, arrived]));
    let reasons: Vec<_> =
        said.iter().map(|(verdict, _, reason)| (verdict.as_str(), reason.as_deref().unwrap())).collect();
    assert_eq!((status, reasons), (1, vec![("deny", "unresolved"), ("deny", "unresolved-arrival")]));
}

#[test]
fn for_people() {
    let place = Place::new();
    let mut records = vec![records::ecs(BASH); 3];
    records.extend([records::ecs(DPKG), records::winlogbeat(PIP), records::own(PIP, Some("code"))]);
    place.file("records", records::all(&records) + &"{\n".repeat(12));
    let output = place.run(&["records"]);
    let text = text(&output);
    for line in [
        "18 records: 6 operations, 0 of something else, 12 malformed\n",
        "  records:7: JSON that ends too early\n",
        "  and 2 more\n",
        "  allow           1  rule dpkg\n",
        "  deny            4  no-rule\n",
        "  held            1  held, rule pip\n",
        "           3  /usr/bin/bash\n",
        "           1  /usr/bin/python3.11 (what it ran was not recorded)\n",
        "           1  /usr/bin/python3.11 /usr/bin/pip\n",
        "              held: held, rule pip; creation\n",
    ] {
        assert!(text.contains(line), "{line}{text}");
    }
    assert!(text.contains(&format!("              {FILE} (records:1)\n")), "{text}");
    assert_eq!((status(&output), error(&output)), (1, ""), "the progress is for terminals");
    place.file("allowed", records::all(&[records::ecs(DPKG)]));
    let output = place.run(&["allowed"]);
    assert!(!super::place::text(&output).contains("look at"), "{output:?}");
}

/// What the guard watches besides `*.pth`: in packages of a startup name, and what Python has compiled of them.
#[test]
fn every_kind_of_startup_file() {
    let place = Place::new();
    let site = "/usr/lib/python3/dist-packages";
    let is_asked = |name: &str| {
        let (_, said) = place.each(records::all(&[ecs_of(&format!("{site}/{name}"), BASH, 0)]));
        said[0].0 == "deny"
    };
    for name in [
        "x.pth",
        "x.start",
        "sitecustomize.py",
        "usercustomize.cpython-311-x86_64-linux-gnu.so",
        "sitecustomize/__init__.py",
        "__pycache__/sitecustomize.cpython-311.pyc",
        "usercustomize/__pycache__/__init__.cpython-311.pyc",
    ] {
        assert!(is_asked(name), "{name}");
    }
    for name in
        ["x.PTH", "x.py", "x/y.pth", "sitecustomize/other.py", "x/sitecustomize/__init__.py", "__pycache__/x.pyc"]
    {
        assert!(!is_asked(name), "{name}");
    }
}
