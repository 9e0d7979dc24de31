//! All shards at rest, so that somebody can look at everything at one moment.
//!
//! Shards publish to each other. So one that has come to rest may find something in its inbox again
//! as long as another one has not: they settle in rounds, until all have nothing left. None of them
//! reads a socket meanwhile, so there is an end to it.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Shard;
use crate::server::handover::link::Outgoing;

/// In which shards may have something for each other, and nobody else for them.
const QUICK_ROUNDS: usize = 3;

/// What a shard does after a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    GoOn,
    /// It lets go of its connections without a word.
    Leave,
}

/// What the shards are to do now.
#[derive(Debug, Clone)]
enum Step {
    Settle,
    /// One of them hands its connections over.
    HandOver(usize, Arc<Outgoing>),
    End(Verdict),
}

/// A pause of `shards` shards. Whoever asked for it says what is done, one step after the other.
#[derive(Debug)]
pub(in crate::server) struct Pause {
    shards: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    step: Step,
    /// Counts the steps.
    number: u64,
    /// Shards that have done the step, and what was counted or went wrong.
    done: usize,
    /// All of them have come to rest in it.
    rests: bool,
    count: usize,
    error: Option<io::Error>,
}

impl Pause {
    pub(in crate::server) fn new(shards: usize) -> Self {
        let state =
            State { step: Step::Settle, number: 1, done: 0, rests: true, count: 0, error: None };
        Self { shards, state: Mutex::new(state), changed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the shards have done the step; false if they have not by `deadline`.
    fn wait(&self, shards: usize, deadline: Instant) -> bool {
        let mut state = self.state();
        while state.done < shards {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = match self.changed.wait_timeout(state, left) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        true
    }

    fn begin(&self, step: Step) {
        let mut state = self.state();
        state.step = step;
        state.number += 1;
        state.done = 0;
        state.rests = true;
        self.changed.notify_all();
    }

    /// Waits until every shard is at rest and `is_empty` says that nothing waits between them. An
    /// error of kind `TimedOut` when that takes longer than `patience`.
    pub(in crate::server) fn settle(
        &self,
        patience: Duration,
        is_empty: impl Fn() -> bool,
    ) -> io::Result<()> {
        let deadline = Instant::now() + patience;
        let mut rounds = 0;
        while self.wait(self.shards, deadline) && Instant::now() < deadline {
            let rests = self.state().rests;
            // Asked in any case: it may have those answered who wait.
            if is_empty() && rests {
                return Ok(());
            }
            rounds += 1;
            if !rests || rounds > QUICK_ROUNDS {
                // For what comes from threads which know nothing of the pause, as the store's.
                std::thread::sleep(Duration::from_micros(100));
            }
            self.begin(Step::Settle);
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "the shards did not come to rest"))
    }

    /// Has one shard after the other send what it has over `link`; gives how many connections went.
    pub(in crate::server) fn hand_over(&self, link: &Arc<Outgoing>) -> io::Result<usize> {
        // The link gives up before.
        let deadline = link.deadline() + Duration::from_secs(1);
        for shard in 0..self.shards {
            self.begin(Step::HandOver(shard, Arc::clone(link)));
            if !self.wait(1, deadline) {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "a shard does not answer"));
            }
            if let Some(error) = self.state().error.take() {
                return Err(error);
            }
        }
        Ok(self.state().count)
    }

    /// Lets the shards serve on.
    pub(in crate::server) fn resume(&self) {
        self.begin(Step::End(Verdict::GoOn));
    }

    /// Lets the shards end and leave their connections to who has them now.
    pub(in crate::server) fn leave(&self) {
        self.begin(Step::End(Verdict::Leave));
    }

    /// The step behind the `last` one.
    fn next(&self, last: u64) -> (u64, Step) {
        let mut state = self.state();
        while state.number == last {
            state = match self.changed.wait(state) {
                Ok(state) => state,
                Err(poisoned) => poisoned.into_inner(),
            };
        }
        (state.number, state.step.clone())
    }

    /// A shard has done the step `number`, if that is still the one.
    fn done(&self, number: u64, rests: bool, handed_over: Option<io::Result<usize>>) {
        let mut state = self.state();
        if state.number != number {
            return;
        }
        state.rests &= rests;
        match handed_over {
            None => {}
            Some(Ok(count)) => state.count += count,
            Some(Err(error)) => state.error = Some(error),
        }
        state.done += 1;
        self.changed.notify_all();
    }
}

impl Shard {
    /// Does what is asked for until the pause is over. Nothing is read meanwhile.
    pub(super) fn pause(&mut self) -> Verdict {
        let Some(pause) = self.control.pause() else { return Verdict::GoOn };
        let mut last = 0;
        loop {
            let (number, step) = pause.next(last);
            last = number;
            match step {
                Step::Settle => {
                    let rests = self.come_to_rest();
                    pause.done(number, rests, None);
                }
                Step::HandOver(shard, link) if shard == self.id => {
                    pause.done(number, true, Some(self.hand_over(&link)));
                }
                Step::HandOver(..) => {}
                Step::End(verdict) => return verdict,
            }
        }
    }
}
