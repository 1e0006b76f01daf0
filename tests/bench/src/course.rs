//! The course: rounds, in each the sessions, in each the contestants one after the other, in each the workloads.

use std::path::Path;

use anyhow::{Context, Result};

use crate::contestant::{Contestant, Server};
use crate::opener::{self, Job};
use crate::options::Options;
use crate::place::{Place, Sites};
use crate::process::processors;
use crate::results::{Measured, Results, Start};
use crate::samples::Samples;

use crate::workload::{APPROVED, WORKLOADS, Workload};
use crate::{plot, table, targets};

/// Where they are pinned: whoever opens, and whoever answers.
const OPENER: usize = 0;
const SERVER: usize = 1;

/// Measures what the options ask for, and tells of it.
pub(crate) fn run(options: &Options, disk: &Path) -> Result<()> {
    let wanted = |one: &&Workload| options.wants(one.name) && one.times(options.short).0 > 0;
    let workloads: Vec<&Workload> = WORKLOADS.iter().filter(wanted).collect();
    let invited = Contestant::ALL.into_iter().filter(|contestant| options.invites(contestant.name()));
    let (contestants, missing): (Vec<Contestant>, Vec<Contestant>) = invited.partition(|one| one.lacks().is_none());
    let place = furnish(disk, &workloads)?;
    let mut results = Results { machine: machine(), ..Results::default() };
    results.notes.extend(missing.into_iter().filter_map(Contestant::lacks));
    for round in 0..options.rounds {
        for sites in sessions(&workloads) {
            for number in 0..contestants.len() {
                // Nobody is always the first after what another has left.
                let contestant = contestants[(number + round) % contestants.len()];
                if !contestant.knows(sites) {
                    continue;
                }
                eprintln!("round {}, {sites:?}, {}", round + 1, contestant.name());
                let session = Session { options, place: &place, contestant, round, sites };
                session.run(&workloads, &mut results).with_context(|| {
                    let said = std::fs::read_to_string(place.at("said")).unwrap_or_default();
                    format!("{sites:?}, {}, which said: {said}", contestant.name())
                })?;
            }
        }
    }
    results.notes.extend(results.strange());
    print!("{}{}", table::text(&results, &workloads, &contestants), targets::text(&results));
    if let Some(path) = &options.json {
        std::fs::write(path, serde_json::to_vec(&results)?).with_context(|| path.display().to_string())?;
    }
    if let Some(path) = &options.plot {
        std::fs::write(path, plot::svg(&results, APPROVED, &contestants))
            .with_context(|| path.display().to_string())?;
    }
    Ok(())
}

fn furnish(disk: &Path, workloads: &[&Workload]) -> Result<Place> {
    let place = Place::furnish(disk)?;
    for sites in sessions(workloads) {
        match sites {
            Sites::Work { others: others @ 1.. } => place.furnish_many(others)?,
            Sites::Pip => place.furnish_pip()?,
            Sites::Work { .. } | Sites::Venv => {}
        }
    }
    nix::unistd::sync(); // what was written now is not written while something is measured
    Ok(place)
}

/// What is guarded in the sessions, in the order of the workloads.
fn sessions(workloads: &[&Workload]) -> Vec<Sites> {
    let mut sessions: Vec<Sites> = workloads.iter().map(|workload| workload.sites).collect();
    sessions.dedup();
    sessions
}

/// One contestant on one set of guarded directories.
struct Session<'a> {
    options: &'a Options,
    place: &'a Place,
    contestant: Contestant,
    round: usize,
    sites: Sites,
}

impl Session<'_> {
    fn run(&self, workloads: &[&Workload], results: &mut Results) -> Result<()> {
        let mut server = self.contestant.start(&self.options.program, self.place, self.sites)?;
        if server.is_somebody() {
            results.starts.push(Start {
                contestant: self.contestant,
                round: self.round,
                directories: self.place.marks(self.sites)?.directories.len(),
                started: server.started,
                server_kib: server.resident_kib()?,
            });
        }
        for workload in workloads.iter().filter(|workload| workload.sites == self.sites) {
            results.measured.push(self.measure(workload, &server).with_context(|| workload.name.to_owned())?);
            server.assert_alive()?;
        }
        Ok(())
    }

    fn measure(&self, workload: &Workload, server: &Server) -> Result<Measured> {
        let (times, warm_up) = workload.times(self.options.short);
        let is_pinned = workload.threads == 1 && processors() > SERVER;
        let job = Job {
            deed: workload.deed(self.place),
            times,
            warm_up,
            threads: workload.threads,
            processor: is_pinned.then_some(OPENER),
        };
        server.pin(is_pinned.then_some(SERVER))?;
        let before = server.cpu_time()?;
        let told = opener::ask(&self.place.program(workload.who), &self.place.at("tmp"), &job)?;
        let cpu = server.cpu_time()?.saturating_sub(before);
        let done = ((times + warm_up) * workload.threads) as f64;
        let samples = Samples::new(told.samples);
        Ok(Measured {
            workload: workload.name,
            contestant: self.contestant,
            round: self.round,
            times: samples.len(),
            threads: workload.threads,
            refused: told.refused,
            is_refusal_due: workload.is_refused && self.contestant == Contestant::Enforce,
            percentiles: samples.percentiles(),
            per_second: samples.len() as f64 / told.wall.as_secs_f64(),
            server_cpu: server.is_somebody().then(|| cpu.as_nanos() as f64 / done),
            server_kib: server.is_somebody().then(|| server.resident_kib()).transpose()?,
            histogram: samples.histogram(),
        })
    }
}

/// What it was measured on.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let model = read("/proc/cpuinfo");
    let model = model.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("a processor without a name", |(_, model)| model);
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or_default();
    format!("{} × {model}, Linux {}, load {load} at the start", processors(), read("/proc/sys/kernel/osrelease").trim())
}
