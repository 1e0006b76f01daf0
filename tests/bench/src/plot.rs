//! The distributions of one workload as curves: of how many opens takes each longer than so many microseconds.
//!
//! Both axes are logarithmic: the middle and the thousandth part that takes longest are seen at once.

use std::fmt::Write as _;

use crate::contestant::Contestant;
use crate::results::Results;

/// Size of the drawing, and where the axes begin and end in it.
const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 460.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 720.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 400.0;
/// The smallest share that is drawn.
const SMALLEST: f64 = 1e-5;
/// The times that are drawn, in microseconds.
const FIRST: f64 = 1.0;
const LAST: f64 = 100_000.0;

/// The drawing of a workload.
pub(crate) fn svg(results: &Results, workload: &str, contestants: &[Contestant]) -> String {
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n"
    );
    text(&mut out, LEFT, TOP - 26.0, "start", &format!("{workload}: share that takes longer"));
    text(&mut out, LEFT, TOP - 10.0, "start", &escape(&results.machine));
    axes(&mut out);
    for (number, contestant) in contestants.iter().enumerate() {
        let colour = colour(*contestant);
        let points: Vec<String> = curve(results, workload, *contestant)
            .into_iter()
            .map(|(time, share)| format!("{:.1},{:.1}", x(time), y(share)))
            .collect();
        let points = points.join(" ");
        let _ = writeln!(out, "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.8\" points=\"{points}\"/>");
        let height = TOP + 18.0 * number as f64;
        let _ = writeln!(
            out,
            "<rect x=\"{}\" y=\"{}\" width=\"18\" height=\"4\" fill=\"{colour}\"/>",
            RIGHT + 12.0,
            height
        );
        text(&mut out, RIGHT + 36.0, height + 6.0, "start", contestant.name());
    }
    out.push_str("</svg>\n");
    out
}

/// Times in microseconds, and the share of all rounds' opens that took longer.
fn curve(results: &Results, workload: &str, contestant: Contestant) -> Vec<(f64, f64)> {
    let mut buckets: Vec<(u64, u64)> =
        results.rounds(workload, contestant).flat_map(|round| round.histogram.iter().copied()).collect();
    buckets.sort_unstable();
    let all: u64 = buckets.iter().map(|(_, count)| count).sum();
    let mut longer = all;
    let point = |(time, count): (u64, u64)| {
        let share = longer as f64 / all as f64; // at the bucket's lower limit
        longer -= count;
        (time as f64 / 1e3, share)
    };
    buckets.into_iter().map(point).collect()
}

fn axes(out: &mut String) {
    let mut time = FIRST;
    while time <= LAST {
        line(out, x(time), TOP, x(time), BOTTOM);
        let label = if time < 1e3 { format!("{time} µs") } else { format!("{} ms", time / 1e3) };
        text(out, x(time), BOTTOM + 18.0, "middle", &label);
        time *= 10.0;
    }
    let mut share = 1.0;
    for label in ["100 %", "10 %", "1 %", "0.1 %", "0.01 %", "0.001 %"] {
        line(out, LEFT, y(share), RIGHT, y(share));
        text(out, LEFT - 8.0, y(share) + 4.0, "end", label);
        share /= 10.0;
    }
}

fn x(time: f64) -> f64 {
    let part = (time.clamp(FIRST, LAST) / FIRST).log10() / (LAST / FIRST).log10();
    LEFT + part * (RIGHT - LEFT)
}

fn y(share: f64) -> f64 {
    let part = share.clamp(SMALLEST, 1.0).log10() / SMALLEST.log10();
    TOP + part * (BOTTOM - TOP)
}

fn colour(contestant: Contestant) -> &'static str {
    match contestant {
        Contestant::None => "#888888",
        Contestant::Null => "#1f77b4",
        Contestant::Audit => "#2ca02c",
        Contestant::Enforce => "#d62728",
        Contestant::Fapolicyd => "#9467bd",
        Contestant::Clamonacc => "#8c564b",
    }
}

fn line(out: &mut String, x1: f64, y1: f64, x2: f64, y2: f64) {
    let _ = writeln!(out, "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"#dddddd\"/>");
}

fn text(out: &mut String, x: f64, y: f64, anchor: &str, words: &str) {
    let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>");
}

fn escape(words: &str) -> String {
    words.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axes_end_where_they_should() {
        assert_eq!((x(FIRST), x(LAST), x(LAST * 10.0)), (LEFT, RIGHT, RIGHT));
        assert_eq!((y(1.0), y(SMALLEST), y(0.0)), (TOP, BOTTOM, BOTTOM));
    }
}
