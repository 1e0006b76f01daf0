//! What is held, and `baseline`.

use std::fs;

use pthguard::model::ContentClass;

use crate::stage::{PAYLOAD, Stage};

#[test]
fn held_files_are_a_finding_until_they_are_approved() {
    let stage = Stage::new();
    assert_eq!(stage.run(&["approvals", "--held"], &[]).expect(0).out, "nothing is held\n");
    let path = stage.hold("held.pth", PAYLOAD.as_bytes(), ContentClass::Code);
    let done = stage.run(&["approvals", "--held"], &[]).expect(1);
    for shown in [path.to_str().unwrap(), "import os", "process 7, /usr/bin/python3", "1 held"] {
        assert!(done.out.contains(shown), "{shown}: {}", done.out);
    }
    let items = stage.run(&["approvals", "--held", "--json"], &[]).expect(1).items();
    assert_eq!((&items[0]["name"], &items[0]["content"]), (&"held.pth".into(), &"code".into()));
    let done = stage.run(&["approve", "--yes"], &[&path]).expect(0);
    assert!(done.said.contains("brought   by process 7, /usr/bin/python3"), "{}", done.said);
    stage.run(&["approvals", "--held"], &[]).expect(0);
}

#[test]
fn baseline_accepts_what_is_held_and_nothing_else() {
    let stage = Stage::new();
    stage.hold("a.pth", PAYLOAD.as_bytes(), ContentClass::Code);
    stage.hold("b.pth", b"import b\n", ContentClass::Imports);
    let done = stage.run(&["baseline"], &[&stage.site]).expect(2);
    assert!(
        done.said.contains("a.pth") && done.said.contains("import b") && done.said.contains("--yes"),
        "{}",
        done.said
    );
    assert!(!stage.is_approved("a.pth", PAYLOAD));
    // What came meanwhile, and what was changed since it is held, may count on this very command.
    stage.write("planted.pth", PAYLOAD);
    stage.hold("changed.pth", b"import c\n", ContentClass::Imports);
    stage.write("changed.pth", PAYLOAD);
    stage.hold("broken.pth", b"import a\0\n", ContentClass::Broken);
    stage.hold("gone.pth", b"import d\n", ContentClass::Imports);
    fs::remove_file(stage.path("gone.pth")).unwrap();
    let done = stage.run(&["baseline", "--yes"], &[&stage.site]).expect(1);
    assert!(stage.is_approved("a.pth", PAYLOAD) && stage.is_approved("b.pth", "import b\n"), "{done:#?}");
    for (name, bytes) in [("planted.pth", PAYLOAD), ("changed.pth", PAYLOAD), ("broken.pth", "import a\0\n")] {
        assert!(!stage.is_approved(name, bytes), "{name}: {done:#?}");
    }
    assert!(done.said.contains("left out: ") && done.said.contains("it has changed since it is held"), "{}", done.said);
    let held = stage.run(&["approvals", "--held", "--json"], &[]).expect(1).items();
    let names: Vec<_> = held.iter().map(|item| item["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["broken.pth", "changed.pth", "gone.pth"]);
    assert_eq!(stage.records("approval").len(), 2);
}

#[test]
fn baseline_is_for_the_directories_that_are_named() {
    let stage = Stage::new();
    stage.hold("a.pth", PAYLOAD.as_bytes(), ContentClass::Code);
    let other = stage.root().join("other");
    fs::create_dir(&other).unwrap();
    let done = stage.run(&["baseline", "--yes"], &[&other]).expect(0);
    assert!(done.said.contains("nothing that is held there"), "{}", done.said);
    assert!(!stage.is_approved("a.pth", PAYLOAD));
    stage.run(&["baseline", "--yes"], &[&stage.path("a.pth")]).expect(2);
    stage.run(&["baseline", "--yes"], &[&stage.root().join("none")]).expect(2);
    stage.run(&["baseline", "--yes"], &[]).expect(2);
}
