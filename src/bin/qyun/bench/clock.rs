//! The phases of a run: warm-up, measurement, and what comes after.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::plan::Plan;
use crate::exit::Failure;
use crate::procfs;

/// Time in ns since the start of a run, and its phases.
pub struct Clock {
    start: Instant,
    /// When measuring begins.
    pub from: u64,
    /// When measuring and sending end.
    pub to: u64,
    bar: ProgressBar,
    next_tick: u64,
}

/// How often the bar moves, in ns.
const TICK: u64 = 100_000_000;

impl Clock {
    /// Starts the warm-up. The bar is shown on a terminal only.
    pub fn start(plan: &Plan) -> Self {
        let from = plan.warmup.as_nanos() as u64;
        let to = from + plan.duration.as_nanos() as u64;
        let bar = ProgressBar::with_draw_target(Some(to / 1_000_000), ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{bar:32} {elapsed:>4}  {msg}") {
            bar.set_style(style);
        }
        Self { start: Instant::now(), from, to, bar, next_tick: TICK }
    }

    pub fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    /// Moves the bar when it is time to.
    pub fn tick(&mut self, now: u64, message: impl FnOnce() -> String) {
        if now >= self.next_tick {
            self.next_tick = now + TICK;
            if !self.bar.is_hidden() {
                self.bar.set_position(now.min(self.to) / 1_000_000);
                self.bar.set_message(message());
            }
        }
    }

    /// How long a poll may sleep at `now`: to the next phase, and never longer than a tick.
    pub fn patience(&self, now: u64) -> Duration {
        let next = [self.from, self.to].into_iter().filter(|at| *at > now).min();
        Duration::from_nanos(next.map_or(TICK, |at| (at - now).min(TICK)))
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// What the processes have used at one moment.
#[derive(Clone, Copy)]
pub struct Usage {
    generator: f64,
    server: Option<f64>,
}

impl Usage {
    pub fn now(plan: &Plan) -> Result<Self, Failure> {
        let generator = procfs::thread_seconds(std::process::id())?;
        Ok(Self { generator, server: plan.server_pid.map(procfs::thread_seconds).transpose()? })
    }

    /// CPU seconds from `earlier` to this: the generator's and the server's.
    pub fn since(&self, earlier: &Self) -> (f64, Option<f64>) {
        let server = self.server.zip(earlier.server).map(|(now, then)| now - then);
        (self.generator - earlier.generator, server)
    }
}
