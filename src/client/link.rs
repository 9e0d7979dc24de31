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
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_tungstenite::tungstenite::error::Error as WsError;
use tokio_tungstenite::tungstenite::protocol::frame::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Message, protocol::WebSocketConfig};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, client_async_tls_with_config};

use super::host::Host;
use super::{ClientOptions, tls};
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
    connect_timeout: Duration,
    ping_interval: Duration,
    pong_wait: Duration,
    max_message: usize,
}

/// Why a connection ended.
#[derive(Debug)]
pub(crate) struct Lost {
    pub(crate) error: Error,
    /// Whether the server may be tried again.
    pub(crate) come_back: bool,
    /// The server says that a message was too large for it.
    pub(crate) too_big: bool,
}

impl Lost {
    fn again(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { error: Error::new(kind, message), come_back: true, too_big: false }
    }
}

impl Target {
    /// Reads the certificate authorities if TLS is spoken: call it on the program's thread.
    pub(crate) fn new(host: Host, options: &ClientOptions) -> Result<Self> {
        let tls = if host.is_secure() { Some(tls::config(&options.ca_file)?) } else { None };
        Ok(Self {
            host,
            tls,
            connect_timeout: options.connect_timeout,
            ping_interval: options.ping_interval,
            pong_wait: options.pong_wait,
            max_message: options.max_message_bytes,
        })
    }

    pub(crate) fn tls(&self) -> Option<Arc<ClientConfig>> {
        self.tls.clone()
    }

    /// Connects and upgrades at `path` within the connect timeout. A refusal of the upgrade is
    /// `ChannelNotFound` (403, 404) or `Refused`.
    pub(crate) async fn dial(&self, path: &str) -> Result<Link> {
        match timeout(self.connect_timeout, self.handshake(path)).await {
            Ok(result) => result,
            Err(_) => Err(Error::new(
                ErrorKind::Timeout,
                format!("no connection within {} ms", self.connect_timeout.as_millis()),
            )),
        }
    }

    async fn handshake(&self, path: &str) -> Result<Link> {
        let refused = |error: io::Error| Error::new(ErrorKind::Connect, error.to_string());
        let tcp =
            TcpStream::connect((self.host.name(), self.host.port())).await.map_err(refused)?;
        tcp.set_nodelay(true).map_err(refused)?;
        let limit = Some(self.max_message.saturating_add(stream::MESSAGE_HEADER));
        let config = WebSocketConfig::default()
            .read_buffer_size(BUFFER)
            .write_buffer_size(BUFFER)
            .max_message_size(limit)
            .max_frame_size(limit);
        let connector = match &self.tls {
            Some(config) => Connector::Rustls(config.clone()),
            None => Connector::Plain,
        };
        let url = format!("{}{path}", self.host.ws());
        let (socket, _) =
            client_async_tls_with_config(url, Socket(tcp), Some(config), Some(connector))
                .await
                .map_err(upgrade_error)?;
        Ok(Link {
            socket,
            unflushed: false,
            heard: false,
            awaiting_pong: false,
            timer: (!self.ping_interval.is_zero()).then(|| Box::pin(sleep(self.ping_interval))),
            ping_interval: self.ping_interval,
            pong_wait: self.pong_wait,
        })
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
    socket: WebSocketStream<MaybeTlsStream<Socket>>,
    unflushed: bool,
    /// Something arrived since the last ping was sent.
    heard: bool,
    awaiting_pong: bool,
    /// When to ping, or, while awaiting a pong, when it is late. `None`: no pings.
    timer: Option<Pin<Box<Sleep>>>,
    ping_interval: Duration,
    pong_wait: Duration,
}

impl Link {
    /// The next message. Control frames and the keep-alive are handled on the way.
    pub(crate) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<std::result::Result<(MessageKind, Bytes), Lost>> {
        loop {
            let frame = match self.socket.poll_next_unpin(cx) {
                Poll::Ready(frame) => frame,
                // Only when nothing waits to be read can silence be blamed on the server.
                Poll::Pending => return self.poll_timer(cx).map(Err),
            };
            self.heard = true;
            match frame {
                Some(Ok(Message::Text(text))) => {
                    return Poll::Ready(Ok((MessageKind::Text, text.into())));
                }
                Some(Ok(Message::Binary(bytes))) => {
                    return Poll::Ready(Ok((MessageKind::Binary, bytes)));
                }
                // tungstenite queues the pong itself; it leaves with the next flush.
                Some(Ok(Message::Ping(_))) => self.unflushed = true,
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

    /// Ready when the timer says that the server is gone.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<Lost> {
        loop {
            let Some(timer) = &mut self.timer else { return Poll::Pending };
            ready!(timer.as_mut().poll(cx));
            let wait = if self.awaiting_pong {
                if !self.heard {
                    let wait = self.pong_wait.as_millis();
                    let text = format!("the server did not answer a ping within {wait} ms");
                    return Poll::Ready(Lost::again(ErrorKind::Timeout, text));
                }
                self.awaiting_pong = false;
                self.ping_interval
            } else {
                self.heard = false;
                self.awaiting_pong = true;
                self.pong_wait
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
        self.unflushed = true;
        self.socket.start_send_unpin(Message::Binary(packet)).map_err(|error| lost_by(&error))
    }

    /// Writes what was added; one system call when the socket takes it all, none when there is
    /// nothing.
    pub(crate) fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<std::result::Result<(), Lost>> {
        if !self.unflushed {
            return Poll::Ready(Ok(()));
        }
        let flushed = ready!(self.socket.poll_flush_unpin(cx));
        self.unflushed = false;
        Poll::Ready(flushed.map_err(|error| lost_by(&error)))
    }

    /// Says goodbye and ends the connection; takes a quarter of a second at most. The socket is
    /// shut down explicitly, because a child of `fork()` may hold a copy of it.
    pub(crate) async fn close(mut self) {
        let _ = timeout(GOODBYE, async {
            let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
            if self.socket.send(Message::Close(Some(frame))).await.is_ok() {
                // Unread data would turn the goodbye into a reset.
                while let Some(Ok(_)) = self.socket.next().await {}
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
        return Lost::again(ErrorKind::Connect, "the server closed the connection");
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
        too_big: code == close::TOO_BIG,
    }
}

fn lost_by(error: &WsError) -> Lost {
    match error {
        WsError::Io(error) => Lost::again(ErrorKind::Connect, error.to_string()),
        WsError::ConnectionClosed | WsError::AlreadyClosed => {
            Lost::again(ErrorKind::Connect, "the connection ended")
        }
        WsError::Capacity(error) => Lost::again(ErrorKind::TooLarge, error.to_string()),
        other => Lost::again(ErrorKind::Protocol, other.to_string()),
    }
}

/// A TCP stream without vectored writes: those raise SIGPIPE in a program that does not ignore it,
/// while a plain write goes out with `MSG_NOSIGNAL`.
#[derive(Debug)]
pub(crate) struct Socket(TcpStream);

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
