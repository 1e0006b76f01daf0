//! The packages, and what runs the guard in clusters.
//!
//! - `manual`: manual pages and completions are whole, well-formed, and true to the command line and the policy's keys
//! - `metadata`: what Cargo.toml says of both packages, and the maintainers' scripts; without any tool
//! - `built`: both packages, built, looked at by lintian, installed, upgraded while their guard enforces, removed; in a root
//!   file system of the test's own. Only with `PTHGUARD_PACKAGES=1`
//! - `kubernetes`: the manifest against Kubernetes' own schema, its policy through the guard's own loader

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(dead_code, reason = "the modules are shared with the other privileged tests")]

mod built;
#[path = "../guard/harness.rs"]
mod harness;
mod kubernetes;
mod manual;
mod metadata;
#[path = "../guard/packages.rs"]
mod packages;
#[path = "../../examples/manual/pages.rs"]
mod pages;
#[path = "../installers/root.rs"]
mod root;
#[path = "../guard/site.rs"]
mod site;
#[path = "../guard/sys.rs"]
mod sys;

use std::path::{Path, PathBuf};

/// A file of the source tree.
fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
