//! What the stream protocol has besides for connections with a name: patterns, and who is where.
//!
//! WebSocket path `/channels/members`. Everything of [`stream`], and:
//!
//! | packet | bytes |
//! |---|---|
//! | request (client → server) | as any other; `op` 5 pattern, 6 end of a pattern, whose name is the pattern; 7 watch, 8 attendance |
//! | entered (server → client) | `0x84`, 0, 0 u16, 0 u32, `channel` u64, `epoch` u64, `offset` u64, then the name |
//! | presence (server → client) | `0x85`, `flags` u8, `id_len` u16, 0 u32, `channel` u64, `offset` u64, `time_ms` u64, then the id, then the user |
//! | beyond (server → client) | `0x86`, 0, 0 u16, 0 u32, then the name of a channel |
//! | welcome (server → client) | `0x87`, 0, 0 u16, 0 u32, then the connection's id |
//!
//! A pattern brings the messages of all channels that it matches, and for each of them an `entered`
//! that tells its number, its name, and the position that its first message follows: also for one that
//! another subscription brings already, and for one that is created later. The reply comes before
//! them; its `offset` is the number of those that exist. A channel that is not brought in because the
//! connection has as many as it may have is told by `beyond`.
//!
//! A watch is a subscribe, or with a payload of a position a resume, whose subscriber is told who
//! comes and goes. Bit 3 of its reply's `flags` says that what follows the offset is no error but who
//! is there, in JSON. An attendance asks for more of them: its payload is `limit` u16, then the id
//! behind which to begin, or nothing. Bit 0 of a presence's `flags`: it went, and did not come. Bit 1:
//! its user has no other connection there. Bit 2: it has a user.

use super::stream::{REQUEST_HEADER, Request, decode_request};
use super::{Position, stream};

/// The WebSocket path of connections with a name that speak the stream protocol.
pub const PATH: &str = "/channels/members";

const PATTERN: u8 = 5;
const NO_PATTERN: u8 = 6;
const WATCH: u8 = 7;
const ATTENDANCE: u8 = 8;

const ENTERED: u8 = 0x84;
const PRESENCE: u8 = 0x85;
const BEYOND: u8 = 0x86;
const WELCOME: u8 = 0x87;

const WENT: u8 = 1;
const EDGE: u8 = 2;
const BOUND: u8 = 4;

const SHORT: usize = 8;
const LONG: usize = 32;

/// What a client asks for. `id` is as of every [`Request`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call<'a> {
    /// What the stream protocol has.
    Plain(Request<'a>),
    /// All channels that a pattern matches.
    Pattern {
        /// The request's.
        id: u32,
        /// The pattern; whether it is a valid one is the receiver's judgement.
        pattern: &'a str,
    },
    /// No longer.
    NoPattern {
        /// The request's.
        id: u32,
        /// The pattern.
        pattern: &'a str,
    },
    /// A channel's messages, and who comes and goes.
    Watch {
        /// The request's.
        id: u32,
        /// The channel's name.
        channel: &'a str,
        /// What was published behind it comes first.
        since: Option<Position>,
    },
    /// Who is there.
    Attendance {
        /// The request's.
        id: u32,
        /// The channel's name.
        channel: &'a str,
        /// At most so many.
        limit: u16,
        /// Those whose ids sort behind this one.
        after: Option<&'a str>,
    },
}

impl Call<'_> {
    /// The request's id.
    pub fn id(&self) -> u32 {
        match self {
            Self::Plain(request) => request.id,
            Self::Pattern { id, .. }
            | Self::NoPattern { id, .. }
            | Self::Watch { id, .. }
            | Self::Attendance { id, .. } => *id,
        }
    }
}

/// What a server says that the stream protocol does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice<'a> {
    /// A pattern brings a channel.
    Entered {
        /// The server's number for it.
        channel: u64,
        /// Its first message follows this.
        position: Position,
        /// Its name.
        name: &'a str,
    },
    /// Somebody came or went.
    Presence(Presence<'a>),
    /// A channel of this name was created, and the connection cannot have another one.
    Beyond(&'a str),
    /// The connection's own id.
    Welcome(&'a str),
}

/// Somebody came to a channel, or went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Presence<'a> {
    /// The server's number for the channel.
    pub channel: u64,
    /// The last publication before it.
    pub offset: u64,
    /// When, in ms since the Unix epoch.
    pub time_ms: u64,
    /// It went.
    pub went: bool,
    /// Its user has no other connection there.
    pub edge: bool,
    /// The connection's id, of at most 65,535 bytes.
    pub id: &'a str,
    /// The user that it is bound to.
    pub user: Option<&'a str>,
}

/// Appends a call. Names over 65,535 bytes are cut; validate them first.
pub fn encode_call(out: &mut Vec<u8>, call: &Call<'_>) {
    let mut append = |op: u8, id: u32, name: &str, payload: &[&[u8]]| {
        let name = &name.as_bytes()[..name.len().min(usize::from(u16::MAX))];
        out.extend_from_slice(&[op, 0]);
        out.extend_from_slice(&(name.len() as u16).to_le_bytes());
        out.extend_from_slice(&id.to_le_bytes());
        out.extend_from_slice(name);
        payload.iter().for_each(|part| out.extend_from_slice(part));
    };
    match *call {
        Call::Plain(request) => stream::encode_request(out, &request),
        Call::Pattern { id, pattern } => append(PATTERN, id, pattern, &[]),
        Call::NoPattern { id, pattern } => append(NO_PATTERN, id, pattern, &[]),
        Call::Watch { id, channel, since: None } => append(WATCH, id, channel, &[]),
        Call::Watch { id, channel, since: Some(Position { epoch, offset }) } => {
            append(WATCH, id, channel, &[&epoch.to_le_bytes(), &offset.to_le_bytes()]);
        }
        Call::Attendance { id, channel, limit, after } => {
            let after = after.unwrap_or_default().as_bytes();
            append(ATTENDANCE, id, channel, &[&limit.to_le_bytes(), after]);
        }
    }
}

/// Reads a call; `None` when it is none.
pub fn decode_call(bytes: &[u8]) -> Option<Call<'_>> {
    let (header, rest) = bytes.split_first_chunk::<REQUEST_HEADER>()?;
    let [op, _, n0, n1, id @ ..] = *header;
    if !(PATTERN..=ATTENDANCE).contains(&op) {
        return decode_request(bytes).map(Call::Plain);
    }
    let id = u32::from_le_bytes(id);
    let (name, payload) = rest.split_at_checked(usize::from(u16::from_le_bytes([n0, n1])))?;
    let name = std::str::from_utf8(name).ok()?;
    match (op, payload.len()) {
        (PATTERN, 0) => Some(Call::Pattern { id, pattern: name }),
        (NO_PATTERN, 0) => Some(Call::NoPattern { id, pattern: name }),
        (WATCH, 0) => Some(Call::Watch { id, channel: name, since: None }),
        (WATCH, 16) => {
            let since = Position { epoch: word(payload, 0)?, offset: word(payload, 8)? };
            Some(Call::Watch { id, channel: name, since: Some(since) })
        }
        (ATTENDANCE, _) => {
            let (limit, after) = payload.split_first_chunk::<2>()?;
            let after = std::str::from_utf8(after).ok()?;
            let after = (!after.is_empty()).then_some(after);
            let limit = u16::from_le_bytes(*limit);
            Some(Call::Attendance { id, channel: name, limit, after })
        }
        _ => None,
    }
}

/// Appends a notice. An id of more than 65,535 bytes is cut.
pub fn encode_notice(out: &mut Vec<u8>, notice: &Notice<'_>) {
    match *notice {
        Notice::Entered { channel, position: Position { epoch, offset }, name } => {
            out.extend_from_slice(&[ENTERED, 0, 0, 0, 0, 0, 0, 0]);
            [channel, epoch, offset].iter().for_each(|one| out.extend(one.to_le_bytes()));
            out.extend_from_slice(name.as_bytes());
        }
        Notice::Presence(Presence { channel, offset, time_ms, went, edge, id, user }) => {
            let flag = |set: bool, bit: u8| if set { bit } else { 0 };
            let flags = flag(went, WENT) | flag(edge, EDGE) | flag(user.is_some(), BOUND);
            let id = &id.as_bytes()[..id.len().min(usize::from(u16::MAX))];
            out.extend_from_slice(&[PRESENCE, flags]);
            out.extend_from_slice(&(id.len() as u16).to_le_bytes());
            out.extend_from_slice(&[0; 4]);
            [channel, offset, time_ms].iter().for_each(|one| out.extend(one.to_le_bytes()));
            out.extend_from_slice(id);
            out.extend_from_slice(user.unwrap_or_default().as_bytes());
        }
        Notice::Beyond(name) => {
            out.extend_from_slice(&[BEYOND, 0, 0, 0, 0, 0, 0, 0]);
            out.extend_from_slice(name.as_bytes());
        }
        Notice::Welcome(id) => {
            out.extend_from_slice(&[WELCOME, 0, 0, 0, 0, 0, 0, 0]);
            out.extend_from_slice(id.as_bytes());
        }
    }
}

/// Reads a notice; `None` when it is none.
pub fn decode_notice(bytes: &[u8]) -> Option<Notice<'_>> {
    let text = |from: usize| std::str::from_utf8(bytes.get(from..)?).ok();
    let [op, flags, n0, n1, ..] = *bytes.first_chunk::<SHORT>()?;
    match op {
        ENTERED => Some(Notice::Entered {
            channel: word(bytes, 8)?,
            position: Position { epoch: word(bytes, 16)?, offset: word(bytes, 24)? },
            name: text(LONG)?,
        }),
        PRESENCE => {
            let rest = bytes.get(LONG..)?;
            let (id, user) = rest.split_at_checked(usize::from(u16::from_le_bytes([n0, n1])))?;
            let user = std::str::from_utf8(user).ok()?;
            Some(Notice::Presence(Presence {
                channel: word(bytes, 8)?,
                offset: word(bytes, 16)?,
                time_ms: word(bytes, 24)?,
                went: flags & WENT != 0,
                edge: flags & EDGE != 0,
                id: std::str::from_utf8(id).ok()?,
                user: (flags & BOUND != 0).then_some(user),
            }))
        }
        BEYOND => Some(Notice::Beyond(text(SHORT)?)),
        WELCOME => Some(Notice::Welcome(text(SHORT)?)),
        _ => None,
    }
}

/// The number at `at`, if it is there.
fn word(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::stream::Op;

    const SINCE: Position = Position { epoch: 7, offset: 258 };

    #[test]
    fn the_layout_is_as_documented() {
        let mut bytes = Vec::new();
        encode_call(&mut bytes, &Call::Pattern { id: 0x01020304, pattern: "a.*" });
        assert_eq!(bytes, b"\x05\0\x03\0\x04\x03\x02\x01a.*");
        let mut bytes = Vec::new();
        encode_call(&mut bytes, &Call::Watch { id: 1, channel: "c", since: Some(SINCE) });
        assert_eq!(bytes, b"\x07\0\x01\0\x01\0\0\0c\x07\0\0\0\0\0\0\0\x02\x01\0\0\0\0\0\0");
        let mut bytes = Vec::new();
        encode_call(
            &mut bytes,
            &Call::Attendance { id: 1, channel: "c", limit: 258, after: Some("i") },
        );
        assert_eq!(bytes, b"\x08\0\x01\0\x01\0\0\0c\x02\x01i");
        let mut bytes = Vec::new();
        encode_notice(&mut bytes, &Notice::Entered { channel: 5, position: SINCE, name: "a.b" });
        assert_eq!(
            bytes,
            b"\x84\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\x02\x01\0\0\0\0\0\0a.b"
        );
        let mut bytes = Vec::new();
        let presence = Presence {
            channel: 5,
            offset: 7,
            time_ms: 258,
            went: true,
            edge: true,
            id: "id",
            user: Some("u"),
        };
        encode_notice(&mut bytes, &Notice::Presence(presence));
        assert_eq!(
            bytes,
            b"\x85\x07\x02\0\0\0\0\0\x05\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\x02\x01\0\0\0\0\0\0idu"
        );
    }

    proptest! {
        #[test]
        fn a_call_survives_the_way(
            id in any::<u32>(), name in ".{0,20}", after in ".{0,9}", limit in any::<u16>(), which in 0..5,
        ) {
            let call = match which {
                0 => Call::Plain(Request { id, channel: &name, op: Op::Resume(SINCE) }),
                1 => Call::Pattern { id, pattern: &name },
                2 => Call::NoPattern { id, pattern: &name },
                3 => Call::Watch { id, channel: &name, since: (limit > 9).then_some(SINCE) },
                _ => {
                    let after = (!after.is_empty()).then_some(&*after);
                    Call::Attendance { id, channel: &name, limit, after }
                }
            };
            let mut bytes = Vec::new();
            encode_call(&mut bytes, &call);
            prop_assert_eq!(decode_call(&bytes), Some(call));
            prop_assert_eq!(call.id(), id);
            for cut in 0..REQUEST_HEADER + name.len() {
                prop_assert_eq!(decode_call(&bytes[..cut]), None);
            }
        }

        #[test]
        fn a_notice_survives_the_way(
            channel in any::<u64>(), name in ".{0,20}", user in proptest::option::of(".{0,9}"),
            went in any::<bool>(), edge in any::<bool>(), which in 0..4,
        ) {
            let notice = match which {
                0 => Notice::Entered { channel, position: SINCE, name: &name },
                1 => Notice::Beyond(&name),
                2 => Notice::Welcome(&name),
                _ => Notice::Presence(Presence {
                    channel, offset: 3, time_ms: 4, went, edge, id: &name, user: user.as_deref(),
                }),
            };
            let mut bytes = Vec::new();
            encode_notice(&mut bytes, &notice);
            prop_assert_eq!(decode_notice(&bytes), Some(notice));
            for cut in 0..SHORT {
                prop_assert_eq!(decode_notice(&bytes[..cut]), None);
            }
        }

        #[test]
        fn whatever_comes_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = (decode_call(&bytes), decode_notice(&bytes));
        }
    }
}
