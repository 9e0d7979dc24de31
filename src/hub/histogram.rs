//! How times are distributed: counts in fixed buckets, as Prometheus reads them.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The buckets' upper bounds, in ns, each with the text of the same in seconds. What is longer
/// than the last falls into one more bucket, without a bound.
pub const BOUNDS: [(u64, &str); 17] = [
    (5_000, "5e-06"),
    (10_000, "1e-05"),
    (25_000, "2.5e-05"),
    (50_000, "5e-05"),
    (100_000, "0.0001"),
    (250_000, "0.00025"),
    (500_000, "0.0005"),
    (1_000_000, "0.001"),
    (2_500_000, "0.0025"),
    (5_000_000, "0.005"),
    (10_000_000, "0.01"),
    (25_000_000, "0.025"),
    (50_000_000, "0.05"),
    (100_000_000, "0.1"),
    (250_000_000, "0.25"),
    (500_000_000, "0.5"),
    (1_000_000_000, "1"),
];

const BUCKETS: usize = BOUNDS.len() + 1;

/// A histogram that one thread writes and any thread reads.
#[derive(Debug, Default)]
pub struct Histogram {
    counts: [AtomicU64; BUCKETS],
    sum_ns: AtomicU64,
}

impl Histogram {
    /// Counts `n` times that were all as long as this. The owning thread only: plain loads and
    /// stores, three of each.
    pub fn observe(&self, time: Duration, n: u64) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.partition_point(|(bound, _)| *bound < ns);
        if let Some(count) = self.counts.get(bucket) {
            super::Gauges::add(count, n);
        }
        super::Gauges::add(&self.sum_ns, ns.saturating_mul(n));
    }

    /// Adds these counts to a sum.
    pub fn add_to(&self, sum: &mut Distribution) {
        for (to, count) in sum.counts.iter_mut().zip(&self.counts) {
            *to += count.load(Relaxed);
        }
        sum.sum_ns = sum.sum_ns.wrapping_add(self.sum_ns.load(Relaxed));
    }
}

/// What histograms held at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Distribution {
    /// How many fell into each bucket of [`BOUNDS`] and no earlier one, and behind them how many
    /// were longer than the last bound.
    pub counts: [u64; BUCKETS],
    /// The sum of all times, in ns.
    pub sum_ns: u64,
}

impl Distribution {
    /// How many there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_falls_into_the_first_bucket_that_holds_it() {
        let histogram = Histogram::default();
        for (ns, bucket) in
            [(0, 0), (5_000, 0), (5_001, 1), (1_000_000_000, 16), (1_000_000_001, 17)]
        {
            let count = |bucket: usize| {
                let mut sum = Distribution::default();
                histogram.add_to(&mut sum);
                sum.counts[bucket]
            };
            let before = count(bucket);
            histogram.observe(Duration::from_nanos(ns), 3);
            assert_eq!(count(bucket), before + 3, "{ns} ns");
        }
        let mut sum = Distribution::default();
        histogram.add_to(&mut sum);
        assert_eq!(sum.count(), 15);
        assert_eq!(sum.sum_ns, 3 * (5_000 + 5_001 + 1_000_000_000 + 1_000_000_001));
    }

    #[test]
    fn bounds_rise_and_say_the_same_in_seconds() {
        assert!(BOUNDS.windows(2).all(|pair| pair[0].0 < pair[1].0));
        for (ns, seconds) in BOUNDS {
            let parsed: f64 = seconds.parse().unwrap();
            assert_eq!((parsed * 1e9).round() as u64, ns);
        }
    }
}
