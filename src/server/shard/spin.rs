//! Adaptive busy polling: after work, poll without sleeping for a while, as long as that pays.
//!
//! A sleeping core takes tens of microseconds to wake. When the next event usually comes sooner
//! than that, polling for it costs no more than the wake-up would and answers at once. A score
//! goes up when polling found something and down when it did not; at zero the shard sleeps, and
//! tries again now and then.

use std::time::{Duration, Instant};

const MAX_SCORE: u32 = 16;
const START_SCORE: u32 = 4;
/// Sleeps between two tries while the score is zero.
const PROBE_EVERY: u32 = 64;

#[derive(Debug)]
pub(super) struct Spin {
    limit: Duration,
    score: u32,
    sleeps: u32,
    /// When the present spell of polling began.
    since: Option<Instant>,
}

impl Spin {
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, score: START_SCORE, sleeps: 0, since: None }
    }

    /// Another time to poll for, from the next spell on.
    pub(super) fn set_limit(&mut self, limit: Duration) {
        self.limit = limit;
    }

    /// Tells whether the round that ended found something to do.
    pub(super) fn after_round(&mut self, worked: bool) {
        if !worked {
            return;
        }
        if self.since.is_some() {
            self.score = (self.score + 1).min(MAX_SCORE);
        }
        self.since = None;
        let probe = self.score == 0 && self.sleeps >= PROBE_EVERY;
        if !self.limit.is_zero() && (self.score > 0 || probe) {
            self.since = Some(Instant::now());
            self.sleeps = 0;
        }
    }

    /// Whether the next poll should not sleep.
    pub(super) fn keeps_polling(&mut self) -> bool {
        match self.since {
            Some(since) if since.elapsed() < self.limit => true,
            Some(_) => {
                self.since = None;
                self.score = self.score.saturating_sub(1);
                self.sleeps = 1;
                false
            }
            None => {
                self.sleeps = self.sleeps.saturating_add(1);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polling_that_never_pays_ends_and_is_tried_again_later() {
        let mut spin = Spin::new(Duration::from_nanos(1));
        let mut spells = 0;
        for round in 0..PROBE_EVERY * 4 {
            spin.after_round(true);
            spells += u32::from(spin.since.is_some());
            std::thread::yield_now();
            while spin.keeps_polling() {}
            if round == START_SCORE {
                assert_eq!(spin.score, 0);
            }
        }
        assert!((START_SCORE + 2..START_SCORE + 6).contains(&spells), "{spells}");
    }

    #[test]
    fn polling_that_pays_goes_on() {
        let mut spin = Spin::new(Duration::from_secs(60));
        for _ in 0..100 {
            spin.after_round(true);
            assert!(spin.keeps_polling());
        }
        assert_eq!(spin.score, MAX_SCORE);
    }

    #[test]
    fn a_limit_of_zero_never_polls() {
        let mut spin = Spin::new(Duration::ZERO);
        spin.after_round(true);
        assert!(!spin.keeps_polling());
    }
}
