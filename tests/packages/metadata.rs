//! What Cargo.toml says of the packages.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use pthguard::config::{Config, Source};
use toml::{Table, Value};

use crate::here;
use crate::site::run;

/// What `packaging/build.sh` makes.
const STAGE: &str = "target/packaging/";

struct Asset {
    source: String,
    dest: String,
    mode: u32,
}

fn manifest() -> Table {
    let manifest: Table = fs::read_to_string(here("Cargo.toml")).unwrap().parse().unwrap();
    manifest["package"].as_table().unwrap().clone()
}

fn assets(tool: &str) -> Vec<Asset> {
    let manifest = manifest();
    let assets = manifest["metadata"][tool]["assets"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let asset = |asset: &Value| match asset.as_array().map(Vec::as_slice) {
        Some([source, dest, mode]) => (text(source), format!("/{}", text(dest)), text(mode)),
        Some(fields) => panic!("{fields:?}"),
        None => {
            let source = asset.get("source").map(text).unwrap_or_default();
            (source, text(&asset["dest"]), text(&asset["mode"]))
        }
    };
    let number = |(source, dest, mode): (String, String, String)| Asset {
        source,
        dest,
        mode: u32::from_str_radix(&mode, 8).unwrap(),
    };
    assets.iter().map(|value| number(asset(value))).collect()
}

#[test]
fn what_the_packages_hold_is_there_and_nobody_else_can_write_it() {
    for tool in ["deb", "generate-rpm"] {
        for asset in assets(tool) {
            assert_eq!(asset.mode & 0o7022, 0, "{tool}: {}", asset.dest);
            let made = asset.source.is_empty() || asset.source.starts_with(STAGE);
            let found = || glob::glob(here(&asset.source).to_str().unwrap()).unwrap().count() > 0;
            assert!(made || found(), "{tool}: no {}", asset.source);
        }
    }
}

/// Where the distributions differ is where their own tools look.
#[test]
fn both_packages_hold_the_same() {
    let names = |tool: &str| -> BTreeSet<String> {
        let of_one =
            ["copyright", "LICENSE", "changelog", "CHANGELOG", "preset", "selinux", "zsh", "system/pthguard.service"];
        let all = assets(tool).into_iter().filter(|asset| !asset.source.is_empty());
        let kept =
            all.filter(|asset| !of_one.iter().any(|word| asset.dest.contains(word) || asset.source.contains(word)));
        kept.map(|asset| {
            let file = asset.source.rsplit('/').next().unwrap().to_owned();
            if asset.dest.ends_with('/') { asset.dest + &file } else { asset.dest }
        })
        .collect()
    };
    assert_eq!(names("deb"), names("generate-rpm"));
}

#[test]
fn the_policy_that_is_installed_loads_and_only_records() {
    let text = fs::read_to_string(here("packaging/pthguard.toml")).unwrap();
    let config = Config::from_sources(&[Source { name: "packaging/pthguard.toml".to_owned(), text }]).unwrap();
    assert_eq!(config.mode.as_str(), "audit");
    assert_eq!(config.protect, Config::from_sources(&[]).unwrap().protect);
}

#[test]
fn the_scripts_are_scripts() {
    let scripts = ["deb/postrm", "rpm/post.sh", "rpm/preun.sh", "rpm/postun.sh", "on-host", "build.sh"];
    for script in scripts.map(|script| here("packaging").join(script)) {
        run(Command::new("bash").arg("-n").arg(&script)).result().unwrap();
    }
}

#[test]
fn the_debian_changelog_is_of_this_version() {
    let changelog = fs::read_to_string(here("packaging/deb/changelog")).unwrap();
    let version = manifest()["version"].as_str().unwrap().to_owned();
    assert!(changelog.starts_with(&format!("pthguard ({version}-")), "{changelog}");
}
