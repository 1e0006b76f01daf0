//! The policies that stand for the published rules, and the engines, on the same events.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::engines::{self, Opinion};
use crate::events;
use crate::examples::{SITE, VENV, linux, on, with};
use crate::replay;

/// A policy, and the rules of which it denies what one of them reports.
pub(crate) struct Parity {
    pub(crate) policy: &'static str,
    pub(crate) rules: &'static [&'static str],
}

pub(crate) const ELASTIC: Parity = Parity { policy: "elastic-pth-creation.toml", rules: &["elastic-seed"] };
pub(crate) const SIGMA: Parity =
    Parity { policy: "sigma-pth-creation.toml", rules: &["sigma-windows", "sigma-linux", "sigma-macos"] };

impl Parity {
    /// Whether one of the rules reports.
    fn fires(&self, opinion: &Opinion) -> bool {
        self.rules.iter().any(|rule| opinion.has(rule))
    }
}

/// As many disagreements are shown.
const SHOWN: usize = 8;

/// Compare a policy with the engines, event by event.
///
/// # Panics
///
/// Where they disagree.
pub(crate) fn compare(parity: &Parity, file: &Path, events: &[Value], opinions: &[Opinion]) {
    let answers = replay::each(parity.policy, file);
    assert_eq!(answers.len(), events.len(), "{}: one answer for each event", parity.policy);
    let (mut both, mut wrong) = (0, Vec::new());
    for ((event, opinion), answer) in events.iter().zip(opinions).zip(&answers) {
        let fires = parity.fires(opinion);
        both += usize::from(fires && answer.denies());
        if fires != answer.denies() {
            wrong.push(format!("the engines: {:?}\n  the policy: {answer:?}\n  {event}", opinion.fires));
        }
    }
    println!(
        "{}: {} events, both report {both}, {} disagreements with {:?}",
        parity.policy,
        events.len(),
        wrong.len(),
        parity.rules
    );
    let shown = wrong.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join("\n");
    assert!(wrong.is_empty(), "{}: {} disagreements\n{shown}", parity.policy, wrong.len());
}

fn policies_and_engines_agree(parity: &Parity) {
    let (events, opinions) = events::generated();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("events.ndjson");
    fs::write(&file, engines::lines(events)).unwrap();
    compare(parity, &file, events, opinions);
}

#[test]
fn elastic_on_generated_events() {
    policies_and_engines_agree(&ELASTIC);
}

#[test]
fn sigma_on_generated_events() {
    policies_and_engines_agree(&SIGMA);
}

/// What the guard takes otherwise, on purpose: the engines compare the text of a field, it reads what the record tells.
fn differences() -> Vec<(&'static str, &'static Parity, Value, bool, bool)> {
    let plain = || linux("/bin/sh", SITE);
    let of_type = json!({"category": ["file"], "type": ["creation"]});
    vec![
        // Words of the schema are in small letters; Elasticsearch, which regards case, finds nothing here either.
        ("an action in capitals", &ELASTIC, with(plain(), "/event/action", json!("CREATION")), true, false),
        ("a system in capitals", &SIGMA, with(plain(), "/host/os/type", json!("Linux")), true, false),
        // Other recorders have other words, or none.
        ("another word for it", &ELASTIC, with(plain(), "/event/action", json!("created")), false, true),
        ("a type and no action", &SIGMA, with(plain(), "/event", of_type), false, true),
        (
            "no system, and a drive letter",
            &SIGMA,
            with(on("windows", "x", VENV), "/host/os/type", Value::Null),
            false,
            true,
        ),
        // A program without a name is none that is known.
        ("an empty program", &ELASTIC, with(plain(), "/process/executable", json!("")), true, false),
    ]
}

#[test]
fn what_is_taken_otherwise_on_purpose() {
    let differences = differences();
    let events: Vec<Value> = differences.iter().map(|(_, _, event, _, _)| event.clone()).collect();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("events.ndjson");
    fs::write(&file, engines::lines(&events)).unwrap();
    let opinions = engines::ask(&file, &[]);
    let (elastic, sigma) = (replay::each(ELASTIC.policy, &file), replay::each(SIGMA.policy, &file));
    for (number, (what, parity, event, engine, policy)) in differences.iter().enumerate() {
        let answer = if parity.policy == ELASTIC.policy { &elastic[number] } else { &sigma[number] };
        assert_eq!(parity.fires(&opinions[number]), *engine, "{what}: {:?} {event}", opinions[number].fires);
        assert_eq!(answer.denies(), *policy, "{what}: {answer:?} {event}");
    }
}

/// A line of a policy with an entry less, or with a system more; `None`: it is not about that.
fn spoilt(line: &str) -> Option<String> {
    if line.trim_start().starts_with("\"like:") {
        return Some(String::new());
    }
    let system = line.strip_prefix("os = [\"")?.strip_suffix("\"]")?;
    Some(format!("os = [{system:?}, {:?}]", if system == "windows" { "macos" } else { "windows" }))
}

/// The comparison can fail: it does for each entry of the policies that is left out, and for each system that is added.
#[test]
fn every_entry_of_a_policy_matters() {
    let (events, opinions) = events::usual();
    let directory = tempfile::tempdir().unwrap();
    let (file, policy) = (directory.path().join("events.ndjson"), directory.path().join("pthguard.toml"));
    fs::write(&file, engines::lines(&events)).unwrap();
    let (mut changed, mut least) = (0, usize::MAX);
    for parity in [&ELASTIC, &SIGMA] {
        let text = fs::read_to_string(replay::shipped(parity.policy)).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            let Some(spoilt) = spoilt(line) else { continue };
            let other = [&lines[..number], &[spoilt.as_str()], &lines[number + 1..]].concat().join("\n");
            fs::write(&policy, other).unwrap();
            let answers = replay::each_under(&policy, &file);
            let wrong =
                opinions.iter().zip(&answers).filter(|(opinion, answer)| parity.fires(opinion) != answer.denies());
            let wrong = wrong.count();
            assert!(wrong > 0, "{}: no event of {} tells that {line:?} is not {spoilt:?}", parity.policy, events.len());
            (changed, least) = (changed + 1, least.min(wrong));
        }
    }
    println!("{changed} lines, each changed once: at least {least} disagreements");
    assert!(changed > 30, "the policies are written in another way");
}
