#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod effective;
mod rules;

use super::*;

fn source(name: &str, text: &str) -> Source {
    Source { name: name.to_owned(), text: text.to_owned() }
}

fn from(texts: &[&str]) -> Result<Config, Errors> {
    let sources: Vec<Source> =
        texts.iter().enumerate().map(|(index, text)| source(&format!("f{}", index + 1), text)).collect();
    Config::from_sources(&sources)
}

fn load_ok(texts: &[&str]) -> Config {
    from(texts).unwrap()
}

/// The faults of a file, one a line.
fn faults(text: &str) -> String {
    from(&[text]).map(|_| ()).unwrap_err().to_string()
}

fn names(config: &Config) -> Vec<&str> {
    config.policy.rules().iter().map(|rule| &*rule.name).collect()
}

const ALONE: &str = "include_default = false\n[protect]\nsites = [\"/srv/site-packages\"]\n";

fn alone(rules: &str) -> String {
    format!("{ALONE}{rules}")
}

fn writer(name: &str, exe: &str) -> String {
    format!("[[allow]]\nname = {name:?}\nexe = [{exe:?}]\naccess = [\"write\"]\ncontent = \"any\"\n")
}

#[test]
fn the_built_in_policy_stands_for_itself() {
    let config = load_ok(&[]);
    assert_eq!(config.mode, Mode::Audit);
    assert_eq!(config.protect.max_size, 1 << 20);
    assert_eq!(config.failure.budget, Duration::from_millis(50));
    assert_eq!(config.sources, [BUILT_IN]);
    assert_eq!(config.overridden, []);
    assert_eq!(config.generation.len(), 12);
}

#[test]
fn later_files_win_and_extra_sites_add_up() {
    let config = load_ok(&[
        "mode = \"enforce\"\n[protect]\nsites = [\"/a\"]\nextra_sites = [\"/b\"]\n[failure]\nbudget_ms = 20\n",
        "[protect]\nextra_sites = [\"/c\", \"/a\"]\n[failure]\nbudget_ms = 30\ntimeout = \"allow\"\n[log]\njson = \"\"\nformat = \"ocsf\"\n",
    ]);
    assert_eq!(config.mode, Mode::Enforce);
    assert_eq!(config.protect.sites, ["/a", "/b", "/c"]);
    assert_eq!(config.failure.budget, Duration::from_millis(30));
    assert_eq!(config.failure.timeout, FailureAction::Allow);
    assert_eq!(config.failure.queue_full, FailureAction::Deny);
    assert_eq!(
        config.log,
        Log {
            syslog: true,
            json: JsonTarget::Off,
            json_max_size: Some(256 << 20),
            format: JsonFormat::Ocsf,
            kernel_audit: false
        }
    );
    assert_eq!(config.sources, [BUILT_IN, "f1", "f2"]);
}

#[test]
fn the_rules_of_a_later_file_are_asked_first_and_in_its_order() {
    let deny = "[[deny]]\nname = \"d\"\nexe = [\"/d\"]\naccess = [\"write\"]\n";
    let first = alone(&format!("{}{deny}{}", writer("a", "/a"), writer("b", "/b")));
    let config = load_ok(&[&first, &writer("c", "/c")]);
    assert_eq!(names(&config), ["c", "a", "d", "b"]);
    assert_eq!(config.policy.rules()[1].place.to_string(), "f1:4");
}

#[test]
fn the_default_can_be_left_out_and_its_settings_stay() {
    let config = load_ok(&[ALONE]);
    assert_eq!(config.protect.sites, ["/srv/site-packages"]);
    assert_eq!(names(&config), [""; 0]);
    assert_eq!(config.failure.budget, Duration::from_millis(50));
    assert_eq!(
        faults("include_default = false"),
        "f1: protect.sites is empty, nothing would be guarded: name site directories"
    );
}

#[test]
fn a_built_in_rule_can_be_replaced() {
    let config = load_ok(&["[[deny]]\nname = \"no-programs\"\nexe = [\"/usr/bin/*\"]\n\
                            access = [\"write\", \"rename\", \"link\"]\n"]);
    let replaced: Vec<&str> = config.overridden.iter().map(|replaced| &*replaced.rule.name).collect();
    assert_eq!(replaced, ["dpkg", "pacman", "podman", "restic"]);
    assert_eq!(&*config.overridden[0].by, "no-programs");
    assert!(!names(&config).contains(&"dpkg"));
}

#[test]
fn every_fault_of_a_file_is_reported_with_its_line() {
    let text = "mode = \"permissive\"\n[protect]\nsites = [\"/a\",\n  \"b\"]\nmax_size = \"1MB\"\nstartup = [\"pth\"]\n\
                [failure]\nbudget_ms = 0\ntimeout = \"drop\"\n[response]\non_violation = \"drop\"\n[log]\njson = \"x\"\nformat = \"cef\"\n[state]\ndir = \"var\"\n";
    assert_eq!(
        faults(text),
        "f1:1: mode must be \"audit\" or \"enforce\", not \"permissive\"\n\
         f1:4: protect.sites: \"b\" must be an absolute path: start it with \"/\"\n\
         f1:5: protect.max_size must be a size from 1 byte to 1GiB: write it like \"1MiB\", \"512KiB\" or 4096\n\
         f1:6: protect.startup: \"pth\" is not a star, a dot and a suffix: write it like \"*.pth\"\n\
         f1:8: failure.budget_ms must be from 1 to 10000, not 0: the default is 50\n\
         f1:9: failure.timeout must be \"deny\" or \"allow\", not \"drop\"\n\
         f1:11: response.on_violation must be \"deny\" or \"kill\", not \"drop\"\n\
         f1:13: log.json must be an absolute path, \"-\" for standard output or \"\" for none, not \"x\"\n\
         f1:14: log.format must be \"ecs\" or \"ocsf\", not \"cef\"\n\
         f1:16: state.dir must be an absolute path, not \"var\""
    );
}

#[test]
fn faults_of_all_files_are_reported() {
    let both = from(&["mode = \"x\"", "\nmode = 1"]).map(|_| ()).unwrap_err().to_string();
    assert!(both.contains("f1:1: mode must be"), "{both}");
    assert!(both.contains("f2:2: invalid type: integer `1`, expected a string"), "{both}");
}

#[test]
fn keys_that_would_do_nothing_are_refused() {
    for (text, line) in [("customise = true", 1), ("\n[protect]\ndiscovery = true", 3), ("[response]\nkill = true", 2)]
    {
        let message = faults(text);
        assert!(message.starts_with(&format!("f1:{line}: unknown field")), "{text}: {message}");
    }
}

#[test]
fn lists_of_programs_are_shared_extended_and_replaced() {
    let rule = |exe: &str| format!("[[deny]]\nname = \"x\"\nexe = [{exe:?}, \"/z\"]\naccess = [\"write\"]\n");
    let exe = |texts: &[&str]| -> Vec<String> {
        let config = load_ok(texts);
        let rule = config.policy.rules().iter().find(|rule| &*rule.name == "x").unwrap();
        rule.exe.iter().map(|glob| glob.as_str().to_owned()).collect()
    };
    let first = alone(&format!("[programs]\nmine = [\"/a\", \"/b\"]\n{}", rule("@mine")));
    assert_eq!(exe(&[&first]), ["/a", "/b", "/z"]);
    assert_eq!(exe(&[&first, "[programs]\nmine = [\"/c\", \"@mine\"]\n"]), ["/c", "/a", "/b", "/z"]);
    assert_eq!(exe(&[&first, "[programs]\nmine = [\"/c\"]\n"]), ["/c", "/z"], "a later file's list holds for all");
    let pythons = |texts: &[&str]| {
        let config = load_ok(texts);
        let exe = config.policy.rules().iter().find(|rule| &*rule.name == "pip").unwrap().exe.clone();
        exe.iter().any(|glob| glob.as_str() == "/srv/bin/python3*")
    };
    assert!(pythons(&["[programs]\npython = [\"@python\", \"/srv/bin/python3*\"]\n"]) && !pythons(&[]));
    for (text, fault) in [
        (rule("@none"), "f1:3: there is no list \"none\": define it in [programs], or name one of mamba, python, uv"),
        ("[programs]\nx = [\"@x\"]\n".to_owned(), "f1:2: there is no list \"x\""),
        ("[programs]\n\"X y\" = [\"/a\"]\n".to_owned(), "f1:2: programs: a list's name"),
        ("[programs]\nx = []\n".to_owned(), "f1:2: programs.x is empty"),
        (format!("[programs]\nx = [\"a\"]\n{}", rule("@x")), "f1:5: exe: \"a\" must be an absolute path"),
    ] {
        let message = faults(&text);
        assert!(message.starts_with(fault), "{text}: {message}");
    }
}

#[test]
fn children_follow_the_rule_that_replaces_their_parents() {
    let child = "[[allow]]\nname = \"child\"\nexe = [\"/usr/bin/python3\"]\nscript = [\"-c\"]\nparent = [\"PARENT\"]\n\
                 access = [\"write\"]\ncontent = \"any\"\n";
    for (parent, fault) in [
        ("nobody", "f1:1: rule \"child\": parent \"nobody\": there is no such rule"),
        ("child", "f1:1: rule \"child\": parent \"child\": that rule has a parent itself"),
    ] {
        assert!(faults(&child.replace("PARENT", parent)).starts_with(fault));
    }
    let text = child.replace("parent = [\"PARENT\"]\n", "");
    assert!(faults(&text).contains("f1:4: script: \"-c\" is whatever stands on a command line"), "{}", faults(&text));
    let wider = "[[allow]]\nname = \"my-dpkg\"\nexe = [\"/usr/bin/dpkg*\"]\nowner = \"any\"\nenvironment = \"any\"\n\
                 access = [\"write\", \"rename\", \"link\"]\ncontent = \"any\"\n";
    let config = load_ok(&[wider, &child.replace("PARENT", "dpkg")]);
    let rule = config.policy.rules().iter().find(|rule| &*rule.name == "child").unwrap();
    assert_eq!(rule.parent, [Arc::from("my-dpkg")]);
}

#[test]
fn sizes() {
    for (text, expected) in [("4096", 4096), ("\"512KiB\"", 512 << 10), ("\"2 MiB\"", 2 << 20), ("\"1GiB\"", 1 << 30)] {
        assert_eq!(load_ok(&[&format!("[protect]\nmax_size = {text}")]).protect.max_size, expected);
    }
    let max = |text: &str| load_ok(&[&format!("[log]\njson_max_size = {text}")]).log.json_max_size;
    assert_eq!((max("65536"), max("\"1GiB\""), max("\"unlimited\"")), (Some(65536), Some(1 << 30), None));
    for text in ["0", "65535", "\"63KiB\"", "\"\"", "\"off\"", "false"] {
        let message = faults(&format!("[log]\njson_max_size = {text}"));
        assert!(message.contains("log.json_max_size must be"), "{text}: {message}");
    }
    for text in ["0", "-1", "\"\"", "\"MiB\"", "\"1\"", "\"2GiB\"", "\"99999999999999999999GiB\"", "1.5", "[1]"] {
        assert!(faults(&format!("[protect]\nmax_size = {text}")).contains("f1:2: protect.max_size"), "{text}");
    }
}

#[test]
fn the_generation_changes_with_the_text() {
    let plain = load_ok(&["# a\n", "# b\n"]).generation;
    assert_eq!(plain, load_ok(&["# a\n", "# b\n"]).generation);
    assert_ne!(plain, load_ok(&["# a\n# b\n", ""]).generation);
    assert_ne!(plain, load_ok(&["# a\n", "# c\n"]).generation);
}
