//! `--diff`: what another policy answers otherwise.

use super::place::{Place, document, shipped, status, text};
use super::records::{self, BASH, DPKG, PIP};

const BASH_TOO: &str = "[[deny]]\nname = \"no-dpkg\"\nexe = [\"/usr/bin/dpkg\"]\naccess = [\"write\"]\n";

#[test]
fn what_changes_is_told() {
    let place = Place::new();
    place.policy_file("other.toml", BASH_TOO);
    place.file("dpkg", records::all(&[records::ecs(DPKG), records::ecs(PIP), records::ecs(DPKG)]));
    let output = place.run(&["--diff", "other.toml", "dpkg"]);
    assert_eq!(status(&output), 1, "the policies differ");
    let said =
        "under other.toml:\n           2  allow (rule dpkg) -> deny (rule no-dpkg)\n              /usr/bin/dpkg, ";
    assert!(text(&output).contains(said), "{}", text(&output));
    let output = place.run(&["--json", "--diff", "other.toml", "dpkg"]);
    let answer = document(&output);
    let change = &answer["changes"][0];
    assert_eq!((status(&output), answer["changes"].as_array().unwrap().len()), (1, 1));
    assert_eq!(
        (&change["count"], &change["from"]["rule"], &change["to"]["rule"], &change["file"], &change["line"]),
        (&2.into(), &"dpkg".into(), &"no-dpkg".into(), &"dpkg".into(), &1.into())
    );
    assert_eq!(status(&place.run(&["--each", "--diff", "other.toml", "dpkg"])), 1);
}

#[test]
fn the_same_verdicts_are_no_finding_whatever_the_rule() {
    let place = Place::new();
    place.policy_file("other.toml", BASH_TOO);
    place.file("pip", records::all(&[records::ecs(PIP)]));
    place.file("bash", records::all(&[records::ecs(BASH)]));
    let output = place.run(&["--diff", "other.toml", "pip"]);
    assert!(text(&output).ends_with("under other.toml:\n  the same verdicts\n"), "{}", text(&output));
    assert_eq!(status(&output), 0);
    assert_eq!(status(&place.run(&["--diff", "other.toml", "bash"])), 1, "denied under both");
    let renamed = "[[allow]]\nname = \"another\"\nexe = [\"/usr/bin/dpkg\"]\naccess = [\"write\"]\ncontent = \"any\"\n";
    place.policy_file("renamed.toml", renamed);
    place.file("dpkg", records::all(&[records::ecs(DPKG)]));
    assert_eq!(status(&place.run(&["--diff", "renamed.toml", "dpkg"])), 0);
}

/// The way to hold this guard against a public rule.
#[test]
fn a_policy_that_only_reports() {
    let place = Place::new();
    place.policy_file("elastic.toml", &shipped("elastic-pth-creation.toml"));
    place.policy_file("sigma.toml", &shipped("sigma-pth-creation.toml"));
    place.file("records", records::all(&[records::ecs(BASH), records::ecs(PIP), records::ecs(DPKG)]));
    for other in ["elastic.toml", "sigma.toml"] {
        let output = place.run(&["--json", "--diff", other, "records"]);
        assert_eq!(status(&output), 1);
        let answer = document(&output);
        assert!(answer["verdicts"].as_array().unwrap().len() == 3, "{answer:#}");
    }
    // Any Python is excepted there, and dpkg is not.
    let (_, answer) = place.json(&["--diff", "elastic.toml", "records"]);
    let changes = answer["changes"].as_array().unwrap();
    assert_eq!(
        (changes.len(), &changes[0]["executable"], &changes[0]["to"]["rule"]),
        (1, &DPKG.exe.into(), &"elastic".into())
    );
}
