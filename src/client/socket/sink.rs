//! Where a socket's events go.

use std::task::Context;

use super::SocketEvent;
use crate::Error;
use crate::client::inbox::Inbox;
use crate::client::queue::Offer;

/// Takes a socket's events. Only the socket's task calls it, on the I/O thread, except
/// [`Sink::close`].
pub(crate) trait Sink: Send + Sync {
    /// A connection is made and will have this number; told before anything can be sent on it.
    fn opening(&self, _link: u64) {}
    /// Takes an event, or gives it back.
    fn offer(&self, event: SocketEvent) -> Verdict;
    /// Takes an event that [`Sink::offer`] gave back, beyond every limit.
    fn force(&self, event: SocketEvent);
    /// Called in every round of the task, to run timers.
    fn poll(&self, _cx: &mut Context<'_>) {}
    /// Whether the program has closed it, or its callback panicked.
    fn has_left(&self) -> bool;
    /// Whether the socket may connect again after a loss.
    fn may_return(&self) -> bool {
        true
    }
    /// Closes on behalf of the program, without waiting; from any thread, and again.
    fn close(&self);
    /// The end; what waits is told first.
    fn end(&self, reason: &str);
}

/// What a sink says to an event.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It has it, or dropped it.
    Taken,
    /// It has no room; the task is woken when it has, and reads nothing until then.
    Full(SocketEvent),
    /// The message breaks the protocol: the connection is closed with this code.
    Refused(u16, Error),
}

impl Sink for Inbox<SocketEvent> {
    fn offer(&self, event: SocketEvent) -> Verdict {
        match Self::offer(self, event) {
            Offer::Taken | Offer::Ended => Verdict::Taken,
            Offer::Full(event) => Verdict::Full(event),
        }
    }

    fn force(&self, event: SocketEvent) {
        Self::force(self, event);
    }

    fn has_left(&self) -> bool {
        self.is_leaving()
    }

    fn close(&self) {
        Self::close(self);
    }

    fn end(&self, reason: &str) {
        Self::end(self, reason);
    }
}
