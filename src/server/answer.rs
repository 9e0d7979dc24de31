//! HTTP answers: of the operations, JSON of always the same shape; besides, the page's files and
//! the metrics.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::{Value, json};

use super::history;
use super::query::Query;
use super::service::Report;
use super::{Service, metrics, page};
use crate::hub::{Channel, Extract, Start};
use crate::wire::Position;
use crate::wire::events::MEDIA_TYPE;
use crate::wire::http::{Head, Refusal, reason};
use crate::wire::percent;
use crate::wire::websocket::Agreement;
use crate::{Error, ErrorKind, Result};

/// One answer: a status and a body.
#[derive(Debug)]
pub(super) struct Answer {
    status: u16,
    media_type: &'static str,
    /// More header fields, each with its CR LF.
    fields: &'static str,
    body: Cow<'static, str>,
}

const JSON: &str = "application/json";

const BROADCASTED: &str = r#"{"status":"success","message":"Message broadcasted"}"#;

/// When to come back (RFC 6585 section 4, RFC 9110 section 15.6.4), in seconds.
const RETRY: &str = "retry-after: 1\r\n";

/// What a 426 must tell (RFC 9110 section 15.5.22, RFC 6455 section 4.2.2).
const UPGRADE: &str = "upgrade: websocket\r\nsec-websocket-version: 13\r\n";

impl Answer {
    /// Success with more members behind the message.
    pub(super) fn success(message: &str, more: Value) -> Self {
        Self::json(200, "success", message, more)
    }

    /// Success that nobody on the way may keep.
    pub(super) fn fresh(message: &str, more: Value) -> Self {
        Self { fields: "cache-control: no-store\r\n", ..Self::success(message, more) }
    }

    pub(super) fn broadcasted() -> Self {
        Self { status: 200, media_type: JSON, fields: "", body: BROADCASTED.into() }
    }

    /// A part of a channel's history.
    pub(super) fn history(extract: &Extract) -> Self {
        let count = extract.publications.len();
        let message = format!("{count} publications");
        let mut body = Self::json(200, "success", &message, Value::Null).body.into_owned();
        body.pop();
        body.push(',');
        body.push_str(&history::members(extract));
        body.push('}');
        Self {
            status: 200,
            media_type: JSON,
            fields: "cache-control: no-store\r\n",
            body: body.into(),
        }
    }

    /// The answer to a publication.
    pub(super) fn published(report: Result<Report>) -> Self {
        match report {
            Ok(report) => {
                let start = r#"{"status":"success","message":"Message broadcasted","#;
                Self::of_json(200, format!("{start}{}}}", report.members()))
            }
            Err(error) => Self::error(&error),
        }
    }

    /// The answer to an operation that failed.
    pub(super) fn error(error: &Error) -> Self {
        Self::failure(status(error.kind()), &error.to_string())
    }

    /// The answer to a WebSocket upgrade that was refused: no channel is 403.
    pub(super) fn upgrade_error(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::ChannelNotFound => Self::failure(403, &error.to_string()),
            _ => Self::error(error),
        }
    }

    /// The answer to what is not an acceptable request.
    pub(super) fn refusal(refusal: Refusal) -> Self {
        Self::failure(refusal.status, refusal.message)
    }

    pub(super) fn failure(status: u16, message: &str) -> Self {
        Self::json(status, "error", message, Value::Null)
    }

    /// The answer to a method that the path does not have.
    pub(super) fn method_not_allowed(allow: &'static str) -> Self {
        Self { fields: allow, ..Self::failure(405, "Method not allowed") }
    }

    /// The answer to a request without the token that it needs (RFC 6750 section 3).
    pub(super) fn unauthorized() -> Self {
        let text = "This needs the admin token: 'Authorization: Bearer TOKEN'";
        let fields = "www-authenticate: Bearer realm=\"qyun\"\r\n";
        Self { fields, ..Self::failure(401, text) }
    }

    /// A file of the page.
    pub(super) fn file(file: &page::File) -> Self {
        Self {
            status: 200,
            media_type: file.media_type,
            fields: page::SECURITY,
            body: file.text.into(),
        }
    }

    /// What `/metrics` tells.
    pub(super) fn metrics(text: String) -> Self {
        let fields = "cache-control: no-store\r\n";
        Self { status: 200, media_type: metrics::MEDIA_TYPE, fields, body: text.into() }
    }

    /// The answer to a plain request for what is a WebSocket.
    pub(super) fn upgrade_required() -> Self {
        Self::failure(426, "This is a WebSocket: connect to it with ws://")
    }

    fn json(status: u16, outcome: &str, message: &str, more: Value) -> Self {
        // Written by hand up to the message, because the order of the members is a contract.
        let mut body = format!(r#"{{"status":"{outcome}","message":{}"#, json!(message));
        if let Value::Object(members) = more {
            for (key, value) in members {
                body.push_str(&format!(",{}:{value}", json!(key)));
            }
        }
        body.push('}');
        Self { status, media_type: JSON, fields: fields_of(status), body: body.into() }
    }

    /// JSON that is written already.
    pub(super) fn of_json(status: u16, body: String) -> Self {
        Self { status, media_type: JSON, fields: fields_of(status), body: body.into() }
    }

    /// The status and the JSON of an answer that has nothing else.
    pub(super) fn into_json(self) -> (u16, String) {
        debug_assert!(self.media_type == JSON && self.fields == fields_of(self.status));
        (self.status, self.body.into_owned())
    }

    pub(super) fn is_error(&self) -> bool {
        self.status >= 400
    }

    /// Appends the answer.
    pub(super) fn write(
        &self,
        out: &mut Vec<u8>,
        dates: &Dates,
        keep_alive: bool,
        head_only: bool,
    ) {
        let Self { status, media_type, fields, body } = self;
        // Who sends Upgrade lists it in Connection (RFC 9110 section 7.8).
        let connection = match (keep_alive, *status) {
            (true, 426) => "connection: upgrade\r\n",
            (false, 426) => "connection: upgrade, close\r\n",
            (true, _) => "",
            (false, _) => "connection: close\r\n",
        };
        let head = format!(
            "HTTP/1.1 {status} {}\r\ndate: {}\r\ncontent-type: {media_type}\r\n\
             content-length: {}\r\n{connection}{fields}\r\n",
            reason(*status),
            dates.text,
            body.len(),
        );
        out.extend_from_slice(head.as_bytes());
        if !head_only {
            out.extend_from_slice(body.as_bytes());
        }
    }
}

/// The header fields that go with a status whatever the answer says.
fn fields_of(status: u16) -> &'static str {
    match status {
        426 => UPGRADE,
        429 | 503 => RETRY,
        _ => "",
    }
}

/// The HTTP status that says the same as an error.
pub(super) fn status(kind: ErrorKind) -> u16 {
    match kind {
        ErrorKind::ChannelNotFound | ErrorKind::NotFound => 404,
        ErrorKind::TooLarge => 413,
        ErrorKind::Conflict => 409,
        ErrorKind::QueueFull => 507,
        ErrorKind::Timeout => 503,
        ErrorKind::Io => 500,
        _ => 400,
    }
}

/// What a WebSocket upgrade leads to; names are still percent-encoded.
#[derive(Debug)]
pub(super) enum Target<'a> {
    Listen(&'a str, Wishes),
    Send(&'a str),
    Stream,
}

/// How a listener wants to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Wishes {
    /// Behind this position.
    pub since: Option<Position>,
    /// With positions.
    pub metas: bool,
}

impl Wishes {
    /// What a request's query asks for; `Last-Event-ID` counts where there is no `since`.
    pub(super) fn of(head: &Head<'_>) -> std::result::Result<Self, Answer> {
        // One that is none of ours cannot be recovered, and its sender is to be told so.
        let last = head.last_event_id.filter(|id| !id.is_empty());
        let last = last.map(|id| id.parse().unwrap_or_default());
        if head.query.is_empty() {
            return Ok(Self { since: last, metas: false });
        }
        let query = Query(head.query);
        let since = query.parsed("since", "a position, EPOCH-OFFSET")?;
        let metas = match query.parsed::<u8>("meta", "0 or 1")? {
            None | Some(0) => false,
            Some(1) => true,
            Some(_) => return Err(query.refuse("meta", "0 or 1")),
        };
        Ok(Self { since: since.or(last), metas })
    }
}

impl Target<'_> {
    /// The channel, where the target has one.
    pub(super) fn find(&self, service: &Service) -> Result<Option<Arc<Channel>>> {
        match self {
            Self::Listen(name, _) | Self::Send(name) => {
                service.find(&percent::decode(name)?).map(Some)
            }
            Self::Stream => Ok(None),
        }
    }
}

/// The answer to a WebSocket upgrade. The first sub-protocol offered is echoed, because some
/// clients fail when none is. A listener that asked for positions is told its `start`.
pub(super) fn switching_protocols(
    accept: &str,
    protocol: Option<&str>,
    deflate: Option<Agreement>,
    start: Option<&Start>,
) -> Vec<u8> {
    let mut out = format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
         sec-websocket-accept: {accept}\r\n"
    );
    if let Some(protocol) = protocol {
        out.push_str(&format!("sec-websocket-protocol: {protocol}\r\n"));
    }
    if let Some(Start { position, recovered }) = start {
        out.push_str(&format!("qyun-position: {position}\r\n"));
        if let Some(recovered) = recovered {
            out.push_str(&format!("qyun-recovered: {recovered}\r\n"));
        }
    }
    if let Some(agreement) = deflate {
        out.push_str(&format!("sec-websocket-extensions: {}\r\n", agreement.answer()));
    }
    out.push_str("\r\n");
    out.into_bytes()
}

/// The date of answers (RFC 9110 section 6.6.1) and the hot answer, made anew once a second.
#[derive(Debug)]
pub(super) struct Dates {
    second: u64,
    text: String,
    broadcasted: Vec<u8>,
}

impl Default for Dates {
    fn default() -> Self {
        let mut dates = Self { second: 0, text: String::new(), broadcasted: Vec::new() };
        dates.refresh();
        dates
    }
}

impl Dates {
    /// Follows the clock; gives the time until the next second, in ms. Costs one reading of it.
    pub(super) fn refresh(&mut self) -> u64 {
        let now = SystemTime::now();
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        if since.as_secs() != self.second {
            self.second = since.as_secs();
            self.text = httpdate::fmt_http_date(now);
            let mut broadcasted = Vec::new();
            Answer::broadcasted().write(&mut broadcasted, self, true, false);
            self.broadcasted = broadcasted;
        }
        1000 - u64::from(since.subsec_millis())
    }

    /// The head of an answer that is server-sent events.
    pub(super) fn events_head(&self) -> Vec<u8> {
        format!(
            "HTTP/1.1 200 OK\r\ndate: {}\r\ncontent-type: {MEDIA_TYPE}\r\n\
             cache-control: no-store\r\nconnection: close\r\n\r\n",
            self.text
        )
        .into_bytes()
    }

    /// The whole answer to a message that was sent.
    pub(super) fn broadcasted(&self) -> &[u8] {
        &self.broadcasted
    }
}
