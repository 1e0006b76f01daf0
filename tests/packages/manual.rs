//! The manual pages and completions: whole, well-formed, and true to the command line and the policy's keys.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use clap::CommandFactory as _;
use pthguard::cli::Cli;
use pthguard::config::{Config, Source};

use crate::{here, pages};

fn policy_page() -> String {
    fs::read_to_string(here("docs/man/pthguard.toml.5")).unwrap()
}

/// Every page, that of the policy included, in a directory.
fn written() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in pages::pages(&pages::date().unwrap()).unwrap().into_iter().chain(pages::completions()) {
        fs::write(directory.path().join(name), text).unwrap();
    }
    fs::write(directory.path().join("pthguard.toml.5"), policy_page()).unwrap();
    directory
}

/// What is on standard output and error of a program that has to be there.
fn output(program: &str, arguments: &[&str], file: &Path) -> String {
    let output = Command::new(program).args(arguments).arg(file).output();
    let output = output.unwrap_or_else(|error| panic!("blocked: {program}: {error}"));
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// As a reader sees it: without escapes and fonts.
fn plain(page: &str) -> String {
    page.replace("\\-", "-").replace("\\fB", "").replace("\\fI", "").replace("\\fR", "")
}

fn check_command(command: &clap::Command, pages: &BTreeMap<String, String>, completions: &[(String, String)]) {
    let title = command.get_display_name().unwrap_or_else(|| command.get_name());
    let page = pages.get(&format!("{title}.8")).unwrap_or_else(|| panic!("no page for {title}"));
    for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
        let long = argument.get_long().map(|long| format!("--{long}"));
        let word = long.clone().unwrap_or_else(|| argument.get_value_names().unwrap()[0].to_string());
        assert!(page.contains(&word), "{title}(8) does not tell of {word}");
        assert!(
            argument.get_help().is_some_and(|help| page.contains(&first_words(&help.to_string()))),
            "{title}: {word}"
        );
        for (name, script) in completions.iter().filter(|_| long.is_some()) {
            // fish writes `-l NAME`.
            let known = script.contains(&word) || script.contains(&format!("-l {}", word.trim_start_matches('-')));
            assert!(known, "{name} does not complete {word}");
        }
    }
    for below in command.get_subcommands() {
        let title = below.get_display_name().unwrap();
        assert!(page.contains(title), "{} does not name {title}(8)", command.get_name());
        for (name, script) in completions {
            assert!(script.contains(below.get_name()), "{name} does not complete {}", below.get_name());
        }
        check_command(below, pages, completions);
    }
}

/// Enough of a sentence to know it by.
fn first_words(text: &str) -> String {
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

#[test]
fn every_subcommand_and_flag_is_told_of() {
    let pages = pages::pages("2026-01-01").unwrap().into_iter().map(|(name, text)| (name, plain(&text))).collect();
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    check_command(&program, &pages, &pages::completions());
}

#[test]
fn the_pages_are_well_formed() {
    let directory = written();
    for entry in fs::read_dir(directory.path()).unwrap() {
        let path = entry.unwrap().path();
        if !path.extension().is_some_and(|section| section == "5" || section == "8") {
            continue;
        }
        // That another page of this package is not installed here is no fault.
        let found = output("mandoc", &["-T", "lint", "-W", "warning"], &path);
        assert_eq!(found, "", "mandoc");
        let shown = Command::new("man").args(["-l", "--warnings"]).arg(&path).env("MANWIDTH", "80").output();
        let shown = shown.unwrap_or_else(|error| panic!("blocked: man: {error}"));
        assert!(shown.status.success(), "{}", path.display());
        assert_eq!(String::from_utf8_lossy(&shown.stderr), "", "man, {}", path.display());
    }
}

#[test]
fn the_completions_are_scripts() {
    let directory = written();
    let script = directory.path().join("pthguard.bash");
    assert_eq!(output("bash", &["-n"], &script), "");
    let ask = "source \"$0\"; COMP_WORDS=(pthguard quarantine pu); COMP_CWORD=2; _pthguard pthguard pu quarantine; \
               echo \"${COMPREPLY[@]}\"";
    assert_eq!(output("bash", &["-c", ask], &script).trim(), "purge");
}

/// The tables of the policy, from the text of the types that it is read into: their keys, with the keys' types.
fn tables() -> BTreeMap<String, Vec<(String, String)>> {
    let types = fs::read_to_string(here("src/config/raw.rs")).unwrap();
    let mut tables: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    let mut table = None;
    for line in types.lines() {
        if let Some(name) = line.strip_prefix("pub(super) struct ") {
            table = Some(tables.entry(name.trim_end_matches(" {").to_owned()).or_default());
        } else if let (Some(keys), Some(key)) = (&mut table, line.trim().strip_prefix("pub(super) ")) {
            let (key, kind) = key.trim_end_matches(',').split_once(": ").unwrap();
            keys.push((key.to_owned(), kind.to_owned()));
        }
    }
    assert!(tables["RawFile"].len() > 5 && tables["RawRule"].len() > 10, "{tables:?}");
    tables
}

/// What the page says under the headings of its KEYS: heading → item lines.
fn documented() -> BTreeMap<String, Vec<String>> {
    let page = policy_page();
    let keys = page.split(".Sh KEYS\n").nth(1).unwrap().split(".Sh ").next().unwrap();
    let section = |section: &str| {
        let (heading, text) = section.split_once('\n').unwrap();
        let items = text.lines().filter_map(|line| line.strip_prefix(".It Cm ")).map(unescaped).collect();
        (heading.to_owned(), items)
    };
    keys.split(".Ss ").skip(1).map(section).collect()
}

/// What mdoc's escapes that the page uses stand for.
fn unescaped(text: &str) -> String {
    text.replace("\\(dq", "\"").replace("\\&", "").replace("\\e", "\\")
}

#[test]
fn every_key_of_the_policy_is_documented_and_no_other() {
    let documented = documented();
    let tables = tables();
    // Which keys lead to a type of ours.
    let names_of = |raw: &str| -> Vec<String> {
        let all = tables.values().flatten();
        all.filter(|(_, kind)| kind.contains(raw)).map(|(key, _)| key.clone()).collect()
    };
    for (raw, keys) in &tables {
        let names = names_of(raw);
        let heading = if raw == "RawFile" {
            "Above the tables".to_owned()
        } else {
            let of = |heading: &&String| names.iter().all(|name| heading.contains(&format!("{name}]")));
            documented.keys().find(of).unwrap_or_else(|| panic!("no heading for {names:?}")).clone()
        };
        let told: BTreeSet<&str> = documented[&heading].iter().map(|item| item.split(" = ").next().unwrap()).collect();
        let (own, inner): (Vec<_>, Vec<_>) =
            keys.iter().partition(|(_, kind)| !(kind.contains("BTreeMap") || raw == "RawFile" && kind.contains("Raw")));
        let own: BTreeSet<&str> = own.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(told, own, "docs/man/pthguard.toml.5, {heading}, beside src/config/raw.rs, {raw}");
        for (key, _) in inner {
            assert!(documented.keys().any(|heading| heading.contains(&format!("{key}]"))), "no heading for {key}");
        }
    }
}

#[test]
fn the_values_that_are_shown_are_the_built_in_ones() {
    let default = fs::read_to_string(here("policy/default.toml")).unwrap();
    let mut shown = 0;
    for item in documented().into_values().flatten().filter(|item| item.contains(" = ")) {
        let built_in = item == "include_default = true" || default.lines().any(|line| line == item);
        assert!(built_in, "policy/default.toml does not say {item}");
        shown += 1;
    }
    assert!(shown > 10);
}

#[test]
fn the_examples_load() {
    let page = policy_page();
    let examples: Vec<String> = page
        .split(".Bd -literal -offset indent\n")
        .skip(1)
        .map(|text| unescaped(text.split(".Ed").next().unwrap()))
        .collect();
    assert!(examples.len() > 3);
    for text in examples {
        let source = Source { name: "an example of pthguard.toml(5)".to_owned(), text: text.clone() };
        Config::from_sources(&[source]).unwrap_or_else(|errors| panic!("{errors}\n{text}"));
    }
}
