//! Rates: so many a second, with a burst, in eight bytes per bucket and without a clock of its own.

/// So many a second, and so many at once after a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) struct Rate {
    /// ns that one takes.
    each: u64,
    /// ns that a full bucket holds: `each` for every one of the burst.
    depth: u64,
}

impl Rate {
    /// `None` for no limit, which 0 stands for. A `burst` of 0 is that of one second.
    pub(in crate::server) fn new(per_second: usize, burst: usize) -> Option<Self> {
        let each = 1_000_000_000_u64.checked_div(per_second as u64)?.max(1);
        let burst = if burst == 0 { per_second } else { burst };
        Some(Self { each, depth: each.saturating_mul(burst as u64) })
    }

    /// How many fit into a full bucket.
    pub(in crate::server) fn burst(self) -> u64 {
        self.depth / self.each
    }
}

/// What is left of a burst. It is kept as the moment at which the bucket will be full again, in ns:
/// a new one is full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::server) struct Bucket(u64);

impl Bucket {
    /// Takes one at `now`, in ms of a clock that never jumps; false if there is none.
    pub(in crate::server) fn take(&mut self, now: u64, rate: Rate) -> bool {
        let now = now.saturating_mul(1_000_000);
        let full_at = self.0.max(now).saturating_add(rate.each);
        let taken = full_at - now <= rate.depth;
        if taken {
            self.0 = full_at;
        }
        taken
    }

    /// Whether it has filled up again: it says as much as a new one.
    pub(in crate::server) fn is_full(self, now: u64) -> bool {
        self.0 <= now.saturating_mul(1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(bucket: &mut Bucket, now: u64, rate: Rate, tries: usize) -> usize {
        (0..tries).filter(|_| bucket.take(now, rate)).count()
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let rate = Rate::new(100, 5).unwrap();
        assert_eq!(rate.burst(), 5);
        let mut bucket = Bucket::default();
        assert_eq!(taken(&mut bucket, 1000, rate, 9), 5);
        assert!(!bucket.is_full(1000));
        assert_eq!(taken(&mut bucket, 1009, rate, 9), 0);
        assert_eq!(taken(&mut bucket, 1010, rate, 9), 1);
        assert_eq!(taken(&mut bucket, 1040, rate, 9), 3);
        assert!(bucket.is_full(1090));
        assert_eq!(taken(&mut bucket, 9000, rate, 9), 5);
    }

    #[test]
    fn refused_ones_cost_nothing() {
        let rate = Rate::new(10, 1).unwrap();
        let mut bucket = Bucket::default();
        assert_eq!(taken(&mut bucket, 0, rate, 1000), 1);
        assert_eq!(taken(&mut bucket, 100, rate, 1000), 1);
    }

    #[test]
    fn the_extremes() {
        assert_eq!(Rate::new(0, 7), None);
        let most = Rate::new(u32::MAX as usize, 0).unwrap();
        let mut bucket = Bucket::default();
        assert!(bucket.take(u64::MAX, most) || !bucket.take(u64::MAX, most));
        let least = Rate::new(1, 0).unwrap();
        assert_eq!(taken(&mut Bucket::default(), 0, least, 3), 1);
    }

    proptest::proptest! {
        /// Over any stretch of time no more is taken than the burst and the rate allow, and no less
        /// than the rate when there is always a taker.
        #[test]
        fn never_more_than_burst_and_rate(per_second in 1_usize..1000, burst in 1_usize..50, steps: Vec<u8>) {
            let rate = Rate::new(per_second, burst).unwrap();
            let (mut bucket, mut now, mut total) = (Bucket::default(), 0_u64, 0_u64);
            for step in steps {
                now += u64::from(step);
                total += taken(&mut bucket, now, rate, 100) as u64;
                let most = burst as u64 + now * per_second as u64 / 1000 + 1;
                proptest::prop_assert!(total <= most);
            }
        }
    }
}
