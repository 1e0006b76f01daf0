//! The table.

use std::fmt::Write as _;

use crate::contestant::Contestant;
use crate::results::{Figure, Measured, Results, p50, p99};
use crate::workload::Workload;

const LEGEND: &str = "\
Times in µs, of one open and close unless the row says otherwise; medians over the rounds. CPU: processor time of who
answers, for each time. Ratios: median over the rounds, the contestants taking turns in each. One thread: whoever opens is
bound to one processor, whoever answers to another; several threads: nobody is bound. null: answers and does nothing.
";

/// All of it.
pub(crate) fn text(results: &Results, workloads: &[&Workload], contestants: &[Contestant]) -> String {
    let mut out = format!("\n{}\n{LEGEND}\n", results.machine);
    let _ = writeln!(
        out,
        "{:29} {:10} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>8} {:>8} {:>9} {:>9} {:>9} {:>9}",
        "",
        "",
        "p50",
        "p90",
        "p99",
        "p99.9",
        "max",
        "per s",
        "CPU",
        "MiB",
        "p50/null",
        "p99/null",
        "p50/none",
        "p99/none"
    );
    for workload in workloads {
        let known = contestants.iter().filter(|contestant| contestant.knows(workload.sites));
        for (number, contestant) in known.enumerate() {
            let name = if number == 0 { workload.name } else { "" };
            row(&mut out, results, workload.name, name, *contestant);
        }
    }
    for note in &results.notes {
        let _ = writeln!(out, "note: {note}");
    }
    out
}

fn row(out: &mut String, results: &Results, workload: &str, name: &str, contestant: Contestant) {
    let typical = |figure: Figure| results.typical(workload, contestant, figure);
    let micro = |figure: Figure| typical(figure).map_or("-".to_owned(), |ns| digits(ns / 1e3));
    let ratio = |other: Contestant, figure: Figure| {
        let ratio = results.ratio(workload, contestant, other, figure).filter(|_| contestant != other);
        ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}"))
    };
    let cpu = |one: &Measured| one.server_cpu.unwrap_or(f64::NAN);
    let memory = |one: &Measured| one.server_kib.map_or(f64::NAN, |kib| kib as f64 / 1024.0);
    let if_any = |figure: Figure, unit: f64| {
        typical(figure).filter(|value| !value.is_nan()).map_or("-".to_owned(), |value| digits(value / unit))
    };
    let _ = writeln!(
        out,
        "{name:29} {:10} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>8} {:>8} {:>9} {:>9} {:>9} {:>9}",
        contestant.name(),
        micro(p50),
        micro(|one| one.percentiles.p90 as f64),
        micro(p99),
        micro(|one| one.percentiles.p999 as f64),
        micro(|one| one.percentiles.max as f64),
        if_any(|one| one.per_second, 1.0),
        if_any(cpu, 1e3),
        if_any(memory, 1.0),
        ratio(Contestant::Null, p50),
        ratio(Contestant::Null, p99),
        ratio(Contestant::None, p50),
        ratio(Contestant::None, p99),
    );
}

/// As many digits as mean something.
fn digits(value: f64) -> String {
    match value {
        value if value < 100.0 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}
