//! What real interpreters do with a startup file, held against what the classifier says of it.
//!
//! It may say more than an interpreter does, never less. `docs/content.md` has the numbers.

#![allow(clippy::unwrap_used, reason = "a test ends where its premises do")]
#![allow(clippy::print_stdout, reason = "the numbers are what people run it for")]

mod cases;
mod corpus;
mod document;
mod python;
mod starts;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use document::Row;
use pthguard::content::{Findings, classify};
use pthguard::model::ContentClass;
use python::{Answer, Locale, Running};

/// Interpreters that run at the same time.
const AT_ONCE: usize = 2;

#[test]
fn no_interpreter_does_more_than_the_classifier_says() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("cases");
    fs::create_dir(&root).unwrap();
    fs::write(dir.path().join("runner.py"), include_str!("runner.py")).unwrap();
    python::latin_1(dir.path());
    let cases = cases::all();
    cases::lay(&root, &cases);
    let found: BTreeMap<&str, Findings> =
        cases.iter().map(|(name, case)| (name.as_str(), classify(case.name.as_bytes(), &case.bytes))).collect();

    let pythons = python::all();
    let mut waiting: Vec<_> = pythons
        .iter()
        .flat_map(|python| [Locale::Utf8, Locale::Latin1, Locale::Mixed].map(|locale| (python, locale)))
        .rev()
        .collect();
    let mut running: Vec<Running> = Vec::new();
    let mut rows = Vec::new();
    let mut executed = BTreeSet::new();
    let mut wrong = Vec::new();
    while !running.is_empty() || !waiting.is_empty() {
        while let Some((python, locale)) = waiting.pop() {
            running.push(python.ask(&root, dir.path(), locale));
            if running.len() == AT_ONCE {
                break;
            }
        }
        let run = running.remove(0);
        let (python, locale) = (run.python.clone(), run.locale);
        let answers = run.answers();
        assert_eq!(answers.len(), cases.len());
        let mut row = Row::new(&python.version, &python.release, locale);
        for answer in &answers {
            let case = &cases[&answer.case];
            row.count(answer);
            if !answer.seen.is_empty() {
                executed.insert(answer.case.clone());
            }
            for what in less(&found[answer.case.as_str()], answer, locale) {
                row.missed += 1;
                wrong.push(format!(
                    "{} {locale:?} {}: {what}: {}",
                    python.release,
                    case.name,
                    case.bytes.escape_ascii()
                ));
            }
        }
        rows.push(row);
    }
    let called: BTreeSet<&str> =
        found.iter().filter(|(_, found)| found.class.executes()).map(|(name, _)| *name).collect();
    let cautious: Vec<&str> = called.iter().filter(|name| !executed.contains(**name)).copied().collect();
    println!(
        "{} files, {} called executable, {} of them run by no interpreter here",
        cases.len(),
        called.len(),
        cautious.len()
    );
    for name in cautious.iter().take(20) {
        println!("  {} {}", cases[*name].name, cases[*name].bytes.escape_ascii());
    }
    for row in &rows {
        println!("{}", row.line());
    }
    assert!(
        wrong.is_empty(),
        "{} times less than an interpreter does:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(40)].join("\n")
    );
    document::hold(&rows, document::Totals { files: cases.len(), called: called.len(), cautious: cautious.len() });
}

/// What an interpreter did that the classifier does not know of.
fn less(found: &Findings, answer: &Answer, locale: Locale) -> Vec<String> {
    let mut wrong = Vec::new();
    if !answer.seen.is_empty() && found.class < ContentClass::Known {
        wrong.push(format!("executed, called {}", found.class));
    }
    for path in answer.paths().filter(|path| !path.contains(&0) && !found.paths.contains(path)) {
        wrong.push(format!("takes the path {}, not told", path.escape_ascii()));
    }
    if answer.refused.is_some() && found.class != ContentClass::Broken {
        wrong.push(format!("does not start ({locale:?}), called {}", found.class));
    }
    wrong
}
