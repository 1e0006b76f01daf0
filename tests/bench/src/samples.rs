//! Many measured times, in nanoseconds: their percentiles and their histogram.

use serde::Serialize;

/// Buckets for each power of two: a bucket is at most 1/32 wider than its lower limit.
const FINENESS_BITS: u32 = 5;

/// What is said of the times of one round.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Percentiles {
    pub(crate) p50: u64,
    pub(crate) p90: u64,
    pub(crate) p99: u64,
    pub(crate) p999: u64,
    pub(crate) max: u64,
}

/// Times, sorted.
#[derive(Clone, Debug)]
pub(crate) struct Samples(Vec<u64>);

impl Samples {
    pub(crate) fn new(mut times: Vec<u64>) -> Samples {
        times.sort_unstable();
        Samples(times)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The smallest time that `per_mille` of all do not exceed (nearest rank); 0 without any.
    fn at(&self, per_mille: usize) -> u64 {
        let rank = (self.0.len() * per_mille).div_ceil(1000).max(1);
        self.0.get(rank - 1).copied().unwrap_or(0)
    }

    pub(crate) fn percentiles(&self) -> Percentiles {
        Percentiles { p50: self.at(500), p90: self.at(900), p99: self.at(990), p999: self.at(999), max: self.at(1000) }
    }

    /// How many times fall into each bucket, by its lower limit; empty ones are left out.
    pub(crate) fn histogram(&self) -> Vec<(u64, u64)> {
        let mut buckets: Vec<(u64, u64)> = Vec::new();
        for time in &self.0 {
            let limit = lower_limit(*time);
            match buckets.last_mut() {
                Some((last, count)) if *last == limit => *count += 1,
                _ => buckets.push((limit, 1)),
            }
        }
        buckets
    }
}

/// The lower limit of a time's bucket: its highest bits.
fn lower_limit(time: u64) -> u64 {
    let bits = u64::BITS - time.leading_zeros();
    let dropped = bits.saturating_sub(FINENESS_BITS + 1);
    time >> dropped << dropped
}

/// The middle one of several numbers, the mean of two if there is no single one; `None` of none.
pub(crate) fn median(numbers: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut numbers: Vec<f64> = numbers.into_iter().collect();
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    match numbers.len() {
        0 => None,
        len if len % 2 == 1 => Some(numbers[middle]),
        _ => Some(f64::midpoint(numbers[middle - 1], numbers[middle])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let found = Samples::new((1..=1000).rev().collect()).percentiles();
        assert_eq!((found.p50, found.p90, found.p99, found.p999, found.max), (500, 900, 990, 999, 1000));
        let one = Samples::new(vec![7]).percentiles();
        assert_eq!((one.p50, one.max), (7, 7));
        assert_eq!(Samples::new(vec![]).percentiles().max, 0);
    }

    #[test]
    fn every_time_is_counted_once_in_a_narrow_bucket() {
        let times: Vec<u64> = (0..5000).chain([1 << 40, u64::MAX]).collect();
        let buckets = Samples::new(times.clone()).histogram();
        assert_eq!(buckets.iter().map(|(_, count)| count).sum::<u64>(), times.len() as u64);
        assert!(buckets.is_sorted());
        for time in times {
            let limit = lower_limit(time);
            assert!(limit <= time && time - limit <= limit / 32, "{time}: {limit}");
        }
    }

    #[test]
    fn the_median() {
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([1.0, 2.0]), Some(1.5));
        assert_eq!(median([]), None);
    }
}
