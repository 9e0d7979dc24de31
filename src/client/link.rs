//! One WebSocket connection: opening it, keeping it alive, closing it politely.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::{Error as WsError, ProtocolError};
use tokio_tungstenite::tungstenite::handshake::client::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::frame::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Message, protocol::WebSocketConfig};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, client_async_with_config};

use super::deflate::{self, Filter};
use super::host::Host;
use super::{ClientOptions, tls};
use crate::wire::websocket::Fault;
use crate::wire::{MessageKind, close, stream};
use crate::{Error, ErrorKind, Result};

/// How long a polite goodbye may take.
const GOODBYE: Duration = Duration::from_millis(250);
const BUFFER: usize = 32 * 1024;

/// Where to connect and how.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) host: Host,
    tls: Option<Arc<ClientConfig>>,
    limits: Limits,
}

/// The times and sizes of a connection; see the options of the same names.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) connect_timeout: Duration,
    pub(crate) ping_interval: Duration,
    pub(crate) pong_wait: Duration,
    /// Zero: no limit of its own; the pong wait ends a connection that takes nothing.
    pub(crate) write_wait: Duration,
    /// Of what the server sends, in bytes.
    pub(crate) max_message: usize,
    /// Whether to offer it.
    pub(crate) compression: bool,
}

/// What arrives on a connection.
#[derive(Debug)]
pub(crate) enum Frame {
    Message(MessageKind, Bytes),
    /// Answered already.
    Ping(Bytes),
    Pong(Bytes),
}

/// Why a connection ended.
#[derive(Debug)]
pub(crate) struct Lost {
    pub(crate) error: Error,
    /// Whether the server may be tried again.
    pub(crate) come_back: bool,
    /// The close code; 1006 when the connection ended without a Close, 1005 when that had none.
    pub(crate) code: u16,
    /// What the server's Close says.
    pub(crate) reason: Box<str>,
}

impl Lost {
    pub(crate) fn again(kind: ErrorKind, message: impl Into<String>) -> Self {
        let error = Error::new(kind, message);
        Self { error, come_back: true, code: close::ABNORMAL, reason: "".into() }
    }

    /// The server broke the protocol and is told so with `code`.
    pub(crate) fn refused(code: u16, error: Error) -> Self {
        let reason = error.to_string().into();
        Self { error, come_back: true, code, reason }
    }

    /// The code to close the connection with, when it ends because of what the server sent.
    pub(crate) fn answer(&self) -> Option<u16> {
        let own = matches!(self.error.kind(), ErrorKind::TooLarge | ErrorKind::Protocol);
        own.then_some(self.code)
    }

    /// The server says that a message was too large for it.
    pub(crate) fn is_too_big(&self) -> bool {
        self.code == close::TOO_BIG && self.answer().is_none()
    }
}

impl Target {
    /// Reads the certificate authorities if TLS is spoken: call it on the program's thread.
    pub(crate) fn new(host: Host, options: &ClientOptions) -> Result<Self> {
        let limits = Limits {
            connect_timeout: options.connect_timeout,
            ping_interval: options.ping_interval,
            pong_wait: options.pong_wait,
            write_wait: Duration::ZERO,
            max_message: options.max_message_bytes.saturating_add(stream::MESSAGE_HEADER),
            compression: options.compression,
        };
        Self::with(host, &options.ca_file, limits)
    }

    /// As [`Target::new`].
    pub(crate) fn with(host: Host, ca_file: &str, limits: Limits) -> Result<Self> {
        let tls = if host.is_secure() { Some(tls::config(ca_file)?) } else { None };
        Ok(Self { host, tls, limits })
    }

    pub(crate) fn tls(&self) -> Option<Arc<ClientConfig>> {
        self.tls.clone()
    }

    /// Connects and upgrades at `path` within the connect timeout; also what the server answered. A
    /// refusal of the upgrade is `ChannelNotFound` (403, 404) or `Refused`.
    pub(crate) async fn dial(&self, path: &str) -> Result<(Link, Response)> {
        let url = format!("{}{path}", self.host.ws());
        self.open(url.into_client_request().map_err(upgrade_error)?).await
    }

    /// Connects and upgrades with `request`, as [`Target::dial`] does.
    pub(crate) async fn open(&self, request: Request) -> Result<(Link, Response)> {
        let limit = self.limits.connect_timeout;
        match timeout(limit, self.handshake(request)).await {
            Ok(result) => result,
            Err(_) => Err(Error::new(
                ErrorKind::Timeout,
                format!("no connection within {} ms", limit.as_millis()),
            )),
        }
    }

    async fn handshake(&self, mut request: Request) -> Result<(Link, Response)> {
        let refused = |error: io::Error| Error::new(ErrorKind::Connect, error.to_string());
        let tcp =
            TcpStream::connect((self.host.name(), self.host.port())).await.map_err(refused)?;
        tcp.set_nodelay(true).map_err(refused)?;
        let limit = Some(self.limits.max_message);
        let config = WebSocketConfig::default()
            .read_buffer_size(BUFFER)
            .write_buffer_size(BUFFER)
            .max_message_size(limit)
            .max_frame_size(limit);
        let stream = Stream { tcp, written: 0 };
        let stream = match &self.tls {
            None => MaybeTlsStream::Plain(stream),
            Some(tls) => {
                let name = ServerName::try_from(self.host.name().to_owned())
                    .map_err(|error| Error::new(ErrorKind::Connect, error.to_string()))?;
                let connecting = TlsConnector::from(tls.clone()).connect(name, stream);
                MaybeTlsStream::Rustls(connecting.await.map_err(refused)?)
            }
        };
        let offers = self.limits.compression;
        if offers {
            request.headers_mut().insert(deflate::FIELD, deflate::offer());
        }
        let stream = Filter::new(stream, offers);
        let (socket, response) =
            client_async_with_config(request, stream, Some(config)).await.map_err(upgrade_error)?;
        let deflates = deflate::agreed(offers, &response)?;
        let interval = self.limits.ping_interval;
        let link = Link {
            socket,
            deflates,
            unflushed: false,
            heard: false,
            awaiting_pong: false,
            timer: (!interval.is_zero()).then(|| Box::pin(sleep(interval))),
            stuck: None,
            limits: self.limits,
        };
        Ok((link, response))
    }
}

fn upgrade_error(error: WsError) -> Error {
    match error {
        WsError::Http(response) => {
            let status = response.status().as_u16();
            let kind = match status {
                403 | 404 => ErrorKind::ChannelNotFound,
                _ => ErrorKind::Refused,
            };
            Error::new(kind, format!("the server answered {status} to the WebSocket upgrade"))
        }
        WsError::Io(error) => Error::new(ErrorKind::Connect, error.to_string()),
        WsError::Tls(error) => Error::new(ErrorKind::Connect, error.to_string()),
        other => Error::new(ErrorKind::Protocol, format!("no WebSocket: {other}")),
    }
}

/// An open connection, used by one task.
pub(crate) struct Link {
    socket: WebSocketStream<Filter<MaybeTlsStream<Stream>>>,
    /// The server agreed on compression.
    deflates: bool,
    unflushed: bool,
    /// Something arrived since the last ping was sent.
    heard: bool,
    awaiting_pong: bool,
    /// When to ping, or, while awaiting a pong, when it is late. `None`: no pings.
    timer: Option<Pin<Box<Sleep>>>,
    /// While bytes wait to be taken: how many were taken before, and when to give up.
    stuck: Option<(u64, Pin<Box<Sleep>>)>,
    limits: Limits,
}

impl Link {
    /// The next message. Control frames and the keep-alive are handled on the way.
    pub(crate) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<std::result::Result<(MessageKind, Bytes), Lost>> {
        loop {
            if let Frame::Message(kind, bytes) = ready!(self.poll_frame(cx))? {
                return Poll::Ready(Ok((kind, bytes)));
            }
        }
    }

    /// The next message, ping or pong. The keep-alive is handled on the way.
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<std::result::Result<Frame, Lost>> {
        loop {
            let frame = match self.socket.poll_next_unpin(cx) {
                Poll::Ready(frame) => frame,
                // Only when nothing waits to be read can silence be blamed on the server.
                Poll::Pending => return self.poll_timer(cx).map(Err),
            };
            self.heard = true;
            match frame {
                Some(Ok(Message::Text(text))) => {
                    return Poll::Ready(self.message(MessageKind::Text, text.into()));
                }
                Some(Ok(Message::Binary(bytes))) => {
                    return Poll::Ready(self.message(MessageKind::Binary, bytes));
                }
                Some(Ok(Message::Ping(payload))) => {
                    // tungstenite queues the pong itself; it leaves with the next flush.
                    self.unflushed = true;
                    return Poll::Ready(Ok(Frame::Ping(payload)));
                }
                Some(Ok(Message::Pong(payload))) => return Poll::Ready(Ok(Frame::Pong(payload))),
                Some(Ok(Message::Close(frame))) => return Poll::Ready(Err(closed_by(frame))),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(lost_by(&error))),
                None => {
                    let lost = Lost::again(ErrorKind::Connect, "the connection ended");
                    return Poll::Ready(Err(lost));
                }
            }
        }
    }

    /// What arrived as a message, as it was before it was compressed, if it was.
    fn message(&mut self, kind: MessageKind, data: Bytes) -> std::result::Result<Frame, Lost> {
        let Some(kind_before) = self.socket.get_mut().next_deflated() else {
            return Ok(Frame::Message(kind, data));
        };
        if !self.deflates {
            let fault = Fault { code: close::PROTOCOL_ERROR, reason: "reserved bit set" };
            return Err(broken_by(fault));
        }
        deflate::inflate(kind_before, &data, self.limits.max_message)
            .map(|data| Frame::Message(kind_before, data))
            .map_err(broken_by)
    }

    /// Ready when the timer says that the server is gone.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<Lost> {
        loop {
            let Some(timer) = &mut self.timer else { return Poll::Pending };
            ready!(timer.as_mut().poll(cx));
            let wait = if self.awaiting_pong {
                if !self.heard {
                    let wait = self.limits.pong_wait.as_millis();
                    let text = format!("the server did not answer a ping within {wait} ms");
                    return Poll::Ready(Lost::again(ErrorKind::Timeout, text));
                }
                self.awaiting_pong = false;
                self.limits.ping_interval
            } else {
                self.heard = false;
                self.awaiting_pong = true;
                self.limits.pong_wait
            };
            timer.as_mut().reset(Instant::now() + wait);
            // A connection that takes no bytes gets no ping, and is given up by the same rule.
            if self.awaiting_pong && self.poll_ready(cx).is_ready() {
                let sent = self.socket.start_send_unpin(Message::Ping(Bytes::new()));
                self.unflushed = true;
                if let Err(error) = sent {
                    return Poll::Ready(lost_by(&error));
                }
                if let Poll::Ready(Err(lost)) = self.poll_flush(cx) {
                    return Poll::Ready(lost);
                }
            }
        }
    }

    /// Ready when [`Link::send`] may be called.
    pub(crate) fn poll_ready(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<std::result::Result<(), Lost>> {
        self.socket.poll_ready_unpin(cx).map_err(|error| lost_by(&error))
    }

    /// Adds a binary message to what is written; [`Link::poll_flush`] pushes it out.
    pub(crate) fn send(&mut self, packet: Bytes) -> std::result::Result<(), Lost> {
        self.send_message(Message::Binary(packet))
    }

    /// Adds a message of any kind to what is written.
    pub(crate) fn send_message(&mut self, message: Message) -> std::result::Result<(), Lost> {
        self.unflushed = true;
        let message = if self.deflates { deflate::deflate(message) } else { message };
        self.socket.start_send_unpin(message).map_err(|error| lost_by(&error))
    }

    /// Writes what was added; one system call when the socket takes it all, none when there is
    /// nothing. An error when the server has taken nothing for as long as the write wait.
    pub(crate) fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<std::result::Result<(), Lost>> {
        if !self.unflushed {
            return Poll::Ready(Ok(()));
        }
        let Poll::Ready(flushed) = self.socket.poll_flush_unpin(cx) else {
            return self.poll_stuck(cx).map(Err);
        };
        self.unflushed = false;
        self.stuck = None;
        Poll::Ready(flushed.map_err(|error| lost_by(&error)))
    }

    /// Ready when what waits to be written has waited too long.
    fn poll_stuck(&mut self, cx: &mut Context<'_>) -> Poll<Lost> {
        let wait = self.limits.write_wait;
        if wait.is_zero() {
            return Poll::Pending;
        }
        let written = match self.socket.get_ref().get_ref() {
            MaybeTlsStream::Plain(stream) => stream.written,
            MaybeTlsStream::Rustls(stream) => stream.get_ref().0.written,
            _ => 0,
        };
        let (before, timer) = self.stuck.get_or_insert_with(|| (written, Box::pin(sleep(wait))));
        if *before != written {
            *before = written;
            timer.as_mut().reset(Instant::now() + wait);
        }
        ready!(timer.as_mut().poll(cx));
        let text = format!("the server took nothing for {} ms", wait.as_millis());
        Poll::Ready(Lost::again(ErrorKind::Timeout, text))
    }

    /// Says goodbye with code 1000; see [`Link::close_with`].
    pub(crate) async fn close(self) {
        self.close_with(close::NORMAL, "").await;
    }

    /// Says goodbye and ends the connection; takes a quarter of a second at most. The socket is
    /// shut down explicitly, because a child of `fork()` may hold a copy of it.
    pub(crate) async fn close_with(mut self, code: u16, reason: &str) {
        let _ = timeout(GOODBYE, async {
            let frame = CloseFrame { code: CloseCode::from(code), reason: reason.into() };
            if self.socket.send(Message::Close(Some(frame))).await.is_ok() {
                // Unread data would turn the goodbye into a reset.
                while let Some(Ok(_)) = self.socket.next().await {}
                // After an error there may be more, which is no WebSocket's any longer.
                let mut scratch = vec![0; 4096];
                let stream = self.socket.get_mut();
                while poll_fn(|cx| {
                    let mut scratch = ReadBuf::new(&mut scratch);
                    let read = ready!(Pin::new(&mut *stream).poll_read(cx, &mut scratch));
                    Poll::Ready(read.is_ok() && !scratch.filled().is_empty())
                })
                .await
                {}
            }
        })
        .await;
        let stream = self.socket.get_mut();
        let _ = timeout(GOODBYE, poll_fn(|cx| Pin::new(&mut *stream).poll_shutdown(cx))).await;
    }

    /// Answers a Close, without waiting for the server.
    pub(crate) async fn finish(mut self) {
        let _ = timeout(GOODBYE, self.socket.flush()).await;
        let stream = self.socket.get_mut();
        let _ = timeout(GOODBYE, poll_fn(|cx| Pin::new(&mut *stream).poll_shutdown(cx))).await;
    }
}

fn closed_by(frame: Option<CloseFrame>) -> Lost {
    let Some(frame) = frame else {
        let lost = Lost::again(ErrorKind::Connect, "the server closed the connection");
        return Lost { code: close::NO_STATUS, ..lost };
    };
    let code = u16::from(frame.code);
    let text = match code {
        close::CHANNEL_DELETED => "channel deleted".to_owned(),
        _ => format!("the server closed the connection with code {code}"),
    };
    let text = match frame.reason.as_str() {
        "" => text,
        reason => format!("{text}: {reason}"),
    };
    Lost {
        error: Error::new(ErrorKind::Connect, text),
        come_back: close::invites_back(code),
        code,
        reason: frame.reason.as_str().into(),
    }
}

/// The server broke the agreement on compression, or a limit by means of it.
fn broken_by(fault: Fault) -> Lost {
    let kind = match fault.code {
        close::TOO_BIG => ErrorKind::TooLarge,
        _ => ErrorKind::Protocol,
    };
    Lost::refused(fault.code, Error::new(kind, fault.reason))
}

fn lost_by(error: &WsError) -> Lost {
    match error {
        WsError::Io(error) => Lost::again(ErrorKind::Connect, error.to_string()),
        WsError::ConnectionClosed
        | WsError::AlreadyClosed
        | WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
            Lost::again(ErrorKind::Connect, "the connection ended")
        }
        WsError::Capacity(error) => {
            Lost::refused(close::TOO_BIG, Error::new(ErrorKind::TooLarge, error.to_string()))
        }
        WsError::Utf8(text) => {
            let text = format!("a text that is not UTF-8: {text}");
            Lost::refused(close::INVALID_DATA, Error::new(ErrorKind::Protocol, text))
        }
        other => {
            let error = Error::new(ErrorKind::Protocol, other.to_string());
            Lost::refused(close::PROTOCOL_ERROR, error)
        }
    }
}

/// A TCP stream without vectored writes: those raise SIGPIPE in a program that does not ignore it,
/// while a plain write goes out with `MSG_NOSIGNAL`.
#[derive(Debug)]
pub(crate) struct Stream {
    tcp: TcpStream,
    /// Bytes that the kernel took.
    written: u64,
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.tcp).poll_write(cx, buf))?;
        self.written += count as u64;
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}
