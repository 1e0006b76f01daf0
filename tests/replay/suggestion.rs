//! `--suggest`: a rule for a writer that should be allowed.

use std::process::Command;

use serde_json::Value;

use super::place::{Place, document, error, shipped, status, text};
use super::records::{self, BASH, FILE, PIP, Who, ecs_of};

const SITE: &str = "/srv/app/lib/python3.11/site-packages";

impl Place {
    /// Saves a suggestion as a policy of its own, which must load, and asks it about the same records.
    fn under(&self, suggestion: &str, records: &str) -> Value {
        let policy = self.policy_file("drop-in.toml", suggestion);
        let mut check = Command::new(env!("CARGO_BIN_EXE_pthguard"));
        let output = check.arg("check").arg("--config").arg(&policy).output().unwrap();
        assert_eq!(status(&output), 0, "{}{suggestion}", error(&output));
        let mut command = Command::new(env!("CARGO_BIN_EXE_pthguard"));
        command.args(["replay", "--json", "--config"]).arg(&policy).arg(records).current_dir(&self.root);
        document(&command.output().unwrap())
    }

    fn suggested(&self, program: &str, records: &str) -> String {
        let output = self.run(&["--suggest", program, records]);
        assert_eq!(status(&output), 1, "{}", error(&output));
        text(&output).to_owned()
    }
}

/// The programs that are denied or held, with the verdict.
fn refused(answer: &Value) -> Vec<(String, String)> {
    let word = |item: &Value, key: &str| item[key].as_str().unwrap_or_default().to_owned();
    answer["items"].as_array().unwrap().iter().map(|item| (word(item, "executable"), word(item, "verdict"))).collect()
}

#[test]
fn an_executable() {
    let place = Place::new();
    let rsync = Who { exe: "/usr/bin/rsync", args: &["rsync"] };
    let path = format!("{SITE}/x.pth");
    let mut renamed = ecs_of(&path, rsync, 1500);
    renamed["event"]["action"] = "rename".into();
    place.file("records", records::all(&[ecs_of(&path, rsync, 1500), renamed, ecs_of(&path, BASH, 1500)]));
    let rule = place.suggested("/usr/bin/rsync", "records");
    for line in [
        "# 2 operations in the records would not have been allowed, the first on\n",
        "# /srv/app/lib/python3.11/site-packages/x.pth\n",
        "[[allow]]\nname = \"allowed: /usr/bin/rsync\"\nexe = [\"/usr/bin/rsync\"]\nuid = [1500]\n",
        "sites = [\"/srv/app/lib/python3.11/site-packages\"]\n",
        "access = [\"rename\", \"write\"]\n",
        "content = [\"empty\", \"paths\", \"known\"]\n",
        "this lets in what runs nothing, the rest is held",
    ] {
        assert!(rule.contains(line), "{line}{rule}");
    }
    assert_eq!(refused(&place.under(&rule, "records")), [(BASH.exe.to_owned(), "deny".to_owned())]);

    // Nothing but what it did.
    let elsewhere = ecs_of("/srv/other/lib/python3.11/site-packages/x.pth", rsync, 1500);
    let linked = records::all(&[ecs_of(&path, rsync, 1500)]).replace("\"creation\"", "\"link\"");
    let others = [records::all(&[elsewhere, ecs_of(&path, rsync, 1501)]), linked].concat();
    place.file("others", others);
    let answer = place.under(&rule, "others");
    assert_eq!(answer["items"][0]["count"], 3, "{answer:#}");
}

#[test]
fn a_script_a_module_and_what_they_bring() {
    let place = Place::new();
    let deploy = Who { exe: "/usr/bin/python3.11", args: &["python3", "/srv/deploy/deploy.py", "--all"] };
    let module = Who { exe: "/usr/bin/python3.11", args: &["python3", "-m", "deploy.tool"] };
    let other = Who { exe: "/usr/bin/python3.11", args: &["python3", "/tmp/deploy.py"] };
    let own = |who, content| records::own(who, Some(content));
    let records =
        [own(deploy, "code"), own(deploy, "paths"), own(module, "paths"), own(other, "paths"), own(PIP, "code")];
    place.file("records", records::all(&records));
    let (_, answer) = place.json(&["records"]);
    assert_eq!(answer["items"].as_array().unwrap().len(), 4, "{answer:#}");
    for (program, line, content, left) in [
        ("/srv/deploy/deploy.py", "script = [\"/srv/deploy/deploy.py\"]\n", "\"known\", \"code\"]\n", 3),
        ("-m deploy.tool", "module = [\"deploy.tool\"]\n", "\"known\"]\n", 4),
        ("/usr/bin/pip", "script = [\"/usr/bin/pip\"]\n", "\"known\", \"code\"]\n", 4),
    ] {
        let rule = place.suggested(program, "records");
        assert!(rule.contains(line) && rule.contains(content), "{rule}");
        let answer = place.under(&rule, "records");
        let count = answer["items"].as_array().unwrap().iter().map(|item| item["count"].as_u64().unwrap()).sum::<u64>();
        assert_eq!(count, left, "{program}: {answer:#}");
        let still = |item: &Value| item["script"] == "/tmp/deploy.py" && item["verdict"] == "deny";
        assert!(answer["items"].as_array().unwrap().iter().any(still), "{program}: {answer:#}");
    }
}

/// The rule names the site directory, also where the file lies in a package of it.
#[test]
fn code_of_a_startup_package() {
    let place = Place::new();
    let rsync = Who { exe: "/usr/bin/rsync", args: &["rsync"] };
    place.file("records", records::all(&[ecs_of(&format!("{SITE}/sitecustomize/__init__.py"), rsync, 0)]));
    let rule = place.suggested("/usr/bin/rsync", "records");
    assert!(rule.contains(&format!("sites = [\"{SITE}\"]\n")), "{rule}");
    assert!(refused(&place.under(&rule, "records")).is_empty());
}

#[test]
fn where_no_rule_can_be_made_it_is_said_why() {
    let place = Place::new();
    let python = |args| Who { exe: "/usr/bin/python3.11", args };
    let mut nobody = records::ecs(BASH);
    nobody.as_object_mut().unwrap().remove("process");
    let mut contained = records::ecs(Who { exe: "/usr/bin/contained", args: &[] });
    contained["container"] = serde_json::json!({ "id": "4d" });
    let special = records::own(Who { exe: "/usr/bin/mkfifo", args: &[] }, None)
        .to_string()
        .replace("\"creation\"", "\"special\"");
    let records = [
        records::ecs(BASH),
        records::ecs(python(&["python3", "-c", "x"])),
        records::ecs(python(&["python3", "-"])),
        records::ecs(python(&["python3", "setup.py"])),
        records::ecs(python(&["python3", "-m", "a b"])),
        records::ecs(Who { exe: "/usr/bin/python3.12", args: &[] }),
        records::ecs(Who { exe: "/opt/a//b", args: &[] }),
        records::ecs(Who { exe: "C:\\Windows\\explorer.exe", args: &[] }),
        nobody,
        contained,
    ];
    place.file("records", records::all(&records) + &special);
    for (program, said) in [
        ("/usr/bin/bash", "it is an interpreter, and which script it ran is not known"),
        ("/usr/bin/python3.12", "it is an interpreter, and which script it ran is not known"),
        ("-c", "it ran what stood on its command line"),
        ("-", "it ran what stood on its command line or came from standard input"),
        ("setup.py", "it ran a script that was not recorded with its whole path"),
        ("-m a b", "cannot be written in a policy"),
        ("/opt/a//b", "cannot be written in a policy"),
        ("C:\\Windows\\explorer.exe", "its executable was not recorded with its path"),
        ("not recorded", "its executable was not recorded with its path"),
        ("/usr/bin/contained", "it ran in a container"),
        ("/usr/bin/mkfifo", "it made special files, which no rule allows"),
        ("/usr/bin/dpkg", "nothing by /usr/bin/dpkg would not have been allowed"),
        ("", "nothing by "),
    ] {
        let output = place.run(&["--suggest", program, "records"]);
        assert_eq!((status(&output), text(&output)), (2, ""), "{program}");
        assert!(error(&output).contains(said), "{program}: {}", error(&output));
    }
}

/// Every name that a file can have, though nobody gives his program such a one.
#[test]
fn names_that_mean_something_in_a_policy() {
    let place = Place::new();
    for exe in [
        "/opt/a*b/[x]?",
        "/opt/{a,b}/c",
        "/opt/a\"b\\c'd",
        "/opt/a\nb\tc",
        "/opt/\u{1b}[31mred",
        "/opt/\u{9b}31m\u{202e}\u{7f}x",
        "/opt/@programs",
        "/opt/like:x",
        "/opt/#\u{fffd}é漢",
        &format!("/opt/{}", "é".repeat(100)),
    ] {
        let mut record = records::ecs(BASH);
        record["process"] = serde_json::json!({ "executable": exe, "args": [] });
        let other = records::ecs(BASH);
        place.file("records", records::all(&[record.clone(), other.clone()]));
        let rule = place.suggested(exe, "records");
        assert!(!rule.chars().any(|c| c != '\n' && (c.is_control() || c == '\u{202e}')), "{rule:?}");
        assert!(
            rule.lines().all(|line| line.starts_with("# ") || line.starts_with("[[allow]]") || line.contains(" = "))
        );
        assert_eq!(refused(&place.under(&rule, "records")), [(BASH.exe.to_owned(), "deny".to_owned())], "{rule}");

        record["process"] = serde_json::json!({ "executable": PIP.exe, "args": [PIP.exe, exe] });
        place.file("records", records::all(&[record, other]));
        let rule = place.suggested(exe, "records");
        assert_eq!(refused(&place.under(&rule, "records")), [(BASH.exe.to_owned(), "deny".to_owned())], "{rule}");
    }
}

/// A rule does not become wider because a writer was in many places.
#[test]
fn many_directories() {
    let place = Place::new();
    let rsync = Who { exe: "/usr/bin/rsync", args: &["rsync"] };
    let records: Vec<_> =
        (0..40).map(|at| ecs_of(&format!("/srv/app{at}/lib/python3.11/site-packages/x.pth"), rsync, at)).collect();
    place.file("records", records::all(&records));
    let rule = place.suggested("/usr/bin/rsync", "records");
    assert!(rule.contains("# In more than 16 directories: "), "{rule}");
    assert!(refused(&place.under(&rule, "records")).is_empty(), "{rule}");
}

#[test]
fn two_suggestions_stand_side_by_side() {
    let place = Place::new();
    let copies = [Who { exe: "/opt/a/bin/copy", args: &[] }, Who { exe: "/opt/b/bin/copy", args: &[] }];
    place.file("records", records::all(&copies.map(records::ecs)));
    let both = copies.map(|copy| place.suggested(copy.exe, "records")).concat();
    assert!(refused(&place.under(&both, "records")).is_empty());
}

/// The first rule that matches decides: it has to stand before the one that denies.
#[test]
fn a_rule_for_what_a_deny_rule_denies() {
    let place = Place::new();
    let elastic = shipped("elastic-pth-creation.toml");
    let policy = place.policy_file("elastic.toml", &elastic);
    let dpkg = Who { exe: "/usr/bin/dpkg", args: &[] };
    place.file("records", records::all(&[ecs_of(FILE, dpkg, 0), ecs_of(FILE, BASH, 0)]));
    let mut command = Command::new(env!("CARGO_BIN_EXE_pthguard"));
    command.args(["replay", "--suggest", dpkg.exe, "--config"]).arg(&policy).arg(place.root.join("records"));
    let output = command.output().unwrap();
    let rule = text(&output);
    assert_eq!(status(&output), 1, "{}", error(&output));
    assert!(rule.contains("# Rule \"elastic\" denies it: put this one before that.\n"), "{rule}");
    let whole = elastic.replacen("[[deny]]", &format!("{rule}\n[[deny]]"), 1);
    assert_eq!(refused(&place.under(&whole, "records")), [(BASH.exe.to_owned(), "deny".to_owned())]);
}
