//! HTTP calls to one host, on the caller's thread, over kept-alive connections.
//!
//! What is promised about sending twice: a request is sent again, once more on another connection,
//! only if the kernel took not one byte of it (a kept connection that turns out to be closed). A
//! request that left and got no answer fails with `Connect` or `Timeout`, and then it may or may
//! not have been carried out.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use ureq::{Agent, Timeout};

use super::host::Host;
use super::transport::{Connect, LateResolver, take_unsent};
use crate::wire::{MessageKind, Position, name, percent};
use crate::{Error, ErrorKind, Result};

/// Longest encoded message that travels in a path.
const MAX_PATH_MESSAGE: usize = 4096;
/// Most of an answer that is read.
const MAX_ANSWER: u64 = 64 * 1024;
/// Connections that are kept for the next call: as many threads can call at once without opening.
const KEPT: usize = 16;
/// How long an unused connection is kept.
const KEPT_FOR: Duration = Duration::from_secs(90);

/// The calls to one host. Thread-safe; every call blocks.
pub(crate) struct Http {
    agent: Agent,
    host: Host,
    base: String,
}

/// What a server answers.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Answer {
    message: String,
    epoch: u64,
    offset: u64,
}

/// What is asked for; it words the errors.
#[derive(Debug, Clone, Copy)]
enum Ask<'a> {
    Create,
    Delete,
    Send(MessageKind, &'a [u8]),
}

impl Ask<'_> {
    fn verb(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Delete => "delete",
            Self::Send(..) => "send to",
        }
    }
}

impl Http {
    /// Opens nothing yet. `tls` is needed when the host is secure.
    pub(crate) fn new(
        host: Host,
        tls: Option<Arc<ClientConfig>>,
        connect_timeout: Duration,
        request_timeout: Duration,
    ) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .max_redirects(0)
            .user_agent(concat!("qyun/", env!("CARGO_PKG_VERSION")))
            .accept("application/json")
            .input_buffer_size(16 * 1024)
            .output_buffer_size(16 * 1024)
            .max_response_header_size(16 * 1024)
            .max_idle_connections(KEPT)
            .max_idle_connections_per_host(KEPT)
            .max_idle_age(KEPT_FOR)
            .timeout_connect(Some(connect_timeout))
            .timeout_send_request(Some(request_timeout))
            .timeout_send_body(Some(request_timeout))
            .timeout_recv_response(Some(request_timeout))
            .timeout_recv_body(Some(request_timeout))
            .build();
        let base = host.http();
        let connect = Connect { host: host.clone(), tls };
        Self { agent: Agent::with_parts(config, connect, LateResolver), host, base }
    }

    pub(crate) fn host(&self) -> &Host {
        &self.host
    }

    /// Creates a channel.
    pub(crate) fn create(&self, channel: &str) -> Result<()> {
        self.call(channel, Ask::Create).map(drop)
    }

    /// Deletes a channel.
    pub(crate) fn delete(&self, channel: &str) -> Result<()> {
        self.call(channel, Ask::Delete).map(drop)
    }

    /// Broadcasts a message: a short text in the path, anything else as a body. The position is
    /// zeros when the server does not tell it.
    pub(crate) fn send(&self, channel: &str, kind: MessageKind, data: &[u8]) -> Result<Position> {
        let answer = self.call(channel, Ask::Send(kind, data))?;
        Ok(Position { epoch: answer.epoch, offset: answer.offset })
    }

    /// Closes every connection, also under calls that wait on them; further calls fail.
    pub(crate) fn close(&self) {
        self.agent.clone().shutdown();
    }

    fn call(&self, channel: &str, ask: Ask<'_>) -> Result<Answer> {
        self.try_call(channel, ask).map_err(|error| {
            let shown = channel.escape_debug();
            error.context(format_args!("cannot {} channel '{shown}' on {}", ask.verb(), self.host))
        })
    }

    fn try_call(&self, channel: &str, ask: Ask<'_>) -> Result<Answer> {
        let channel = segment(channel)?;
        let mut tries = 0;
        let (status, body) = loop {
            take_unsent();
            tries += 1;
            match self.exchange(&channel, ask) {
                Ok(answer) => break answer,
                // At most every kept connection is found dead once; then a new one is made.
                Err(_) if take_unsent() && tries <= KEPT => {}
                Err(error) => return Err(failure(&error)),
            }
        };
        let answer: Answer = serde_json::from_slice(&body).unwrap_or_default();
        match status {
            200..300 => Ok(answer),
            _ => Err(refusal(status, &answer.message, &body, ask)),
        }
    }

    fn exchange(
        &self,
        channel: &str,
        ask: Ask<'_>,
    ) -> std::result::Result<(u16, Vec<u8>), ureq::Error> {
        let base = &self.base;
        let mut response = match ask {
            Ask::Create => self.agent.get(format!("{base}/channel/create/{channel}")).call(),
            Ask::Delete => self.agent.delete(format!("{base}/channel/{channel}")).call(),
            Ask::Send(kind, data) => match path_message(kind, data) {
                Some(message) => {
                    self.agent.get(format!("{base}/channel/send/{channel}/{message}")).call()
                }
                None => {
                    let content_type = match kind {
                        MessageKind::Text => "text/plain; charset=utf-8",
                        MessageKind::Binary => "application/octet-stream",
                    };
                    let url = format!("{base}/channel/send/{channel}");
                    self.agent.post(url).header("content-type", content_type).send(data)
                }
            },
        }?;
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(MAX_ANSWER).read_to_vec()?;
        Ok((status, body))
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Http({})", self.host)
    }
}

/// The path segment of a channel, if it can travel in a path.
pub(crate) fn segment(channel: &str) -> Result<String> {
    name::validate(channel)?;
    match channel {
        "." | ".." => Err(Error::new(
            ErrorKind::InvalidName,
            "the names '.' and '..' cannot travel in a URL, where they mean a folder; use the \
             subscriptions and publications of a client handle",
        )),
        _ => Ok(percent::encode(channel)),
    }
}

/// The path segment of a message, if it can travel in a path: short text that URL parsers do not
/// resolve away.
fn path_message(kind: MessageKind, data: &[u8]) -> Option<String> {
    if kind == MessageKind::Binary || data.len() > MAX_PATH_MESSAGE {
        return None;
    }
    let text = std::str::from_utf8(data).ok().filter(|text| !matches!(*text, "" | "." | ".."))?;
    Some(percent::encode(text)).filter(|encoded| encoded.len() <= MAX_PATH_MESSAGE)
}

fn refusal(status: u16, message: &str, body: &[u8], ask: Ask<'_>) -> Error {
    let kind = match (status, ask) {
        (400, Ask::Create) if message == "Channel already exists" => ErrorKind::ChannelExists,
        (404, Ask::Send(..) | Ask::Delete) => ErrorKind::ChannelNotFound,
        (413 | 414, _) => ErrorKind::TooLarge,
        _ => ErrorKind::Refused,
    };
    let text = match message {
        "" => String::from_utf8_lossy(body).chars().take(200).collect(),
        message => message.to_owned(),
    };
    Error::new(kind, format!("the server answered {status}: {}", text.trim()))
}

fn failure(error: &ureq::Error) -> Error {
    let maybe = "; whether the request was carried out is unknown";
    match error {
        ureq::Error::Timeout(Timeout::Connect | Timeout::Resolve) => {
            Error::new(ErrorKind::Timeout, "no connection in time")
        }
        ureq::Error::Timeout(_) => {
            Error::new(ErrorKind::Timeout, format!("no answer in time{maybe}"))
        }
        ureq::Error::Io(cause) if cause.kind() == std::io::ErrorKind::UnexpectedEof => {
            Error::new(ErrorKind::Connect, format!("closed before the answer{maybe}"))
        }
        ureq::Error::Io(cause) => Error::new(ErrorKind::Connect, cause.to_string()),
        ureq::Error::HostNotFound => Error::new(ErrorKind::Connect, "the host is not known"),
        ureq::Error::Rustls(_) | ureq::Error::Tls(_) | ureq::Error::ConnectionFailed => {
            Error::new(ErrorKind::Connect, error.to_string())
        }
        other => Error::new(ErrorKind::Protocol, format!("the answer is not HTTP: {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_short_text_that_no_url_parser_resolves_travels_in_a_path() {
        let path = |text: &str| path_message(MessageKind::Text, text.as_bytes());
        assert_eq!(path("a/b ?").as_deref(), Some("a%2Fb%20%3F"));
        assert_eq!(path("...").as_deref(), Some("..."));
        assert!(
            [".", "..", "", &"x".repeat(4097), &"/".repeat(1366)]
                .iter()
                .all(|text| path(text).is_none())
        );
        assert!(path(&"x".repeat(4096)).is_some());
        assert!(path(&"/".repeat(1365)).is_some());
        assert_eq!(path_message(MessageKind::Binary, b"x"), None);
        assert_eq!(path_message(MessageKind::Text, b"\xff"), None);
    }

    #[test]
    fn names_that_a_path_cannot_carry_are_refused() {
        for bad in [".", "..", "", "a\n"] {
            assert_eq!(segment(bad).unwrap_err().kind(), ErrorKind::InvalidName);
        }
        assert_eq!(segment("..a").unwrap(), "..a");
    }
}
