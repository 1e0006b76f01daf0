//! `pthguard doctor`: whether the guard can do its work here, and what to do where it cannot.
//!
//! *Owns* the questions, and what each answer means. *Must not* change anything: it places no mark, makes no file, takes no
//! lock; groups that it makes to see whether it can are gone a moment later. *Hands to* a person, or a program, one line
//! for each question.
//!
//! It asks the kernel and the files themselves wherever that is possible, and runs as anybody: what he may not look at, it
//! says.

#![forbid(unsafe_code)]

mod daemon;
mod files;
mod kernel;
mod privileges;
mod report;
mod sites;

use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use crate::audit::escape;
use crate::config::{self, Config};

pub use report::Outcome;

/// How it stands with something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// As it should be.
    Ok,
    /// The guard works, but not as well as it could; or it could not be looked at.
    Warn,
    /// It does not work, or guards less than the policy says.
    Fail,
}

/// One question and its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Check {
    check: &'static str,
    state: State,
    found: String,
    /// What to do.
    advice: Option<String>,
}

/// A question.
#[derive(Clone, Copy, Debug)]
struct Question(&'static str);

impl Question {
    fn ok(self, found: impl Into<String>) -> Check {
        Check { check: self.0, state: State::Ok, found: found.into(), advice: None }
    }

    fn warn(self, found: impl Into<String>, advice: impl Into<String>) -> Check {
        Check { check: self.0, state: State::Warn, found: found.into(), advice: Some(advice.into()) }
    }

    fn fail(self, found: impl Into<String>, advice: impl Into<String>) -> Check {
        Check { check: self.0, state: State::Fail, found: found.into(), advice: Some(advice.into()) }
    }

    /// It may not be looked at.
    fn unknown(self, what: &str) -> Check {
        self.warn(format!("not looked at: {what}"), "run it as root")
    }
}

/// Asks everything, and writes what is found.
///
/// # Errors
/// `out` cannot be written.
pub fn doctor(config_file: Option<&Path>, json: bool, out: &mut impl Write) -> io::Result<Outcome> {
    let is_root = nix::unistd::geteuid().is_root();
    let (policy, config) = load(config_file);
    let mut checks = kernel::checks(is_root);
    checks.extend(privileges::checks(is_root, config.on_violation));
    checks.push(policy);
    checks.extend(sites::checks(&config));
    checks.extend(files::checks(&config, is_root));
    checks.extend(daemon::checks(&config, is_root));
    report::write(&checks, json, out)
}

/// The policy, and where it is not valid the built-in one in its place.
fn load(config_file: Option<&Path>) -> (Check, Config) {
    let question = Question("policy");
    match config::load(config_file) {
        Ok(config) => {
            let (mode, rules) = (config.mode, config.policy.rules().len());
            let sources: Vec<_> = config.sources.iter().map(|source| escape(source.as_bytes())).collect();
            let found =
                format!("{}, {rules} rules, mode {}, from {}", config.generation, mode.as_str(), sources.join(", "));
            let check = match mode {
                crate::model::Mode::Enforce => question.ok(found),
                crate::model::Mode::Audit => {
                    let advice = "mode audit records what would be denied and denies nothing; set mode = \"enforce\" when the \
                                  records look right";
                    question.warn(found, advice)
                }
            };
            (check, config)
        }
        Err(errors) => {
            let found = errors.to_string().lines().map(|line| escape(line.as_bytes()).into_owned()).collect::<Vec<_>>();
            let check = question.fail(found.join("; "), "correct the files; `pthguard check` says the same");
            // It is built in: a test loads it.
            let config = Config::from_sources(&[]).expect("the built-in policy is valid");
            (check, config)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use serde_json::Value;

    use super::*;

    #[test]
    fn every_question_is_answered_once_and_a_bad_policy_fails() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("p.toml");
        let ask = |text: &str| {
            std::fs::write(&file, text).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
            let mut out = Vec::new();
            let outcome = doctor(Some(&file), true, &mut out).unwrap();
            (outcome, serde_json::from_slice::<Value>(&out).unwrap()["items"].as_array().unwrap().clone())
        };
        let policy = |text: &str| {
            let (outcome, items) = ask(text);
            let mut names: Vec<&str> = items.iter().map(|item| item["check"].as_str().unwrap()).collect();
            let count = names.len();
            names.sort_unstable();
            names.dedup();
            assert!(names.len() == count && count > 12, "{names:?}");
            let check = items.iter().find(|item| item["check"] == "policy").unwrap().clone();
            (outcome, check)
        };
        let sites = format!("include_default = false\n[protect]\nsites = [{:?}]\n", dir.path());
        let (_, check) = policy(&format!("mode = \"enforce\"\n{sites}"));
        assert_eq!(check["state"], "ok", "{check}");
        let (_, check) = policy(&format!("mode = \"audit\"\n{sites}"));
        assert_eq!(check["state"], "warn", "{check}");
        let (outcome, check) = policy("mode = \"x\"\n");
        assert_eq!((outcome, &check["state"]), (Outcome::Fails, &Value::from("fail")), "{check}");
        assert!(check["found"].as_str().unwrap().contains("p.toml:1"), "{check}");
    }
}
