//! The schedule of an open loop, and a timer finer than epoll's milliseconds.

use std::os::fd::{AsRawFd, OwnedFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use crate::exit::Failure;

/// When each message is due, in ns since the run's start. Never adapts to the server, so that
/// latencies hold what a waiting sender would have left out.
pub struct Schedule {
    interval: f64,
    sent: u64,
}

impl Schedule {
    pub fn new(rate: f64) -> Self {
        Self { interval: 1e9 / rate, sent: 0 }
    }

    /// The number of the next message, and when it is due.
    pub fn next(&self) -> (u64, u64) {
        (self.sent, (self.sent as f64 * self.interval) as u64)
    }

    pub fn advance(&mut self) {
        self.sent += 1;
    }
}

/// Wakes a poll at a time.
pub struct Alarm {
    timer: OwnedFd,
}

impl Alarm {
    pub fn new(registry: &Registry, token: Token) -> Result<Self, Failure> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)
            .map_err(|error| Failure::failed(format!("cannot make a timer: {error}")))?;
        registry.register(&mut SourceFd(&timer.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Self { timer })
    }

    /// Wakes in `ns` from now, in place of what was set before.
    pub fn set(&self, ns: u64) -> Result<(), Failure> {
        // A timer set to zero would never fire.
        let ns = ns.max(1);
        let value =
            Timespec { tv_sec: (ns / 1_000_000_000) as i64, tv_nsec: (ns % 1_000_000_000) as _ };
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let spec = Itimerspec { it_interval: zero, it_value: value };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &spec)
            .map(drop)
            .map_err(|error| Failure::failed(format!("cannot set a timer: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_due_at_their_rate() {
        let mut schedule = Schedule::new(3.0);
        let mut due = Vec::new();
        for _ in 0..4 {
            due.push(schedule.next().1);
            schedule.advance();
        }
        assert_eq!(due, [0, 333_333_333, 666_666_666, 1_000_000_000]);
    }
}
