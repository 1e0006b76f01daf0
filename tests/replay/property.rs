//! Any simple record is answered as the policy answers the request that it stands for.

use std::path::Path;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use pthguard::config;
use pthguard::model::{Access, Program, Request, Script, Site, Subject, Verdict};
use serde_json::json;

use super::place::Place;

const POLICY: &str = "include_default = false\n[protect]\nsites = [\"/srv/*/site-packages\"]\nstartup = [\"*.pth\"]\n\
    customize = false\n\
    [[deny]]\nname = \"never\"\nexe = [\"/usr/bin/c\"]\naccess = [\"rename\"]\n\
    [[allow]]\nname = \"everywhere\"\nexe = [\"/usr/bin/[ac]\"]\nscope = \"any\"\naccess = [\"write\", \"rename\"]\ncontent = \"any\"\n\
    [[allow]]\nname = \"somewhere\"\nexe = [\"/usr/bin/one-*b\"]\nuid = [0, 7]\nsites = [\"/srv/one/site-packages\"]\nscope = \"any\"\n\
    access = [\"create\", \"link\"]\ncontent = \"any\"\n\
    [[allow]]\nname = \"one-file\"\nexe = [\"/usr/bin/d\"]\nfile = [\"x.pth\"]\nscope = \"any\"\naccess = [\"symlink\"]\ncontent = \"any\"\n";

/// Word of the record, what it asks for, whether it makes the file.
const OPERATIONS: [(&str, Access, bool); 6] = [
    ("creation", Access::Write, true),
    ("modification", Access::Write, false),
    ("rename", Access::Rename, false),
    ("link", Access::Link, false),
    ("symlink", Access::Symlink, false),
    ("special", Access::Special, false),
];

#[test]
fn replay_says_what_the_policy_decides() {
    let mut place = Place::new();
    let policy_file = place.policy_file("policy.toml", POLICY);
    let policy = config::load(Some(&policy_file)).unwrap().policy;
    let pick = |list: &'static [&'static str]| prop::sample::select(list);
    let one = (
        pick(&["/usr/bin/a", "/usr/bin/one-b", "/usr/bin/one-bb", "/usr/bin/c", "/usr/bin/d", "/usr/bin/e", "/bin/a"]),
        pick(&["/srv/one/site-packages", "/srv/two/site-packages"]),
        pick(&["x.pth", "y.pth", ".pth"]),
        prop::sample::select(&[0_u32, 7, 1000][..]),
        prop::sample::select(&OPERATIONS[..]),
    );
    let mut runner = TestRunner::deterministic();
    let cases = prop::collection::vec(one, 3000).new_tree(&mut runner).unwrap().current();
    let mut records = String::new();
    let mut expected = Vec::new();
    for (exe, directory, name, uid, (word, access, creates)) in cases {
        let record = json!({
            "event": { "action": word }, "file": { "path": format!("{directory}/{name}") },
            "process": { "executable": exe }, "user": { "id": uid.to_string() }, "pthguard": {},
        });
        records += &format!("{record}\n");
        let subject = Subject::supposed(Program::supposed(exe), Script::None, uid);
        let site = Site { path: directory.into(), prefix: Path::new("/srv").into(), owner: uid };
        let decision = policy.decide(&Request::new(&subject, &site, name.as_ref(), access).creating(creates));
        let verdict = if decision.verdict == Verdict::Allow { "allow" } else { "deny" };
        let rule = decision.rule.as_deref().map(str::to_owned);
        expected.push((verdict.to_owned(), rule, Some(decision.reason.as_str().to_owned())));
    }
    place.policy = policy_file;
    let (_, said) = place.each(records);
    assert_eq!(said.len(), expected.len());
    let differ = said.iter().zip(&expected).position(|(said, expected)| said != expected);
    assert_eq!(differ.map(|at| (&said[at], &expected[at])), None);
    assert!(
        ["never", "everywhere", "somewhere", "one-file"]
            .iter()
            .all(|rule| said.iter().any(|said| said.1.as_deref() == Some(*rule)))
    );
}
