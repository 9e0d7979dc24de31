//! What a socket's program and its task share, and the calls on it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::header::{
    HeaderName, HeaderValue, SEC_WEBSOCKET_PROTOCOL, USER_AGENT,
};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::{Sink, SocketCounters, SocketOptions, SocketState};
use crate::client::link::Target;
use crate::client::role;
use crate::client::runtime::{self, Closable, Runtime};
use crate::client::state::lock;
use crate::client::url::Url;
use crate::client::wake::Wake;
use crate::wire::{MessageKind, close};
use crate::{Error, ErrorKind, Result};

/// Longest reason of a Close, and payload of a ping less two.
const MAX_REASON: usize = 123;

/// See the module's documentation.
pub(crate) struct Shared {
    /// The URL, as errors name it.
    name: Box<str>,
    url: Url,
    pub(crate) target: Target,
    pub(crate) options: SocketOptions,
    pub(crate) runtime: Arc<Runtime>,
    /// Wakes the task.
    pub(crate) wake: Arc<Wake>,
    closing: AtomicBool,
    /// Set once, before anybody else has the socket.
    sink: OnceLock<Arc<dyn Sink>>,
    inner: Mutex<Inner>,
    /// The state has changed.
    changed: Condvar,
    pub(crate) tally: Tally,
}

/// One lock, because whether a message is taken depends on the state, and what waits is lost with
/// the connection that it was taken for.
struct Inner {
    state: SocketState,
    /// Goes up with each end that the program asked for. What the task does belongs to one era.
    era: u64,
    /// How the last era is to be ended.
    goodbye: Goodbye,
    last_error: Option<Error>,
    /// The number of the connection that there is, or was last.
    link: u64,
    queue: VecDeque<Message>,
    queued_bytes: usize,
}

/// The Close that ends an era.
#[derive(Debug, Clone)]
pub(crate) struct Goodbye {
    pub(crate) code: u16,
    pub(crate) reason: Arc<str>,
}

/// The counters as they are counted.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) messages_in: AtomicU64,
    pub(crate) messages_out: AtomicU64,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    pub(crate) dropped: Arc<AtomicU64>,
    pub(crate) unsent: AtomicU64,
    pub(crate) reconnects: AtomicU64,
}

impl Closable for Shared {
    fn close(&self) {
        Self::close(self);
    }
}

impl Shared {
    /// Reads the certificate authorities if TLS is spoken: call it on the program's thread.
    pub(crate) fn new(url: &str, options: SocketOptions) -> Result<Arc<Self>> {
        let url = Url::parse(url)?;
        let target = Target::with(url.host.clone(), &options.ca_file, options.limits())?;
        request(&url, &options)?;
        let shared = Arc::new(Self {
            name: url.to_string().into(),
            url,
            target,
            options,
            runtime: runtime::current()?,
            wake: Arc::default(),
            closing: AtomicBool::new(false),
            sink: OnceLock::new(),
            inner: Mutex::new(Inner {
                state: SocketState::Disconnected,
                era: 0,
                goodbye: Goodbye { code: close::NORMAL, reason: "".into() },
                last_error: None,
                link: 0,
                queue: VecDeque::new(),
                queued_bytes: 0,
            }),
            changed: Condvar::new(),
            tally: Tally::default(),
        });
        let closable: Arc<dyn Closable> = shared.clone();
        shared.runtime.register(Arc::downgrade(&closable));
        Ok(shared)
    }

    pub(super) fn set_sink(&self, sink: Arc<dyn Sink>) {
        let set = self.sink.set(sink);
        debug_assert!(set.is_ok(), "a socket has one task");
    }

    pub(crate) fn url(&self) -> &str {
        &self.name
    }

    /// A fresh upgrade request.
    pub(super) fn request(&self) -> Result<Request> {
        request(&self.url, &self.options)
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    pub(crate) fn close(&self) {
        if self.closing.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut inner = lock(&self.inner);
        inner.state = SocketState::Closed;
        inner.era += 1;
        inner.goodbye = Goodbye { code: close::NORMAL, reason: "".into() };
        drop(inner);
        self.changed.notify_all();
        if let Some(sink) = self.sink.get() {
            sink.close();
        }
        self.wake.wake();
    }

    fn closed(&self) -> Error {
        Error::new(ErrorKind::Closed, format!("the socket to {} is closed", self.name))
    }

    pub(crate) fn connect(&self, timeout: Duration) -> Result<()> {
        let mut inner = lock(&self.inner);
        if matches!(inner.state, SocketState::Disconnected | SocketState::Connecting)
            && !timeout.is_zero()
        {
            role::refuse_on_io("connect")?;
        }
        if inner.state == SocketState::Disconnected {
            inner.state = SocketState::Connecting;
            inner.last_error = None;
            drop(inner);
            self.wake.wake();
            inner = lock(&self.inner);
        }
        if timeout.is_zero() && inner.state != SocketState::Closed {
            return Ok(());
        }
        let (inner, _) = self
            .changed
            .wait_timeout_while(inner, timeout, |inner| inner.state == SocketState::Connecting)
            .unwrap_or_else(PoisonError::into_inner);
        let why = inner.last_error.as_ref();
        match inner.state {
            SocketState::Connected => Ok(()),
            SocketState::Closed => Err(self.closed()),
            SocketState::Disconnected => Err(match why {
                Some(error) => {
                    error.clone().context(format_args!("cannot connect to {}", self.name))
                }
                None => {
                    let text = format!("{} was disconnected while it connected", self.name);
                    Error::new(ErrorKind::Connect, text)
                }
            }),
            SocketState::Connecting => {
                let why = why.map(|error| format!("; {error}")).unwrap_or_default();
                let limit = timeout.as_millis();
                let text = format!("not connected to {} within {limit} ms{why}", self.name);
                Err(Error::new(ErrorKind::Timeout, text))
            }
        }
    }

    pub(crate) fn disconnect(&self, code: u16, reason: &str) -> Result<()> {
        if code != close::NORMAL && !(3000..=4999).contains(&code) {
            let text = format!("a close code cannot be {code}: it takes 1000 or 3000 to 4999");
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        if reason.len() > MAX_REASON {
            let text = format!("a reason has {} bytes, at most {MAX_REASON} fit", reason.len());
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        let mut inner = lock(&self.inner);
        match inner.state {
            SocketState::Closed => return Err(self.closed()),
            SocketState::Disconnected => return Ok(()),
            SocketState::Connecting | SocketState::Connected => {}
        }
        inner.state = SocketState::Disconnected;
        inner.era += 1;
        inner.goodbye = Goodbye { code, reason: reason.into() };
        inner.last_error = None;
        drop(inner);
        self.changed.notify_all();
        self.wake.wake();
        Ok(())
    }

    pub(crate) fn state(&self) -> SocketState {
        lock(&self.inner).state
    }

    pub(crate) fn last_error(&self) -> Option<Error> {
        let error = lock(&self.inner).last_error.clone();
        error.map(|error| error.context(format_args!("socket to {}", self.name)))
    }

    pub(crate) fn counters(&self) -> SocketCounters {
        let tally = &self.tally;
        SocketCounters {
            messages_in: tally.messages_in.load(Ordering::Relaxed),
            messages_out: tally.messages_out.load(Ordering::Relaxed),
            bytes_in: tally.bytes_in.load(Ordering::Relaxed),
            bytes_out: tally.bytes_out.load(Ordering::Relaxed),
            dropped: tally.dropped.load(Ordering::Relaxed),
            unsent: tally.unsent.load(Ordering::Relaxed),
            reconnects: tally.reconnects.load(Ordering::Relaxed),
            queued: lock(&self.inner).queue.len() as u64,
        }
    }

    pub(crate) fn send(&self, kind: MessageKind, data: &[u8]) -> Result<()> {
        self.queue(match kind {
            MessageKind::Binary => Message::Binary(data.to_vec().into()),
            MessageKind::Text => Message::Text(text(data)?),
        })
    }

    pub(crate) fn send_json(&self, json: &[u8]) -> Result<()> {
        let message = text(json)?;
        match serde_json::from_str::<serde::de::IgnoredAny>(&message) {
            Ok(_) => self.queue(Message::Text(message)),
            Err(error) => Err(Error::new(ErrorKind::InvalidArgument, format!("no JSON: {error}"))),
        }
    }

    pub(crate) fn ping(&self, payload: &[u8]) -> Result<()> {
        if payload.len() > MAX_REASON + 2 {
            let text = format!("a ping has {} bytes, at most 125 fit", payload.len());
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        self.queue(Message::Ping(payload.to_vec().into()))
    }

    /// Queues a message for the connection that there is now.
    pub(crate) fn queue(&self, message: Message) -> Result<()> {
        self.queue_on(None, message)
    }

    /// Queues a message, for the connection with this number and no other.
    pub(crate) fn queue_on(&self, link: Option<u64>, message: Message) -> Result<()> {
        let mut inner = lock(&self.inner);
        if link.is_some_and(|link| link != inner.link) {
            let text = format!("that connection to {} is over", self.name);
            return Err(Error::new(ErrorKind::Closed, text));
        }
        match inner.state {
            SocketState::Connected => {}
            SocketState::Closed => return Err(self.closed()),
            SocketState::Connecting | SocketState::Disconnected => {
                let why = inner.last_error.as_ref();
                let why = why.map(|error| format!("; {error}")).unwrap_or_default();
                let text = format!("not connected to {}{why}", self.name);
                return Err(Error::new(ErrorKind::Connect, text));
            }
        }
        let (waiting, bytes) = (inner.queue.len(), inner.queued_bytes);
        let over = bytes.saturating_add(message.len()) > self.options.send_queue_bytes;
        if waiting >= self.options.send_queue_messages || (over && waiting > 0) {
            let text = format!("{waiting} messages of {bytes} bytes wait to be written");
            return Err(Error::new(ErrorKind::QueueFull, text));
        }
        inner.queued_bytes = bytes + message.len();
        inner.queue.push_back(message);
        drop(inner);
        // With something in the queue already, the task is writing or waits for room to write.
        if waiting == 0 {
            self.wake.wake();
        }
        Ok(())
    }

    /// The next message to write.
    pub(super) fn next(&self) -> Option<Message> {
        let mut inner = lock(&self.inner);
        let message = inner.queue.pop_front()?;
        inner.queued_bytes -= message.len();
        Some(message)
    }

    /// What is queued, taken away from a connection that is to be ended.
    pub(super) fn take_queue(&self) -> VecDeque<Message> {
        let mut inner = lock(&self.inner);
        inner.queued_bytes = 0;
        std::mem::take(&mut inner.queue)
    }

    /// The era in which to connect; `None` while nobody wants to.
    pub(super) fn wanted(&self) -> Option<u64> {
        let inner = lock(&self.inner);
        (inner.state == SocketState::Connecting).then_some(inner.era)
    }

    /// Whether the program has ended `era`.
    pub(super) fn is_over(&self, era: u64) -> bool {
        lock(&self.inner).era != era
    }

    pub(super) fn goodbye(&self) -> Goodbye {
        lock(&self.inner).goodbye.clone()
    }

    /// A connection is there; false if the era is over.
    pub(super) fn set_connected(&self, era: u64, link: u64) -> bool {
        let mut inner = lock(&self.inner);
        if inner.era != era {
            return false;
        }
        inner.state = SocketState::Connected;
        inner.link = link;
        drop(inner);
        self.changed.notify_all();
        true
    }

    /// Sets the state, with the newest failure, unless `era` is over. What waits
    /// to be written is lost. False if the era is over.
    pub(super) fn set_state(&self, era: u64, state: SocketState, error: &Error) -> bool {
        let mut inner = lock(&self.inner);
        if inner.era != era {
            return false;
        }
        inner.state = state;
        inner.last_error = Some(error.clone());
        let lost = std::mem::take(&mut inner.queue);
        inner.queued_bytes = 0;
        drop(inner);
        self.changed.notify_all();
        self.unsent(&lost);
        true
    }

    /// Counts messages that will never be written.
    pub(super) fn unsent(&self, lost: &VecDeque<Message>) {
        let lost = lost.iter().filter(|message| !message.is_ping()).count();
        self.tally.unsent.fetch_add(lost as u64, Ordering::Relaxed);
    }
}

/// A text as it is sent.
fn text(data: &[u8]) -> Result<Utf8Bytes> {
    std::str::from_utf8(data).map(Utf8Bytes::from).map_err(|error| {
        let at = error.valid_up_to();
        let text = format!("a text must be UTF-8 and is not at byte {at}; send it as binary");
        Error::new(ErrorKind::InvalidUtf8, text)
    })
}

/// The upgrade request, with a key of its own.
fn request(url: &Url, options: &SocketOptions) -> Result<Request> {
    let refuse = |why: String| Error::new(ErrorKind::InvalidUrl, format!("URL '{url}' {why}"));
    let mut request = url
        .to_string()
        .into_client_request()
        .map_err(|error| refuse(format!("cannot be asked for: {error}")))?;
    let headers = request.headers_mut();
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    for (name, value) in &options.headers {
        let parsed =
            (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value.as_bytes()));
        let (Ok(name), Ok(value)) = parsed else {
            let text = format!("option 'header' cannot be '{}: {}'", name, value.escape_debug());
            return Err(Error::new(ErrorKind::InvalidOption, text));
        };
        // These are one each; what the program says goes.
        if matches!(name.as_str(), "host" | "user-agent" | "origin") {
            headers.insert(name, value);
        } else {
            headers.append(name, value);
        }
    }
    if !options.protocols.is_empty() {
        let list = HeaderValue::from_bytes(options.protocols.join(", ").as_bytes())
            .map_err(|error| refuse(format!("cannot be asked for: {error}")))?;
        headers.insert(SEC_WEBSOCKET_PROTOCOL, list);
    }
    Ok(request)
}

const AGENT: &str = concat!("qyun/", env!("CARGO_PKG_VERSION"));
