//! What is counted. Each shard has its own [`Gauges`], written by that shard alone, so that a
//! count costs no contended cache line; a [`Counters`] is their sum at one moment.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::{Account, Deliveries, Histogram};

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
    /// Messages compressed: each once, however many connections get it.
    pub compressions: u64,
    /// Their bytes before compression.
    pub compressed_bytes_in: u64,
    /// Their bytes after compression; of a message that it does not make smaller, those before.
    pub compressed_bytes_out: u64,
    /// Messages that came compressed and were decompressed.
    pub inflations: u64,
    /// What became of all channels' messages.
    pub deliveries: Deliveries,
}

/// One shard's counts, in a cache line of their own.
#[derive(Debug, Default)]
#[repr(align(128))]
#[allow(missing_docs)]
pub struct Gauges {
    pub connections: AtomicU64,
    pub connections_total: AtomicU64,
    pub subscribers: AtomicU64,
    pub delivered: AtomicU64,
    pub bytes_out: AtomicU64,
    pub bytes_in: AtomicU64,
    pub closed_slow: AtomicU64,
    pub rejected: AtomicU64,
    pub queued_bytes: AtomicU64,
    pub compressions: AtomicU64,
    pub compressed_bytes_in: AtomicU64,
    pub compressed_bytes_out: AtomicU64,
    pub inflations: AtomicU64,
    /// What became of all channels' messages.
    pub messages: Account,
    /// From a publication to the end of the writes to this shard's subscribers.
    pub publish_to_write: Histogram,
}

impl Gauges {
    /// Adds to a gauge that only the calling thread writes: a plain load and store.
    pub fn add(gauge: &AtomicU64, n: u64) {
        gauge.store(gauge.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Takes from a gauge that only the calling thread writes.
    pub fn sub(gauge: &AtomicU64, n: u64) {
        gauge.store(gauge.load(Relaxed).wrapping_sub(n), Relaxed);
    }

    /// Adds this shard's counts to a sum.
    pub fn add_to(&self, sum: &mut Counters) {
        sum.connections += self.connections.load(Relaxed);
        sum.connections_total += self.connections_total.load(Relaxed);
        sum.subscribers += self.subscribers.load(Relaxed);
        sum.delivered += self.delivered.load(Relaxed);
        sum.bytes_out += self.bytes_out.load(Relaxed);
        sum.bytes_in += self.bytes_in.load(Relaxed);
        sum.closed_slow += self.closed_slow.load(Relaxed);
        sum.rejected += self.rejected.load(Relaxed);
        sum.queued_bytes += self.queued_bytes.load(Relaxed);
        sum.compressions += self.compressions.load(Relaxed);
        sum.compressed_bytes_in += self.compressed_bytes_in.load(Relaxed);
        sum.compressed_bytes_out += self.compressed_bytes_out.load(Relaxed);
        sum.inflations += self.inflations.load(Relaxed);
        self.messages.add_to(&mut sum.deliveries);
    }
}
