//! The task of a client handle: connect, subscribe, publish, deliver, and again after a loss.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::{self, Sleep, sleep, sleep_until};

use super::ClientState;
use super::backoff::Backoff;
use super::handle::Shared;
use super::link::{Link, Lost};
use crate::{Error, ErrorKind};

/// A connection that lasted as long as this was a good one: the back-off begins anew.
const GOOD: Duration = Duration::from_secs(2);

/// Packets handled before other connections get their turn.
const BUDGET: u32 = 256;

/// Whether there was something to do, or why the connection is lost.
type Step = std::result::Result<bool, Lost>;

/// What is said on a handle's connection, and what outlives it.
pub(crate) trait Talk {
    /// A connection is there.
    fn connected(&mut self, again: bool);
    /// The connection is lost.
    fn disconnected(&mut self, lost: &Lost);
    /// An attempt to connect failed.
    fn failed(&mut self, error: &Error);
    /// Takes in subscriptions that came and went; true when the handle is to be closed.
    fn poll_changes(&mut self, cx: &mut Context<'_>) -> bool;
    /// Asks again for what was refused, if it is time.
    fn poll_retry(&mut self, cx: &mut Context<'_>);
    /// The next packet to write.
    fn next_packet(&mut self) -> Option<Bytes>;
    /// Handles a packet that came.
    fn take_packet(&mut self, bytes: &Bytes) -> std::result::Result<(), Lost>;
    /// Offers the events that found their subscription full; true when none is left. The subscription
    /// wakes this task when it has room or is closed.
    fn unstall(&mut self) -> bool;

    /// Writes what the connection takes; true if that was something.
    fn poll_write(&mut self, link: &mut Link, cx: &mut Context<'_>) -> Step {
        let mut wrote = false;
        while let Poll::Ready(ready) = link.poll_ready(cx) {
            ready?;
            let Some(packet) = self.next_packet() else { break };
            link.send(packet)?;
            wrote = true;
        }
        if let Poll::Ready(flushed) = link.poll_flush(cx) {
            flushed?;
        }
        Ok(wrote)
    }

    /// Reads and handles what is there, at most `budget` packets and unless a full subscription blocks;
    /// true if there was any.
    fn poll_read(&mut self, link: &mut Link, cx: &mut Context<'_>, budget: &mut u32) -> Step {
        let mut read = false;
        while *budget > 0 && self.unstall() {
            match link.poll_next(cx) {
                Poll::Pending => break,
                Poll::Ready(Err(lost)) => return Err(lost),
                Poll::Ready(Ok((_, bytes))) => {
                    read = true;
                    *budget -= 1;
                    self.take_packet(&bytes)?;
                }
            }
        }
        Ok(read)
    }

    /// Runs the connection until it is lost, or `None`, the program closes the handle.
    fn poll(&mut self, link: &mut Link, cx: &mut Context<'_>) -> Poll<Option<Lost>> {
        let mut budget = BUDGET;
        loop {
            if self.poll_changes(cx) {
                return Poll::Ready(None);
            }
            self.poll_retry(cx);
            // Writing first: an answer that a callback gave leaves before more is read.
            let progress = self
                .poll_write(link, cx)
                .and_then(|wrote| Ok(self.poll_read(link, cx, &mut budget)? || wrote));
            match progress {
                Err(lost) => return Poll::Ready(Some(lost)),
                Ok(false) => return Poll::Pending,
                Ok(true) if budget == 0 => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Ok(true) => {}
            }
        }
    }
}

/// A time at which something that was refused is asked for again.
#[derive(Default)]
pub(crate) struct Retry(Option<Pin<Box<Sleep>>>);

impl Retry {
    pub(crate) fn at(&mut self, when: Option<time::Instant>) {
        self.0 = when.map(|at| Box::pin(sleep_until(at)));
    }

    /// Whether it has come; once.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        let due = self.0.as_mut().is_some_and(|sleep| sleep.as_mut().poll(cx).is_ready());
        if due {
            self.0 = None;
        }
        due
    }
}

/// Runs until the handle is closed, by the program or for good by the server. The session comes
/// from outside, so that its end is told even when the runtime drops this before its first step.
pub(crate) async fn run(shared: Arc<Shared>, path: &'static str, mut session: impl Talk) {
    let mut backoff = Backoff::new(&shared.options);
    let mut before = false;
    loop {
        let Some(dialled) = while_serving(&mut session, shared.target.dial(path)).await else {
            return;
        };
        let may_retry = match dialled {
            Ok((mut link, _)) => {
                let since = Instant::now();
                session.connected(before);
                before = true;
                let Some(lost) = poll_fn(|cx| session.poll(&mut link, cx)).await else {
                    // The subscriptions' end does not wait for the goodbye.
                    drop(session);
                    return link.close().await;
                };
                link.finish().await;
                if since.elapsed() >= GOOD {
                    backoff.reset();
                }
                backoff.heed(&lost.reason);
                session.disconnected(&lost);
                lost.come_back
            }
            Err(error) => {
                let error = error.context("cannot connect");
                // 403 and 404 name the path here, not a channel.
                let error = match error.kind() {
                    ErrorKind::ChannelNotFound => Error::new(ErrorKind::Refused, error.to_string()),
                    _ => error,
                };
                session.failed(&error);
                true
            }
        };
        let delay = backoff.next().filter(|_| may_retry && shared.options.reconnect);
        let Some(delay) = delay else { return };
        shared.set_state(ClientState::Connecting);
        if while_serving(&mut session, sleep(delay)).await.is_none() {
            return;
        }
    }
}

/// Runs `future` without a connection; subscriptions come and go meanwhile. `None` as soon as the
/// program closes the handle.
async fn while_serving<F: Future>(session: &mut impl Talk, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| match session.poll_changes(cx) {
        true => Poll::Ready(None),
        false => future.as_mut().poll(cx).map(Some),
    })
    .await
}
