//! From one process to the next: the listening sockets and all connections, as they are.
//!
//! The two talk over a Unix stream socket ([`link`]). In order:
//!
//! | from | frame | |
//! |---|---|---|
//! | new | `HELLO` | its format and version |
//! | old | `OFFER`, or `REFUSED` and why | the same of its own, and the lock of its store, if there is one |
//! | new | `READY` | it has everything that can be made beforehand |
//! | old | `HUB` | from here on, the old one reads nothing |
//! | old | `LOGS`, `STORE` | where the store's records are; from here on, the old one writes none |
//! | old | `CHANNEL`, `HISTORY` | each channel, and what memory keeps of it |
//! | old | `HELD` | messages that wait for slow subscribers, and nobody could be told of |
//! | old | `GRPC` | the gateway's listening socket, if there is one |
//! | old | `SHARD`, `BUFFER`, `CONNECTIONS` | the shard's listening sockets, bytes that are queued, connections |
//! | old | `END` | how many connections there are |
//! | new | `TAKEN` | everything is in place; it begins to serve |
//!
//! `TAKEN` decides. Until it is sent the new one touches no socket and no file, and whatever fails leaves the old
//! one to serve on as if nothing had been. Once it was sent, the old one does nothing more. Both know
//! whether it was sent, also when one of them loses patience: the kernel takes it before the old one
//! closes its ear, or refuses it to the new one.

mod give;
pub(super) mod link;
mod take;

use std::time::Duration;

/// The kinds of frames.
pub(super) mod kind {
    pub const HELLO: u8 = 1;
    pub const REFUSED: u8 = 2;
    pub const OFFER: u8 = 3;
    pub const READY: u8 = 4;
    pub const HUB: u8 = 5;
    pub const CHANNEL: u8 = 6;
    pub const HISTORY: u8 = 7;
    pub const GRPC: u8 = 8;
    pub const SHARD: u8 = 9;
    pub const BUFFER: u8 = 10;
    pub const CONNECTIONS: u8 = 11;
    pub const END: u8 = 12;
    pub const TAKEN: u8 = 13;
    pub const HELD: u8 = 14;
    pub const LOGS: u8 = 15;
    pub const STORE: u8 = 16;
}

/// How long the new process may take until it is ready. The old one serves meanwhile.
const PREPARATION: Duration = Duration::from_secs(30);
/// How long everything may take that the old process does not serve during.
const PAUSE: Duration = Duration::from_secs(10);
/// How long the store may take until nothing in it is compacted, while everybody is served.
const CALM: Duration = Duration::from_secs(5);
/// How long calls of gRPC that have begun may take to end.
const CALLS: Duration = Duration::from_secs(1);

/// How long what the new process said before it failed may take to come. The old one serves by then.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// What was handed to another process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandedOver {
    /// Which process has it now.
    pub to: u32,
    /// Its connections.
    pub connections: usize,
    /// For how long nobody was served, as far as this process can tell.
    pub pause: Duration,
}

/// What was taken from another process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenOver {
    /// Which process had it before.
    pub from: u32,
    /// Its connections.
    pub connections: usize,
    /// Its channels.
    pub channels: usize,
    /// For how long nobody was served.
    pub pause: Duration,
}
