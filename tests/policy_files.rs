//! Every policy file that is shipped loads through the daemon's own loader.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use pthguard::config::{BUILT_IN, Config, Source};
use pthguard::content::{KnownFiles, KnownOwner};
use pthguard::policy::{PathGlob, shadows};

fn policy_files() -> Vec<PathBuf> {
    let policy = Path::new(env!("CARGO_MANIFEST_DIR")).join("policy");
    let mut files: Vec<PathBuf> = [policy.clone(), policy.join("drop-ins")]
        .iter()
        .flat_map(|dir| std::fs::read_dir(dir).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml") && !path.ends_with("known.toml"))
        .collect();
    files.sort();
    assert!(files.len() > 1);
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

/// Whoever installs them all gets them all: none stands in another's way.
#[test]
fn the_drop_ins_load_together() {
    let files = policy_files();
    let drop_ins = files.iter().filter(|file| file.parent().is_some_and(|dir| dir.ends_with("drop-ins")));
    let drop_ins: Vec<Source> = drop_ins.map(|file| source(file)).collect();
    let config = Config::from_sources(&drop_ins).unwrap();
    assert_eq!(config.overridden, []);
}

#[test]
fn the_default_guards_where_interpreters_look() {
    let config = Config::from_sources(&[]).unwrap();
    let globs: Vec<PathGlob> = config.protect.sites.iter().map(|glob| PathGlob::new(glob).unwrap()).collect();
    for site in [
        // The directories of the two public detection rules.
        "/usr/local/lib/python3.11/dist-packages",
        "/usr/lib/python3/dist-packages",
        "/usr/lib/python2.7/dist-packages",
        "/usr/local/lib/python3.12/site-packages",
        "/usr/lib/python3.6/site-packages",
        "/home/a/.local/lib/python3.11/site-packages",
        "/opt/app/lib/python3.9/site-packages",
        // What they miss.
        "/usr/lib64/python3.12/site-packages",
        "/usr/local/lib64/python3.12/site-packages",
        "/usr/lib/pypy3.9/dist-packages",
        "/usr/lib64/pypy3.10/site-packages",
        "/usr/local/lib/python3.13t/site-packages",
        "/root/.local/lib/python3.11/site-packages",
        "/srv/app/venv/lib/python3.11/site-packages",
        "/home/a/project/.venv/lib/python3.14/site-packages",
        "/home/a/.cache/pypoetry/virtualenvs/x-1-py3.11/lib/python3.11/site-packages",
        "/opt/conda/envs/ml/lib/python3.11/site-packages",
        "/home/a/miniforge3/envs/ml/lib/python3.11/site-packages",
        "/root/.pyenv/versions/3.11.7/lib/python3.11/site-packages",
        "/home/a/.local/share/uv/tools/ruff/lib/python3.12/site-packages",
        "/home/a/.local/share/pipx/venvs/black/lib/python3.11/site-packages",
        "/opt/pipx/venvs/black/lib/python3.11/site-packages",
    ] {
        assert!(globs.iter().any(|glob| glob.matches(site)), "{site}");
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

/// A file that an installer writes itself is known by the rule that lets it in: there has to be one.
#[test]
fn the_writers_of_known_files_are_rules_of_the_default() {
    let config = Config::from_sources(&[]).unwrap();
    for (name, _, listed) in KnownFiles::built_in().iter() {
        if let KnownOwner::Writers(rules) = &listed.owner {
            for rule in rules {
                assert!(
                    config.policy.rules().iter().any(|known| known.name.as_ref() == rule),
                    "{name:?}: no rule {rule}"
                );
            }
        }
    }
}
