//! Imports go one way, from what knows less to what knows more. This is the table.

#![allow(clippy::unwrap_used, reason = "a test ends where its premises do")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each module with what it may import of ours, in the order of the flow.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("backlog", &[]),
    ("fanotify", &[]),
    ("policy", &["model"]),
    ("config", &["model", "policy"]),
    ("content", &["model"]),
    ("provenance", &["model"]),
    ("resolve", &["model", "fanotify"]),
    ("approvals", &["model"]),
    ("audit", &["model", "backlog"]),
    ("quarantine", &["model", "approvals"]),
    ("watch", &["model", "backlog", "fanotify", "approvals", "quarantine", "audit"]),
    ("discovery", &["model", "fanotify", "provenance", "resolve", "watch"]),
    ("status", &["model", "audit"]),
    (
        "control",
        &[
            "model",
            "fanotify",
            "config",
            "content",
            "provenance",
            "approvals",
            "quarantine",
            "audit",
            "watch",
            "status",
        ],
    ),
    (
        "gate",
        &[
            "model",
            "backlog",
            "fanotify",
            "policy",
            "config",
            "content",
            "provenance",
            "resolve",
            "approvals",
            "quarantine",
            "audit",
            "discovery",
            "watch",
            "status",
            "control",
        ],
    ),
    (
        "daemon",
        &[
            "model",
            "backlog",
            "fanotify",
            "policy",
            "config",
            "resolve",
            "approvals",
            "audit",
            "discovery",
            "watch",
            "status",
            "control",
            "gate",
        ],
    ),
    ("commands", &["model", "config", "content", "approvals", "quarantine", "audit", "status", "control"]),
    ("explain", &["model", "policy", "config", "resolve", "audit"]),
    ("replay", &["model", "audit", "policy", "config", "resolve"]),
    (
        "scan",
        &[
            "model",
            "fanotify",
            "config",
            "content",
            "provenance",
            "resolve",
            "approvals",
            "audit",
            "discovery",
            "watch",
            "control",
        ],
    ),
    ("doctor", &["model", "fanotify", "config", "audit", "watch", "discovery", "status", "control", "daemon"]),
    ("cli", &["model", "quarantine", "commands", "replay"]),
];

fn source_files(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            source_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The top module that a file belongs to: `gate` for `gate/triage.rs` and for `gate.rs`.
fn module_of(file: &Path) -> String {
    let first = file.iter().next().unwrap().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

fn imports(text: &str) -> BTreeSet<String> {
    let mentions = text.split("crate::").skip(1);
    mentions.map(|rest| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()).collect()
}

#[test]
fn every_module_imports_only_what_the_table_allows() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    source_files(&src, &mut files);
    let mut seen = BTreeSet::new();
    for path in files {
        let file = path.strip_prefix(&src).unwrap();
        let module = module_of(file);
        if matches!(module.as_str(), "lib" | "main") {
            continue;
        }
        let (_, allowed) = MAY_IMPORT
            .iter()
            .find(|(name, _)| *name == module)
            .unwrap_or_else(|| panic!("{module} is not in the table"));
        for import in imports(&fs::read_to_string(&path).unwrap()) {
            assert!(
                import.is_empty() || import == module || allowed.contains(&import.as_str()),
                "{} imports crate::{import}, which {module} may not",
                file.display()
            );
        }
        seen.insert(module);
    }
    let table: BTreeSet<_> = MAY_IMPORT.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(seen, table, "the table names modules that do not exist");
}

/// `unsafe` stays at the kernel boundary, and every other module says so to the compiler.
#[test]
fn unsafe_code_is_only_at_the_kernel_boundary() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    source_files(&src, &mut files);
    for path in files {
        let file = path.strip_prefix(&src).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        if module_of(file) != "fanotify" {
            assert!(!text.contains("unsafe {") && !text.contains("unsafe fn"), "unsafe in {}", file.display());
        }
    }
}
