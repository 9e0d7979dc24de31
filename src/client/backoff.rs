//! How long to wait before the next attempt: exponential with full jitter.

use std::time::Duration;

use super::ClientOptions;
use crate::wire::reconnect;

/// The delays of one connection's attempts.
#[derive(Debug)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    /// Attempts in a row before giving up; 0 is no limit.
    limit: u32,
    failed: u32,
    /// What the server asked for: how long to wait before the next attempt.
    asked: Option<Duration>,
}

impl Backoff {
    pub(crate) fn new(options: &ClientOptions) -> Self {
        let (min, max) = (options.reconnect_min, options.reconnect_max);
        Self { min: min.min(max), max, limit: options.reconnect_attempts, failed: 0, asked: None }
    }

    /// A random delay up to a bound that starts at `min` and doubles up to `max`; `None` when
    /// the attempts are used up.
    pub(crate) fn next(&mut self) -> Option<Duration> {
        if self.limit != 0 && self.failed >= self.limit {
            return None;
        }
        if let Some(delay) = self.asked.take() {
            return Some(delay);
        }
        let bound = self.bound();
        self.failed = self.failed.saturating_add(1);
        Some(bound.mul_f64(fastrand::f64()))
    }

    /// Keeps to what the server's Close asks for, if it names a time: the next attempt comes at a
    /// random moment of it.
    pub(crate) fn heed(&mut self, reason: &str) {
        self.asked = reconnect::delay(reason);
    }

    /// Begins anew after a connection that lasted.
    pub(crate) fn reset(&mut self) {
        self.failed = 0;
    }

    fn bound(&self) -> Duration {
        let factor = 2u32.checked_pow(self.failed).unwrap_or(u32::MAX);
        self.min.saturating_mul(factor).min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_doubles_up_to_the_maximum_and_attempts_are_counted() {
        let options = ClientOptions { reconnect_attempts: 40, ..ClientOptions::default() };
        let mut backoff = Backoff::new(&options);
        for attempt in 0..40 {
            let bound = Duration::from_millis((500u64 << attempt.min(20)).min(20_000));
            assert_eq!(backoff.bound(), bound);
            assert!(backoff.next().unwrap() <= bound);
        }
        assert_eq!(backoff.next(), None);
        backoff.reset();
        assert!(backoff.next().unwrap() <= Duration::from_millis(500));
    }

    #[test]
    fn a_server_that_asks_is_heeded_once() {
        let options = ClientOptions { reconnect_attempts: 2, ..ClientOptions::default() };
        let mut backoff = Backoff::new(&options);
        backoff.heed("server is stopping; reconnect after 60000..60000 ms");
        assert_eq!(backoff.next(), Some(Duration::from_secs(60)));
        assert!(backoff.next().unwrap() <= Duration::from_millis(500));
        assert!(backoff.next().is_some());
        assert_eq!(backoff.next(), None);
        backoff.reset();
        backoff.heed("bye");
        assert!(backoff.next().unwrap() <= Duration::from_millis(500));
    }

    #[test]
    fn delays_are_spread_over_the_whole_range() {
        let mut backoff = Backoff::new(&ClientOptions::default());
        let mut below = 0;
        for _ in 0..1000 {
            backoff.reset();
            below += u32::from(backoff.next().unwrap() < Duration::from_millis(250));
        }
        assert!((400..600).contains(&below), "{below} of 1000 delays are in the lower half");
    }
}
