//! Every policy file that is shipped loads through the daemon's own loader.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use pthguard::config::{BUILT_IN, Config, Source};
use pthguard::policy::shadows;

fn policy_files() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("policy"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

fn source(file: &Path) -> Source {
    Source { name: file.display().to_string(), text: std::fs::read_to_string(file).unwrap() }
}

#[test]
fn each_loads_alone_or_on_top_of_the_default() {
    for file in policy_files() {
        let source = source(&file);
        if file.ends_with("default.toml") {
            // It is built in already; beside itself each of its rules would be there twice.
            let alone = Source { text: format!("include_default = false\n{}", source.text), ..source };
            Config::from_sources(&[alone]).unwrap();
        } else {
            Config::from_sources(&[source]).unwrap();
        }
    }
}

#[test]
fn the_default_has_no_rule_that_never_decides() {
    let config = Config::from_sources(&[]).unwrap();
    assert_eq!(config.sources, [BUILT_IN]);
    assert_eq!(config.overridden, []);
    assert_eq!(shadows(config.policy.rules()), []);
}

#[test]
fn the_default_spells_out_every_setting() {
    // What `check` prints must be found in the file: a setting that is only in code would be one that nobody sees.
    let default = source(&Path::new(env!("CARGO_MANIFEST_DIR")).join("policy/default.toml")).text;
    let rendered = Config::from_sources(&[]).unwrap().render();
    let settings = rendered.split("# Rules, in the order").next().unwrap();
    for line in settings.lines().filter(|line| line.contains(" = ") && !line.starts_with("include_default")) {
        let key = line.split(" = ").next().unwrap();
        assert!(default.lines().any(|line| line.starts_with(&format!("{key} = "))), "{key}");
    }
}
