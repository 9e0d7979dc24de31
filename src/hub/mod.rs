//! Channels, their order and their fan-out to shards; no sockets, no threads of its own.

use crate::wire::Position;

/// What is known of a channel at one moment.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ChannelInfo {
    /// The name, decoded.
    pub name: String,
    /// Subscribers now.
    pub subscribers: u64,
    /// Publications since the channel was created: the offset of the last one.
    pub offset: u64,
    /// The channel's incarnation.
    pub epoch: u64,
    /// When it was created, in ms since the Unix epoch.
    pub created_ms: u64,
}

/// Totals since the server started, and what is there now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counters {
    /// Connections open now.
    pub connections: u64,
    /// Connections accepted since the start.
    pub connections_total: u64,
    /// Channels now.
    pub channels: u64,
    /// Subscriptions now.
    pub subscribers: u64,
    /// Messages published.
    pub published: u64,
    /// Messages handed to subscribers' sockets or queues: one publication to ten subscribers is ten.
    pub delivered: u64,
    /// Bytes written to sockets.
    pub bytes_out: u64,
    /// Bytes read from sockets.
    pub bytes_in: u64,
    /// Connections closed because their queue reached its limit.
    pub closed_slow: u64,
    /// Requests and connections refused for breaking a protocol or a limit.
    pub rejected: u64,
    /// Bytes waiting in the queues of slow connections now.
    pub queued_bytes: u64,
}

/// Where a publication landed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// Its place in the channel.
    pub position: Position,
    /// Subscribers of the channel at that moment.
    pub subscribers: u64,
}
