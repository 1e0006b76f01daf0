//! What was measured, of each round, and what is made of the rounds.

use std::time::Duration;

use serde::Serialize;

use crate::contestant::{Contestant, Started};
use crate::samples::{Percentiles, median};

/// One workload before one contestant in one round.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Measured {
    pub(crate) workload: &'static str,
    pub(crate) contestant: Contestant,
    pub(crate) round: usize,
    pub(crate) times: usize,
    pub(crate) threads: usize,
    /// How often it was refused, and whether it had to be.
    pub(crate) refused: usize,
    pub(crate) is_refusal_due: bool,
    /// Nanoseconds.
    pub(crate) percentiles: Percentiles,
    pub(crate) per_second: f64,
    /// Processor time of who answers, for each time, in nanoseconds; its memory then.
    pub(crate) server_cpu: Option<f64>,
    pub(crate) server_kib: Option<u64>,
    /// Lower limit in nanoseconds, and how many.
    pub(crate) histogram: Vec<(u64, u64)>,
}

/// A start of one contestant.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Start {
    pub(crate) contestant: Contestant,
    pub(crate) round: usize,
    pub(crate) directories: usize,
    pub(crate) started: Started,
    pub(crate) server_kib: u64,
}

/// All of it.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Results {
    pub(crate) machine: String,
    pub(crate) measured: Vec<Measured>,
    pub(crate) starts: Vec<Start>,
    /// What has to be known of it.
    pub(crate) notes: Vec<String>,
}

/// A number of a round.
pub(crate) type Figure = fn(&Measured) -> f64;

impl Results {
    /// The rounds of a workload before a contestant.
    pub(crate) fn rounds(&self, workload: &str, contestant: Contestant) -> impl Iterator<Item = &Measured> {
        self.measured.iter().filter(move |one| one.workload == workload && one.contestant == contestant)
    }

    /// The median over the rounds.
    pub(crate) fn typical(&self, workload: &str, contestant: Contestant, figure: Figure) -> Option<f64> {
        median(self.rounds(workload, contestant).map(figure))
    }

    /// How many times as much it is before one contestant as before another: the median over the rounds, in each of which
    /// both were measured soon after one another.
    pub(crate) fn ratio(&self, workload: &str, one: Contestant, other: Contestant, figure: Figure) -> Option<f64> {
        let others: Vec<&Measured> = self.rounds(workload, other).collect();
        let of_round = |this: &Measured| {
            let that = others.iter().find(|that| that.round == this.round)?;
            Some(figure(this) / figure(that))
        };
        median(self.rounds(workload, one).filter_map(of_round))
    }

    /// The median of something about the starts with so many directories.
    pub(crate) fn start(&self, who: Contestant, directories: usize, figure: fn(&Start) -> Option<f64>) -> Option<f64> {
        let starts = self.starts.iter().filter(|start| start.contestant == who && start.directories == directories);
        median(starts.filter_map(figure))
    }

    /// Tells of refusals that there should not be, and the other way round.
    pub(crate) fn strange(&self) -> Vec<String> {
        let is_strange = |one: &&Measured| one.refused != if one.is_refusal_due { one.times } else { 0 };
        let say = |one: &Measured| {
            let (name, who) = (one.workload, one.contestant.name());
            format!("{name}, {who}, round {}: {} of {} were refused", one.round + 1, one.refused, one.times)
        };
        self.measured.iter().filter(is_strange).map(say).collect()
    }
}

/// The figures that the table and the targets speak of.
pub(crate) fn p50(one: &Measured) -> f64 {
    one.percentiles.p50 as f64
}

pub(crate) fn p99(one: &Measured) -> f64 {
    one.percentiles.p99 as f64
}

/// Milliseconds.
pub(crate) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
