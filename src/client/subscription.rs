//! The program's end of a subscription.

use std::fmt;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::handle::{Shared, forked};
use super::inbox::Inbox;
use super::queue::{Queue, Take};
use super::role;
use super::{Event, Subscription};
use crate::{Error, ErrorKind, Result, fork};

/// What all clones of a [`Subscription`] own together; the last one closes it.
pub(super) struct Owner {
    generation: u64,
    /// `None` only while it is dropped.
    parts: Option<Parts>,
    channel: Arc<str>,
}

struct Parts {
    inbox: Arc<Inbox>,
    shared: Arc<Shared>,
    /// The connection's task was told.
    left: AtomicBool,
}

impl Drop for Owner {
    fn drop(&mut self) {
        let parts = self.parts.take();
        if self.generation != fork::generation() {
            std::mem::forget(parts);
        } else if let Some(parts) = parts {
            parts.close();
        }
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.channel, f)
    }
}

impl Parts {
    fn close(&self) {
        self.inbox.close();
        if !self.left.swap(true, Ordering::AcqRel) {
            self.shared.leave(&self.inbox);
        }
    }
}

impl Subscription {
    pub(super) fn new(inbox: Arc<Inbox>, shared: Arc<Shared>) -> Self {
        let channel = inbox.channel().clone();
        let parts = Some(Parts { inbox, shared, left: AtomicBool::new(false) });
        Self { owner: Arc::new(Owner { generation: fork::generation(), parts, channel }) }
    }

    pub(super) fn name(&self) -> &str {
        &self.owner.channel
    }

    fn parts(&self) -> Result<&Parts> {
        match &self.owner.parts {
            Some(parts) if self.owner.generation == fork::generation() => Ok(parts),
            _ => Err(forked()),
        }
    }

    fn queue(&self) -> Result<&Queue> {
        self.parts()?.inbox.pull().ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidArgument,
                format!("the events of '{}' go to its callback", self.name()),
            )
        })
    }

    pub(super) fn receive(&self, timeout: Duration) -> Result<Event> {
        let queue = self.queue()?;
        let taken = queue.take(Some(self.waiting_time(queue, timeout)?));
        self.event(taken, timeout)
    }

    pub(super) fn receive_many(
        &self,
        out: &mut Vec<Event>,
        max: usize,
        timeout: Duration,
    ) -> Result<()> {
        if max == 0 {
            return Err(Error::new(ErrorKind::InvalidArgument, "max is 0; it takes at least 1"));
        }
        let queue = self.queue()?;
        let mut rest = Vec::new();
        let taken = queue.take_many(&mut rest, max, Some(self.waiting_time(queue, timeout)?));
        out.push(self.event(taken, timeout)?);
        out.append(&mut rest);
        Ok(())
    }

    /// On the I/O thread only what is there already can be taken.
    fn waiting_time(&self, queue: &Queue, timeout: Duration) -> Result<Duration> {
        if timeout.is_zero() || !queue.is_idle() {
            return Ok(timeout);
        }
        role::refuse_on_io("recv").map(|()| timeout)
    }

    fn event(&self, taken: Take, timeout: Duration) -> Result<Event> {
        match taken {
            Take::Event(event) | Take::Last(event) => Ok(event),
            Take::Closed(_) | Take::Over => Err(Error::new(
                ErrorKind::Closed,
                format!("the subscription to '{}' is closed", self.name()),
            )),
            Take::Nothing => Err(Error::new(
                ErrorKind::Timeout,
                format!("nothing on '{}' within {} ms", self.name(), timeout.as_millis()),
            )),
        }
    }

    pub(super) fn descriptor(&self) -> Result<RawFd> {
        Ok(self.queue()?.fd()?)
    }

    pub(super) fn drops(&self) -> u64 {
        self.parts().map_or(0, |parts| parts.inbox.dropped())
    }

    pub(super) fn leave(&self) {
        if let Ok(parts) = self.parts() {
            parts.close();
        }
    }

    pub(super) fn leave_and_wait(&self, timeout: Duration) -> Result<()> {
        let parts = self.parts()?;
        parts.close();
        parts.inbox.wait(Some(timeout))
    }
}
