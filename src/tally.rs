//! What became of one message, counted by everybody who sends it on.

use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How many subscribers a message went to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Counts {
    /// Those to whose sockets, or the queues in front of them, it was written.
    pub reached: u64,
    /// Of those, how many had to wait for room in their sockets.
    pub queued: u64,
    /// Those that do not get it: a policy dropped it, or they were closed as too slow.
    pub dropped: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.reached += other.reached;
        self.queued += other.queued;
        self.dropped += other.dropped;
    }
}

type Done = Box<dyn FnOnce(Counts) + Send>;

/// The counts of a message while it is under way. Whoever still has to send it on shares it; when
/// the last of them lets go of it, whatever the reason, the counts are complete and told.
pub struct Tally {
    reached: AtomicU64,
    queued: AtomicU64,
    dropped: AtomicU64,
    /// Taken when it is dropped.
    done: Mutex<Option<Done>>,
}

impl std::fmt::Debug for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tally").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

impl Tally {
    /// A tally that tells `done` its counts once, on the thread that lets go of it last: often one
    /// that must not wait, and perhaps the caller's. `done` must not block.
    pub fn new(done: impl FnOnce(Counts) + Send + 'static) -> Self {
        Self {
            reached: AtomicU64::new(0),
            queued: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            done: Mutex::new(Some(Box::new(done))),
        }
    }

    /// Counts subscribers. Who counts shares the tally, whose end comes after it.
    pub fn add(&self, counts: Counts) {
        self.reached.fetch_add(counts.reached, Relaxed);
        self.queued.fetch_add(counts.queued, Relaxed);
        self.dropped.fetch_add(counts.dropped, Relaxed);
    }

    fn counts(&self) -> Counts {
        Counts {
            reached: self.reached.load(Relaxed),
            queued: self.queued.load(Relaxed),
            dropped: self.dropped.load(Relaxed),
        }
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        let counts = self.counts();
        let done = self.done.get_mut().map(Option::take);
        if let Ok(Some(done)) = done {
            done(counts);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};

    use super::*;

    #[test]
    fn the_counts_are_told_when_the_last_one_lets_go() {
        let (tell, told) = mpsc::channel();
        let tally = Arc::new(Tally::new(move |counts| tell.send(counts).unwrap()));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let tally = Arc::clone(&tally);
                std::thread::spawn(move || {
                    tally.add(Counts { reached: 3, queued: 1, dropped: 2 });
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(told.try_recv().is_err(), "somebody still counts");
        drop(tally);
        assert_eq!(told.try_recv(), Ok(Counts { reached: 12, queued: 4, dropped: 8 }));
    }
}
