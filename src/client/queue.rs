//! The bounded queue between the I/O thread and whoever takes a subscription's events.
//!
//! A mutex, a `VecDeque` and a condition variable instead of a crossbeam channel, because what waits
//! in the queue, whether its descriptor is readable, how much was dropped and whether the end was
//! reached must change in one step: drop-oldest, control events that no overflow drops, discarding
//! at close and a level-triggered descriptor would each need a second lock beside a channel. The
//! lock is held for a few instructions; a system call happens only when a thread sleeps in
//! [`Queue::take`] or when a descriptor was asked for.

use std::collections::VecDeque;
use std::io;
use std::os::fd::RawFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::eventfd::EventFd;
use super::state::lock;
use super::wake::Wake;
use super::{Event, EventKind, Overflow};
use crate::wire::Position;

/// Most events that wait and are no messages. They come once per attempt to reconnect, so
/// thousands mean that nobody has looked for hours: then the oldest error makes room.
const MAX_NOTICES: usize = 4096;

/// What a queue carries.
pub(crate) trait Item: Send + Sized + 'static {
    /// How the queue's bounds treat it.
    fn class(&self) -> Class;
    /// The last item of the queue that belongs to `name`, and why it ends.
    fn last(name: &Arc<str>, reason: &str) -> Self;
}

/// How a queue's bounds treat an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// It obeys the limit and the overflow policy.
    Message,
    /// It is never dropped.
    Notice,
    /// It makes room when very many notices wait.
    Error,
}

impl Item for Event {
    fn class(&self) -> Class {
        match self.kind {
            EventKind::Message | EventKind::Join | EventKind::Leave => Class::Message,
            EventKind::Error => Class::Error,
            EventKind::Connected | EventKind::Closed => Class::Notice,
        }
    }

    fn last(name: &Arc<str>, reason: &str) -> Self {
        Self::notice(EventKind::Closed, name, reason, Position::default())
    }
}

/// The queue. One producer, any number of takers.
#[derive(Debug)]
pub(crate) struct Queue<E = Event> {
    limit: usize,
    overflow: Overflow,
    /// Wakes the producer that [`Queue::push`] refused with [`Offer::Full`].
    producer: Arc<Wake>,
    inner: Mutex<Inner<E>>,
    arrived: Condvar,
}

#[derive(Debug)]
struct Inner<E> {
    events: VecDeque<E>,
    /// How many of `events` are messages: only those count against the limit.
    messages: usize,
    end: End<E>,
    sleepers: usize,
    producer_waits: bool,
    dropped: u64,
    fd: Option<EventFd>,
}

#[derive(Debug)]
enum End<E> {
    /// More may come.
    Open,
    /// This is the last event; what waits before it is taken first.
    After(E),
    /// The program closed: nothing waits, this is the last event.
    Closed(E),
    /// The end was taken.
    Taken,
}

/// What became of an event.
#[derive(Debug)]
pub(crate) enum Offer<E = Event> {
    /// It waits, or the overflow policy dropped one.
    Taken,
    /// The queue is full and the policy is to block; the producer is woken when there is room.
    Full(E),
    /// The queue has ended.
    Ended,
}

/// What [`Queue::take`] found.
#[derive(Debug)]
pub(crate) enum Take<E = Event> {
    /// An event that is not the last.
    Event(E),
    /// The last event: the stream ended by itself.
    Last(E),
    /// The last event: the program closed the subscription.
    Closed(E),
    /// Nothing came in time.
    Nothing,
    /// The end was taken before.
    Over,
}

impl<E: Item> Queue<E> {
    pub(crate) fn new(limit: usize, overflow: Overflow, producer: Arc<Wake>) -> Self {
        let inner = Inner {
            events: VecDeque::new(),
            messages: 0,
            end: End::Open,
            sleepers: 0,
            producer_waits: false,
            dropped: 0,
            fd: None,
        };
        Self { limit, overflow, producer, inner: Mutex::new(inner), arrived: Condvar::new() }
    }

    /// Adds an event; a message obeys the overflow policy. The second value is how many messages
    /// were dropped for it.
    pub(crate) fn push(&self, event: E) -> (Offer<E>, u64) {
        let mut inner = lock(&self.inner);
        if !matches!(inner.end, End::Open) {
            return (Offer::Ended, 0);
        }
        let mut dropped = 0;
        if event.class() == Class::Message {
            if inner.messages >= self.limit {
                match self.overflow {
                    Overflow::Block => {
                        inner.producer_waits = true;
                        return (Offer::Full(event), 0);
                    }
                    Overflow::DropNewest => {
                        inner.dropped += 1;
                        return (Offer::Taken, 1);
                    }
                    Overflow::DropOldest => dropped = inner.drop_oldest(),
                }
            }
        } else if inner.events.len() - inner.messages >= MAX_NOTICES {
            inner.drop_oldest_error();
        }
        self.add(inner, event);
        (Offer::Taken, dropped)
    }

    /// Adds an event beyond the limit, so that none that comes later can overtake it.
    pub(crate) fn force(&self, event: E) {
        let inner = lock(&self.inner);
        if matches!(inner.end, End::Open) {
            self.add(inner, event);
        }
    }

    fn add(&self, mut inner: MutexGuard<'_, Inner<E>>, event: E) {
        inner.messages += usize::from(event.class() == Class::Message);
        inner.events.push_back(event);
        inner.settle();
        let sleeping = inner.sleepers > 0;
        drop(inner);
        if sleeping {
            self.arrived.notify_one();
        }
    }

    /// Ends the queue with `last`; with `discard`, what waits is thrown away. The first call's
    /// `last` counts; a later one may still discard.
    pub(crate) fn end(&self, last: E, discard: bool) {
        let mut inner = lock(&self.inner);
        let end = std::mem::replace(&mut inner.end, End::Taken);
        inner.end = match (end, discard) {
            (End::Open, false) => End::After(last),
            (End::Open, true) => End::Closed(last),
            (End::After(first), true) => End::Closed(first),
            (end, _) => end,
        };
        let discarded = match &inner.end {
            End::Closed(_) => {
                inner.messages = 0;
                std::mem::take(&mut inner.events)
            }
            _ => VecDeque::new(),
        };
        inner.settle();
        inner.producer_waits = false;
        drop(inner);
        self.arrived.notify_all();
        self.producer.wake();
        drop(discarded);
    }

    /// Takes the next event, waiting for it at most `timeout`; `None` waits for ever.
    pub(crate) fn take(&self, timeout: Option<Duration>) -> Take<E> {
        let mut inner = self.wait(timeout);
        let taken = inner.pop();
        self.release(inner);
        taken
    }

    /// Like [`Queue::take`], then appends what waits without waiting, at most `max` in all; the
    /// result is what the first event was.
    pub(crate) fn take_many(
        &self,
        out: &mut Vec<E>,
        max: usize,
        timeout: Option<Duration>,
    ) -> Take<E> {
        let mut inner = self.wait(timeout);
        let first = inner.pop();
        if matches!(first, Take::Event(_)) {
            // The first goes out with the result; these come after it.
            while out.len() + 1 < max {
                match inner.pop() {
                    Take::Event(event) | Take::Last(event) => out.push(event),
                    _ => break,
                }
            }
        }
        self.release(inner);
        first
    }

    /// Waits until there is something to take or time is up.
    fn wait(&self, timeout: Option<Duration>) -> MutexGuard<'_, Inner<E>> {
        let mut inner = lock(&self.inner);
        if !inner.is_idle() || timeout == Some(Duration::ZERO) {
            return inner;
        }
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        inner.sleepers += 1;
        while inner.is_idle() {
            let Some(deadline) = deadline else {
                inner = self.arrived.wait(inner).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            inner =
                self.arrived.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        inner.sleepers -= 1;
        inner
    }

    /// Unlocks after something was taken, and wakes the producer if there is room again.
    fn release(&self, mut inner: MutexGuard<'_, Inner<E>>) {
        inner.settle();
        let room = inner.producer_waits && inner.messages < self.limit;
        if room {
            inner.producer_waits = false;
        }
        // A sleeper that was notified for an event which somebody else took sleeps on; one that
        // was not notified because another was must not miss what is left.
        let more = inner.sleepers > 0 && !inner.is_idle();
        drop(inner);
        if more {
            self.arrived.notify_one();
        }
        if room {
            self.producer.wake();
        }
    }

    /// Whether [`Queue::take`] would wait.
    pub(crate) fn is_idle(&self) -> bool {
        lock(&self.inner).is_idle()
    }

    /// Messages that wait.
    pub(crate) fn messages(&self) -> usize {
        lock(&self.inner).messages
    }

    /// Messages dropped so far.
    pub(crate) fn dropped(&self) -> u64 {
        lock(&self.inner).dropped
    }

    /// The descriptor that is readable while an event or the end waits to be taken.
    pub(crate) fn fd(&self) -> io::Result<RawFd> {
        let mut inner = lock(&self.inner);
        if let Some(fd) = &inner.fd {
            return Ok(fd.raw());
        }
        let fd = EventFd::new()?;
        let raw = fd.raw();
        inner.fd = Some(fd);
        inner.settle();
        Ok(raw)
    }
}

impl<E: Item> Inner<E> {
    /// Nothing to take, and more may come.
    fn is_idle(&self) -> bool {
        self.events.is_empty() && matches!(self.end, End::Open)
    }

    fn pop(&mut self) -> Take<E> {
        if let Some(event) = self.events.pop_front() {
            self.messages -= usize::from(event.class() == Class::Message);
            return Take::Event(event);
        }
        match std::mem::replace(&mut self.end, End::Taken) {
            End::After(event) => Take::Last(event),
            End::Closed(event) => Take::Closed(event),
            End::Taken => Take::Over,
            End::Open => {
                self.end = End::Open;
                Take::Nothing
            }
        }
    }

    fn drop_oldest(&mut self) -> u64 {
        let oldest = self.events.iter().position(|event| event.class() == Class::Message);
        match oldest.and_then(|index| self.events.remove(index)) {
            None => 0,
            Some(_) => {
                self.messages -= 1;
                self.dropped += 1;
                1
            }
        }
    }

    fn drop_oldest_error(&mut self) {
        if let Some(index) = self.events.iter().position(|event| event.class() == Class::Error) {
            self.events.remove(index);
        }
    }

    /// Makes the descriptor tell what the queue holds; called before every unlock that changed it.
    fn settle(&mut self) {
        let readable =
            !self.events.is_empty() || matches!(self.end, End::After(_) | End::Closed(_));
        if let Some(fd) = &mut self.fd {
            fd.set(readable);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::wire::MessageKind;

    fn event(kind: EventKind, text: &str) -> Event {
        Event {
            kind,
            channel: "c".into(),
            data: Bytes::copy_from_slice(text.as_bytes()),
            message_kind: MessageKind::Text,
            position: Position::default(),
            recovered: None,
            attendee: None,
        }
    }

    fn message(number: usize) -> Event {
        event(EventKind::Message, &number.to_string())
    }

    fn queue(limit: usize, overflow: Overflow) -> Queue {
        Queue::new(limit, overflow, Arc::new(Wake::default()))
    }

    fn texts(queue: &Queue) -> Vec<String> {
        let mut texts = Vec::new();
        loop {
            match queue.take(Some(Duration::ZERO)) {
                Take::Event(event) | Take::Last(event) => {
                    texts.push(String::from_utf8(event.data.to_vec()).unwrap());
                }
                _ => return texts,
            }
        }
    }

    #[test]
    fn drop_oldest_keeps_the_newest_and_every_notice() {
        let queue = queue(3, Overflow::DropOldest);
        queue.push(event(EventKind::Connected, "up"));
        for number in 0..10 {
            queue.push(message(number));
        }
        queue.push(event(EventKind::Error, "down"));
        queue.end(event(EventKind::Closed, "end"), false);
        assert_eq!(queue.dropped(), 7);
        assert_eq!(texts(&queue), ["up", "7", "8", "9", "down", "end"]);
        assert!(matches!(queue.take(None), Take::Over));
    }

    #[test]
    fn drop_newest_keeps_the_oldest() {
        let queue = queue(3, Overflow::DropNewest);
        let dropped: u64 = (0..10).map(|number| queue.push(message(number)).1).sum();
        assert_eq!((dropped, queue.dropped()), (7, 7));
        assert_eq!(texts(&queue), ["0", "1", "2"]);
    }

    #[test]
    fn block_gives_the_message_back_until_there_is_room() {
        let queue = queue(1, Overflow::Block);
        queue.push(message(0));
        let (Offer::Full(refused), 0) = queue.push(message(1)) else { panic!("not full") };
        assert!(matches!(queue.take(None), Take::Event(_)));
        assert!(matches!(queue.push(refused), (Offer::Taken, 0)));
        assert_eq!(texts(&queue), ["1"]);
        assert_eq!(queue.dropped(), 0);
    }

    #[test]
    fn closing_discards_what_waits_and_the_first_reason_counts() {
        let queue = queue(9, Overflow::Block);
        queue.push(message(0));
        queue.end(event(EventKind::Closed, "first"), false);
        queue.end(event(EventKind::Closed, "second"), true);
        match queue.take(None) {
            Take::Closed(last) => assert_eq!(&last.data[..], b"first"),
            other => panic!("{other:?}"),
        }
        assert!(matches!(queue.push(message(1)).0, Offer::Ended));
    }

    #[test]
    fn a_sleeping_taker_wakes_at_the_end() {
        let queue = Arc::new(queue(9, Overflow::Block));
        let taker = {
            let queue = queue.clone();
            std::thread::spawn(move || matches!(queue.take(None), Take::Closed(_)))
        };
        queue.end(event(EventKind::Closed, ""), true);
        assert!(taker.join().unwrap());
    }

    #[test]
    fn take_many_takes_no_more_than_asked() {
        let queue = queue(9, Overflow::Block);
        (0..5).for_each(|number| drop(queue.push(message(number))));
        let mut out = Vec::new();
        assert!(matches!(queue.take_many(&mut out, 3, None), Take::Event(_)));
        assert_eq!(out.len(), 2);
        assert_eq!(texts(&queue), ["3", "4"]);
    }
}
