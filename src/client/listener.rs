//! `listen_channel`: one WebSocket per listener, one channel's messages as texts that tell their
//! positions, so that a reconnection continues behind the last one.
//!
//! A server that tells no positions sends bare messages, and a reconnection to it begins anew.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::sleep;

use super::backoff::Backoff;
use super::host::Host;
use super::inbox::{CLOSED_BY_PROGRAM, Inbox};
use super::link::{Link, Lost, Target};
use super::meta::{self, Told};
use super::promise::Promise;
use super::queue::Offer;
use super::runtime::{self, Closable, Runtime};
use super::wake::Wake;
use super::{ClientOptions, Delivery, Event, EventKind, http, role};
use crate::wire::{MessageKind, Position, close};
use crate::{Error, ErrorKind, Result};

/// Messages handled before other connections get their turn.
const BUDGET: u32 = 256;
/// A connection that lasted as long as this was a good one: the back-off begins anew.
const GOOD: Duration = Duration::from_secs(2);

/// See [`super::listen_channel`].
pub(crate) fn listen(host: &str, channel: &str, delivery: Delivery) -> Result<()> {
    if matches!(delivery, Delivery::Pull) {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            "a listener needs a callback; to take messages yourself, subscribe with a client handle",
        ));
    }
    role::refuse_on_io("listen_channel")?;
    let host = Host::parse(host)?;
    let path = format!("/channel/listen/{}?meta=1", http::segment(channel)?);
    let mut options = ClientOptions::default();
    // What is around a message, and what JSON makes of it.
    options.max_message_bytes = options.max_message_bytes.saturating_mul(6).saturating_add(1024);
    let target = Target::new(host.clone(), &options)?;
    let runtime = runtime::current()?;
    let wake = Arc::new(Wake::default());
    let dropped = Arc::new(AtomicU64::new(0));
    let (inbox, callback) =
        Inbox::new(channel.into(), delivery, options.bounds(), wake.clone(), dropped);
    let live = Arc::new(Promise::new());
    let listener = Listener {
        target,
        path,
        inbox: inbox.clone(),
        wake,
        live: live.clone(),
        position: None,
        runtime: runtime.clone(),
        backoff: Backoff::new(&options),
        is_live: false,
        reason: String::new(),
    };
    let weak: Arc<dyn Closable> = inbox.clone();
    runtime.register(Arc::downgrade(&weak));
    if let Err(error) = runtime.spawn(listener.run()) {
        inbox.dismiss();
        return Err(error);
    }
    let outcome = live.wait(options.connect_timeout).unwrap_or_else(|| {
        let limit = options.connect_timeout.as_millis();
        Err(Error::new(ErrorKind::Timeout, format!("not live within {limit} ms")))
    });
    match (outcome, callback) {
        (Ok(()), Some(callback)) => inbox.start(callback, &runtime),
        (Ok(()), None) => Ok(()),
        (Err(error), _) => {
            inbox.dismiss();
            Err(error.context(format_args!(
                "cannot listen to channel '{}' on {}",
                channel.escape_debug(),
                host
            )))
        }
    }
}

/// See [`super::stop_listening`].
pub(crate) fn stop(host: &str, channel: &str) -> Result<()> {
    let host = Host::parse(host)?;
    let inboxes = match runtime::existing() {
        Some(runtime) => runtime.take_listeners(&host, channel),
        None => Vec::new(),
    };
    if inboxes.is_empty() {
        let channel = channel.escape_debug();
        return Err(Error::new(
            ErrorKind::NotFound,
            format!("nothing listens to channel '{channel}' on {host}"),
        ));
    }
    for inbox in &inboxes {
        inbox.close();
    }
    for inbox in inboxes {
        match inbox.wait(None) {
            // On the thread of that very callback, or of one that it waits for: it ends later.
            Err(error) if error.kind() == ErrorKind::WouldDeadlock => {}
            result => result?,
        }
    }
    Ok(())
}

/// The task of one listener. Dropped at its end or with the runtime, and then whatever is still
/// open is ended.
struct Listener {
    target: Target,
    path: String,
    inbox: Arc<Inbox>,
    wake: Arc<Wake>,
    live: Arc<Promise<Result<()>>>,
    /// The last message, or where the subscription began; `None` before the first answer, and for
    /// good with a server that tells no positions.
    position: Option<Position>,
    runtime: Arc<Runtime>,
    backoff: Backoff,
    is_live: bool,
    reason: String,
}

impl Listener {
    async fn run(mut self) {
        let (mut link, mut recovered) = match self.dial().await {
            None => return,
            Some(Err(error)) => {
                self.live.give(Err(error));
                return;
            }
            Some(Ok(live)) => live,
        };
        // Before the caller learns that it is live, so that it can stop it at once.
        self.runtime.add_listener(&self.target.host, &self.inbox);
        self.is_live = self.live.give(Ok(()));
        if !self.is_live {
            return link.close().await;
        }
        loop {
            let since = Instant::now();
            self.connected(recovered);
            let Some(lost) = self.pump(&mut link).await else {
                // The goodbye may take a moment: the callback's end does not wait for it.
                drop(self);
                return link.close().await;
            };
            link.finish().await;
            let text = format!("lost the connection to {}: {}", self.name(), lost.error);
            if !lost.come_back {
                self.reason = lost.error.to_string();
                return;
            }
            self.failed(&text);
            if since.elapsed() >= GOOD {
                self.backoff.reset();
            }
            self.backoff.heed(&lost.reason);
            (link, recovered) = match self.reconnect().await {
                Some(live) => live,
                None => return,
            };
        }
    }

    /// Hands frames over until the connection is lost, or `None`, the program closes.
    async fn pump(&mut self, link: &mut Link) -> Option<Lost> {
        poll_fn(|cx| {
            let mut budget = BUDGET;
            loop {
                self.wake.poll(cx);
                if self.inbox.is_leaving() {
                    return Poll::Ready(None);
                }
                match link.poll_next(cx) {
                    Poll::Ready(Ok((kind, data))) => {
                        if let Err(lost) = self.take(kind, data) {
                            return Poll::Ready(Some(lost));
                        }
                    }
                    Poll::Ready(Err(lost)) => return Poll::Ready(Some(lost)),
                    Poll::Pending => {
                        return match link.poll_flush(cx) {
                            Poll::Ready(Err(lost)) => Poll::Ready(Some(lost)),
                            _ => Poll::Pending,
                        };
                    }
                }
                budget -= 1;
                if budget == 0 {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
        })
        .await
    }

    /// Hands a message over, as the server tells it.
    fn take(&mut self, kind: MessageKind, data: Bytes) -> std::result::Result<(), Lost> {
        let (message_kind, data, position) = match &mut self.position {
            None => (kind, data, Position::default()),
            Some(last) => match meta::read(&data) {
                Some(Told::Message(kind, data, position)) => {
                    if position.epoch == last.epoch && position.offset <= last.offset {
                        return Ok(());
                    }
                    *last = position;
                    (kind, data, position)
                }
                Some(Told::Other) => return Ok(()),
                None => {
                    let text = "a text that is no message with its position";
                    let error = Error::new(ErrorKind::Protocol, text);
                    return Err(Lost::refused(close::PROTOCOL_ERROR, error));
                }
            },
        };
        let event = Event {
            kind: EventKind::Message,
            channel: self.inbox.channel().clone(),
            data,
            message_kind,
            position,
            recovered: None,
            attendee: None,
        };
        // A listener's options never block, so that never gives it back.
        if let Offer::Full(event) = self.inbox.offer(event) {
            self.inbox.force(event);
        }
        Ok(())
    }

    /// Connects, behind the last message if there was one; whether nothing was missed since. `None`
    /// when the program closes.
    async fn dial(&mut self) -> Option<Result<(Link, Option<bool>)>> {
        let path = match self.position {
            None => self.path.clone(),
            Some(position) => format!("{}&since={position}", self.path),
        };
        let target = self.target.clone();
        let (link, response) = match self.unless_left(target.dial(&path)).await? {
            Ok(live) => live,
            Err(error) => return Some(Err(error)),
        };
        let (position, recovered) = meta::start(&response).unzip();
        let before = std::mem::replace(&mut self.position, position);
        Some(Ok((link, recovered.flatten().filter(|_| before.is_some()))))
    }

    /// Tries until it is connected again, or `None`, the program closes or the attempts are used up.
    async fn reconnect(&mut self) -> Option<(Link, Option<bool>)> {
        loop {
            let Some(delay) = self.backoff.next() else {
                self.reason = format!("gave up connecting to {}", self.name());
                return None;
            };
            self.unless_left(sleep(delay)).await?;
            match self.dial().await? {
                Ok(live) => return Some(live),
                Err(error) => {
                    self.failed(&format!("cannot listen to {}: {error}", self.name()));
                }
            }
        }
    }

    /// Runs `future`, or gives `None` as soon as the program closes.
    async fn unless_left<F: Future>(&self, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        poll_fn(|cx| {
            self.wake.poll(cx);
            match self.inbox.is_leaving() {
                true => Poll::Ready(None),
                false => future.as_mut().poll(cx).map(Some),
            }
        })
        .await
    }

    fn failed(&self, text: &str) {
        log::info!(target: "qyun::client", "{text}");
        self.inbox.offer(self.inbox.notice(EventKind::Error, text, Position::default()));
    }

    fn connected(&self, recovered: Option<bool>) {
        self.inbox.offer(self.inbox.connected(self.position.unwrap_or_default(), recovered));
    }

    fn name(&self) -> String {
        format!("channel '{}' on {}", self.inbox.channel().escape_debug(), self.target.host)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if self.is_live {
            let reason = if self.reason.is_empty() { CLOSED_BY_PROGRAM } else { &self.reason };
            self.inbox.end(reason);
        } else {
            self.live.give(Err(Error::new(ErrorKind::Closed, "the library is being shut down")));
        }
        self.wake.forget();
    }
}
