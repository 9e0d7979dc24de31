//! How a message looks in each dialect.

use super::session::notification;
use super::websocket::Message;
use super::{Dialect, MessageKind, packet, stream};

/// A message to a connection of `dialect`, sent to it and not through a channel.
pub fn encode(dialect: Dialect, kind: MessageKind, payload: &[u8]) -> Message {
    match dialect {
        Dialect::Session => Message::new(MessageKind::Text, &notification(None, kind, payload)),
        Dialect::Packet => {
            Message::from_parts(MessageKind::Binary, &[&packet_header(payload), payload])
        }
        Dialect::Stream => {
            let header = stream::message_header(0, 0, kind);
            Message::from_parts(MessageKind::Binary, &[&header, payload])
        }
        Dialect::Gateway | Dialect::Host => Message::new(kind, payload),
    }
}

/// The header of a one-way packet with protocol id 0, which no handler has: a message that comes
/// from a channel or from an operation on the connection. None that the server takes is too large.
pub fn packet_header(payload: &[u8]) -> [u8; packet::HEADER] {
    let packet = packet::Packet { protocol: 0, sn: 0, data: payload };
    packet.header().unwrap_or([0; packet::HEADER])
}
