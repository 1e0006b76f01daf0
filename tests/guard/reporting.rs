//! Policies that only report, as a running guard takes them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::harness::{Config, Guard, SOON, field};
use crate::site::{Place, run, wait_for};
use crate::sys;

/// Where the rule looks; the test mounts a file system of its own there.
const SITE: &str = "/opt/app/lib/python3.11/site-packages";

/// The rules of a policy that is shipped.
fn shipped(name: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("policy").join(name);
    let text = fs::read_to_string(file).unwrap();
    let begin = text.find("[[deny]]").expect("a rule");
    text[begin..].to_owned()
}

fn is_of(record: &Value, path: &Path, access: &str) -> bool {
    field(record, "file.path") == path.to_str().unwrap() && field(record, "pthguard.access") == access
}

/// Verdict, reason and rule of the first record of it.
fn said(guard: &Guard, path: &Path, access: &str) -> (String, String, String) {
    wait_for(&format!("a record of {access} {path:?}"), SOON, || {
        let record = guard.records().into_iter().find(|record| is_of(record, path, access))?;
        Some(["pthguard.verdict", "pthguard.reason", "rule.name"].map(|name| field(&record, name).to_owned()).into())
    })
}

#[test]
fn what_elastics_rule_reports_is_recorded_and_all_else_allowed() {
    let place = Place::new();
    sys::with_private_mounts(|| {
        sys::mount(Some(Path::new("none")), Path::new("/opt"), Some("tmpfs"), 0, "mode=755")?;
        let site = PathBuf::from(SITE);
        fs::create_dir_all(&site)?;
        let mut guard =
            Config::new(&place).sites(vec![site.clone()]).reporting(&shipped("elastic-pth-creation.toml")).start();
        let source = place.outside.join("source");
        fs::write(&source, "import os\n")?;
        let reported = ("would-deny".to_owned(), "rule".to_owned(), "elastic".to_owned());
        let allowed = ("allow".to_owned(), "no-rule".to_owned(), String::new());

        let copied = site.join("copied.pth");
        run(Command::new("cp").arg(&source).arg(&copied)).result()?;
        assert_eq!(said(&guard, &copied, "write"), reported);
        // The rule leaves python out.
        let by_python = site.join("python.pth");
        let write = "import sys; open(sys.argv[1], 'w').write('import os\\n')";
        run(Command::new("/usr/bin/python3").args(["-c", write]).arg(&by_python)).result()?;
        assert_eq!(said(&guard, &by_python, "write"), allowed);
        // Nor is writing to what is there a creation.
        run(Command::new("tee").arg("-a").arg(&by_python)).result()?;
        assert_eq!(guard.records().iter().filter(|record| field(record, "rule.name") == "elastic").count(), 1);
        let (hidden, renamed) = (site.join("hidden"), site.join("renamed.pth"));
        fs::write(&hidden, "import os\n")?;
        fs::rename(&hidden, &renamed)?;
        assert_eq!(said(&guard, &renamed, "rename"), reported);

        for file in [&copied, &by_python, &renamed] {
            assert_eq!(fs::read(file)?, b"import os\n", "nothing is touched");
        }
        guard.assert_alive();
        Ok(())
    })
    .unwrap();
}

#[test]
fn it_is_not_enforced() {
    let place = Place::new();
    let config = Config::new(&place).reporting(&shipped("sigma-pth-creation.toml"));
    let Err((status, said)) = config.try_start(config.command().args(["--mode", "enforce"])) else {
        panic!("it enforces");
    };
    assert_eq!(status.code(), Some(2));
    assert!(said.contains("such a policy only reports"), "{said}");
}
