//! How many records one source may cause. Enforcement is never limited, only what is written about it.
//!
//! Whoever is denied can try again ten thousand times a second, and a log that he fills hides what else he does. Each
//! source has a token bucket; what finds it empty is counted, and the count is written when the window ends.
//!
//! Pure: the time is an argument.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::record::{Action, Outcome, Record};
use crate::model::Reason;

/// Records of one source that are written at once.
pub(super) const BURST: u32 = 20;
/// The same for what the guard does by itself but others can provoke: enough for a start with many directories.
pub(super) const BURST_PROVOKED: u32 = 200;
/// A used token comes back after this time.
pub(super) const REFILL: Duration = Duration::from_secs(1);
/// The count of what was suppressed is written this long after the first of them.
pub(super) const WINDOW: Duration = Duration::from_secs(10);
/// Sources that are told apart; all others share one bucket, so that inventing sources costs no memory.
pub(super) const MAX_SOURCES: usize = 1024;

/// What counts as one source. Nothing in it is cheap to vary for who wants to stay under the limit: a process id is.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Source {
    action: Action,
    outcome: Option<Outcome>,
    reason: Option<Reason>,
    uid: Option<u32>,
    exe: Option<(u64, u64)>,
}

impl Source {
    fn of(record: &Record) -> Self {
        Source {
            action: record.action,
            outcome: record.outcome,
            reason: record.reason,
            uid: record.uid(),
            exe: record.subject.as_ref().map(|subject| (subject.exe.dev, subject.exe.ino)),
        }
    }
}

/// The burst allowed to an action, or `None` for those that nobody but an administrator or a permitted writer can
/// cause, and each of which matters.
fn burst(action: Action) -> Option<u32> {
    match action {
        Action::Creation | Action::Modification | Action::Rename | Action::Link | Action::Symlink => Some(BURST),
        Action::Special | Action::Read | Action::Deletion | Action::Listing => Some(BURST),
        // A loop of denied renames would otherwise be limited once and logged in full by way of what was undone.
        Action::Held | Action::Quarantine | Action::Restore | Action::Kill => Some(BURST_PROVOKED),
        Action::SiteGuarded | Action::SiteLost | Action::Failure => Some(BURST_PROVOKED),
        Action::Refused => Some(BURST),
        Action::Baseline | Action::Approval | Action::Revocation | Action::Purge => None,
        Action::Search | Action::Start | Action::Stop | Action::Repeated | Action::Suppressed => None,
        Action::LogRotated => None,
    }
}

struct Bucket {
    capacity: u32,
    tokens: u32,
    /// When `tokens` was last brought up to date, in whole steps of [`REFILL`].
    filled: Instant,
    suppressed: Option<Suppressed>,
}

struct Suppressed {
    count: u64,
    ends: Instant,
    /// The first one, for its facts.
    example: Record,
}

impl Bucket {
    fn new(capacity: u32, now: Instant) -> Self {
        Bucket { capacity, tokens: capacity, filled: now, suppressed: None }
    }

    fn refill(&mut self, now: Instant) {
        let steps = now.saturating_duration_since(self.filled).as_secs() / REFILL.as_secs();
        let missing = u64::from(self.capacity - self.tokens);
        if steps >= missing {
            self.tokens = self.capacity;
            self.filled = now;
        } else if let Ok(steps) = u32::try_from(steps) {
            self.tokens += steps;
            self.filled += REFILL * steps;
        }
    }

    fn offer(&mut self, record: Record, now: Instant) -> Option<Record> {
        self.refill(now);
        if self.tokens > 0 {
            self.tokens -= 1;
            return Some(record);
        }
        match &mut self.suppressed {
            Some(suppressed) => suppressed.count += 1,
            None => self.suppressed = Some(Suppressed { count: 1, ends: now + WINDOW, example: record }),
        }
        None
    }

    /// Whether forgetting this bucket changes nothing.
    fn is_idle(&mut self, now: Instant) -> bool {
        self.refill(now);
        self.tokens == self.capacity && self.suppressed.is_none()
    }

    /// Takes the suppressed ones out if their window has ended by `now`; by the end of time, if there is no `now`.
    fn take(&mut self, now: Option<Instant>) -> Option<Suppressed> {
        self.suppressed.take_if(|suppressed| now.is_none_or(|now| suppressed.ends <= now))
    }
}

/// The limit itself: one bucket for each source.
pub(super) struct Limit {
    sources: HashMap<Source, Bucket>,
    /// For sources beyond [`MAX_SOURCES`].
    overflow: Option<Bucket>,
    swept: Option<Instant>,
}

impl Limit {
    pub(super) fn new() -> Self {
        Limit { sources: HashMap::new(), overflow: None, swept: None }
    }

    /// Gives the record back if it is to be written, else counts it.
    pub(super) fn offer(&mut self, record: Record, now: Instant) -> Option<Record> {
        let Some(burst) = burst(record.action) else {
            return Some(record);
        };
        let source = Source::of(&record);
        if self.sources.len() >= MAX_SOURCES && !self.sources.contains_key(&source) {
            self.forget_idle(now);
        }
        let bucket = if self.sources.len() < MAX_SOURCES || self.sources.contains_key(&source) {
            self.sources.entry(source).or_insert_with(|| Bucket::new(burst, now))
        } else {
            self.overflow.get_or_insert_with(|| Bucket::new(BURST, now))
        };
        bucket.offer(record, now)
    }

    /// The counts whose window has ended.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Record> {
        self.collect(Some(now))
    }

    /// All counts, at the end.
    pub(super) fn flush(&mut self) -> Vec<Record> {
        self.collect(None)
    }

    /// Whether a count waits for its window to end.
    pub(super) fn is_counting(&self) -> bool {
        self.sources.values().chain(&self.overflow).any(|bucket| bucket.suppressed.is_some())
    }

    fn collect(&mut self, now: Option<Instant>) -> Vec<Record> {
        let known = self.sources.values_mut().filter_map(|bucket| bucket.take(now)).map(Suppressed::of_one_source);
        let other = self.overflow.as_mut().and_then(|bucket| bucket.take(now)).map(Suppressed::of_many_sources);
        known.chain(other).collect()
    }

    /// Makes room, at most once a step: the table is walked from end to end.
    fn forget_idle(&mut self, now: Instant) {
        if self.swept.is_none_or(|swept| now.saturating_duration_since(swept) >= REFILL) {
            self.sources.retain(|_, bucket| !bucket.is_idle(now));
            self.swept = Some(now);
        }
    }
}

impl Suppressed {
    fn of_one_source(self) -> Record {
        let action = self.example.action.as_str();
        Record { latency: None, ..self.example }
            .at(std::time::SystemTime::now())
            .as_action(Action::Suppressed)
            .saying(format!("{} more {action} records of the same user, executable and reason", self.count))
            .counting(self.count)
    }

    fn of_many_sources(self) -> Record {
        Record::new(Action::Suppressed)
            .saying(format!("{} records of more sources than are told apart", self.count))
            .counting(self.count)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a broken assumption fails the test")]

    use proptest::prelude::*;

    use super::super::sample::denied_write;
    use super::*;

    fn counts(records: &[Record]) -> u64 {
        records.iter().map(|record| record.count.unwrap()).sum()
    }

    #[test]
    fn a_burst_is_kept_then_one_a_second() {
        let (mut limit, start) = (Limit::new(), Instant::now());
        let kept = |limit: &mut Limit, now| (0..100).filter(|_| limit.offer(denied_write(0, 1), now).is_some()).count();
        assert_eq!(kept(&mut limit, start), 20);
        assert_eq!(kept(&mut limit, start + Duration::from_millis(999)), 0);
        assert_eq!(kept(&mut limit, start + Duration::from_millis(1000)), 1);
        assert_eq!(kept(&mut limit, start + Duration::from_millis(1999)), 0);
        assert_eq!(kept(&mut limit, start + Duration::from_millis(3500)), 2);
        assert_eq!(kept(&mut limit, start + Duration::from_secs(3600)), 20);
    }

    #[test]
    fn the_count_comes_out_when_the_window_ends() {
        let (mut limit, start) = (Limit::new(), Instant::now());
        for _ in 0..30 {
            limit.offer(denied_write(7, 1), start);
        }
        assert!(limit.is_counting());
        assert!(limit.due(start + WINDOW - Duration::from_millis(1)).is_empty());
        let due = limit.due(start + WINDOW);
        assert_eq!((due.len(), due[0].action, due[0].count), (1, Action::Suppressed, Some(10)));
        assert_eq!((due[0].uid(), due[0].outcome), (Some(7), Some(Outcome::Deny)));
        assert!(!limit.is_counting() && limit.flush().is_empty());
    }

    #[test]
    fn sources_do_not_use_up_each_other() {
        let (mut limit, now) = (Limit::new(), Instant::now());
        for _ in 0..1000 {
            limit.offer(denied_write(0, 1), now);
        }
        assert!(limit.offer(denied_write(1, 1), now).is_some(), "another user");
        assert!(limit.offer(denied_write(0, 2), now).is_some(), "another executable");
        let allowed = Record { outcome: Some(Outcome::Allow), ..denied_write(0, 1) };
        assert!(limit.offer(allowed, now).is_some(), "another outcome");
    }

    #[test]
    fn what_only_an_administrator_causes_is_never_limited() {
        let (mut limit, now) = (Limit::new(), Instant::now());
        for action in [Action::Baseline, Action::Approval, Action::Start, Action::Stop] {
            assert!((0..5000).all(|_| limit.offer(Record::new(action), now).is_some()));
        }
        let failures = (0..5000).filter(|_| limit.offer(Record::new(Action::Failure), now).is_some()).count();
        assert_eq!(failures, 200);
    }

    #[test]
    fn invented_sources_share_one_bucket_and_idle_ones_make_room() {
        let (mut limit, start) = (Limit::new(), Instant::now());
        let kept = (0..5000).filter(|ino| limit.offer(denied_write(0, *ino), start).is_some()).count();
        assert_eq!((kept, limit.sources.len()), (MAX_SOURCES + 20, MAX_SOURCES));
        assert_eq!(counts(&limit.flush()), 5000 - kept as u64);

        let later = start + Duration::from_secs(60);
        assert!((0..100).all(|ino| limit.offer(denied_write(9, ino), later).is_some()));
        assert_eq!(limit.sources.len(), 100);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_or_counted_twice(steps in prop::collection::vec((0u64..3000, 0u32..3, 0u64..3, any::<bool>()), 0..400)) {
            let (mut limit, mut now) = (Limit::new(), Instant::now());
            let (mut kept, mut counted) = (0, 0);
            for (millis, uid, ino, close) in &steps {
                now += Duration::from_millis(millis / 50);
                kept += u64::from(limit.offer(denied_write(*uid, *ino), now).is_some());
                if *close {
                    now += Duration::from_millis(*millis);
                    counted += counts(&limit.due(now));
                }
            }
            counted += counts(&limit.flush());
            prop_assert_eq!(kept + counted, steps.len() as u64);
        }

        #[test]
        fn the_first_of_a_source_is_kept(uids in prop::collection::vec(0u32..500, 1..600)) {
            let (mut limit, now, mut seen) = (Limit::new(), Instant::now(), std::collections::HashSet::new());
            for uid in uids {
                let kept = limit.offer(denied_write(uid, 1), now).is_some();
                prop_assert!(kept || !seen.insert(uid));
                seen.insert(uid);
            }
        }
    }
}
