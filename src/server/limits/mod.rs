//! Limits on what strangers may do: how many connections and handshakes an address gets, how many
//! messages a connection may send, and which limits were met how often.

mod gate;
mod rate;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

pub(in crate::server) use gate::{Gate, GateLimits, Party};
pub(in crate::server) use rate::{Bucket, Rate};

use crate::wire::http::Refusal;

macro_rules! limits {
    ($($(#[$doc:meta])* $limit:ident = $name:literal,)*) => {
        /// A limit that something was refused for, by the option that sets it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(in crate::server) enum Limit { $($(#[$doc])* $limit,)* }

        impl Limit {
            /// All of them, in the order of [`Limit`].
            const NAMES: &[&'static str] = &[$($name,)*];
        }
    };
}

limits! {
    MaxConnections = "max_connections",
    MaxConnectionsPerIp = "max_connections_per_ip",
    ConnectionsPerSecondPerIp = "connections_per_second_per_ip",
    HandshakesPerSecond = "handshakes_per_second",
    HandshakesPerSecondPerIp = "handshakes_per_second_per_ip",
    MessageRate = "message_rate",
    /// Longer than `max_header_bytes`, in more than 64 fields, or a request line that is too long.
    MaxHeaderBytes = "max_header_bytes",
    MaxMessageBytes = "max_message_bytes",
    MaxUrlMessageBytes = "max_url_message_bytes",
    MaxFragments = "max_fragments",
    MaxChannels = "max_channels",
    MaxSubscriptions = "max_subscriptions",
    /// A head or a closing handshake that did not come in time.
    HandshakeTimeout = "handshake_timeout_ms",
    RequestTimeout = "request_timeout_ms",
    MessageTimeout = "message_timeout_ms",
    PongWait = "pong_wait_ms",
    QueueBytes = "queue_bytes",
}

/// How often each limit refused something. Counted where something is refused, on no hot path.
#[derive(Debug, Default)]
pub(in crate::server) struct Limited([AtomicU64; Limit::NAMES.len()]);

impl Limited {
    pub(in crate::server) fn count(&self, limit: Limit) {
        if let Some(count) = self.0.get(limit as usize) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// The counts by the names of the options.
    pub(in crate::server) fn counts(&self) -> BTreeMap<&'static str, u64> {
        Limit::NAMES.iter().zip(&self.0).map(|(name, count)| (*name, count.load(Relaxed))).collect()
    }
}

impl Limit {
    /// What a client is told whose connection or handshake is refused for this limit. What concerns
    /// its address is 429, what concerns everybody 503.
    pub(in crate::server) fn refusal(self) -> Refusal {
        match self {
            Self::MaxConnectionsPerIp => {
                Refusal { status: 429, message: "Too many connections from this address" }
            }
            Self::ConnectionsPerSecondPerIp => {
                Refusal { status: 429, message: "Too many new connections from this address" }
            }
            Self::HandshakesPerSecondPerIp => {
                Refusal { status: 429, message: "Too many handshakes from this address" }
            }
            Self::HandshakesPerSecond => Refusal { status: 503, message: "Too many handshakes" },
            _ => Refusal { status: 503, message: "Too many connections" },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_is_counted_under_its_own_name() {
        let limited = Limited::default();
        limited.count(Limit::MaxConnections);
        limited.count(Limit::QueueBytes);
        limited.count(Limit::QueueBytes);
        let counts = limited.counts();
        assert_eq!(counts.len(), Limit::NAMES.len());
        assert_eq!((counts["max_connections"], counts["queue_bytes"]), (1, 2));
        assert_eq!(counts.values().sum::<u64>(), 3);
    }
}
