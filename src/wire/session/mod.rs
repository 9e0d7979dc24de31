//! The session dialect: JSON objects in text messages, requests and what answers them.
//!
//! A request is `{"id":…,"type":"request","action":…,"payload":{…}}`. Its members are found without
//! being read: `id` is echoed and `payload` handed on as the JSON that the client wrote, so that a
//! number or an escape comes back as it was. Nothing is allocated for a request that is well-formed.

mod answer;
mod payload;

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

pub use answer::{
    broadcast, channel_deleted, connected, error, error_of, notification, pattern_limit, quoted,
    response, response_of,
};
pub use payload::{
    Call, Encoding, History, Named, Page, Presence, Publish, PublishBatch, Say, Since, Subject,
    Subscribe, Text, read,
};

use crate::ErrorKind;

/// The longest id, in bytes of its JSON: it is kept while a request is under way.
pub const MAX_ID: usize = 256;

/// What a client asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request<'a> {
    /// The JSON of its id, which the answer echoes: a string or a number.
    pub id: Option<&'a str>,
    /// What is to be done.
    pub action: Cow<'a, str>,
    /// The JSON of what it is to be done with; `{}` if there is none.
    pub payload: &'a str,
}

/// A message that is no request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault<'a> {
    /// The JSON of the id, if that could be read.
    pub id: Option<&'a str>,
    /// What is wrong, for programs.
    pub code: &'static str,
    /// What is wrong, for people.
    pub message: String,
}

/// The codes of errors that are no [`ErrorKind`].
#[allow(missing_docs)]
pub mod code {
    pub const PARSE_ERROR: &str = "parse_error";
    pub const INVALID_REQUEST: &str = "invalid_request";
    pub const INVALID_PAYLOAD: &str = "invalid_payload";
    pub const UNKNOWN_ACTION: &str = "unknown_action";
    pub const UNSUPPORTED: &str = "unsupported";
    pub const NOT_SUBSCRIBED: &str = "not_subscribed";
    pub const LIMIT_EXCEEDED: &str = "limit_exceeded";
    pub const TOO_FAST: &str = "too_fast";
    pub const FORBIDDEN: &str = "forbidden";
    pub const METHOD_NOT_FOUND: &str = "method_not_found";
    pub const BUSY: &str = "busy";
}

/// The code of an operation's error.
pub fn code_of(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidName => "invalid_name",
        ErrorKind::ChannelNotFound => "channel_not_found",
        ErrorKind::ChannelExists => "channel_exists",
        ErrorKind::TooLarge => "too_large",
        ErrorKind::QueueFull => code::LIMIT_EXCEEDED,
        ErrorKind::NotFound => "not_found",
        ErrorKind::Conflict => "conflict",
        ErrorKind::Timeout => "timeout",
        ErrorKind::Closed => "closed",
        ErrorKind::InvalidArgument | ErrorKind::InvalidUtf8 => code::INVALID_PAYLOAD,
        _ => "internal",
    }
}

/// The members as they stand in the message.
#[derive(Deserialize)]
struct Members<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    action: Option<&'a RawValue>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
}

/// Reads a request. Members that it does not know are ignored; none may come twice.
pub fn parse(data: &[u8]) -> Result<Request<'_>, Fault<'_>> {
    let members: Members<'_> =
        serde_json::from_slice(data).map_err(|error| match error.is_data() {
            true => invalid(None, format!("a request is a JSON object: {error}")),
            false => {
                Fault { id: None, code: code::PARSE_ERROR, message: format!("not JSON: {error}") }
            }
        })?;
    if !is_object(data) {
        return Err(invalid(None, "a request is a JSON object"));
    }
    let id = match members.id.map(RawValue::get) {
        Some(id)
            if !id.starts_with(|first: char| {
                first == '"' || first == '-' || first.is_ascii_digit()
            }) =>
        {
            return Err(invalid(None, "'id' is a string or a number"));
        }
        Some(id) if id.len() > MAX_ID => {
            let text = format!("'id' has {} bytes; the limit is {MAX_ID}", id.len());
            return Err(invalid(None, text));
        }
        id => id,
    };
    match members.kind.map(|kind| string(kind.get())) {
        Some(Some(kind)) if kind == "request" => {}
        Some(_) => return Err(invalid(id, "'type' is \"request\"")),
        None => return Err(invalid(id, "'type' is missing; it is \"request\"")),
    }
    let Some(action) = members.action.and_then(|action| string(action.get())) else {
        return Err(invalid(id, "'action' is a string"));
    };
    Ok(Request { id, action, payload: members.payload.map_or("{}", RawValue::get) })
}

fn invalid(id: Option<&str>, message: impl Into<String>) -> Fault<'_> {
    Fault { id, code: code::INVALID_REQUEST, message: message.into() }
}

/// Whether JSON that is well-formed is an object.
fn is_object(json: &[u8]) -> bool {
    json.trim_ascii_start().first() == Some(&b'{')
}

/// The text of a JSON string; `None` if it is something else. Only one with escapes is copied.
fn string(json: &str) -> Option<Cow<'_, str>> {
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    match inner.contains('\\') {
        false => Some(Cow::Borrowed(inner)),
        true => serde_json::from_str(json).ok().map(Cow::Owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request<'a>(id: Option<&'a str>, action: &'a str, payload: &'a str) -> Request<'a> {
        Request { id, action: action.into(), payload }
    }

    #[test]
    fn the_example_of_the_contract() {
        let text =
            br#"{"id":"msg-123","type":"request","action":"echo","payload":{"message":"Hello"}}"#;
        let expected = request(Some(r#""msg-123""#), "echo", r#"{"message":"Hello"}"#);
        let parsed = parse(text).unwrap();
        assert_eq!(parsed, expected);
        assert!(matches!(parsed.action, Cow::Borrowed(_)));
    }

    #[test]
    fn ids_and_payloads_stay_as_they_were_written() {
        for id in [r#""\u0061\/""#, "7", "-1.50e+3", "12345678901234567890123", r#""""#] {
            let text = format!(
                r#" {{ "payload" : {{"a" : [1.10, "\u00e9"]}} , "other": 1, "action":"e\u0063ho",
                    "id":{id},"type":"request"}} "#
            );
            let expected = request(Some(id), "echo", r#"{"a" : [1.10, "\u00e9"]}"#);
            assert_eq!(parse(text.as_bytes()).unwrap(), expected);
        }
        let expected = request(None, "ping", "{}");
        for text in [
            r#"{"type":"request","action":"ping"}"#,
            r#"{"type":"request","action":"ping","id":null,"payload":null}"#,
        ] {
            assert_eq!(parse(text.as_bytes()).unwrap(), expected);
        }
    }

    #[test]
    fn what_is_no_request_says_why_and_keeps_its_id() {
        let long = format!(r#"{{"id":"{}","type":"request","action":"x"}}"#, "i".repeat(MAX_ID));
        for (text, id, code) in [
            ("", None, code::PARSE_ERROR),
            ("hello", None, code::PARSE_ERROR),
            (r#"{"id":1,"type":"request""#, None, code::PARSE_ERROR),
            (r#"{"id":1}x"#, None, code::PARSE_ERROR),
            ("[]", None, code::INVALID_REQUEST),
            (r#"[1,"request","echo",{}]"#, None, code::INVALID_REQUEST),
            ("null", None, code::INVALID_REQUEST),
            (r#"{"id":{},"type":"request","action":"x"}"#, None, code::INVALID_REQUEST),
            (r#"{"id":true,"type":"request","action":"x"}"#, None, code::INVALID_REQUEST),
            (r#"{"id":1,"id":1,"type":"request","action":"x"}"#, None, code::INVALID_REQUEST),
            (&long, None, code::INVALID_REQUEST),
            (r#"{"id":1}"#, Some("1"), code::INVALID_REQUEST),
            (r#"{"id":1,"type":"response","action":"x"}"#, Some("1"), code::INVALID_REQUEST),
            (r#"{"id":1,"type":7,"action":"x"}"#, Some("1"), code::INVALID_REQUEST),
            (r#"{"id":1,"type":"request"}"#, Some("1"), code::INVALID_REQUEST),
            (r#"{"id":1,"type":"request","action":["x"]}"#, Some("1"), code::INVALID_REQUEST),
        ] {
            let fault = parse(text.as_bytes()).unwrap_err();
            assert_eq!((fault.id, fault.code), (id, code), "{text}: {}", fault.message);
        }
        // However deep: nothing of it is kept, and no stack is used.
        let deep =
            format!(r#"{{"id":1,"type":"request","action":"x","payload":{}"#, "[".repeat(1 << 20));
        assert_eq!(parse(deep.as_bytes()).unwrap_err().code, code::PARSE_ERROR);
    }
}
