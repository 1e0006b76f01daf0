//! The page, as promtool would look at it, and what the documents say of it.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::status::sample::status;

fn page() -> String {
    let mut page = String::new();
    write_metrics(&status(), &mut page).unwrap();
    page
}

/// Each metric with its type.
fn types(page: &str) -> BTreeMap<String, String> {
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    types.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect()
}

#[test]
fn seconds_are_written_without_loss() {
    let written = |nanoseconds| Seconds(nanoseconds).to_string();
    assert_eq!(
        [0, 10_000, 2_500_000, 1_000_000_000, 1_000_000_001].map(written),
        ["0", "0.00001", "0.0025", "1", "1.000000001"]
    );
}

/// What promtool's linter asks for, and what it cannot know.
#[test]
fn names_follow_the_conventions() {
    let page = page();
    for (name, kind) in types(&page) {
        assert!(name.starts_with("pthguard_"), "{name}");
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
        let parts: Vec<&str> = name.split('_').collect();
        for part in
            ["ms", "us", "ns", "sec", "min", "kb", "mb", "counter", "gauge", "histogram", "count", "sum", "bucket"]
        {
            assert!(!parts.contains(&part), "{name}: {part}");
        }
        assert!(page.contains(&format!("# HELP {name} ")), "{name}");
    }
}

#[test]
fn every_sample_belongs_to_the_family_before_it_and_is_there_once() {
    let page = page();
    let (mut family, mut seen) = (String::new(), BTreeSet::new());
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            family = rest.split(' ').next().unwrap().to_owned();
        } else if !line.starts_with('#') {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let name = series.split('{').next().unwrap();
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
            assert!(name == family || base == family, "{line} after {family}");
            assert!(value.parse::<f64>().is_ok(), "{line}");
            assert!(seen.insert(series.to_owned()), "twice: {series}");
        }
    }
    assert!(page.ends_with('\n'));
}

#[test]
fn the_histogram_is_cumulative() {
    let page = page();
    let buckets: Vec<u64> = page
        .lines()
        .filter(|line| line.starts_with("pthguard_decision_duration_seconds_bucket"))
        .map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
        .collect();
    assert_eq!(buckets.len(), LIMITS_US.len() + 1);
    assert!(buckets.windows(2).all(|pair| pair[0] <= pair[1]), "{buckets:?}");
    let count = format!("pthguard_decision_duration_seconds_count {}\n", buckets[buckets.len() - 1]);
    assert!(page.contains(&count), "{page}");
    assert!(page.contains("{le=\"0.00005\"} "), "{page}");
}

/// The names of metrics that a text mentions; those of a histogram's series are its own.
fn mentioned(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let words = text.match_indices("pthguard_").map(|(at, _)| {
        let rest = &text[at..];
        &rest[..rest.find(|c| !is_part(c)).unwrap_or(rest.len())]
    });
    let base = |word: &str| {
        let end = ["_bucket", "_sum", "_count"].iter().find_map(|end| word.strip_suffix(end));
        end.unwrap_or(word).to_owned()
    };
    words.map(base).collect()
}

#[test]
fn what_the_documents_mention_is_there() {
    let page = page();
    let known: BTreeSet<String> = types(&page).into_keys().collect();
    let dashboard = include_str!("../../../docs/monitoring/grafana-dashboard.json");
    let alerts = include_str!("../../../docs/monitoring/alerts.yml");
    let readme = include_str!("../../../docs/monitoring/README.md");
    for (name, text) in [("dashboard", dashboard), ("alerts", alerts), ("README", readme)] {
        let mentioned = mentioned(text);
        assert!(mentioned.len() > 5, "{name}: {mentioned:?}");
        let unknown: Vec<_> = mentioned.difference(&known).collect();
        assert!(unknown.is_empty(), "{name}: {unknown:?}");
    }
    let undocumented: Vec<_> = known.difference(&mentioned(readme)).cloned().collect();
    assert!(undocumented.is_empty(), "{undocumented:?}");
}

#[test]
fn every_panel_of_the_dashboard_asks_for_something() {
    let text = include_str!("../../../docs/monitoring/grafana-dashboard.json");
    let dashboard: serde_json::Value = serde_json::from_str(text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert!(panels.len() > 10 && ids.len() == panels.len());
    for panel in panels {
        let targets = panel["targets"].as_array().unwrap();
        let asks = |target: &serde_json::Value| target["expr"].as_str().is_some_and(|expr| !mentioned(expr).is_empty());
        assert!(!targets.is_empty() && targets.iter().all(asks), "{panel}");
    }
}

#[test]
fn names_in_labels_cannot_end_them() {
    let page = page();
    assert!(page.contains(r#"{rule="say \"no\" \\ to",outcome="deny"} 2"#), "{page}");
    let mut out = String::new();
    write_escaped(&mut out, "a\u{202e}\r\x1b[2J\n").unwrap();
    assert_eq!(out, "a\u{fffd}\u{fffd}\u{fffd}[2J\\n");
}
