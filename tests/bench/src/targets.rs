//! What is aimed at, beside what was measured. Printed, never asserted: a busy machine is no defect.

use std::fmt::Write as _;

use crate::contestant::Contestant::{self, Enforce, Fapolicyd, None as Nobody, Null};
use crate::results::{Figure, Results, Start, milliseconds, p50, p99};
use crate::workload::APPROVED;

/// More than this is no noise.
const NOISE: f64 = 1.05;

/// A target, and what was measured in the same run.
struct Target {
    what: &'static str,
    at_most: f64,
    unit: &'static str,
    measured: Option<f64>,
}

/// All of them.
pub(crate) fn text(results: &Results) -> String {
    let mut out = String::from("\nTargets, for a guard that enforces:\n");
    for target in targets(results) {
        let measured = target.measured.map_or("not measured".to_owned(), |value| {
            let verdict = if value <= target.at_most { "met" } else { "NOT met" };
            format!("{value:.2} {:7} {verdict}", target.unit)
        });
        let at_most = format!("≤ {} {}", target.at_most, target.unit);
        let _ = writeln!(out, "  {:66} {at_most:12} {measured}", target.what);
    }
    out
}

fn targets(results: &Results) -> Vec<Target> {
    let ratio = |what, workload, other: Contestant, figure: Figure, at_most| Target {
        what,
        at_most,
        unit: "",
        measured: results.ratio(workload, Enforce, other, figure),
    };
    let start = |others: usize, figure| results.start(Enforce, others + 1, figure);
    let kib = |start: &Start| Some(start.server_kib as f64);
    let each = start(100, kib).zip(start(10_000, kib)).map(|(few, many)| (many - few) / 9_900.0);
    vec![
        ratio("open of an approved startup file over the null responder, p50", APPROVED, Null, p50, 1.35),
        ratio("the same, p99", APPROVED, Null, p99, 1.5),
        ratio("the same over fapolicyd, p50", APPROVED, Fapolicyd, p50, 0.8),
        ratio("open of another direct child over the null responder, p50", "open other child", Null, p50, 1.2),
        ratio("open in an unguarded directory over no guard, p50", "open unguarded", Nobody, p50, NOISE),
        ratio("create elsewhere over no guard, p50", "create elsewhere", Nobody, p50, NOISE),
        ratio("rename elsewhere over no guard, p50", "rename elsewhere", Nobody, p50, NOISE),
        ratio("mkdir elsewhere over no guard, p50", "mkdir elsewhere", Nobody, p50, NOISE),
        ratio("start of an interpreter over the null responder, p50", "python3 -c pass", Null, p50, 1.02),
        ratio("pip install of 20 packages over no guard, p50", "pip install 20", Nobody, p50, 1.02),
        Target {
            what: "open for writing by a permitted writer, p99",
            at_most: 300.0,
            unit: "µs",
            measured: results.typical("write permitted", Enforce, p99).map(|ns| ns / 1e3),
        },
        Target {
            what: "resident memory with 100 directories",
            at_most: 8.0,
            unit: "MiB",
            measured: start(100, kib).map(|kib| kib / 1024.0),
        },
        Target { what: "resident memory for each further directory", at_most: 1.0, unit: "KiB", measured: each },
        Target {
            what: "first start with 10,000 directories, a startup file in each",
            at_most: 3.0,
            unit: "s",
            measured: start(10_000, |start| Some(milliseconds(start.started.ready) / 1e3)),
        },
        Target {
            what: "a later start with them",
            at_most: 3.0,
            unit: "s",
            measured: start(10_000, |start| start.started.again.map(|again| milliseconds(again) / 1e3)),
        },
    ]
}
