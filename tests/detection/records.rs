//! What a guard in audit mode writes of every planting in `tests/guard/ways.rs`, before the engines and `pthguard replay`.
//!
//! The site directories are the test's own, and the published rules ask for those of a system: in the records, and only
//! there, the environment's `lib` is called `/usr/lib` for one planting and `/opt/app/lib` for the next.

use std::fs;

use serde_json::Value;

use crate::content::{alert, ours};
use crate::coverage;
use crate::engines::{Opinion, ask, lines};
use crate::harness::{Config, SOON, field};
use crate::parity::{self, compare};
use crate::plant::{Spot, Way};
use crate::site::{Place, wait_for};
use crate::ways::WAYS;

/// Plantings before one guard: a program has 20 denials of one kind written, then they are counted.
const TOGETHER: usize = 12;

/// Plantings that each of the published rules is for.
const PLAIN: [&str; 3] = ["sh_redirect", "cp", "creat"];

/// What was written of one planting, with the directory renamed.
struct Written {
    way: &'static Way,
    records: Vec<Value>,
}

/// Plant in these ways, each in an environment of its own, while one guard watches.
fn plant(ways: &'static [Way], first: usize) -> Vec<Written> {
    let places: Vec<Place> = ways.iter().map(|_| Place::new()).collect();
    let sites = places.iter().map(|place| place.venvs[0].site.clone()).collect();
    let mut guard = Config::new(&places[0]).sites(sites).audit().start();
    let mut spots = Vec::new();
    for (way, place) in ways.iter().zip(&places) {
        let spot = Spot::new(place, &place.venvs[0], way.file);
        (way.plant)(&spot).unwrap_or_else(|error| panic!("{} ({}) failed: {error}", way.name, way.why));
        // Some plantings are seen by who reads the file only.
        place.start(&place.venvs[0]);
        spots.push(spot);
    }
    for (way, place) in ways.iter().zip(&places) {
        let above = place.path().to_str().unwrap();
        wait_for(&format!("a record of {}", way.name), SOON, || {
            let is_of_it = |record: &Value| {
                field(record, "file.path").starts_with(above)
                    && field(record, "pthguard.verdict") == "would-deny"
                    && way.actions.contains(&field(record, "event.action"))
            };
            guard.records().iter().any(is_of_it).then_some(())
        });
    }
    guard.assert_alive();
    let records = guard.records();
    let written = ways.iter().zip(&places).enumerate().map(|(number, (way, place))| {
        let library = format!("{}/lib/", place.venvs[0].root.display());
        let renamed = if (first + number).is_multiple_of(2) { "/usr/lib/" } else { "/opt/app/lib/" };
        let of_it = |record: &&Value| field(record, "file.path").starts_with(place.path().to_str().unwrap());
        let rename = |record: &Value| serde_json::from_str(&record.to_string().replace(&library, renamed)).unwrap();
        Written { way, records: records.iter().filter(of_it).map(rename).collect() }
    });
    written.collect()
}

#[test]
fn records_of_every_planting() {
    let written: Vec<Written> =
        WAYS.chunks(TOGETHER).enumerate().flat_map(|(number, ways)| plant(ways, number * TOGETHER)).collect();
    let events: Vec<Value> = written.iter().flat_map(|one| one.records.clone()).collect();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("events.ndjson");
    fs::write(&file, lines(&events)).unwrap();
    let opinions = ask(&file, &ours());
    assert_eq!(opinions.len(), events.len());

    for (event, opinion) in events.iter().zip(&opinions) {
        let against = field(event, "pthguard.verdict") == "would-deny";
        assert_eq!(alert(opinion), Some(against), "our own rules: {:?}: {event}", opinion.fires);
    }
    let mut rest = &opinions[..];
    let mut seen: Vec<(&'static Way, &[Opinion])> = Vec::new();
    for one in &written {
        let (its, others) = rest.split_at(one.records.len());
        seen.push((one.way, its));
        rest = others;
    }
    println!("{} records of {} plantings", events.len(), written.len());
    for rule in ["elastic-seed", "elastic-current", "sigma-linux"] {
        let misses: Vec<&str> = seen
            .iter()
            .filter(|(_, its)| !its.iter().any(|opinion| opinion.has(rule)))
            .map(|(way, _)| way.name)
            .collect();
        println!("  {rule} reports {}, not {misses:?}", written.len() - misses.len());
        for way in PLAIN {
            assert!(!misses.contains(&way), "{rule} does not fire on our records of {way}");
        }
    }
    compare(&parity::ELASTIC, &file, &events, &opinions);
    compare(&parity::SIGMA, &file, &events, &opinions);
    coverage::techniques(&seen);
}
