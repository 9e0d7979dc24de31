//! Wire formats without I/O: bytes in, values out, and back.

mod encode;
pub mod events;
pub mod handover;
pub mod http;
pub mod members;
pub mod meta;
pub mod name;
pub mod packet;
pub mod percent;
pub mod reconnect;
pub mod session;
pub mod stream;
pub mod websocket;

pub use encode::{encode, packet_header};

/// Whether a message is UTF-8 text or arbitrary bytes. It decides the WebSocket opcode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// UTF-8 text, a WebSocket text message.
    Text,
    /// Arbitrary bytes, a WebSocket binary message.
    Binary,
}

/// What a connection with a name speaks. It decides how a message is encoded for it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// JSON objects in text messages.
    Session,
    /// Packets in binary messages.
    Packet,
    /// Bare messages, after a first one that tells the client its id.
    Gateway,
    /// Bare messages, which the embedding program handles.
    Host,
    /// Packets of the stream protocol.
    Stream,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Session, Self::Packet, Self::Gateway, Self::Host, Self::Stream];

    /// Its name in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Packet => "packet",
            Self::Gateway => "gateway",
            Self::Host => "host",
            Self::Stream => "stream",
        }
    }

    /// The dialect of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dialect| dialect.name() == name)
    }
}

/// Where a message stands in its channel: the `offset`-th publication since the channel began its
/// `epoch`. Offsets start at 1 and have no holes; another epoch means another history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Position {
    /// The channel's incarnation.
    pub epoch: u64,
    /// The publication's number in that epoch.
    pub offset: u64,
}

/// `EPOCH-OFFSET`, as headers, queries and server-sent events have it.
impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.epoch, self.offset)
    }
}

/// That a text is no position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoPosition;

impl std::str::FromStr for Position {
    type Err = NoPosition;

    fn from_str(text: &str) -> Result<Self, NoPosition> {
        let number = |digits: &str| match digits.bytes().all(|byte| byte.is_ascii_digit()) {
            true => digits.parse().map_err(|_| NoPosition),
            false => Err(NoPosition),
        };
        let (epoch, offset) = text.split_once('-').ok_or(NoPosition)?;
        Ok(Self { epoch: number(epoch)?, offset: number(offset)? })
    }
}

/// WebSocket close codes that Qyun sends beyond those of RFC 6455 section 7.4.1.
///
/// 3000–3499 and 4000–4499 mean come back, 3500–3999 and 4500–4999 mean stay away.
pub mod close {
    /// Done (RFC 6455).
    pub const NORMAL: u16 = 1000;
    /// The server is stopping (RFC 6455).
    pub const GOING_AWAY: u16 = 1001;
    /// A frame breaks the protocol (RFC 6455).
    pub const PROTOCOL_ERROR: u16 = 1002;
    /// A message of a kind that this endpoint does not take (RFC 6455).
    pub const UNSUPPORTED: u16 = 1003;
    /// A Close without a code (RFC 6455); never sent.
    pub const NO_STATUS: u16 = 1005;
    /// The connection ended without a Close (RFC 6455); never sent.
    pub const ABNORMAL: u16 = 1006;
    /// Text that is not UTF-8 (RFC 6455).
    pub const INVALID_DATA: u16 = 1007;
    /// A message over the limit (RFC 6455).
    pub const TOO_BIG: u16 = 1009;
    /// The server stops and asks its clients to come back, at a random moment of the window that the
    /// reason tells (IANA's registry of close codes).
    pub const RESTART: u16 = 1012;
    /// The reader was slower than its queue is deep.
    pub const TOO_SLOW: u16 = 3008;
    /// No pong within the pong wait.
    pub const NO_PONG: u16 = 3012;
    /// No heartbeat of the gateway dialect in time.
    pub const NO_HEARTBEAT: u16 = 3013;
    /// A message took longer than the time for one.
    pub const MESSAGE_TIMEOUT: u16 = 3018;
    /// The connection sent more messages than its rate.
    pub const TOO_FAST: u16 = 3029;
    /// The channel was deleted.
    pub const CHANNEL_DELETED: u16 = 3504;
    /// Another connection came with the same id.
    pub const DISPLACED: u16 = 3505;

    /// Bytes that a reason may have (RFC 6455 section 5.5).
    pub const MAX_REASON: usize = 123;

    /// Whether an endpoint may send `code` (RFC 6455 section 7.4).
    pub fn may_be_sent(code: u16) -> bool {
        matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }

    /// Whether a client that was closed with `code` should connect again.
    pub fn invites_back(code: u16) -> bool {
        !matches!(code, 3500..=3999 | 4500..=4999)
    }
}
