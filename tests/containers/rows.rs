//! The rows of container engines in the table of installers.

use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use crate::harness::field;
use crate::site::run;
use crate::table::{Row, reconcile};

/// What a record says of an operation, held against `docs/installers.md` or written there.
pub(crate) fn put_down(installer: &str, operation: &str, record: &Value, afterwards: &str) {
    // Tests run side by side, and the table is one file.
    static TABLE: Mutex<()> = Mutex::new(());
    let _table = TABLE.lock().unwrap_or_else(PoisonError::into_inner);
    let mechanism = match field(record, "event.action") {
        "creation" | "modification" => "open",
        other => other,
    };
    let rule = field(record, "rule.name");
    let row = Row {
        installer: installer.to_owned(),
        version: version(installer),
        operation: operation.to_owned(),
        mechanism: mechanism.to_owned(),
        rule: if rule.is_empty() { "none" } else { rule }.to_owned(),
        verdict: field(record, "pthguard.verdict").to_owned(),
        afterwards: afterwards.to_owned(),
    };
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/installers.md");
    let differences = reconcile(&file, &[row]);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

fn version(program: &str) -> String {
    let program = if program == "docker" { "dockerd" } else { program };
    let text = run(Command::new(program).arg("--version")).stdout;
    let words = text.split(|c: char| c.is_whitespace() || c == ',');
    let like = |word: &&str| word.contains('.') && word.starts_with(|c: char| c.is_ascii_digit());
    words.map(|word| word.trim_start_matches('v')).find(like).unwrap_or("?").to_owned()
}
