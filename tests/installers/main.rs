//! Real installers under the built-in policy, enforced: what they do works, what only looks like them is denied. The
//! table that comes out is `docs/installers.md`. See `tests/README.md`.
//!
//! - `root`: a root file system of the test's own, so that the policy's real directories can be guarded
//! - `tools`: installs the installers there
//! - `matrix`: one operation under one guard, judged and put down as a row; `table`: the rows as a document
//! - `pip`, `environments`, `uv`, `projects`, `system`, `copiers`, `impostors`: the operations

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "the table is the result")]
#![allow(dead_code, reason = "the modules are shared with the other privileged tests")]

use std::path::Path;

use matrix::Matrix;
use tools::Tools;

mod copiers;
mod environments;
#[path = "../guard/harness.rs"]
mod harness;
mod impostors;
mod matrix;
#[path = "../guard/packages.rs"]
mod packages;
mod pip;
mod projects;
mod root;
#[path = "../guard/site.rs"]
mod site;
#[path = "../guard/sys.rs"]
mod sys;
mod system;
mod table;
mod tools;
mod uv;

type Operations = fn(&mut Matrix, &Tools);

/// The operations, by the name that `PTHGUARD_INSTALLERS_ONLY` selects them with.
const GROUPS: &[(&str, Operations)] = &[
    ("pip", pip::operations),
    ("environments", environments::operations),
    ("uv", uv::operations),
    ("projects", projects::operations),
    ("system", system::operations),
    ("copiers", copiers::operations),
    ("impostors", impostors::operations),
];

#[test]
fn real_installers_work_and_nobody_else_does() {
    assert!(sys::is_root(), "blocked: this test needs root (a mount namespace, fanotify permission events)");
    let only = std::env::var("PTHGUARD_INSTALLERS_ONLY").unwrap_or_default();
    let all = std::env::var("PTHGUARD_INSTALLERS").is_ok_and(|value| value == "all");
    let (rows, mut failures) = root::in_private_root(|| {
        let tools = Tools::install(all);
        let mut matrix = Matrix::default();
        for (name, operations) in GROUPS {
            if only.is_empty() || only.split(',').any(|one| one == *name) {
                matrix.group(name, |matrix| operations(matrix, &tools));
            }
        }
        matrix.finish()
    });
    println!("{}", table::render(&rows));
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/installers.md");
    failures.extend(table::reconcile(&file, &rows));
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n\n"));
}
