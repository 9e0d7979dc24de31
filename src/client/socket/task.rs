//! The task of a socket: connect, write, read, and again after a loss.
//!
//! It lives as long as the socket. Between two eras it waits to be wanted.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::client::Response;

use super::shared::{Goodbye, Shared};
use super::sink::{Sink, Verdict};
use super::{SocketEvent, SocketState};
use crate::client::inbox::CLOSED_BY_PROGRAM;
use crate::client::link::{Frame, Link, Lost};
use crate::wire::{close, reconnect};
use crate::{Error, ErrorKind, Result};

/// Messages handled before other connections get their turn.
const BUDGET: u32 = 256;

/// Starts the task. On an error `sink` is told nothing.
pub(crate) fn start(shared: &Arc<Shared>, sink: Arc<dyn Sink>) -> Result<()> {
    shared.set_sink(sink.clone());
    // Made here, so that its end is told even when the runtime drops it before its first step.
    let task = Task { shared: shared.clone(), sink, stalled: None, links: 0 };
    shared.runtime.spawn(task.run())
}

struct Task {
    shared: Arc<Shared>,
    sink: Arc<dyn Sink>,
    /// What the sink has no room for: nothing is read meanwhile.
    stalled: Option<SocketEvent>,
    /// Connections made so far.
    links: u64,
}

/// Why a connection is not used any longer.
enum End {
    /// The program asked for it.
    Left,
    Lost(Lost),
}

impl Task {
    async fn run(mut self) {
        loop {
            let era = poll_fn(|cx| {
                self.shared.wake.poll(cx);
                self.sink.poll(cx);
                match self.shared.wanted() {
                    _ if self.is_ending() => Poll::Ready(None),
                    Some(era) => Poll::Ready(Some(era)),
                    None => Poll::Pending,
                }
            });
            let Some(era) = era.await else { return };
            self.serve(era).await;
        }
    }

    fn is_ending(&self) -> bool {
        if self.sink.has_left() {
            self.shared.close();
        }
        self.shared.is_closing()
    }

    /// One era: until the program ends it, or there is no other attempt.
    async fn serve(&mut self, era: u64) {
        let (mut failed, mut before) = (0_u32, false);
        loop {
            let mut asked = None;
            let shared = self.shared.clone();
            let dialled = self.unless_over(era, async {
                let request = shared.request()?;
                shared.target.open(request).await
            });
            let will_reconnect = match dialled.await {
                None => return,
                Some(Ok((mut link, response))) => {
                    failed = 0;
                    self.links += 1;
                    self.sink.opening(self.links);
                    if !shared.set_connected(era, self.links) {
                        self.leave(link);
                        return;
                    }
                    shared.tally.reconnects.fetch_add(u64::from(before), Ordering::Relaxed);
                    before = true;
                    self.tell(SocketEvent::Connected { protocol: protocol(&response) });
                    match poll_fn(|cx| self.poll(era, &mut link, cx)).await {
                        End::Left => {
                            self.farewell();
                            self.leave(link);
                            return;
                        }
                        End::Lost(lost) => {
                            let answer = lost.answer();
                            asked = reconnect::delay(&lost.reason);
                            let will = self.lost(era, lost);
                            match answer {
                                Some(code) => link.close_with(code, "").await,
                                None => link.finish().await,
                            }
                            will
                        }
                    }
                }
                Some(Err(error)) => {
                    failed = failed.saturating_add(1);
                    self.failed(era, failed, error)
                }
            };
            if !will_reconnect {
                return;
            }
            // What the server's Close asks for counts more.
            let delay = asked.unwrap_or_else(|| shared.options.delay());
            if self.unless_over(era, sleep(delay)).await.is_none() {
                return;
            }
        }
    }

    /// Whether there will be another attempt after `failed` ones failed in a row.
    fn may_retry(&self, failed: u32) -> bool {
        let options = &self.shared.options;
        let left = options.reconnect_attempts == 0 || failed < options.reconnect_attempts;
        options.reconnect && left && self.sink.may_return()
    }

    /// An attempt failed; whether there will be another.
    fn failed(&mut self, era: u64, failed: u32, error: Error) -> bool {
        let error = match error.kind() {
            // 403 and 404 name a path here, not a channel.
            ErrorKind::ChannelNotFound => Error::new(ErrorKind::Refused, error.to_string()),
            _ => error,
        };
        log::info!(target: "qyun::client", "socket to {}: {error}", self.shared.url());
        let will_reconnect = self.may_retry(failed);
        let state = match will_reconnect {
            true => SocketState::Connecting,
            false => SocketState::Disconnected,
        };
        if !self.shared.set_state(era, state, &error) {
            return false;
        }
        self.tell(SocketEvent::Error { error, will_reconnect });
        will_reconnect
    }

    /// The connection was lost; whether there will be another.
    fn lost(&mut self, era: u64, lost: Lost) -> bool {
        log::info!(target: "qyun::client", "socket to {}: {}", self.shared.url(), lost.error);
        let will_reconnect = lost.come_back && self.may_retry(0);
        let state = match will_reconnect {
            true => SocketState::Connecting,
            false => SocketState::Disconnected,
        };
        if !self.shared.set_state(era, state, &lost.error) {
            self.farewell();
            return false;
        }
        let reason = match lost.code {
            close::ABNORMAL => lost.error.to_string().into(),
            _ => lost.reason.into(),
        };
        self.disconnected(SocketEvent::Disconnected { code: lost.code, reason, will_reconnect });
        will_reconnect
    }

    /// Tells the end of a connection that the program asked for.
    fn farewell(&mut self) {
        let Goodbye { code, reason } = self.shared.goodbye();
        self.disconnected(SocketEvent::Disconnected { code, reason, will_reconnect: false });
    }

    fn disconnected(&mut self, event: SocketEvent) {
        if let Some(stalled) = self.stalled.take() {
            self.sink.force(stalled);
        }
        self.tell(event);
    }

    /// Ends a connection on a task of its own: what was queued is written, then a Close.
    fn leave(&self, mut link: Link) {
        let shared = self.shared.clone();
        let Goodbye { code, reason } = shared.goodbye();
        let mut queue = shared.take_queue();
        let goodbye = async move {
            let limit = shared.options.write_wait;
            let written =
                timeout(limit, poll_fn(|cx| write_out(&shared, &mut queue, &mut link, cx)));
            let written = written.await;
            shared.unsent(&queue);
            match written {
                Ok(Ok(())) => link.close_with(code, &reason).await,
                _ => link.finish().await,
            }
        };
        // While the library shuts down, the connection just ends.
        let _ = self.shared.runtime.spawn(goodbye);
    }

    /// Runs the connection.
    fn poll(&mut self, era: u64, link: &mut Link, cx: &mut Context<'_>) -> Poll<End> {
        let mut budget = BUDGET;
        loop {
            self.shared.wake.poll(cx);
            if self.is_ending() || self.shared.is_over(era) {
                return Poll::Ready(End::Left);
            }
            self.sink.poll(cx);
            // Writing first: an answer that a callback gave leaves before more is read.
            let wrote = match self.poll_write(link, cx) {
                Ok(wrote) => wrote,
                Err(lost) => return Poll::Ready(End::Lost(lost)),
            };
            match self.poll_read(link, cx, &mut budget) {
                Err(end) => return Poll::Ready(end),
                Ok(false) if !wrote => return Poll::Pending,
                Ok(_) if budget == 0 => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Ok(_) => {}
            }
        }
    }

    /// Writes what the connection takes; whether anything was written.
    fn poll_write(
        &mut self,
        link: &mut Link,
        cx: &mut Context<'_>,
    ) -> std::result::Result<bool, Lost> {
        let mut wrote = false;
        while let Poll::Ready(ready) = link.poll_ready(cx) {
            ready?;
            let Some(message) = self.shared.next() else { break };
            send(&self.shared, link, message)?;
            wrote = true;
        }
        if let Poll::Ready(flushed) = link.poll_flush(cx) {
            flushed?;
        }
        Ok(wrote)
    }

    /// Reads what is there, unless the sink is full; whether anything was read.
    fn poll_read(
        &mut self,
        link: &mut Link,
        cx: &mut Context<'_>,
        budget: &mut u32,
    ) -> std::result::Result<bool, End> {
        let mut read = false;
        if let Some(stalled) = self.stalled.take() {
            self.offer(stalled)?;
        }
        while *budget > 0 && self.stalled.is_none() {
            let Poll::Ready(frame) = link.poll_frame(cx) else { break };
            read = true;
            *budget -= 1;
            let event = match frame.map_err(End::Lost)? {
                Frame::Message(kind, data) => {
                    let tally = &self.shared.tally;
                    tally.messages_in.fetch_add(1, Ordering::Relaxed);
                    tally.bytes_in.fetch_add(data.len() as u64, Ordering::Relaxed);
                    SocketEvent::Message { kind, data }
                }
                Frame::Ping(payload) => match self.control(payload) {
                    Some(payload) => SocketEvent::Ping(payload),
                    None => continue,
                },
                Frame::Pong(payload) => match self.control(payload) {
                    Some(payload) => SocketEvent::Pong(payload),
                    None => continue,
                },
            };
            self.offer(event)?;
        }
        Ok(read)
    }

    fn control(&self, payload: Bytes) -> Option<Bytes> {
        self.shared.options.control_events.then_some(payload)
    }

    fn offer(&mut self, event: SocketEvent) -> std::result::Result<(), End> {
        match self.sink.offer(event) {
            Verdict::Taken => Ok(()),
            Verdict::Full(event) => {
                self.stalled = Some(event);
                Ok(())
            }
            Verdict::Refused(code, error) => Err(End::Lost(Lost::refused(code, error))),
        }
    }

    /// Tells what is no message: that is never given back.
    fn tell(&self, event: SocketEvent) {
        self.sink.offer(event);
    }

    /// Runs `future`, or gives `None` as soon as the program ends the era.
    async fn unless_over<F: Future>(&self, era: u64, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        poll_fn(|cx| {
            self.shared.wake.poll(cx);
            self.sink.poll(cx);
            match self.is_ending() || self.shared.is_over(era) {
                true => Poll::Ready(None),
                false => future.as_mut().poll(cx).map(Some),
            }
        })
        .await
    }
}

/// The end, also when the runtime drops the task.
impl Drop for Task {
    fn drop(&mut self) {
        let reason = match self.shared.is_closing() {
            true => CLOSED_BY_PROGRAM,
            false => "the library is being shut down",
        };
        if let Some(stalled) = self.stalled.take() {
            self.sink.force(stalled);
        }
        self.sink.end(reason);
        self.shared.close();
        self.shared.unsent(&self.shared.take_queue());
        self.shared.wake.forget();
    }
}

fn send(shared: &Shared, link: &mut Link, message: Message) -> std::result::Result<(), Lost> {
    if matches!(message, Message::Text(_) | Message::Binary(_)) {
        shared.tally.messages_out.fetch_add(1, Ordering::Relaxed);
        shared.tally.bytes_out.fetch_add(message.len() as u64, Ordering::Relaxed);
    }
    link.send_message(message)
}

/// Writes a queue to its end.
fn write_out(
    shared: &Shared,
    queue: &mut std::collections::VecDeque<Message>,
    link: &mut Link,
    cx: &mut Context<'_>,
) -> Poll<std::result::Result<(), Lost>> {
    while !queue.is_empty() {
        if link.poll_ready(cx)?.is_pending() {
            break;
        }
        if let Some(message) = queue.pop_front() {
            send(shared, link, message)?;
        }
    }
    match link.poll_flush(cx)? {
        Poll::Ready(()) if queue.is_empty() => Poll::Ready(Ok(())),
        _ => Poll::Pending,
    }
}

/// The sub-protocol that the server chose.
fn protocol(response: &Response) -> Option<Arc<str>> {
    let chosen = response.headers().get("sec-websocket-protocol")?;
    chosen.to_str().ok().map(Into::into)
}
