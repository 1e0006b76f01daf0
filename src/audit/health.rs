//! Whether a sink works, what it has lost, and when to try again.
//!
//! A sink that fails is neither fatal nor silent: what it could not take is counted, the other sinks are told, and the
//! sink itself gets the count as soon as it works again.

use std::fmt::Display;
use std::time::{Duration, Instant};

use super::record::{Action, Record};

/// Where records end up.
pub(super) trait Sink: Send {
    /// Writes what can be written and counts the rest as lost. With no records, only what is owed is written.
    fn write(&mut self, records: &[Record], now: Instant);

    /// Looks anew for where it writes to: somebody has moved that away.
    fn reopen(&mut self, _now: Instant) {}

    /// Its state.
    fn health(&mut self) -> &mut Health;
}

/// Pauses between attempts: from a fifth of a second, twice as long each time, to half a minute.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Option<Instant>,
    pause: Duration,
}

impl Backoff {
    const SHORTEST: Duration = Duration::from_millis(200);
    const LONGEST: Duration = Duration::from_secs(30);

    pub(super) fn new() -> Self {
        Backoff { next: None, pause: Self::SHORTEST }
    }

    /// Whether it is time for an attempt.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.next.is_none_or(|next| next <= now)
    }

    pub(super) fn failed(&mut self, now: Instant) {
        self.next = Some(now + self.pause);
        self.pause = (self.pause * 2).min(Self::LONGEST);
    }

    pub(super) fn succeeded(&mut self) {
        *self = Self::new();
    }
}

/// The book-keeping of one sink.
#[derive(Debug)]
pub(super) struct Health {
    name: String,
    lost: u64,
    lost_ever: u64,
    trouble: Option<String>,
    /// When trouble was last told: a sink that fails and works by turns must not fill the others.
    told: Option<Instant>,
    /// What all sinks have to be told, this one included.
    news: Vec<Record>,
    complained: Option<Instant>,
    rotations: u64,
}

impl Health {
    /// Trouble of one sink is told to the others at most this often.
    const QUIET: Duration = Duration::from_secs(60);

    pub(super) fn new(name: String) -> Self {
        Health {
            name,
            lost: 0,
            lost_ever: 0,
            trouble: None,
            told: None,
            news: Vec::new(),
            complained: None,
            rotations: 0,
        }
    }

    /// Counts records that were not written.
    pub(super) fn lose(&mut self, records: usize) {
        let records = u64::try_from(records).unwrap_or(u64::MAX);
        self.lost = self.lost.saturating_add(records);
        self.lost_ever = self.lost_ever.saturating_add(records);
    }

    /// Notes why it does not work.
    pub(super) fn fail(&mut self, why: &dyn Display, now: Instant) {
        if self.told.is_none_or(|told| now.saturating_duration_since(told) >= Self::QUIET) {
            self.told = Some(now);
            self.trouble = Some(format!("{} does not take records: {why}", self.name));
        }
    }

    /// The record that the sink owes its own reader.
    pub(super) fn owed(&self) -> Option<Record> {
        let lost = self.lost;
        (lost > 0).then(|| {
            Record::new(Action::Failure)
                .saying(format!("{} works again; {lost} records are missing here", self.name))
                .counting(lost)
        })
    }

    /// The owed record was written.
    pub(super) fn settle(&mut self) {
        self.lost = 0;
    }

    /// What the other sinks have to be told, once.
    pub(super) fn trouble(&mut self) -> Option<Record> {
        self.trouble.take().map(|trouble| Record::new(Action::Failure).saying(trouble))
    }

    /// Notes what is wrong with a sink that still takes records; as rarely told as trouble.
    pub(super) fn complain(&mut self, what: String, now: Instant) {
        if self.complained.is_none_or(|last| now.saturating_duration_since(last) >= Self::QUIET) {
            self.complained = Some(now);
            self.news.push(Record::new(Action::Failure).saying(what));
        }
    }

    /// Notes that a file was rotated.
    pub(super) fn rotated(&mut self, what: String) {
        self.rotations = self.rotations.saturating_add(1);
        self.news.push(Record::new(Action::LogRotated).saying(what));
    }

    /// How many files were rotated.
    pub(super) fn rotations(&self) -> u64 {
        self.rotations
    }

    /// What all sinks have to be told, once.
    pub(super) fn news(&mut self) -> Vec<Record> {
        std::mem::take(&mut self.news)
    }

    /// Whether something is owed, to this sink's reader or to all.
    pub(super) fn owes(&self) -> bool {
        self.lost > 0 || !self.news.is_empty()
    }

    /// All that was ever lost here.
    pub(super) fn lost_ever(&self) -> u64 {
        self.lost_ever
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_half_a_minute() {
        let (mut backoff, mut now) = (Backoff::new(), Instant::now());
        assert!(backoff.is_over(now));
        for pause in [200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000].map(Duration::from_millis) {
            backoff.failed(now);
            assert!(!backoff.is_over(now + pause - Duration::from_millis(1)));
            now += pause;
            assert!(backoff.is_over(now));
        }
        backoff.succeeded();
        assert!(backoff.is_over(now));
    }

    #[test]
    fn trouble_is_told_once_a_minute_and_losses_are_all_counted() {
        let (mut health, now) = (Health::new("log".into()), Instant::now());
        health.fail(&"disk full", now);
        assert_eq!(
            health.trouble().and_then(|record| record.message).as_deref(),
            Some("log does not take records: disk full")
        );
        health.fail(&"disk full", now + Duration::from_secs(59));
        assert!(health.trouble().is_none());
        health.lose(3);
        health.lose(4);
        assert_eq!(health.owed().and_then(|record| record.count), Some(7));
        health.settle();
        assert!(health.owed().is_none());
        assert_eq!(health.lost_ever(), 7);
    }
}
