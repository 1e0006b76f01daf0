//! How long openers wait: from the read of their event to their answer, since the start and in the last minute.
//!
//! Whoever answers adds to two counters and a maximum: no lock, no allocation, no clock but the one that it has read
//! anyway. What the last minute was is found out by whoever has time. The thread that watches over the others calls
//! [`Latency::turn`] twice a second, and each time that [`SLICE`] has passed the counters are copied into a ring; the last
//! minute is what has been counted since the copy that is a minute old. Whoever asks turns the ring, too.
//!
//! Buckets are linear within each decade: tenths from 1 to 2, quarters from 2 to 5, halves from 5 to 10. None is wider
//! than an eighth of where it begins, and the edges that monitoring wants (1, 2.5, 5) are edges here, so what falls below
//! one of them is counted exactly.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Where the first decade begins; all below is one bucket.
const FIRST: u64 = 1_000;
/// From a microsecond to a hundred seconds.
const DECADES: usize = 8;
const PER_DECADE: usize = 32;
/// The one below the decades, theirs, and the one above.
const BUCKETS: usize = 1 + DECADES * PER_DECADE + 1;

/// How often the counters are copied.
const SLICE: Duration = Duration::from_secs(5);
/// What is called the last minute. It is up to a slice longer.
const WINDOW: Duration = Duration::from_secs(60);

/// Counts of waiting times. Of fixed size.
#[derive(Debug)]
pub struct Latency {
    buckets: [AtomicU64; BUCKETS],
    /// Nanoseconds, all together: 584 years of waiting have room.
    sum: AtomicU64,
    /// The longest since the last copy.
    longest: AtomicU64,
    ring: Mutex<Ring>,
}

/// The copies of the last minute, the oldest first, and the longest that was ever waited.
#[derive(Debug)]
struct Ring {
    copies: VecDeque<Copied>,
    longest: u64,
}

#[derive(Clone, Debug)]
struct Copied {
    at: Instant,
    counts: Counts,
    /// The longest of the slice that ended here.
    longest: u64,
}

/// What was counted up to a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Counts {
    buckets: [u64; BUCKETS],
    sum: u64,
}

impl Counts {
    const NONE: Counts = Counts { buckets: [0; BUCKETS], sum: 0 };

    fn since(&self, before: &Counts) -> Counts {
        let mut since = self.clone();
        for (count, before) in since.buckets.iter_mut().zip(&before.buckets) {
            *count = count.saturating_sub(*before);
        }
        since.sum = since.sum.saturating_sub(before.sum);
        since
    }
}

/// How long openers waited in some time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waits {
    counts: Counts,
    longest: u64,
}

impl Waits {
    /// How many were answered.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.buckets.iter().sum()
    }

    /// All their waiting together.
    #[must_use]
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.counts.sum)
    }

    /// The longest wait, exactly.
    #[must_use]
    pub fn longest(&self) -> Duration {
        Duration::from_nanos(self.longest)
    }

    /// So long, or up to an eighth less, waited who waited longest of that share of them; nothing where nobody did.
    #[must_use]
    pub fn quantile(&self, per_mille: u64) -> Duration {
        let count = self.count();
        let rank = (count * per_mille.min(1000)).div_ceil(1000).max(1);
        let mut below = 0;
        for (bucket, counted) in self.counts.buckets.iter().enumerate() {
            below += counted;
            if below >= rank {
                let edge = upper_edge(bucket).unwrap_or(self.longest);
                return Duration::from_nanos(edge.min(self.longest));
            }
        }
        Duration::ZERO
    }

    /// How many waited no longer than `limit`, which is to be 1, 2, 2.5 or 5 times a power of ten from a microsecond on:
    /// then it is exact.
    #[must_use]
    pub fn within(&self, limit: Duration) -> u64 {
        let limit = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        let edges = (0..BUCKETS).map_while(upper_edge);
        edges.zip(&self.counts.buckets).take_while(|(edge, _)| *edge <= limit).map(|(_, count)| count).sum()
    }
}

impl Latency {
    /// Nobody has waited yet, at `now`.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        let start = Copied { at: now, counts: Counts::NONE, longest: 0 };
        Latency {
            buckets: [const { AtomicU64::new(0) }; BUCKETS],
            sum: AtomicU64::new(0),
            longest: AtomicU64::new(0),
            ring: Mutex::new(Ring { copies: VecDeque::from([start]), longest: 0 }),
        }
    }

    /// Somebody was answered after that time.
    pub fn record(&self, waited: Duration) {
        let nanoseconds = u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX);
        if let Some(bucket) = self.buckets.get(bucket_of(nanoseconds)) {
            bucket.fetch_add(1, Relaxed);
        }
        self.sum.fetch_add(nanoseconds, Relaxed);
        self.longest.fetch_max(nanoseconds, Relaxed);
    }

    /// Copies the counters, if it is time. Waits for nobody: who finds somebody else at it leaves it to him.
    pub fn turn(&self, now: Instant) {
        if let Some(mut ring) = self.ring.try_lock() {
            self.turn_ring(&mut ring, now);
        }
    }

    fn turn_ring(&self, ring: &mut Ring, now: Instant) {
        if ring.copies.back().is_some_and(|last| now.saturating_duration_since(last.at) < SLICE) {
            return;
        }
        let longest = self.longest.swap(0, Relaxed);
        ring.longest = ring.longest.max(longest);
        ring.copies.push_back(Copied { at: now, counts: self.counts(), longest });
        // The youngest that is a minute old stays: it is what the last minute began with.
        while ring.copies.get(1).is_some_and(|next| now.saturating_duration_since(next.at) >= WINDOW) {
            ring.copies.pop_front();
        }
    }

    /// The waits since the start, and those of the last minute.
    #[must_use]
    pub fn waits(&self, now: Instant) -> (Waits, Waits) {
        let mut ring = self.ring.lock();
        self.turn_ring(&mut ring, now);
        let (counts, longest) = (self.counts(), self.longest.load(Relaxed));
        // Should nobody have turned the ring for long, what is called the last minute is what came since.
        let before = ring.copies.front().map_or(Counts::NONE, |first| first.counts.clone());
        let slices = ring.copies.iter().skip(1).map(|copied| copied.longest);
        let longest_of_minute = slices.max().unwrap_or(0).max(longest);
        let minute = Waits { counts: counts.since(&before), longest: longest_of_minute };
        (Waits { counts, longest: ring.longest.max(longest) }, minute)
    }

    fn counts(&self) -> Counts {
        let mut counts = Counts::NONE;
        for (copy, count) in counts.buckets.iter_mut().zip(&self.buckets) {
            *copy = count.load(Relaxed);
        }
        counts.sum = self.sum.load(Relaxed);
        counts
    }
}

/// In which bucket a time is counted: buckets hold their upper edge, not the lower one.
fn bucket_of(nanoseconds: u64) -> usize {
    let below = nanoseconds.saturating_sub(1);
    if below < FIRST {
        return 0;
    }
    let decade = (below / FIRST).ilog10() as usize;
    if decade >= DECADES {
        return BUCKETS - 1;
    }
    // From 100 to 999: hundredths of where the decade begins.
    let hundredths = (below / (begin_of(decade) / 100)) as usize;
    let within = match hundredths {
        ..200 => (hundredths - 100) / 10,
        200..500 => 10 + (hundredths - 200) / 25,
        _ => 22 + (hundredths - 500) / 50,
    };
    1 + decade * PER_DECADE + within
}

/// The longest time that is counted in a bucket; none for the last.
fn upper_edge(bucket: usize) -> Option<u64> {
    let Some(position) = bucket.checked_sub(1) else { return Some(FIRST) };
    let (decade, within) = (position / PER_DECADE, (position % PER_DECADE) as u64);
    if decade >= DECADES {
        return None;
    }
    let hundredths = match within {
        ..10 => 110 + within * 10,
        10..22 => 225 + (within - 10) * 25,
        _ => 550 + (within - 22) * 50,
    };
    Some(begin_of(decade) / 100 * hundredths)
}

fn begin_of(decade: usize) -> u64 {
    (0..decade).fold(FIRST, |begin, _| begin * 10)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn micros(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    #[test]
    fn buckets_lie_side_by_side_and_none_is_wide() {
        let edges: Vec<u64> = (0..BUCKETS).map_while(upper_edge).collect();
        assert_eq!(edges.len(), BUCKETS - 1);
        assert_eq!((edges[0], edges[BUCKETS - 2]), (1_000, 100_000_000_000));
        for (bucket, pair) in edges.windows(2).enumerate() {
            let (lower, upper) = (pair[0], pair[1]);
            assert!(upper > lower && (upper - lower) * 8 <= lower, "{lower} to {upper}");
            assert_eq!(bucket_of(lower), bucket, "an edge belongs below");
            assert_eq!((bucket_of(lower + 1), bucket_of(upper)), (bucket + 1, bucket + 1));
        }
        assert_eq!((bucket_of(0), bucket_of(u64::MAX)), (0, BUCKETS - 1));
    }

    #[test]
    fn the_edges_of_monitoring_are_exact() {
        let now = Instant::now();
        let latency = Latency::new(now);
        let limits = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 50_000, 10_000_000].map(micros);
        for limit in limits {
            latency.record(limit);
            latency.record(limit + Duration::from_nanos(1));
        }
        for (before, limit) in limits.into_iter().enumerate() {
            assert_eq!(latency.waits(now).0.within(limit), 2 * before as u64 + 1, "{limit:?}");
        }
    }

    #[test]
    fn quantiles_and_the_exact_longest() {
        let now = Instant::now();
        let latency = Latency::new(now);
        assert_eq!(latency.waits(now).0.quantile(500), Duration::ZERO);
        (1..=1000).for_each(|n| latency.record(micros(n)));
        let (waits, _) = latency.waits(now);
        assert_eq!((waits.count(), waits.sum()), (1000, micros(500_500)));
        assert_eq!(waits.longest(), micros(1000));
        for (per_mille, exact) in [(500, 500), (900, 900), (990, 990), (1000, 1000)] {
            let told = waits.quantile(per_mille);
            assert!(told >= micros(exact) && told <= micros(exact) * 9 / 8, "{per_mille}: {told:?}");
        }
        latency.record(Duration::from_secs(1000));
        assert_eq!(latency.waits(now).0.quantile(1000), Duration::from_secs(1000), "beyond the last edge");
    }

    #[test]
    fn the_last_minute_forgets_and_the_start_does_not() {
        let start = Instant::now();
        let latency = Latency::new(start);
        let minute = |seconds| {
            let waits = latency.waits(start + Duration::from_secs(seconds)).1;
            (waits.count(), waits.longest())
        };
        latency.record(micros(700));
        assert_eq!(minute(1), (1, micros(700)));
        for second in 2..40 {
            latency.turn(start + Duration::from_secs(second));
        }
        latency.record(micros(30));
        assert_eq!(minute(41), (2, micros(700)));
        for second in 42..64 {
            latency.turn(start + Duration::from_secs(second));
        }
        assert_eq!(minute(64), (2, micros(700)), "it may be a slice longer");
        for second in 65..80 {
            latency.turn(start + Duration::from_secs(second));
        }
        assert_eq!(minute(80), (1, micros(30)), "the 700 are older than a minute");
        for second in 80..200 {
            latency.turn(start + Duration::from_secs(second));
        }
        assert_eq!(minute(200), (0, Duration::ZERO));
        let (ever, _) = latency.waits(start + Duration::from_secs(200));
        assert_eq!((ever.count(), ever.longest()), (2, micros(700)));
        assert!(latency.ring.lock().copies.len() <= 14, "the ring does not grow");
    }

    #[test]
    fn nobody_is_counted_twice_or_lost_by_threads_at_once() {
        let latency = Latency::new(Instant::now());
        std::thread::scope(|scope| {
            for thread in 1..=4_u64 {
                let latency = &latency;
                scope.spawn(move || (0..10_000).for_each(|n| latency.record(micros(thread * 1000 + n % 7))));
            }
            (0..100).for_each(|_| latency.turn(Instant::now()));
        });
        let (waits, _) = latency.waits(Instant::now());
        assert_eq!((waits.count(), waits.longest()), (40_000, micros(4006)));
    }

    proptest! {
        #[test]
        fn every_time_lies_within_its_bucket(nanoseconds in any::<u64>(), shift in 0_u32..64) {
            let nanoseconds = nanoseconds >> shift;
            let bucket = bucket_of(nanoseconds);
            prop_assert!(upper_edge(bucket).is_none_or(|edge| nanoseconds <= edge));
            let lower = bucket.checked_sub(1).and_then(upper_edge).unwrap_or(0);
            prop_assert!(nanoseconds > lower || bucket == 0);
            if bucket > 0 && bucket < BUCKETS - 1 {
                let edge = upper_edge(bucket).unwrap();
                prop_assert!((edge - nanoseconds) * 8 <= nanoseconds, "{nanoseconds} told as {edge}");
            }
        }
    }
}
