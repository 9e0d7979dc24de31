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
use serde::de::DeserializeOwned;
use ureq::http::{HeaderValue, Method};
use ureq::{Agent, Timeout};

use super::host::Host;
use super::transport::{Connect, LateResolver, take_unsent};
use super::{ClientOptions, History, Presence, history, tls};
use crate::hub::{ChannelConfig, ChannelInfo, Range, Slow};
use crate::wire::{MessageKind, Position, name, percent};
use crate::{Error, ErrorKind, Result};

/// Longest encoded message that travels in a path.
const MAX_PATH_MESSAGE: usize = 4096;
/// Most of an answer that is read: a page of channels with the longest names, all escaped.
pub(super) const MAX_ANSWER: u64 = 2 << 20;
/// Most of a page of a history that is read: 4 MiB of messages or one that is larger, all escaped.
const MAX_HISTORY: u64 = 256 << 20;
/// Channels that are asked for at a time.
const PAGE: usize = 1000;
/// Connections that are kept for the next call: as many threads can call at once without opening.
const KEPT: usize = 16;
/// How long an unused connection is kept.
const KEPT_FOR: Duration = Duration::from_secs(90);

/// HTTP calls to one server, over connections that are kept for the next call. Each runs on the
/// caller's thread, takes at most the connect and request timeouts, and may be made by any number
/// of threads at once. Errors name the host, and the channel where there is one.
pub struct Http {
    agent: Agent,
    host: Host,
    base: String,
}

/// What a server answers.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct Answer {
    message: String,
    epoch: u64,
    offset: u64,
}

/// One request. Every field has a value, also where it is not sent.
pub(super) struct Request<'a> {
    pub(super) method: Method,
    pub(super) url: String,
    /// Of a POST.
    pub(super) content_type: &'static HeaderValue,
    /// Of a POST.
    pub(super) body: &'a [u8],
    /// What the admin API asks for, or nothing.
    pub(super) token: &'a str,
}

static TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
pub(super) static JSON: HeaderValue = HeaderValue::from_static("application/json");
static BINARY: HeaderValue = HeaderValue::from_static("application/octet-stream");

impl Http {
    /// The calls to `host` (as for [`super::Client::open`]), with the timeouts and the `ca_file` of
    /// `options`. Opens nothing yet. Errors: `InvalidUrl`, and those of reading certificates.
    pub fn new(host: &str, options: &ClientOptions) -> Result<Self> {
        let host = Host::parse(host)?;
        let tls = if host.is_secure() { Some(tls::config(&options.ca_file)?) } else { None };
        Ok(Self::with(host, tls, options.connect_timeout, options.request_timeout))
    }

    /// Opens nothing yet. `tls` is needed when the host is secure.
    pub(crate) fn with(
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

    /// The server.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Creates a channel. Errors as for [`super::create_channel`].
    pub fn create(&self, channel: &str) -> Result<()> {
        self.about("create", channel, || {
            let path = format!("/channel/create/{}", segment(channel)?);
            self.call(&self.request(Method::GET, &path), exists).map(|_: Answer| ())
        })
    }

    /// Creates a channel with options, those at their defaults too, in place of its namespace's. It
    /// takes the admin API; `token` is what that asks for, or empty. Errors as for
    /// [`super::create_channel`]; `Refused` for a wrong token, and where the API may not be used from.
    pub fn create_with(&self, channel: &str, config: &ChannelConfig, token: &str) -> Result<()> {
        self.about("create", channel, || {
            let path = format!("/api/v1/channels/{}", segment(channel)?);
            let options = serde_json::Value::from(config.json()).to_string();
            let request = Request {
                content_type: &JSON,
                body: options.as_bytes(),
                token,
                ..self.request(Method::POST, &path)
            };
            self.call(&request, exists).map(|_: Answer| ())
        })
    }

    /// Deletes a channel: its listeners get what was published before, and are then closed.
    /// `ChannelNotFound`, and the errors of [`super::create_channel`].
    pub fn delete(&self, channel: &str) -> Result<()> {
        self.about("delete", channel, || {
            let path = format!("/channel/{}", segment(channel)?);
            self.call(&self.request(Method::DELETE, &path), missing).map(|_: Answer| ())
        })
    }

    /// Broadcasts a message: a short text in the path, anything else as a body. The position is
    /// zeros when the server does not tell it. Errors as for [`super::send_message`].
    pub fn send(&self, channel: &str, kind: MessageKind, data: &[u8]) -> Result<Position> {
        self.about("send to", channel, || {
            let segment = segment(channel)?;
            let request = match path_message(kind, data) {
                Some(message) => {
                    self.request(Method::GET, &format!("/channel/send/{segment}/{message}"))
                }
                None => Request {
                    content_type: content_type(kind),
                    body: data,
                    ..self.request(Method::POST, &format!("/channel/send/{segment}"))
                },
            };
            let answer: Answer = self.call(&request, missing)?;
            Ok(Position { epoch: answer.epoch, offset: answer.offset })
        })
    }

    /// A page of a channel's history: the publications of `range`, at most its `limit` (1 to 1,000),
    /// and about 4 MiB of them. `ChannelNotFound`, `Refused` for a limit that the server does not
    /// take, and the errors of [`super::create_channel`].
    pub fn history(&self, channel: &str, range: &Range) -> Result<History> {
        self.about("read the history of", channel, || {
            let query = history::query(range);
            let path = format!("/channel/history/{}{query}", segment(channel)?);
            let body = self.fetch(&self.request(Method::GET, &path), MAX_HISTORY, missing)?;
            History::read(body).ok_or_else(|| unexpected("a page of a history"))
        })
    }

    /// Who is in a channel with the option `presence`: at most `limit` (1 to 1,000) of those whose
    /// ids sort behind `after`. `ChannelNotFound`, also for a channel without the option, `Refused`
    /// for a limit that the server does not take, and the errors of [`super::create_channel`].
    pub fn presence(&self, channel: &str, after: Option<&str>, limit: usize) -> Result<Presence> {
        self.about("tell who is in", channel, || {
            let after = after.map(|id| format!("&after={}", percent::encode(id)));
            let after = after.unwrap_or_default();
            let path = format!("/channel/presence/{}?limit={limit}{after}", segment(channel)?);
            let body = self.fetch(&self.request(Method::GET, &path), MAX_ANSWER, missing)?;
            Presence::read(&body).ok_or_else(|| unexpected("who is in a channel"))
        })
    }

    /// What is known of a channel. `ChannelNotFound`, and the errors of [`super::create_channel`].
    pub fn channel(&self, channel: &str) -> Result<ChannelInfo> {
        #[derive(Default, serde::Deserialize)]
        struct Found {
            channel: Option<ChannelInfo>,
        }
        self.about("look up", channel, || {
            let path = format!("/channel/info/{}", segment(channel)?);
            let found: Found = self.call(&self.request(Method::GET, &path), missing)?;
            found.channel.ok_or_else(|| unexpected("a channel"))
        })
    }

    /// All channels, by name, a page at a time: channels that come or go meanwhile may or may not
    /// be among them.
    pub fn channels(&self) -> Result<Vec<ChannelInfo>> {
        #[derive(Default, serde::Deserialize)]
        struct Page {
            channels: Option<Vec<ChannelInfo>>,
        }
        let page = |after: Option<&str>| {
            let after = after.map(|name| format!("&after={}", percent::encode(name)));
            let path = format!("/channels?limit={PAGE}{}", after.unwrap_or_default());
            let page: Page = self.call(&self.request(Method::GET, &path), |_, _| None)?;
            page.channels.ok_or_else(|| unexpected("a list of channels"))
        };
        let mut all: Vec<ChannelInfo> = Vec::new();
        loop {
            let more = page(all.last().map(|last| last.name.as_str())).map_err(|error| {
                error.context(format_args!("cannot list channels on {}", self.host))
            })?;
            let is_last = more.len() < PAGE;
            // A page that does not go on from the last one would never end.
            let goes_on = match (all.last(), more.first()) {
                (Some(last), Some(first)) => first.name > last.name,
                _ => true,
            };
            if goes_on {
                all.extend(more);
            }
            if is_last || !goes_on {
                return Ok(all);
            }
        }
    }

    /// The connections of the server that are slowest by `rank` (`queued`, `messages`, `age` or
    /// `dropped`), at most `limit` of them (1 to 1,000), the slowest first; `token` is the admin API's,
    /// or empty. Errors: those of every call; `InvalidArgument` for what the server does not take.
    pub fn top(&self, rank: &str, limit: u64, token: &str) -> Result<Vec<Slow>> {
        #[derive(serde::Deserialize, Default)]
        struct Top {
            connections: Option<Vec<Slow>>,
        }
        let path = format!("/api/v1/top?by={rank}&limit={limit}");
        let request = Request { token, ..self.request(Method::GET, &path) };
        let top: Top = self.call(&request, |_, _| None)?;
        top.connections.ok_or_else(|| unexpected("connections"))
    }

    /// Closes every connection, also under calls that wait on them; further calls fail.
    pub fn close(&self) {
        self.agent.clone().shutdown();
    }

    pub(super) fn about<T>(
        &self,
        verb: &str,
        channel: &str,
        call: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        call().map_err(|error| self.named(verb, channel, error))
    }

    /// The error with the channel and the host in front.
    pub(super) fn named(&self, verb: &str, channel: &str, error: Error) -> Error {
        let shown = channel.escape_debug();
        error.context(format_args!("cannot {verb} channel '{shown}' on {}", self.host))
    }

    pub(super) fn request(&self, method: Method, path: &str) -> Request<'static> {
        Request {
            method,
            url: format!("{}{path}", self.base),
            content_type: &TEXT,
            body: &[],
            token: "",
        }
    }

    /// The answer; `special` tells the refusals that have a kind of their own.
    fn call<T: DeserializeOwned + Default>(
        &self,
        request: &Request<'_>,
        special: impl FnOnce(u16, &Answer) -> Option<ErrorKind>,
    ) -> Result<T> {
        let body = self.fetch(request, MAX_ANSWER, special)?;
        Ok(serde_json::from_slice(&body).unwrap_or_default())
    }

    /// The answer's body, up to `limit` bytes; `special` as for [`Http::call`].
    pub(super) fn fetch(
        &self,
        request: &Request<'_>,
        limit: u64,
        special: impl FnOnce(u16, &Answer) -> Option<ErrorKind>,
    ) -> Result<Vec<u8>> {
        let mut tries = 0;
        let (status, body) = loop {
            take_unsent();
            tries += 1;
            match self.exchange(request, limit) {
                Ok(answer) => break answer,
                // At most every kept connection is found dead once; then a new one is made.
                Err(_) if take_unsent() && tries <= KEPT => {}
                Err(error) => return Err(failure(&error)),
            }
        };
        if (200..300).contains(&status) {
            return Ok(body);
        }
        let answer: Answer = serde_json::from_slice(&body).unwrap_or_default();
        let kind = special(status, &answer);
        Err(refusal(kind, status, &answer.message, &body))
    }

    fn exchange(
        &self,
        request: &Request<'_>,
        limit: u64,
    ) -> std::result::Result<(u16, Vec<u8>), ureq::Error> {
        let head = ureq::http::Request::builder().method(&request.method).uri(&request.url);
        let head = match request.token {
            "" => head,
            token => head.header("authorization", format!("Bearer {token}")),
        };
        let mut response = match request.method == Method::POST {
            true => {
                let head = head.header("content-type", request.content_type);
                self.agent.run(head.body(request.body)?)
            }
            false => self.agent.run(head.body(())?),
        }?;
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(limit).read_to_vec()?;
        Ok((status, body))
    }
}

/// How a body says what kind of message it is.
pub(super) fn content_type(kind: MessageKind) -> &'static HeaderValue {
    match kind {
        MessageKind::Text => &TEXT,
        MessageKind::Binary => &BINARY,
    }
}

fn exists(status: u16, answer: &Answer) -> Option<ErrorKind> {
    (status == 400 && answer.message == "Channel already exists")
        .then_some(ErrorKind::ChannelExists)
}

pub(super) fn missing(status: u16, _: &Answer) -> Option<ErrorKind> {
    (status == 404).then_some(ErrorKind::ChannelNotFound)
}

pub(super) fn unexpected(what: &str) -> Error {
    Error::new(ErrorKind::Protocol, format!("the server answered 200 without {what}"))
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

/// What a status means that has no meaning of its own where it was told.
pub(super) fn refused(status: u16) -> ErrorKind {
    match status {
        409 => ErrorKind::Conflict,
        413 | 414 => ErrorKind::TooLarge,
        _ => ErrorKind::Refused,
    }
}

fn refusal(kind: Option<ErrorKind>, status: u16, message: &str, body: &[u8]) -> Error {
    let kind = kind.unwrap_or_else(|| refused(status));
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
