//! What the server says: responses, errors and notifications, their members in the order of the
//! contract.

use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::wire::websocket::Message;
use crate::wire::{MessageKind, Position};

/// A text as JSON.
pub fn quoted(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 2);
    append_quoted(&mut out, text);
    // JSON of UTF-8 is UTF-8.
    String::from_utf8(out).unwrap_or_default()
}

fn append_quoted(out: &mut Vec<u8>, text: &str) {
    // Writing to memory does not fail.
    let _ = serde_json::to_writer(out, text);
}

/// A response whose `data` is the JSON that these pieces make: one allocation.
pub fn response(id: Option<&str>, data: [&str; 3]) -> Message {
    response_of(id, data.map(str::as_bytes))
}

/// The same with JSON in bytes.
pub fn response_of(id: Option<&str>, data: [&[u8]; 3]) -> Message {
    let [first, second, third] = data;
    let (open, id, comma) = opening(id);
    let kind: &[u8] = br#""type":"response","data":"#;
    Message::from_parts(MessageKind::Text, &[open, id, comma, kind, first, second, third, b"}"])
}

/// The response to a request that failed.
pub fn error(id: Option<&str>, code: &str, message: &str) -> Message {
    let (open, id, comma) = opening(id);
    let kind: &[u8] = br#""type":"error","error":{"code":"#;
    let (code, message) = (quoted(code), quoted(message));
    Message::from_parts(
        MessageKind::Text,
        &[open, id, comma, kind, code.as_bytes(), br#","message":"#, message.as_bytes(), b"}}"],
    )
}

/// The same with an error that is JSON already: an object of `code` and `message`.
pub fn error_of(id: Option<&str>, error: &[u8]) -> Message {
    let (open, id, comma) = opening(id);
    let kind: &[u8] = br#""type":"error","error":"#;
    Message::from_parts(MessageKind::Text, &[open, id, comma, kind, error, b"}"])
}

fn opening(id: Option<&str>) -> (&'static [u8], &[u8], &'static [u8]) {
    match id {
        Some(id) => (br#"{"id":"#, id.as_bytes(), b","),
        None => (b"{", b"", b""),
    }
}

/// The first notification on every connection.
pub fn connected(id: &str) -> Message {
    let id = quoted(id);
    let start: &[u8] = br#"{"type":"notification","data":{"event":"connected","connection_id":"#;
    Message::from_parts(MessageKind::Text, &[start, id.as_bytes(), b"}}"])
}

/// The notification of a message from one connection to all; `message` is its JSON.
pub fn broadcast(from: &str, message: &str) -> Message {
    let from = quoted(from);
    let start: &[u8] = br#"{"type":"notification","data":{"event":"broadcast","message":"#;
    let parts = [start, message.as_bytes(), br#","from":"#, from.as_bytes(), b"}}"];
    Message::from_parts(MessageKind::Text, &parts)
}

/// The notification of a new channel that a pattern matches and whose messages do not come, because
/// there are as many subscriptions as may be.
pub fn pattern_limit(channel: &str) -> Message {
    let name = quoted(channel);
    let start: &[u8] = br#"{"type":"notification","data":{"event":"pattern_limit","channel":"#;
    Message::from_parts(MessageKind::Text, &[start, name.as_bytes(), b"}}"])
}

/// The notification of a message; `channel` is the name and position of one that came through a
/// channel. Bytes travel as base64.
pub fn notification(
    channel: Option<(&str, Position)>,
    kind: MessageKind,
    payload: &[u8],
) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 160);
    out.extend_from_slice(br#"{"type":"notification","data":{"event":"message","#);
    if let Some((name, _)) = channel {
        out.extend_from_slice(br#""channel":"#);
        append_quoted(&mut out, name);
        out.push(b',');
    }
    out.extend_from_slice(br#""message":"#);
    match std::str::from_utf8(payload) {
        Ok(text) if kind == MessageKind::Text => append_quoted(&mut out, text),
        _ => {
            out.push(b'"');
            out.extend_from_slice(STANDARD.encode(payload).as_bytes());
            out.extend_from_slice(br#"","encoding":"base64""#);
        }
    }
    if let Some((_, Position { epoch, offset })) = channel {
        // Writing to memory does not fail.
        let _ = write!(out, r#","epoch":{epoch},"offset":{offset}"#);
    }
    out.extend_from_slice(b"}}");
    out
}

/// The notification that a channel is gone, and the subscription with it.
pub fn channel_deleted(name: &str) -> Vec<u8> {
    let mut out =
        br#"{"type":"notification","data":{"event":"channel_deleted","channel":"#.to_vec();
    append_quoted(&mut out, name);
    out.extend_from_slice(b"}}");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(message: &Message) -> &str {
        assert_eq!(message.kind(), MessageKind::Text);
        std::str::from_utf8(message.payload()).unwrap()
    }

    #[test]
    fn the_examples_of_the_contract() {
        let echo = response(Some(r#""msg-123""#), [r#"{"echo":"#, r#""Hello""#, "}"]);
        assert_eq!(text(&echo), r#"{"id":"msg-123","type":"response","data":{"echo":"Hello"}}"#);
        assert_eq!(
            text(&connected("UUID")),
            r#"{"type":"notification","data":{"event":"connected","connection_id":"UUID"}}"#
        );
        assert_eq!(
            text(&error(Some("7"), "c", "say \"no\"")),
            r#"{"id":7,"type":"error","error":{"code":"c","message":"say \"no\""}}"#
        );
        assert_eq!(
            text(&error_of(Some("7"), br#"{"code":"c","message":"m"}"#)),
            r#"{"id":7,"type":"error","error":{"code":"c","message":"m"}}"#
        );
        assert_eq!(
            text(&error(None, "c", "m")),
            r#"{"type":"error","error":{"code":"c","message":"m"}}"#
        );
        assert_eq!(text(&response(None, ["{}", "", ""])), r#"{"type":"response","data":{}}"#);
        assert_eq!(
            text(&broadcast("me", "[1.0]")),
            r#"{"type":"notification","data":{"event":"broadcast","message":[1.0],"from":"me"}}"#
        );
    }

    #[test]
    fn notifications_of_messages() {
        let position = Position { epoch: 9, offset: 3 };
        let told = |channel, kind, payload: &[u8]| {
            String::from_utf8(notification(channel, kind, payload)).unwrap()
        };
        assert_eq!(
            told(Some(("青\"", position)), MessageKind::Text, "a\n云".as_bytes()),
            r#"{"type":"notification","data":{"event":"message","channel":"青\"","message":"a\n云","epoch":9,"offset":3}}"#
        );
        assert_eq!(
            told(None, MessageKind::Binary, b"\xff"),
            r#"{"type":"notification","data":{"event":"message","message":"/w==","encoding":"base64"}}"#
        );
        assert_eq!(
            channel_deleted("c"),
            br#"{"type":"notification","data":{"event":"channel_deleted","channel":"c"}}"#
        );
    }
}
