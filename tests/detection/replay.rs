//! `pthguard replay --each`: what a policy says of each record in a file.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;

use crate::site::run_for;

const LIMIT: Duration = Duration::from_secs(120);

/// What the policy says of one record.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Answer {
    pub(crate) line: usize,
    pub(crate) verdict: String,
    pub(crate) rule: Option<String>,
    pub(crate) reason: Option<String>,
}

impl Answer {
    pub(crate) fn denies(&self) -> bool {
        self.verdict == "deny"
    }
}

/// A policy of those that are shipped.
pub(crate) fn shipped(policy: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("policy").join(policy)
}

/// One answer for each line of `file`, in their order, under a policy that is shipped.
pub(crate) fn each(policy: &str, file: &Path) -> Vec<Answer> {
    each_under(&shipped(policy), file)
}

/// The same under any policy.
pub(crate) fn each_under(policy: &Path, file: &Path) -> Vec<Answer> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pthguard"));
    let done = run_for(command.arg("replay").arg("--config").arg(policy).arg("--each").arg(file), LIMIT);
    // 1: some of it would have been denied.
    let ended = matches!(done.status.code(), Some(0 | 1));
    assert!(ended, "pthguard replay: {}\n{}", done.status, done.stderr);
    let answers: Vec<Answer> = done.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (number, answer) in answers.iter().enumerate() {
        assert_eq!(answer.line, number + 1, "answers are in the order of the records");
        let known = ["deny", "allow", "held", "none", "malformed"].contains(&answer.verdict.as_str());
        assert!(known, "a verdict that is not in the contract: {answer:?}");
    }
    answers
}
