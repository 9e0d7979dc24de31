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
//! that reply that `reached` u64, `queued` u64 and `dropped` u64 follow the offset. Bit 3: of a publish
//! that what it is the latest value of (`len` u8, then the text) precedes the message, behind the key if
//! there is one. Bit 4: of a publish that the reply is to tell how many subscribers the channel had; of
//! that reply that `subscribers` u64 follows the offset, before the counts.
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
const CONFLATED: u8 = 8;
const SUBSCRIBERS: u8 = 16;
/// Of a reply to a watch or an attendance (see [`members`](super::members)).
const THERE: u8 = 8;
const ASKING: u8 = KEYED | COUNTED | CONFLATED | SUBSCRIBERS;
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
    /// What it is the latest value of, of which at most 255 bytes can be written.
    pub conflate: Option<&'a str>,
    /// The reply tells whom it reached.
    pub counts: bool,
    /// The reply tells how many subscribers the channel had.
    pub subscribers: bool,
}

impl<'a> Publication<'a> {
    /// A message that asks for nothing.
    pub fn new(kind: MessageKind, data: &'a [u8]) -> Self {
        Self { kind, data, key: None, conflate: None, counts: false, subscribers: false }
    }
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
    /// Of a publish that asks for it: the subscribers of the channel then.
    pub subscribers: Option<u64>,
    /// Of a publish that asks for it: whom it reached.
    pub counts: Option<Counts>,
    /// Of a connection with a name that asks for it: who is there, in JSON.
    pub there: Option<&'a str>,
    /// What went wrong; empty on success.
    pub error: &'a str,
}

/// Appends a request. A name over 65,535 bytes cannot be written and is cut; validate names first.
pub fn encode_request(out: &mut Vec<u8>, request: &Request<'_>) {
    let (since, asking);
    let (op, flags, payload) = match request.op {
        Op::Subscribe => (SUBSCRIBE, 0, &[][..]),
        Op::Unsubscribe => (UNSUBSCRIBE, 0, &[][..]),
        Op::Publish(kind, payload) => (PUBLISH, flags_of(kind), payload),
        Op::Resume(position) => {
            since = position_bytes(position);
            (RESUME, 0, &since[..])
        }
        Op::PublishWith(publication) => {
            let Publication { kind, data, key, conflate, counts, subscribers } = publication;
            let flags = flags_of(kind)
                | flag(key.is_some(), KEYED)
                | flag(conflate.is_some(), CONFLATED)
                | flag(counts, COUNTED)
                | flag(subscribers, SUBSCRIBERS);
            let mut bytes = Vec::new();
            for short in [key, conflate.map(str::as_bytes)].into_iter().flatten() {
                let short = &short[..short.len().min(usize::from(u8::MAX))];
                bytes.push(short.len() as u8);
                bytes.extend_from_slice(short);
            }
            match bytes.is_empty() {
                true => (PUBLISH, flags, data),
                false => {
                    bytes.extend_from_slice(data);
                    asking = bytes;
                    (PUBLISH, flags, &asking[..])
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
        PUBLISH if flags & ASKING == 0 => Op::Publish(kind_of(flags), payload),
        PUBLISH => {
            let (key, rest) = short(payload, flags & KEYED != 0)?;
            let (conflate, data) = short(rest, flags & CONFLATED != 0)?;
            Op::PublishWith(Publication {
                kind: kind_of(flags),
                data,
                key,
                conflate: conflate.map(std::str::from_utf8).transpose().ok()?,
                counts: flags & COUNTED != 0,
                subscribers: flags & SUBSCRIBERS != 0,
            })
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
    let flags = flag(reply.recovered, RECOVERED)
        | flag(reply.duplicate, KEYED)
        | flag(reply.counts.is_some(), COUNTED)
        | flag(reply.subscribers.is_some(), SUBSCRIBERS)
        | flag(reply.there.is_some(), THERE);
    out.extend_from_slice(&[REPLY, flags]);
    out.extend_from_slice(&reply.status.to_le_bytes());
    out.extend_from_slice(&reply.id.to_le_bytes());
    out.extend_from_slice(&reply.channel.to_le_bytes());
    out.extend_from_slice(&position_bytes(reply.position));
    if let Some(subscribers) = reply.subscribers {
        out.extend_from_slice(&subscribers.to_le_bytes());
    }
    if let Some(Counts { reached, queued, dropped }) = reply.counts {
        for count in [reached, queued, dropped] {
            out.extend_from_slice(&count.to_le_bytes());
        }
    }
    out.extend_from_slice(reply.there.unwrap_or(reply.error).as_bytes());
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
            let (subscribers, at) = match head[1] & SUBSCRIBERS {
                0 => (None, REPLY_HEADER),
                _ => (Some(word(bytes, REPLY_HEADER)?), REPLY_HEADER + 8),
            };
            let (counts, text) = match head[1] & COUNTED {
                0 => (None, at),
                _ => {
                    let count = |n: usize| word(bytes, at + 8 * n);
                    let counts =
                        Counts { reached: count(0)?, queued: count(1)?, dropped: count(2)? };
                    (Some(counts), at + 24)
                }
            };
            let text = std::str::from_utf8(bytes.get(text..)?).ok()?;
            let (there, error) = match head[1] & THERE {
                0 => (None, text),
                _ => (Some(text), ""),
            };
            Some(Packet::Reply(Reply {
                status: u16::from_le_bytes([head[2], head[3]]),
                id: u32::from_le_bytes([head[4], head[5], head[6], head[7]]),
                channel: word(bytes, 8)?,
                position: Position { epoch: word(bytes, 16)?, offset: word(bytes, 24)? },
                recovered: head[1] & RECOVERED != 0,
                duplicate: head[1] & KEYED != 0,
                subscribers,
                counts,
                there,
                error,
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

/// What a length in one byte announces, if it is there, and what follows it.
fn short(bytes: &[u8], is_there: bool) -> Option<(Option<&[u8]>, &[u8])> {
    if !is_there {
        return Some((None, bytes));
    }
    let (size, rest) = bytes.split_first()?;
    let (short, rest) = rest.split_at_checked(usize::from(*size))?;
    Some((Some(short), rest))
}

fn flag(set: bool, bit: u8) -> u8 {
    if set { bit } else { 0 }
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
        let plain = Publication::new(MessageKind::Binary, b"hi");
        let publication = Publication { key: Some(b"k"), counts: true, ..plain };
        let op = Op::PublishWith(publication);
        encode_request(&mut bytes, &Request { id: 1, channel: "c", op });
        assert_eq!(bytes, b"\x03\x07\x01\0\x01\0\0\0c\x01khi");
        let mut bytes = Vec::new();
        let all = Publication { conflate: Some("abc"), subscribers: true, ..publication };
        encode_request(&mut bytes, &Request { id: 1, channel: "c", op: Op::PublishWith(all) });
        assert_eq!(bytes, b"\x03\x1f\x01\0\x01\0\0\0c\x01k\x03abchi");
        let mut bytes = Vec::new();
        let reply = Reply { id: 1, subscribers: Some(258), ..Reply::default() };
        encode_reply(&mut bytes, &reply);
        assert_eq!((bytes[1], &bytes[32..]), (16, &[2, 1, 0, 0, 0, 0, 0, 0][..]));
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
            id: u32, name in ".{0,60}", body: Vec<u8>, binary: bool, epoch: u64, offset: u64,
            key in prop::collection::vec(any::<u8>(), 0..256),
        ) {
            let kind = if binary { MessageKind::Binary } else { MessageKind::Text };
            let resume = Op::Resume(Position { epoch, offset });
            let new = Publication::new(kind, &body);
            let keyed = Publication { key: Some(&key), counts: binary, ..new };
            let counted = Publication { counts: true, subscribers: binary, ..new };
            let latest = Publication { conflate: Some(&name), ..keyed };
            let latest_alone = Publication { conflate: Some(&name), ..counted };
            let with = [keyed, counted, latest, latest_alone].map(Op::PublishWith);
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
            duplicate: bool, subscribers: Option<u64>, counts: Option<[u64; 3]>, error in ".{0,80}", payload: Vec<u8>,
        ) {
            let position = Position { epoch, offset };
            let counts = counts.map(|[reached, queued, dropped]| Counts { reached, queued, dropped });
            let (there, error) = if duplicate { (Some(&*error), "") } else { (None, &*error) };
            let reply = Reply {
                id, status, channel, position, recovered, duplicate, subscribers, counts, there, error,
            };
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
