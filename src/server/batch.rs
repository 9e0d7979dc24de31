//! Batches as JSON: an array of messages, or one message behind the other.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::answer::{Answer, status};
use super::service::{BatchMessage, PublishOptions, Reports, Service};
use crate::wire::MessageKind;
use crate::wire::session::{self, Encoding, Publish};
use crate::{Error, ErrorKind, Result};

/// The messages of a batch with their payloads.
pub(super) struct Batch<'a>(Vec<(Publish<'a>, Cow<'a, [u8]>)>);

impl<'a> Batch<'a> {
    /// Reads a body: a JSON array, or JSON objects one behind the other, as NDJSON has them. Errors:
    /// `InvalidArgument`, of which nothing is published; `TooLarge` for more than `most` messages.
    pub(super) fn read(body: &'a [u8], most: usize) -> Result<Self> {
        let invalid = |error: &dyn std::fmt::Display| {
            Error::new(ErrorKind::InvalidArgument, format!("The batch cannot be read: {error}"))
        };
        let text = std::str::from_utf8(body).map_err(|error| invalid(&error))?;
        let messages: Vec<Publish<'a>> = match text.trim_start().starts_with('[') {
            true => serde_json::from_str(text).map_err(|error| invalid(&error))?,
            false => serde_json::Deserializer::from_str(text)
                .into_iter()
                .take(most.saturating_add(1))
                .collect::<std::result::Result<_, _>>()
                .map_err(|error| invalid(&error))?,
        };
        Self::of(messages, most)
    }

    /// A batch of these messages. Errors as of [`Batch::read`].
    pub(super) fn of(messages: Vec<Publish<'a>>, most: usize) -> Result<Self> {
        if messages.len() > most {
            let text = format!("A batch has at most {most} messages, and there are more");
            return Err(Error::new(ErrorKind::TooLarge, text));
        }
        let read = |(at, message): (usize, Publish<'a>)| {
            let payload = match message.encoding {
                Encoding::Text => match &message.message.0 {
                    Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                    Cow::Owned(text) => Cow::Owned(text.clone().into_bytes()),
                },
                Encoding::Base64 => {
                    let bytes = STANDARD.decode(message.message.as_bytes()).map_err(|error| {
                        let text = format!("'message' {at} of the batch is not base64: {error}");
                        Error::new(ErrorKind::InvalidArgument, text)
                    })?;
                    Cow::Owned(bytes)
                }
            };
            Ok((message, payload))
        };
        messages.into_iter().enumerate().map(read).collect::<Result<_>>().map(Self)
    }

    /// Its messages as the service takes them.
    pub(super) fn messages(&self, counts: bool) -> Vec<BatchMessage<'_>> {
        self.0.iter().map(|(message, payload)| message_of(message, payload, counts)).collect()
    }
}

fn message_of<'a>(message: &'a Publish<'_>, payload: &'a [u8], counts: bool) -> BatchMessage<'a> {
    BatchMessage {
        channel: &message.channel,
        kind: match message.encoding {
            Encoding::Text => MessageKind::Text,
            Encoding::Base64 => MessageKind::Binary,
        },
        payload,
        options: PublishOptions {
            key: message.key.as_ref().map(|key| key.as_bytes()),
            conflate: message.conflate.as_deref(),
            counts,
        },
    }
}

/// The JSON members of what became of a batch; `describe` writes an error's object.
fn members(reports: &Reports, describe: impl Fn(&Error) -> String) -> (usize, String) {
    let failed = reports.iter().filter(|report| report.is_err()).count();
    let mut out = format!(r#""failed":{failed},"results":["#);
    for (at, report) in reports.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let text = match report {
            Ok(report) => format!("{comma}{{{}}}", report.members()),
            Err(error) => format!(r#"{comma}{{"error":{}}}"#, describe(error)),
        };
        out.push_str(&text);
    }
    out.push(']');
    (failed, out)
}

/// What HTTP tells of a batch.
pub(super) fn answer(reports: &Reports) -> Answer {
    let (failed, members) = members(reports, |error| {
        let text = session::quoted(&error.to_string());
        format!(r#"{{"status":{},"message":{text}}}"#, status(error.kind()))
    });
    let (all, done) = (reports.len(), reports.len() - failed);
    let text = format!("{done} of {all} messages broadcasted");
    Answer::of_json(200, format!(r#"{{"status":"success","message":"{text}",{members}}}"#))
}

/// What a session is told of it: the data of the response.
pub(super) fn data(reports: &Reports) -> String {
    let (_, members) = members(reports, |error| {
        let (code, text) = (session::code_of(error.kind()), session::quoted(&error.to_string()));
        format!(r#"{{"code":"{code}","message":{text}}}"#)
    });
    format!("{{{members}}}")
}

impl Service {
    /// How many messages a batch may have.
    pub(super) fn max_batch(&self) -> usize {
        self.options().max_batch_messages
    }
}
