//! Publications with what is asked for beside them, as they travel by HTTP, and what is told of them.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use ureq::http::Method;

use super::http::{
    Http, JSON, MAX_ANSWER, Request, content_type, missing, refused, segment, unexpected,
};
use super::outgoing::check as check_message;
use crate::hub::{BatchMessage, PublishOptions, Published, Report, Reports};
use crate::tally::Counts;
use crate::wire::{MessageKind, Position, percent};
use crate::{Error, ErrorKind, Result};

/// Most of an answer to a batch that is read: a million messages, of which each failed with a text.
const MAX_BATCH_ANSWER: u64 = 256 << 20;

/// A message as the protocol page has it.
#[derive(Serialize)]
struct Message<'a> {
    channel: &'a str,
    message: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    conflate: Option<&'a str>,
}

#[derive(Deserialize)]
struct Told {
    epoch: u64,
    offset: u64,
    #[serde(default)]
    subscribers: u64,
    #[serde(default)]
    duplicate: bool,
    #[serde(flatten)]
    counts: Option<Counts>,
}

#[derive(Deserialize)]
struct Refusal {
    status: u16,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum One {
    Failed { error: Refusal },
    Told(Told),
}

#[derive(Deserialize)]
struct Results {
    results: Vec<One>,
}

impl From<Told> for Report {
    fn from(told: Told) -> Self {
        let position = Position { epoch: told.epoch, offset: told.offset };
        let published =
            Published { position, subscribers: told.subscribers, duplicate: told.duplicate };
        Self { published, counts: told.counts }
    }
}

impl Http {
    /// Broadcasts a message with what else is asked for, and tells what became of it. Whoever does not
    /// know whether a message arrived sends it again under the same key, and it is published once,
    /// for as long as the channel's `idempotency_ms`. With counts the answer comes when the server
    /// knows them. Errors besides those of [`super::send_message`]: `Conflict` for a key of another
    /// message, `InvalidArgument` for a key or a `conflate` that is empty or over 255 bytes.
    pub fn send_with(
        &self,
        channel: &str,
        kind: MessageKind,
        data: &[u8],
        options: &PublishOptions<'_>,
    ) -> Result<Report> {
        self.about("send to", channel, || {
            check_message(channel, kind, data)?;
            options.check()?;
            let path = format!("/channel/send/{}{}", segment(channel)?, query(options));
            let request = Request {
                content_type: content_type(kind),
                body: data,
                ..self.request(Method::POST, &path)
            };
            let body = self.fetch(&request, MAX_ANSWER, missing)?;
            report(&body).ok_or_else(|| unexpected("what became of the message"))
        })
    }

    /// Broadcasts many messages in one request, which travels once, and tells in their order what
    /// became of each. Those to one channel stand in it one behind the other, with nothing of others
    /// in between; one that fails keeps no other back. Over HTTP a key is UTF-8.
    ///
    /// Errors: `TooLarge` for more than the server's `max_batch_messages` or `max_batch_bytes`, of
    /// which nothing is published, and those of [`super::send_message`]. Of a message, in its place:
    /// `ChannelNotFound`, `Conflict`, `TooLarge`, `InvalidName`, `InvalidUtf8`, `InvalidArgument`,
    /// `Refused`.
    pub fn send_batch(&self, batch: &[BatchMessage<'_>]) -> Result<Reports> {
        let checked: Vec<_> = batch.iter().map(check).collect();
        let good = || batch.iter().zip(&checked).filter(|(_, checked)| checked.is_ok());
        let counts = good().any(|(message, _)| message.options.counts);
        let mut told = match good().next() {
            Some(_) => self.send_json(&json(good().map(|(message, _)| message)), counts)?,
            None => Vec::new(),
        }
        .into_iter();
        let cannot = |at: &str| unexpected(&format!("what became of a message to '{at}'"));
        let report = |(message, checked): (&BatchMessage<'_>, &Result<()>)| {
            let report = match checked {
                Ok(()) => told.next().unwrap_or_else(|| Err(cannot(message.channel))),
                Err(error) => Err(error.clone()),
            };
            let wanted = |report: Report| Report {
                counts: report.counts.filter(|_| message.options.counts),
                ..report
            };
            report.map(wanted).map_err(|error| self.named("send to", message.channel, error))
        };
        Ok(batch.iter().zip(&checked).map(report).collect())
    }

    /// Broadcasts a batch that is JSON already: an array of messages, or one behind the other, as the
    /// protocol page has them. Errors as of [`Http::send_batch`]; `Refused` for what the server cannot
    /// read. Those of messages name neither channel nor host.
    pub fn send_json(&self, batch: &[u8], counts: bool) -> Result<Reports> {
        let path = if counts { "/channels/publish?result=1" } else { "/channels/publish" };
        let request =
            Request { content_type: &JSON, body: batch, ..self.request(Method::POST, path) };
        let read = || {
            let body = self.fetch(&request, MAX_BATCH_ANSWER, |_, _| None)?;
            reports(&body).ok_or_else(|| unexpected("what became of the messages"))
        };
        read()
            .map_err(|error| error.context(format_args!("cannot send a batch to {}", self.host())))
    }
}

/// The query of one publication, with its question mark if there is anything to ask.
fn query(options: &PublishOptions<'_>) -> String {
    let mut query = String::new();
    let mut add = |name: &str, value: &str| {
        query.push(if query.is_empty() { '?' } else { '&' });
        query.push_str(name);
        query.push('=');
        query.push_str(value);
    };
    if let Some(key) = options.key {
        add("key", &percent::encode_bytes(key));
    }
    if let Some(conflate) = options.conflate {
        add("conflate", &percent::encode(conflate));
    }
    if options.counts {
        add("result", "1");
    }
    query
}

/// Whether a message can travel in a batch.
fn check(message: &BatchMessage<'_>) -> Result<()> {
    check_message(message.channel, message.kind, message.payload)?;
    message.options.check()?;
    match message.options.key.map(std::str::from_utf8) {
        Some(Err(_)) => {
            let text = "in a batch that travels by HTTP a key is UTF-8, and this one is not";
            Err(Error::new(ErrorKind::InvalidUtf8, text))
        }
        _ => Ok(()),
    }
}

/// A batch of messages that can travel.
fn json<'a>(batch: impl Iterator<Item = &'a BatchMessage<'a>>) -> Vec<u8> {
    let messages: Vec<_> = batch
        .map(|one| {
            let (message, encoding) = match (one.kind, std::str::from_utf8(one.payload)) {
                (MessageKind::Text, Ok(text)) => (Cow::Borrowed(text), None),
                _ => (Cow::Owned(STANDARD.encode(one.payload)), Some("base64")),
            };
            let key = one.options.key.and_then(|key| std::str::from_utf8(key).ok());
            Message { channel: one.channel, message, encoding, key, conflate: one.options.conflate }
        })
        .collect();
    // Strings alone: nothing of it can fail.
    serde_json::to_vec(&messages).unwrap_or_default()
}

/// What a server tells of one publication; `None` when it does not.
fn report(body: &[u8]) -> Option<Report> {
    serde_json::from_slice::<Told>(body).ok().map(Report::from)
}

/// What it tells of a batch.
fn reports(body: &[u8]) -> Option<Reports> {
    let answer: Results = serde_json::from_slice(body).ok()?;
    let one = |one| match one {
        One::Told(told) => Ok(told.into()),
        One::Failed { error: Refusal { status, message } } => {
            let kind = match status {
                404 => ErrorKind::ChannelNotFound,
                status => refused(status),
            };
            Err(Error::new(kind, format!("the server answered {status}: {message}")))
        }
    };
    Some(answer.results.into_iter().map(one).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_has_what_is_asked_for() {
        let none = PublishOptions::default();
        assert_eq!(query(&none), "");
        let all = PublishOptions { key: Some(b"a&\xff"), conflate: Some("=b"), counts: true };
        assert_eq!(query(&all), "?key=a%26%FF&conflate=%3Db&result=1");
        assert_eq!(query(&PublishOptions { counts: true, ..none }), "?result=1");
    }

    #[test]
    fn a_batch_is_what_the_server_reads() {
        let options = PublishOptions { key: Some(b"k"), ..PublishOptions::default() };
        let text = BatchMessage { channel: "c", kind: MessageKind::Text, payload: b"\"", options };
        let bytes = BatchMessage {
            kind: MessageKind::Binary,
            payload: b"\xff",
            options: PublishOptions { conflate: Some("l"), ..PublishOptions::default() },
            ..text
        };
        let json = json([text, bytes].iter());
        assert_eq!(
            String::from_utf8(json).unwrap(),
            r#"[{"channel":"c","message":"\"","key":"k"},{"channel":"c","message":"/w==","encoding":"base64","conflate":"l"}]"#
        );
    }

    #[test]
    fn results_are_read_as_they_are_told() {
        let body = br#"{"failed":1,"results":[{"epoch":7,"offset":3,"subscribers":2,"reached":1,"queued":0,"dropped":1},
            {"error":{"status":409,"message":"because"}},{"epoch":7,"offset":3,"subscribers":2,"duplicate":true}]}"#;
        let reports = reports(body).unwrap();
        let first = reports[0].as_ref().unwrap();
        let position = Position { epoch: 7, offset: 3 };
        assert_eq!(first.published, Published { position, subscribers: 2, duplicate: false });
        assert_eq!(first.counts, Some(Counts { reached: 1, queued: 0, dropped: 1 }));
        let error = reports[1].as_ref().unwrap_err();
        assert_eq!(
            (error.kind(), error.text()),
            (ErrorKind::Conflict, "the server answered 409: because")
        );
        let last = reports[2].as_ref().unwrap();
        assert!(last.published.duplicate && last.counts.is_none());
        assert!(report(b"{}").is_none() && super::reports(b"[]").is_none());
    }
}
