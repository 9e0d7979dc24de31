//! Publications that wait until the subscribers of their channel have room.
//!
//! They stand in line by channel and are published in that order, by whichever thread made room, one
//! at a time. While somebody stands in line, everybody who comes does.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::Service;
use super::publish::Done;
use crate::hub::{Budget, Channel, Hold, PublishOptions, Report};
use crate::wire::websocket::Message;
use crate::{Error, ErrorKind, Result};

/// How long a publication may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum Patience {
    /// Not at all.
    None,
    /// Until the channel's deadline.
    Deadline,
    /// As long as it takes: nobody could be told that it failed.
    Endless,
}

#[derive(Debug, Default)]
pub(super) struct Held {
    lines: Mutex<HashMap<u64, Line>>,
    /// Publications in all lines.
    waiting: AtomicUsize,
    /// Publications that ever had to wait.
    total: AtomicU64,
}

#[derive(Debug)]
struct Line {
    channel: Arc<Channel>,
    waiting: VecDeque<Waiting>,
    bytes: usize,
    /// A thread publishes the first of them.
    draining: bool,
}

struct Waiting {
    message: Message,
    key: Option<Box<[u8]>>,
    counts: bool,
    deadline: Option<Instant>,
    done: Done,
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

impl Held {
    fn lines(&self) -> MutexGuard<'_, HashMap<u64, Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publications that ever had to wait.
    pub(super) fn total(&self) -> u64 {
        self.total.load(Relaxed)
    }
}

impl Service {
    /// Publishes to a channel whose subscribers make publishers wait: at once, or when there is room,
    /// as [`Service::publish_asking`] does.
    pub(super) fn publish_held(
        &self,
        (channel, hold): (&Arc<Channel>, &Hold),
        message: &Message,
        options: PublishOptions<'_>,
        patience: Patience,
        later: impl FnOnce() -> Done,
    ) -> Option<Result<Report>> {
        let size = message.frame().len();
        let limits = self.options();
        {
            let mut lines = self.held.lines();
            if !lines.contains_key(&channel.id()) && hold.has_room(self.budget(channel)) {
                // Reserved, so that those who come before it is under way see it.
                hold.depart(size, 1);
                drop(lines);
                let report = self.publish_now(channel, message, options, later);
                self.arrived(channel, size, 1);
                return report;
            }
            if patience == Patience::None {
                let text = "a subscriber that does not keep up holds the channel, and nothing may \
                            wait here";
                return Some(Err(Error::new(ErrorKind::QueueFull, text)));
            }
            let line = lines.entry(channel.id()).or_insert_with(|| Line {
                channel: Arc::clone(channel),
                waiting: VecDeque::new(),
                bytes: 0,
                draining: false,
            });
            if line.bytes + size > limits.inbox_bytes && patience != Patience::Endless {
                let text = format!(
                    "{} bytes wait to be published to the channel already, as many as may",
                    line.bytes
                );
                return Some(Err(Error::new(ErrorKind::QueueFull, text)));
            }
            let wait = (channel.config().hold * 2).min(limits.request_timeout * 9 / 10);
            line.bytes += size;
            line.waiting.push_back(Waiting {
                message: message.clone(),
                key: options.key.map(Into::into),
                counts: options.counts,
                deadline: (patience == Patience::Deadline).then(|| Instant::now() + wait),
                done: later(),
            });
            hold.add_waiting();
            self.held.waiting.fetch_add(1, Relaxed);
            self.held.total.fetch_add(1, Relaxed);
        }
        self.let_in(channel);
        None
    }

    /// Messages of the channel are under way no more: others may be.
    pub(in crate::server) fn arrived(&self, channel: &Arc<Channel>, bytes: usize, messages: usize) {
        let Some(hold) = channel.hold() else { return };
        hold.arrive(bytes, messages);
        if hold.waiting() > 0 {
            self.let_in(channel);
        }
    }

    /// Publishes what waits, as far as there is room.
    pub(in crate::server) fn let_in(&self, channel: &Arc<Channel>) {
        let Some(hold) = channel.hold() else { return };
        loop {
            let waiting = {
                let mut lines = self.held.lines();
                let Some(line) = lines.get_mut(&channel.id()) else { return };
                if line.draining {
                    // That thread looks again when it has done.
                    return;
                }
                if line.waiting.is_empty() {
                    lines.remove(&channel.id());
                    return;
                }
                if !hold.has_room(self.budget(channel)) {
                    return;
                }
                let Some(waiting) = line.waiting.pop_front() else { return };
                line.draining = true;
                line.bytes -= waiting.message.frame().len();
                hold.depart(waiting.message.frame().len(), 1);
                waiting
            };
            let Waiting { message, key, counts, done, .. } = waiting;
            let options = PublishOptions { key: key.as_deref(), counts, ..Default::default() };
            let mut done = Some(done);
            let later = || done.take().unwrap_or_else(|| Box::new(drop));
            let report = self.publish_now(channel, &message, options, later);
            hold.arrive(message.frame().len(), 1);
            self.left(hold);
            if let Some(line) = self.held.lines().get_mut(&channel.id()) {
                line.draining = false;
            }
            if let (Some(report), Some(done)) = (report, done) {
                done(report);
            }
        }
    }

    fn left(&self, hold: &Hold) {
        hold.remove_waiting();
        self.held.waiting.fetch_sub(1, Relaxed);
    }

    /// Tells those whose time is over. Called by the shards now and then; costs one look when nobody
    /// waits.
    pub(in crate::server) fn expire_held(&self) {
        if self.held.waiting.load(Relaxed) == 0 {
            return;
        }
        let now = Instant::now();
        let channels: Vec<_> =
            self.held.lines().values().map(|line| Arc::clone(&line.channel)).collect();
        self.fail_held(
            ErrorKind::Timeout,
            "the channel is held by subscribers that do not keep up: nothing was published",
            |waiting| waiting.deadline.is_some_and(|deadline| deadline <= now),
        );
        // Room may have been made by who could not tell.
        channels.iter().for_each(|channel| self.let_in(channel));
    }

    /// Tells those who can be told that another process takes the server over, where they may try
    /// again: nobody makes room meanwhile.
    pub(in crate::server) fn yield_held(&self) {
        if self.held.waiting.load(Relaxed) > 0 {
            let text = "the server is being restarted: nothing was published; publish again";
            self.fail_held(ErrorKind::Timeout, text, |waiting| waiting.deadline.is_some());
        }
    }

    /// What else waits, by channel, in order: messages of which nobody could be told anything. They
    /// stay where they are.
    pub(in crate::server) fn held_for_ever(&self) -> Vec<(Arc<Channel>, Message)> {
        let lines = self.held.lines();
        let all = lines.values().flat_map(|line| {
            line.waiting.iter().map(|waiting| (Arc::clone(&line.channel), waiting.message.clone()))
        });
        all.collect()
    }

    /// Lets such a message of another process wait here, behind those that it was told before.
    pub(in crate::server) fn hold_for_ever(&self, channel: &Arc<Channel>, message: &Message) {
        let later = || -> Done { Box::new(drop) };
        let options = PublishOptions::default();
        // Whether it is published at once or later, there is nobody to tell.
        let _ = self.publish_patiently(channel, message, options, Patience::Endless, later);
    }

    /// Tells all that the server is stopped.
    pub(super) fn close_held(&self) {
        self.fail_held(ErrorKind::Closed, "the server is stopped", |_| true);
    }

    fn fail_held(&self, kind: ErrorKind, text: &str, which: impl Fn(&Waiting) -> bool) {
        let mut failed = Vec::new();
        for line in self.held.lines().values_mut() {
            let (over, stay): (Vec<_>, Vec<_>) = line.waiting.drain(..).partition(|one| which(one));
            line.waiting = stay.into();
            for waiting in over {
                line.bytes -= waiting.message.frame().len();
                if let Some(hold) = line.channel.hold() {
                    self.left(hold);
                }
                failed.push(waiting.done);
            }
        }
        for done in failed {
            done(Err(Error::new(kind, text)));
        }
    }

    /// A quarter of what may wait for a subscriber: half of it makes publishers wait, and what is
    /// written to a subscriber may be longer than the message alone.
    fn budget(&self, channel: &Channel) -> Budget {
        let config = channel.config();
        let limited = |limit: usize| if limit == 0 { usize::MAX } else { limit };
        let bytes = self.queue_bytes().min(limited(config.queue_bytes));
        Budget { bytes: (bytes / 4).max(1), messages: (limited(config.queue_messages) / 4).max(1) }
    }
}
