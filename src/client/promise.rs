//! One answer for one waiting thread, with a clear verdict when the answer and the time limit race.

use std::sync::{Condvar, Mutex};
use std::time::Duration;

use super::state::lock;

/// An answer that one thread waits for and another gives.
#[derive(Debug)]
pub(crate) struct Promise<T> {
    slot: Mutex<Slot<T>>,
    given: Condvar,
}

#[derive(Debug)]
enum Slot<T> {
    Empty,
    Given(T),
    /// Nobody waits any longer.
    Abandoned,
}

impl<T> Promise<T> {
    pub(crate) fn new() -> Self {
        Self { slot: Mutex::new(Slot::Empty), given: Condvar::new() }
    }

    /// Gives the answer. False if nobody will see it: the waiter gave up, or it has one already.
    pub(crate) fn give(&self, answer: T) -> bool {
        let mut slot = lock(&self.slot);
        if !matches!(*slot, Slot::Empty) {
            return false;
        }
        *slot = Slot::Given(answer);
        self.given.notify_one();
        true
    }

    /// Waits for the answer. After `None` every [`Promise::give`] returns false.
    pub(crate) fn wait(&self, timeout: Duration) -> Option<T> {
        let slot = lock(&self.slot);
        let (mut slot, _) = self
            .given
            .wait_timeout_while(slot, timeout, |slot| matches!(slot, Slot::Empty))
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        match std::mem::replace(&mut *slot, Slot::Abandoned) {
            Slot::Given(answer) => Some(answer),
            _ => None,
        }
    }

    /// Whether the waiter gave up.
    pub(crate) fn is_abandoned(&self) -> bool {
        matches!(*lock(&self.slot), Slot::Abandoned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_either_seen_or_known_to_be_unseen() {
        let promise = Promise::new();
        assert!(promise.give(1));
        assert!(!promise.give(2));
        assert_eq!(promise.wait(Duration::ZERO), Some(1));
        let late = Promise::new();
        assert_eq!(late.wait(Duration::ZERO), None);
        assert!(late.is_abandoned());
        assert!(!late.give(1));
    }
}
