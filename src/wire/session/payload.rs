//! What the actions are given.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};
use serde_json::value::RawValue;

use super::is_object;
use crate::wire::Position;

/// A JSON string. Only one with escapes is copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text<'a>(pub Cow<'a, str>);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.into())))
            }
        }
        from.deserialize_str(Read)
    }
}

/// A message of any JSON type, which is passed on as it was written.
#[derive(Debug, Deserialize)]
pub struct Say<'a> {
    /// Its JSON.
    #[serde(borrow)]
    pub message: &'a RawValue,
}

/// The name of a channel.
#[derive(Debug, Deserialize)]
pub struct Named<'a> {
    /// The name.
    #[serde(borrow)]
    pub channel: Text<'a>,
}

/// A channel to subscribe to, or a pattern of names.
#[derive(Debug, Deserialize)]
pub struct Subscribe<'a> {
    /// The channel's name.
    #[serde(borrow)]
    pub channel: Option<Text<'a>>,
    /// The pattern.
    #[serde(borrow)]
    pub pattern: Option<Text<'a>>,
    /// What was received last: what came behind it is wanted first.
    pub since: Option<Since>,
    /// Whether to be told who comes and goes.
    pub presence: Option<bool>,
}

/// What a subscription is to.
#[derive(Debug)]
pub enum Subject<'a> {
    /// A channel, by its name.
    Channel(Text<'a>),
    /// All channels whose names a pattern matches.
    Pattern(Text<'a>),
}

impl<'a> Subscribe<'a> {
    /// What it is to: one of the two. The error is for people.
    pub fn subject(&mut self) -> Result<Subject<'a>, String> {
        match (self.channel.take(), self.pattern.take()) {
            (Some(channel), None) => Ok(Subject::Channel(channel)),
            (None, Some(pattern)) => Ok(Subject::Pattern(pattern)),
            _ => Err("'payload': it takes either `channel` or `pattern`".into()),
        }
    }
}

/// A part of a channel's history to read.
#[derive(Debug, Deserialize)]
pub struct History<'a> {
    /// The channel's name.
    #[serde(borrow)]
    pub channel: Text<'a>,
    /// Only publications behind this offset.
    pub after: Option<u64>,
    /// Only publications in front of this offset.
    pub before: Option<u64>,
    /// At most so many.
    pub limit: Option<usize>,
    /// The newest first.
    #[serde(default)]
    pub reverse: bool,
}

/// A position that a client names.
#[derive(Debug, Clone, Copy, Deserialize)]
#[allow(missing_docs)]
pub struct Since {
    pub epoch: u64,
    pub offset: u64,
}

impl From<Since> for Position {
    fn from(since: Since) -> Self {
        Self { epoch: since.epoch, offset: since.offset }
    }
}

/// A message for a channel.
#[derive(Debug, Deserialize)]
pub struct Publish<'a> {
    /// The channel's name.
    #[serde(borrow)]
    pub channel: Text<'a>,
    /// The text, or the bytes in base64.
    #[serde(borrow)]
    pub message: Text<'a>,
    /// How `message` is to be read.
    #[serde(default)]
    pub encoding: Encoding,
    /// The key under which it is published once.
    #[serde(borrow)]
    pub key: Option<Text<'a>>,
    /// What it is the latest value of, in a channel that keeps no other.
    #[serde(borrow, default)]
    pub conflate: Option<Text<'a>>,
    /// Whether the response tells whom it reached.
    #[serde(default)]
    pub result: bool,
}

/// Messages for channels.
#[derive(Debug, Deserialize)]
pub struct PublishBatch<'a> {
    /// The messages; what they say of their results does not count.
    #[serde(borrow)]
    pub messages: Vec<Publish<'a>>,
    /// Whether the response tells whom they reached.
    #[serde(default)]
    pub result: bool,
}

/// What a text stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// Itself.
    #[default]
    Text,
    /// Bytes.
    Base64,
}

/// A part of the list of connections.
#[derive(Debug, Deserialize)]
pub struct Page<'a> {
    /// The user whose connections are listed.
    #[serde(borrow)]
    pub user: Option<Text<'a>>,
    /// The `next` of the part before.
    #[serde(borrow)]
    pub after: Option<Text<'a>>,
    /// How many at most.
    pub limit: Option<usize>,
}

/// A part of the list of a channel's members.
#[derive(Debug, Deserialize)]
pub struct Presence<'a> {
    /// The channel's name.
    #[serde(borrow)]
    pub channel: Text<'a>,
    /// The `next` of the part before.
    #[serde(borrow)]
    pub after: Option<Text<'a>>,
    /// How many at most.
    pub limit: Option<usize>,
}

/// A call of the host program.
#[derive(Debug, Deserialize)]
pub struct Call<'a> {
    /// What it registered.
    #[serde(borrow)]
    pub method: Text<'a>,
    /// The JSON of what it is given, if anything.
    #[serde(borrow)]
    pub params: Option<&'a RawValue>,
}

/// Reads a payload, whose JSON is well-formed. The error is for people.
pub fn read<'a, T: Deserialize<'a>>(payload: &'a str) -> Result<T, String> {
    match is_object(payload.as_bytes()) {
        true => serde_json::from_str(payload).map_err(|error| format!("'payload': {error}")),
        false => Err("'payload' is an object".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_copied_only_for_its_escapes() {
        let publish: Publish<'_> = read(r#"{"channel":"c","message":"a\nb"}"#).unwrap();
        assert!(matches!(publish.channel.0, Cow::Borrowed("c")));
        assert_eq!(publish.message.0, Cow::<str>::Owned("a\nb".into()));
        assert_eq!(publish.encoding, Encoding::Text);
    }

    #[test]
    fn an_error_names_what_is_wrong() {
        for (payload, says) in [
            (r#"["c"]"#, "an object"),
            (r#"{"channel":"c"}"#, "`message`"),
            (r#"{"channel":5,"message":"m"}"#, "expected a string"),
            (r#"{"channel":"c","message":{}}"#, "expected a string"),
            (r#"{"channel":"c","message":"m","encoding":"hex"}"#, "`text` or `base64`"),
            (r#"{"channel":"c","message":"\ud800"}"#, "escape"),
        ] {
            let error = read::<Publish<'_>>(payload).unwrap_err();
            assert!(error.contains(says), "{payload}: {error}");
        }
        assert!(read::<Page<'_>>(r#"{"limit":-1}"#).is_err());
    }
}
