//! What a loop beside interpreters came to, and the table of all.

use std::time::Duration;

use crate::sighting::Sightings;

/// One run of one loop, with a guard or without.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Interpreters that were started.
    pub(crate) starts: Sightings,
    /// Forked children that did what `site` does.
    pub(crate) forks: Sightings,
    pub(crate) attempts: u64,
    /// Attempts that came through without an error.
    pub(crate) done: u64,
    pub(crate) took: Duration,
}

impl Tally {
    pub(crate) fn executed(&self) -> u64 {
        Sightings::get(&self.starts.executed) + Sightings::get(&self.forks.executed)
    }

    pub(crate) fn without_packages(&self) -> u64 {
        Sightings::get(&self.starts.without_packages) + Sightings::get(&self.forks.without_packages)
    }

    pub(crate) fn missed(&self) -> u64 {
        Sightings::get(&self.starts.missed) + Sightings::get(&self.forks.missed)
    }

    pub(crate) fn broken(&self) -> u64 {
        Sightings::get(&self.starts.broken) + Sightings::get(&self.forks.broken)
    }
}

pub(crate) fn head(title: &str) {
    println!(
        "\n{title:<51}|{:^24} |{:^60}\n{:<51}|{:>7}{:>8}{:>9} |{:>7}{:>8}{:>10}{:>9}{:>9}{:>8}{:>8}",
        "without the guard",
        "with it",
        "",
        "starts",
        "forks",
        "executed",
        "starts",
        "forks",
        "attempts",
        "executed",
        "packages",
        "missed",
        "broken"
    );
}

pub(crate) fn row(name: &str, is_promised: bool, without: &Tally, with: &Tally) {
    println!(
        "{name:<51}|{:>7}{:>8}{:>9} |{:>7}{:>8}{:>10}{:>9}{:>9}{:>8}{:>8}  {:.1?}{}",
        Sightings::get(&without.starts.count),
        Sightings::get(&without.forks.count),
        without.executed(),
        Sightings::get(&with.starts.count),
        Sightings::get(&with.forks.count),
        with.attempts,
        with.executed(),
        with.without_packages(),
        with.missed(),
        with.broken(),
        without.took + with.took,
        if is_promised { "" } else { "  (shown)" }
    );
}

/// What the columns mean.
pub(crate) const LEGEND: &str = "starts: interpreters started; forks: children of a warm interpreter that read the site \
    directory as a start does; executed: ran bytes that nobody approved; packages: started without the packages in the \
    site directory; missed: did not run an approved line that nobody attacked; broken: ended with an error";
