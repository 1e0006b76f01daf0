//! The packages.
//!
//! - `manual`: manual pages and completions are whole, well-formed, and true to the command line and the policy's keys

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod manual;
#[path = "../../examples/manual/pages.rs"]
mod pages;

use std::path::{Path, PathBuf};

/// A file of the source tree.
fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
