//! The stream protocol: many channels over one WebSocket, what Qyun's own client speaks.
//!
//! WebSocket path `/channel/stream`. One packet per binary WebSocket message, integers
//! little-endian, a fixed header first:
//!
//! | packet | bytes |
//! |---|---|
//! | request (client → server) | `op` u8, `flags` u8, `name_len` u16, `id` u32, then the name, then the payload |
//! | reply (server → client) | `0x81`, `flags` u8, `status` u16, `id` u32, `channel` u64, `epoch` u64, `offset` u64, then an error text |
//! | message (server → client) | `0x82`, `flags` u8, 0 u16, 0 u32, `channel` u64, `offset` u64, then the payload |
//! | gone (server → client) | `0x83`, 0, 0 u16, 0 u32, `channel` u64: the channel was deleted |
//!
//! `op`: 1 subscribe, 2 unsubscribe, 3 publish, 4 resume. `flags` bit 0: of a publish and a message
//! that the payload is binary, not text; of the reply to a resume that everything was recovered.
//! Bit 1: of a publish that its payload begins with a key (`key_len` u8, then the key) under which
//! it is published once; of its reply that it was published before. Bit 2: of a publish that the
//! reply is to tell whom it reached, and so comes when that is known, perhaps behind later ones; of
//! that reply that `reached` u64, `queued` u64 and `dropped` u64 follow the offset.
//! `id`: chosen by the client; the reply carries it; 0 asks for no reply unless the request fails.
//! `status`: 0 is success, otherwise the HTTP status that says the same (400, 404, 409, 413).
//! A publication over the server's limit is answered 413 like any other that fails; one of more than
//! sixteen times the limit closes the connection (1009) at its header.
//! `channel`: the server's number for the channel, told by the reply to a subscribe, valid while
//! the connection lasts. The reply to a subscribe also tells the channel's epoch and the offset of
//! its last publication: the first message that follows has the next one. A resume is a subscribe
//! whose payload is the position (`epoch` u64, `offset` u64) of the last message that the client has.
//! Recovered, the reply tells that very position, and what was published since follows, then what
//! comes; not recovered, it tells the present position like the reply to a subscribe. The reply to a
//! publish tells the position that the message got. A message leaves out what is the same for all of them
//! (name, epoch), so that its bytes are the same for every subscriber.

use super::{MessageKind, Position};
use crate::tally::Counts;

/// The WebSocket path of the stream protocol.
pub const PATH: &str = "/channel/stream";
/// Size of a request's header.
pub const REQUEST_HEADER: usize = 8;
/// Size of a message's header.
pub const MESSAGE_HEADER: usize = 24;
const REPLY_HEADER: usize = 32;

const SUBSCRIBE: u8 = 1;
const UNSUBSCRIBE: u8 = 2;
const PUBLISH: u8 = 3;
const RESUME: u8 = 4;
const REPLY: u8 = 0x81;
const MESSAGE: u8 = 0x82;
const GONE: u8 = 0x83;

const BINARY: u8 = 1;
const RECOVERED: u8 = 1;
const KEYED: u8 = 2;
const COUNTED: u8 = 4;
const POSITION: usize = 16;

/// What a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// Chosen by the client; 0 asks for no reply unless the request fails.
    pub id: u32,
    /// The channel's name; whether it is a valid one is the receiver's judgement.
    pub channel: &'a str,
    /// What to do.
    pub op: Op<'a>,
}

/// What to do with a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op<'a> {
    /// Receive what is published from now on.
    Subscribe,
    /// Receive what was published behind this position, and from now on.
    Resume(Position),
    /// Receive it no longer.
    Unsubscribe,
    /// Broadcast a message; a text's bytes are not checked here.
    Publish(MessageKind, &'a [u8]),
    /// The same, with what else is asked for.
    PublishWith(Publication<'a>),
}

/// A message to broadcast that asks for more than that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publication<'a> {
    /// Text or binary.
    pub kind: MessageKind,
    /// The message; a text's bytes are not checked here.
    pub data: &'a [u8],
    /// It is published once under this key, of which at most 255 bytes can be written.
    pub key: Option<&'a [u8]>,
    /// The reply tells whom it reached.
    pub counts: bool,
}

/// What a server says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packet<'a> {
    /// The answer to one request.
    Reply(Reply<'a>),
    /// A publication on a subscribed channel.
    Message {
        /// The server's number for the channel.
        channel: u64,
        /// The publication's number in the channel's epoch.
        offset: u64,
        /// Text or binary.
        kind: MessageKind,
        /// The message.
        payload: &'a [u8],
    },
    /// The channel was deleted and the subscription with it.
    Gone {
        /// The server's number for the channel.
        channel: u64,
    },
}

/// The answer to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reply<'a> {
    /// The request's id.
    pub id: u32,
    /// 0 is success, otherwise an HTTP status code.
    pub status: u16,
    /// The server's number for the channel; 0 when the request failed.
    pub channel: u64,
    /// See the module's documentation.
    pub position: Position,
    /// Of a resume: what follows begins right behind the position that was asked for.
    pub recovered: bool,
    /// Of a publish with a key: it was published before.
    pub duplicate: bool,
    /// Of a publish that asks for it: whom it reached.
    pub counts: Option<Counts>,
    /// What went wrong; empty on success.
    pub error: &'a str,
}

/// Appends a request. A name over 65,535 bytes cannot be written and is cut; validate names first.
pub fn encode_request(out: &mut Vec<u8>, request: &Request<'_>) {
    let (since, keyed);
    let (op, flags, payload) = match request.op {
        Op::Subscribe => (SUBSCRIBE, 0, &[][..]),
        Op::Unsubscribe => (UNSUBSCRIBE, 0, &[][..]),
        Op::Publish(kind, payload) => (PUBLISH, flags_of(kind), payload),
        Op::Resume(position) => {
            since = position_bytes(position);
            (RESUME, 0, &since[..])
        }
        Op::PublishWith(Publication { kind, data, key, counts }) => {
            let counted = if counts { COUNTED } else { 0 };
            match key {
                None => (PUBLISH, flags_of(kind) | counted, data),
                Some(key) => {
                    let key = &key[..key.len().min(usize::from(u8::MAX))];
                    keyed = [&[key.len() as u8][..], key, data].concat();
                    (PUBLISH, flags_of(kind) | KEYED | counted, &keyed[..])
                }
            }
        }
    };
    let name = request.channel.as_bytes();
    let name = &name[..name.len().min(usize::from(u16::MAX))];
    out.reserve(REQUEST_HEADER + name.len() + payload.len());
    out.extend_from_slice(&[op, flags]);
    out.extend_from_slice(&(name.len() as u16).to_le_bytes());
    out.extend_from_slice(&request.id.to_le_bytes());
    out.extend_from_slice(name);
    out.extend_from_slice(payload);
}

/// Reads a request; `None` when it is not one.
pub fn decode_request(bytes: &[u8]) -> Option<Request<'_>> {
    let (header, rest) = bytes.split_first_chunk::<REQUEST_HEADER>()?;
    let [op, flags, n0, n1, id @ ..] = *header;
    let (name, payload) = rest.split_at_checked(usize::from(u16::from_le_bytes([n0, n1])))?;
    let op = match op {
        SUBSCRIBE if payload.is_empty() => Op::Subscribe,
        UNSUBSCRIBE if payload.is_empty() => Op::Unsubscribe,
        PUBLISH if flags & (KEYED | COUNTED) == 0 => Op::Publish(kind_of(flags), payload),
        PUBLISH => {
            let (key, data) = match flags & KEYED {
                0 => (None, payload),
                _ => {
                    let (size, rest) = payload.split_first()?;
                    let (key, data) = rest.split_at_checked(usize::from(*size))?;
                    (Some(key), data)
                }
            };
            let (kind, counts) = (kind_of(flags), flags & COUNTED != 0);
            Op::PublishWith(Publication { kind, data, key, counts })
        }
        RESUME if payload.len() == POSITION => {
            Op::Resume(Position { epoch: word(payload, 0)?, offset: word(payload, 8)? })
        }
        _ => return None,
    };
    Some(Request { id: u32::from_le_bytes(id), channel: std::str::from_utf8(name).ok()?, op })
}

/// Appends a reply.
pub fn encode_reply(out: &mut Vec<u8>, reply: &Reply<'_>) {
    let flag = |set: bool, bit: u8| if set { bit } else { 0 };
    let flags = flag(reply.recovered, RECOVERED)
        | flag(reply.duplicate, KEYED)
        | flag(reply.counts.is_some(), COUNTED);
    out.extend_from_slice(&[REPLY, flags]);
    out.extend_from_slice(&reply.status.to_le_bytes());
    out.extend_from_slice(&reply.id.to_le_bytes());
    out.extend_from_slice(&reply.channel.to_le_bytes());
    out.extend_from_slice(&position_bytes(reply.position));
    if let Some(Counts { reached, queued, dropped }) = reply.counts {
        for count in [reached, queued, dropped] {
            out.extend_from_slice(&count.to_le_bytes());
        }
    }
    out.extend_from_slice(reply.error.as_bytes());
}

/// The header of a message; the payload follows it.
pub fn message_header(channel: u64, offset: u64, kind: MessageKind) -> [u8; MESSAGE_HEADER] {
    let mut header = [0; MESSAGE_HEADER];
    header[0] = MESSAGE;
    header[1] = flags_of(kind);
    header[8..16].copy_from_slice(&channel.to_le_bytes());
    header[16..24].copy_from_slice(&offset.to_le_bytes());
    header
}

/// The notice that a channel was deleted.
pub fn gone(channel: u64) -> [u8; 16] {
    let mut packet = [0; 16];
    packet[0] = GONE;
    packet[8..16].copy_from_slice(&channel.to_le_bytes());
    packet
}

/// Reads what a server sent; `None` when it is not of this protocol.
pub fn decode_packet(bytes: &[u8]) -> Option<Packet<'_>> {
    let head = bytes.first_chunk::<8>()?;
    match head[0] {
        REPLY => {
            let (counts, text) = match head[1] & COUNTED {
                0 => (None, REPLY_HEADER),
                _ => {
                    let count = |n: usize| word(bytes, REPLY_HEADER + 8 * n);
                    let counts =
                        Counts { reached: count(0)?, queued: count(1)?, dropped: count(2)? };
                    (Some(counts), REPLY_HEADER + 24)
                }
            };
            Some(Packet::Reply(Reply {
                status: u16::from_le_bytes([head[2], head[3]]),
                id: u32::from_le_bytes([head[4], head[5], head[6], head[7]]),
                channel: word(bytes, 8)?,
                position: Position { epoch: word(bytes, 16)?, offset: word(bytes, 24)? },
                recovered: head[1] & RECOVERED != 0,
                duplicate: head[1] & KEYED != 0,
                counts,
                error: std::str::from_utf8(bytes.get(text..)?).ok()?,
            }))
        }
        MESSAGE => Some(Packet::Message {
            channel: word(bytes, 8)?,
            offset: word(bytes, 16)?,
            kind: kind_of(head[1]),
            payload: bytes.get(MESSAGE_HEADER..)?,
        }),
        GONE => Some(Packet::Gone { channel: word(bytes, 8)? }),
        _ => None,
    }
}

/// The number at `at`, if it is there.
fn word(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes))
}

fn position_bytes(position: Position) -> [u8; POSITION] {
    let mut bytes = [0; POSITION];
    bytes[..8].copy_from_slice(&position.epoch.to_le_bytes());
    bytes[8..].copy_from_slice(&position.offset.to_le_bytes());
    bytes
}

fn flags_of(kind: MessageKind) -> u8 {
    match kind {
        MessageKind::Text => 0,
        MessageKind::Binary => BINARY,
    }
}

fn kind_of(flags: u8) -> MessageKind {
    match flags & BINARY {
        0 => MessageKind::Text,
        _ => MessageKind::Binary,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_layout_is_as_documented() {
        let mut bytes = Vec::new();
        let op = Op::Publish(MessageKind::Binary, b"hi");
        encode_request(&mut bytes, &Request { id: 0x01020304, channel: "abc", op });
        assert_eq!(bytes, b"\x03\x01\x03\x00\x04\x03\x02\x01abchi");
        assert_eq!(
            message_header(7, 258, MessageKind::Text),
            *b"\x82\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\x02\x01\0\0\0\0\0\0"
        );
        let mut bytes = Vec::new();
        let since = Position { epoch: 7, offset: 258 };
        encode_request(&mut bytes, &Request { id: 1, channel: "c", op: Op::Resume(since) });
        assert_eq!(bytes, b"\x04\0\x01\0\x01\0\0\0c\x07\0\0\0\0\0\0\0\x02\x01\0\0\0\0\0\0");
        let mut bytes = Vec::new();
        let reply =
            Reply { id: 1, channel: 2, position: since, recovered: true, ..Reply::default() };
        encode_reply(&mut bytes, &reply);
        assert_eq!(bytes[..16], *b"\x81\x01\0\0\x01\0\0\0\x02\0\0\0\0\0\0\0");
        let mut bytes = Vec::new();
        let publication =
            Publication { kind: MessageKind::Binary, data: b"hi", key: Some(b"k"), counts: true };
        let op = Op::PublishWith(publication);
        encode_request(&mut bytes, &Request { id: 1, channel: "c", op });
        assert_eq!(bytes, b"\x03\x07\x01\0\x01\0\0\0c\x01khi");
        let mut bytes = Vec::new();
        let counts = Some(Counts { reached: 3, queued: 2, dropped: 1 });
        let reply = Reply { id: 1, duplicate: true, counts, ..Reply::default() };
        encode_reply(&mut bytes, &reply);
        assert_eq!(bytes[..8], *b"\x81\x06\0\0\x01\0\0\0");
        assert_eq!(
            bytes[32..],
            [[3, 0, 0, 0, 0, 0, 0, 0], [2, 0, 0, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0, 0]].concat()
        );
        assert_eq!(gone(5), *b"\x83\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0");
    }

    #[test]
    fn a_truncated_packet_is_no_packet() {
        let mut request = Vec::new();
        encode_request(&mut request, &Request { id: 1, channel: "abc", op: Op::Subscribe });
        for cut in 0..request.len() {
            assert_eq!(decode_request(&request[..cut]), None);
        }
        let mut resume = Vec::new();
        let op = Op::Resume(Position { epoch: 1, offset: 2 });
        encode_request(&mut resume, &Request { id: 1, channel: "abc", op });
        for cut in 0..resume.len() {
            assert_eq!(decode_request(&resume[..cut]), None);
        }
        resume.push(0);
        assert_eq!(decode_request(&resume), None);
        let mut reply = Vec::new();
        encode_reply(&mut reply, &Reply::default());
        for cut in 0..reply.len() {
            assert_eq!(decode_packet(&reply[..cut]), None);
        }
        assert_eq!(decode_packet(&[0x90; 64]), None);
        assert_eq!(decode_request(&[9; 64]), None);
    }

    proptest! {
        #[test]
        fn requests_survive_the_wire(
            id: u32, name in ".{0,80}", body: Vec<u8>, binary: bool, epoch: u64, offset: u64,
            key in prop::collection::vec(any::<u8>(), 0..256),
        ) {
            let kind = if binary { MessageKind::Binary } else { MessageKind::Text };
            let resume = Op::Resume(Position { epoch, offset });
            let keyed = Publication { kind, data: &body, key: Some(&key), counts: binary };
            let counted = Publication { kind, data: &body, key: None, counts: true };
            let with = [Op::PublishWith(keyed), Op::PublishWith(counted)];
            let plain = [Op::Subscribe, Op::Unsubscribe, Op::Publish(kind, &body), resume];
            for op in plain.into_iter().chain(with) {
                let request = Request { id, channel: &name, op };
                let mut bytes = Vec::new();
                encode_request(&mut bytes, &request);
                prop_assert_eq!(decode_request(&bytes), Some(request));
            }
        }

        #[test]
        fn packets_survive_the_wire(
            id: u32, status: u16, channel: u64, epoch: u64, offset: u64, recovered: bool,
            duplicate: bool, counts: Option<[u64; 3]>, error in ".{0,80}", payload: Vec<u8>,
        ) {
            let position = Position { epoch, offset };
            let counts = counts.map(|[reached, queued, dropped]| Counts { reached, queued, dropped });
            let error = &*error;
            let reply =
                Reply { id, status, channel, position, recovered, duplicate, counts, error };
            let mut bytes = Vec::new();
            encode_reply(&mut bytes, &reply);
            prop_assert_eq!(decode_packet(&bytes), Some(Packet::Reply(reply)));

            let mut bytes = message_header(channel, offset, MessageKind::Binary).to_vec();
            bytes.extend_from_slice(&payload);
            let kind = MessageKind::Binary;
            let message = Packet::Message { channel, offset, kind, payload: &payload };
            prop_assert_eq!(decode_packet(&bytes), Some(message));
        }

        #[test]
        fn no_input_breaks_the_decoders(bytes: Vec<u8>) {
            let _ = decode_packet(&bytes);
            let _ = decode_request(&bytes);
        }
    }
}
