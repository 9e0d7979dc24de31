//! When to come back to a server that stops: a window in the reason of its Close, in which each
//! client picks a random moment, so that ten thousand do not return together.

use std::ops::RangeInclusive;
use std::time::Duration;

/// Between what is said to people and the window.
const MARK: &str = "reconnect after ";

/// The longest wait that a client lets itself be told.
pub const MAX: Duration = Duration::from_secs(3600);

/// A Close's reason: `text; reconnect after A..B ms`.
pub fn reason(text: &str, window: RangeInclusive<Duration>) -> String {
    let (from, to) = (window.start().as_millis(), window.end().as_millis());
    format!("{text}; {MARK}{from}..{to} ms")
}

/// The window that a Close's reason tells; none that is longer than [`MAX`], or empty.
pub fn window(reason: &str) -> Option<RangeInclusive<Duration>> {
    let (_, told) = reason.rsplit_once(MARK)?;
    let (from, to) = told.strip_suffix(" ms")?.split_once("..")?;
    let window =
        Duration::from_millis(from.parse().ok()?)..=Duration::from_millis(to.parse().ok()?);
    (!window.is_empty() && *window.end() <= MAX).then_some(window)
}

/// A random moment of the window that a Close's reason tells.
pub fn delay(reason: &str) -> Option<Duration> {
    let window = window(reason)?;
    let (from, to) = (*window.start(), *window.end());
    Some(from + (to - from).mul_f64(fastrand::f64()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::close;

    fn ms(from: u64, to: u64) -> RangeInclusive<Duration> {
        Duration::from_millis(from)..=Duration::from_millis(to)
    }

    #[test]
    fn what_is_told_is_understood() {
        let told = reason("server is stopping", ms(0, 5000));
        assert_eq!(told, "server is stopping; reconnect after 0..5000 ms");
        assert_eq!(window(&told), Some(ms(0, 5000)));
        let longest = reason("server is stopping", ms(3_600_000, 3_600_000));
        assert!(longest.len() <= close::MAX_REASON);
        assert_eq!(window(&longest), Some(ms(3_600_000, 3_600_000)));
    }

    #[test]
    fn anything_else_is_no_window() {
        for other in [
            "",
            "server is stopping",
            "reconnect after ms",
            "reconnect after 5..4 ms",
            "reconnect after 0..3600001 ms",
            "reconnect after -1..4 ms",
            "reconnect after 0..99999999999999999999 ms",
            "reconnect after 0..5 ms or so",
        ] {
            assert_eq!(window(other), None, "{other}");
        }
    }

    #[test]
    fn delays_fill_the_window() {
        let told = reason("x", ms(100, 200));
        let delays: Vec<_> = (0..1000).filter_map(|_| delay(&told)).collect();
        assert_eq!(delays.len(), 1000);
        assert!(delays.iter().all(|delay| ms(100, 200).contains(delay)));
        let early = delays.iter().filter(|delay| **delay < Duration::from_millis(150)).count();
        assert!((400..600).contains(&early), "{early} of 1000 are in the first half");
    }
}
