//! What was found, as SARIF 2.1.0, the form in which code scanners exchange results.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::Report;
use super::finding::{Finding, Severity};

pub(super) fn write(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let rules: Vec<Value> = Finding::ALL.into_iter().map(|word| json!({ "id": word.as_str() })).collect();
    let results: Vec<Value> = report
        .items
        .iter()
        .flat_map(|item| {
            item.detail.iter().map(|detail| {
                let line = item.line_number.unwrap_or(1);
                json!({
                    "ruleId": detail.word.as_str(),
                    "level": match detail.word.severity() { Severity::Finding => "warning", Severity::Note => "note" },
                    "message": { "text": detail.text },
                    "locations": [{ "physicalLocation": {
                        "artifactLocation": { "uri": uri(&item.path) },
                        "region": { "startLine": line },
                    }}],
                })
            })
        })
        .collect();
    let run = json!({
        "tool": { "driver": {
            "name": env!("CARGO_PKG_NAME"),
            "version": env!("CARGO_PKG_VERSION"),
            "rules": rules,
        }},
        "results": results,
    });
    let log = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [run],
    });
    serde_json::to_writer_pretty(&mut *out, &log)?;
    writeln!(out)
}

/// A path as a `file:` reference.
fn uri(path: &str) -> String {
    let mut uri = "file://".to_owned();
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            uri.push_str(&format!("%{byte:02X}"));
        }
    }
    uri
}
