//! What a policy that loads does, and how it is shown.

use proptest::prelude::*;

use super::{ALONE, alone, from, load_ok, source};
use crate::config::{Config, check};
use crate::model::{Access, Program, Request, Script, Site, Subject, Uids, Verdict};
use crate::policy::Rule;

#[test]
fn check_prints_the_policy_or_says_what_is_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("p.toml");
    std::fs::write(&file, "mode = \"enforce\"\n").unwrap();
    let mut out = Vec::new();
    check(Some(&file), &mut out).unwrap();
    assert!(String::from_utf8(out).unwrap().contains("\nmode = \"enforce\"\n"));
    std::fs::write(&file, "\nmode = \"x\"\n").unwrap();
    let error = check(Some(&file), &mut Vec::new()).unwrap_err();
    assert!(error.to_string().ends_with("p.toml:2: mode must be \"audit\" or \"enforce\", not \"x\""));
}

/// The policy without what depends on the file it stands in.
fn essence(config: &Config) -> (Vec<Rule>, String) {
    let nowhere = crate::policy::Place { file: "".into(), line: 0 };
    let rules = config.policy.rules().iter().map(|rule| Rule { place: nowhere.clone(), ..rule.clone() }).collect();
    let Config { mode, protect, failure, on_violation, log, state_dir, .. } = config;
    (
        rules,
        format!(
            "{:?} {mode:?} {protect:?} {failure:?} {on_violation:?} {log:?} {state_dir:?}",
            config.policy.no_rule()
        ),
    )
}

fn assert_renders_back(config: &Config) {
    let again = Config::from_sources(&[source("again", &config.render())]).unwrap();
    assert_eq!(essence(&again), essence(config), "{}", config.render());
    assert_eq!(again.overridden, []);
}

#[test]
fn the_effective_policy_loads_back() {
    assert_renders_back(&load_ok(&[]));
    let odd = alone(
        "max_size = 4097\n[response]\non_violation = \"kill\"\n[log]\nsyslog = false\nformat = \"ocsf\"\nkernel_audit = true\njson_max_size = \"unlimited\"\njson = \"/a\\\"b\\\\\\u0007\"\n[[deny]]\nname = \"ü \\\"#\"\n\
                     uid = [0, 7]\nsites = [\"/srv/[]]*\"]\nfile = [\"ü.pth\"]\ncontainers = true\nscope = \"same-environment\"\naccess = [\"read\", \"symlink\"]\n",
    );
    assert_renders_back(&load_ok(&[&odd]));
    let reporting = alone(
        "[[deny]]\nname = \"x\"\npath = [\"like:/a*\", 'regex:(?i)\\\\lib\\\\', \"/a/*\"]\nextension = [\"pth\"]\n\
                     os = [\"linux\", \"windows\"]\nexe = [\"like:*\"]\naccess = [\"create\", \"rename\"]\n\
                     [[deny.except]]\nexe = [\"/usr/bin/python*\"]\nfile = [\"a.pth\"]\n[[deny.except]]\npath = [\"/b\"]\n",
    );
    assert_renders_back(&load_ok(&[&format!("no_rule = \"allow\"\n{reporting}")]));
    let replaced = load_ok(&["[[deny]]\nname = \"none\"\naccess = [\"write\", \"rename\", \"link\"]\n"]);
    assert!(replaced.render().contains("rule \"dpkg\" is replaced by rule \"none\""));
    assert_renders_back(&replaced);
}

/// The numbers that the kernel's audit records have.
#[test]
fn rules_are_shown_with_their_numbers() {
    let config = load_ok(&[]);
    let text = config.render();
    for (number, rule) in (1..).zip(config.policy.rules()) {
        assert_eq!(config.policy.number_of(&rule.name), number);
        let shown = format!("\n# {number}: {}\n", rule.place);
        let (_, behind) = text.split_once(&shown).unwrap();
        assert_eq!(behind.lines().nth(1), Some(format!("name = {:?}", rule.name).as_str()));
    }
    assert_eq!(config.policy.number_of("none of them"), 0);
}

fn verdict(
    config: &Config,
    exe: &str,
    script: Script,
    environment: &str,
    uid: u32,
    site: &str,
    prefix: &str,
) -> Verdict {
    let subject = Subject {
        environment: Some(environment.into()),
        uids: Uids { real: uid, effective: uid, saved: uid, fs: uid },
        ..Subject::running(exe, script)
    };
    let site = Site { path: site.into(), prefix: prefix.into(), owner: uid };
    config.policy.decide(&Request::new(&subject, &site, "x.pth".as_ref(), Access::Write)).verdict
}

#[test]
fn the_built_in_policy_lets_installers_in_and_nobody_else() {
    let config = load_ok(&[]);
    let system = ("/usr/lib/python3/dist-packages", "/usr");
    let venv = ("/opt/app/lib/python3.11/site-packages", "/opt/app");
    let module = |name: &str| Script::Module(name.to_owned());
    let script = |path: &str| Script::File(Program::at(path));
    for (exe, script, environment, uid, site, expected) in [
        ("/usr/bin/dpkg", Script::None, "/usr", 0, system, Verdict::Allow),
        ("/usr/bin/dpkg", Script::None, "/usr", 1000, system, Verdict::Deny),
        ("/usr/bin/python3.11", script("/usr/bin/dnf"), "/usr", 0, system, Verdict::Allow),
        ("/usr/bin/python3.11", script("/usr/bin/dnf"), "/usr", 1000, system, Verdict::Deny),
        ("/usr/bin/python3.11", module("pip"), "/usr", 0, system, Verdict::Allow),
        ("/usr/bin/python3.11", script("/opt/app/bin/pip3"), "/opt/app", 0, venv, Verdict::Allow),
        ("/usr/bin/python3.11", script("/opt/app/bin/pip3"), "/opt/app", 0, system, Verdict::Deny),
        ("/usr/bin/python3.11", script("/tmp/update.py"), "/usr", 0, system, Verdict::Deny),
        ("/usr/bin/python3.11", Script::Command, "/usr", 0, system, Verdict::Deny),
        ("/usr/bin/python3.11", Script::Stdin, "/usr", 0, system, Verdict::Deny),
        ("/usr/bin/python3.11", script("/home/a/.local/bin/poetry"), "/home/a/.local", 1000, venv, Verdict::Allow),
        ("/usr/bin/python3.11", script("/tmp/bin/poetry"), "/tmp", 0, system, Verdict::Deny),
        ("/home/a/.local/bin/uv", Script::None, "/home/a/.local", 1000, venv, Verdict::Allow),
        ("/tmp/uv", Script::None, "/tmp", 0, system, Verdict::Deny),
        ("/usr/bin/rsync", Script::None, "/usr", 0, system, Verdict::Deny),
        ("/usr/bin/mv", Script::None, "/usr", 0, system, Verdict::Deny),
        ("/usr/bin/dash", Script::Command, "/usr", 0, system, Verdict::Deny),
    ] {
        let shown = format!("{exe} {script:?} {}", site.0);
        assert_eq!(verdict(&config, exe, script, environment, uid, site.0, site.1), expected, "{shown}");
    }
}

fn any_rule_text() -> impl Strategy<Value = String> {
    let glob =
        prop::sample::select(vec!["/usr/bin/x", "/opt/*/y", "/srv/**/z", "/a[b-d]?", "/usr/bin/python3*", "bad"]);
    let access = prop::sample::subsequence(vec!["read", "write", "rename", "link", "symlink", "special"], 0..4);
    (
        any::<bool>(),
        "[a-z]{1,2}",
        prop::collection::vec(glob.clone(), 0..3),
        prop::collection::vec(glob, 0..2),
        prop::sample::select(vec![
            "",
            "uid = [0]\n",
            "uid = \"any\"\n",
            "scope = \"any\"\n",
            "module = [\"m\"]\n",
            "owner = \"root\"\nfile = [\"a.pth\"]\n",
            "environment = \"any\"\ncontainers = true\nscope = \"any\"\n",
            "parent = [\"pip\"]\nscript = [\"-c\"]\n",
        ]),
        access,
        prop::sample::select(vec!["", "content = \"any\"\n", "content = [\"known\", \"paths\"]\n"]),
    )
        .prop_map(|(allow, name, exe, sites, more, access, content)| {
            let table = if allow { "allow" } else { "deny" };
            let exe = if exe.is_empty() { String::new() } else { format!("exe = {exe:?}\n") };
            let sites = if sites.is_empty() { String::new() } else { format!("sites = {sites:?}\n") };
            format!("[[{table}]]\nname = {name:?}\n{exe}{sites}{more}access = {access:?}\n{content}")
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_text_makes_it_panic(text in "[\\[\\]a-z_=\"'\\\\{}#.*/0-9 \n\u{0}\u{fc}]{0,60}") {
        let _ = from(&[&text]);
        let _ = from(&[&format!("[[allow]]\nname = {text}")]);
    }

    #[test]
    fn a_policy_that_loads_is_rendered_and_loads_back(
        rules in prop::collection::vec(any_rule_text(), 0..3), builtin in any::<bool>()
    ) {
        let head = if builtin { "" } else { ALONE };
        match from(&[&format!("{head}{}", rules.concat())]) {
            Ok(config) => assert_renders_back(&config),
            Err(errors) => prop_assert!(!errors.0.is_empty()),
        }
    }

    #[test]
    fn no_rule_that_loads_lets_in_an_interpreters_command(rules in prop::collection::vec(any_rule_text(), 0..4)) {
        if let Ok(config) = from(&[&format!("{ALONE}{}", rules.concat())]) {
            for exe in ["/usr/bin/python3.11", "/opt/v/python3", "/usr/bin/sh"] {
                let asked = verdict(&config, exe, Script::Command, "/usr", 0, "/srv/site-packages", "/srv");
                prop_assert_eq!(asked, Verdict::Deny);
            }
        }
    }
}
