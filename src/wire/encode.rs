//! How a message looks in each dialect.

use serde_json::json;

use super::websocket::Message;
use super::{Dialect, MessageKind, Position, packet};

/// A message to a connection of `dialect`, sent to it and not through a channel.
pub fn encode(dialect: Dialect, kind: MessageKind, payload: &[u8]) -> Message {
    match dialect {
        Dialect::Session => Message::new(MessageKind::Text, &notification(None, kind, payload)),
        Dialect::Packet => {
            Message::from_parts(MessageKind::Binary, &[&packet_header(payload), payload])
        }
        Dialect::Gateway | Dialect::Host => Message::new(kind, payload),
    }
}

/// The session dialect's notification of a message; `channel` is the name and position of one that
/// came through a channel. Bytes travel as base64.
pub fn notification(
    channel: Option<(&str, Position)>,
    kind: MessageKind,
    payload: &[u8],
) -> Vec<u8> {
    let mut data = json!({ "event": "message" });
    match std::str::from_utf8(payload) {
        Ok(text) if kind == MessageKind::Text => data["message"] = json!(text),
        _ => {
            use base64::Engine as _;
            data["encoding"] = json!("base64");
            data["message"] = json!(base64::engine::general_purpose::STANDARD.encode(payload));
        }
    }
    if let Some((name, position)) = channel {
        data["channel"] = json!(name);
        data["epoch"] = json!(position.epoch);
        data["offset"] = json!(position.offset);
    }
    json!({ "type": "notification", "data": data }).to_string().into_bytes()
}

/// The session dialect's notification that a channel is gone, and the subscription with it.
pub fn channel_deleted(name: &str) -> Vec<u8> {
    let data = json!({ "event": "channel_deleted", "channel": name });
    json!({ "type": "notification", "data": data }).to_string().into_bytes()
}

/// The header of a one-way packet with protocol id 0, which no handler has: a message that comes
/// from a channel or from an operation on the connection. None that the server takes is too large.
pub fn packet_header(payload: &[u8]) -> [u8; packet::HEADER] {
    let packet = packet::Packet { protocol: 0, sn: 0, data: payload };
    packet.header().unwrap_or([0; packet::HEADER])
}
