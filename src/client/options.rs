//! The client's knobs.

use std::time::Duration;

use super::inbox::Bounds;
use crate::Result;
use crate::options::{OptionSpec, OptionValue, parse};

/// What happens to a message that finds its subscription's queue full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overflow {
    /// The oldest waiting message makes room; counted.
    DropOldest,
    /// The new message is dropped; counted.
    DropNewest,
    /// The connection is not read until there is room: every subscription of the handle waits, and
    /// so do acknowledgements (a callback that publishes may wait for itself until the timeout).
    Block,
}

impl Overflow {
    /// What the option's word stands for.
    pub(crate) fn named(word: &str) -> Self {
        match word {
            "drop_oldest" => Self::DropOldest,
            "drop_newest" => Self::DropNewest,
            _ => Self::Block,
        }
    }
}

/// How a handle publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishVia {
    /// On the handle's WebSocket.
    WebSocket,
    /// By HTTP, on the caller's thread.
    Http,
}

/// Everything a client handle can be told; [`OPTIONS`] describes each field under the same key.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct ClientOptions {
    pub connect_timeout: Duration,
    pub request_timeout: Duration,
    pub reconnect: bool,
    pub reconnect_min: Duration,
    pub reconnect_max: Duration,
    pub reconnect_attempts: u32,
    pub queue_messages: usize,
    pub send_queue_messages: usize,
    pub overflow: Overflow,
    pub publish_via: PublishVia,
    pub publish_retries: u32,
    pub ping_interval: Duration,
    pub pong_wait: Duration,
    pub max_message_bytes: usize,
    pub compression: bool,
    pub ca_file: String,
}

const DAY_MS: u64 = 86_400_000;

/// The keys of [`ClientOptions`].
pub const OPTIONS: &[OptionSpec] = &[
    OptionSpec::integer(
        "connect_timeout_ms",
        1,
        DAY_MS,
        "5000",
        "Time for one attempt to connect.",
    ),
    OptionSpec::integer(
        "request_timeout_ms",
        1,
        DAY_MS,
        "5000",
        "Time that a subscribe or an acknowledged publish may take.",
    ),
    OptionSpec::boolean(
        "reconnect",
        "true",
        "Connect again, and subscribe again, when the connection is lost.",
    ),
    OptionSpec::integer(
        "reconnect_min_ms",
        1,
        DAY_MS,
        "500",
        "Bound of the first random delay before a reconnection; it doubles with each attempt.",
    ),
    OptionSpec::integer(
        "reconnect_max_ms",
        1,
        DAY_MS,
        "20000",
        "Largest bound of the random delay.",
    ),
    OptionSpec::integer(
        "reconnect_attempts",
        0,
        u32::MAX as u64,
        "0",
        "Attempts in a row before giving up; 0 is no limit.",
    ),
    OptionSpec::integer(
        "queue_messages",
        1,
        1 << 24,
        "65536",
        "Events that may wait in one subscription.",
    ),
    OptionSpec::integer(
        "send_queue_messages",
        1,
        1 << 20,
        "1024",
        "Requests that may wait to be written.",
    ),
    OptionSpec::choice(
        "overflow",
        &["drop_oldest", "drop_newest", "block"],
        "drop_oldest",
        "What a message that finds the queue full does: displace the oldest, be dropped, or hold the connection.",
    ),
    OptionSpec::choice(
        "publish_via",
        &["websocket", "http"],
        "websocket",
        "How an acknowledged publish travels.",
    ),
    OptionSpec::integer(
        "publish_retries",
        0,
        1000,
        "0",
        "Times that an acknowledged publish is sent again, under a key, when its connection is lost.",
    ),
    OptionSpec::integer(
        "ping_interval_ms",
        0,
        DAY_MS,
        "25000",
        "Time between pings to the server; 0 sends none.",
    ),
    OptionSpec::integer("pong_wait_ms", 1, DAY_MS, "8000", "Time the server has to answer a ping."),
    OptionSpec::integer(
        "max_message_bytes",
        1,
        1 << 30,
        "16777216",
        "Largest message that is accepted from the server.",
    ),
    OptionSpec::boolean(
        "compression",
        "false",
        "Offer permessage-deflate, and compress what is sent if the server agrees.",
    ),
    OptionSpec::text(
        "ca_file",
        "",
        "PEM file of certificate authorities to trust for https and wss, instead of the system's.",
    ),
];

impl Default for ClientOptions {
    fn default() -> Self {
        let mut options = Self {
            connect_timeout: Duration::ZERO,
            request_timeout: Duration::ZERO,
            reconnect: false,
            reconnect_min: Duration::ZERO,
            reconnect_max: Duration::ZERO,
            reconnect_attempts: 0,
            queue_messages: 0,
            send_queue_messages: 0,
            overflow: Overflow::DropOldest,
            publish_via: PublishVia::WebSocket,
            publish_retries: 0,
            ping_interval: Duration::ZERO,
            pong_wait: Duration::ZERO,
            max_message_bytes: 0,
            compression: false,
            ca_file: String::new(),
        };
        for spec in OPTIONS {
            let read = options.set(spec.key, spec.default);
            debug_assert!(read.is_ok(), "the default of '{}' is not a value it takes", spec.key);
        }
        options
    }
}

impl ClientOptions {
    /// What may wait in one subscription.
    pub(crate) fn bounds(&self) -> Bounds {
        Bounds { messages: self.queue_messages, overflow: self.overflow }
    }

    /// Sets the option `key` from text; the error says what it takes.
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        match parse(OPTIONS, key, value)? {
            OptionValue::Integer(n) => self.set_integer(key, n),
            OptionValue::Boolean(on) if key == "compression" => self.compression = on,
            OptionValue::Boolean(on) => self.reconnect = on,
            OptionValue::Text(text) => match (key, text) {
                ("overflow", word) => self.overflow = Overflow::named(word),
                ("publish_via", "http") => self.publish_via = PublishVia::Http,
                ("publish_via", _) => self.publish_via = PublishVia::WebSocket,
                _ => self.ca_file = text.into(),
            },
        }
        Ok(())
    }

    fn set_integer(&mut self, key: &str, n: u64) {
        let size = usize::try_from(n).unwrap_or(usize::MAX);
        match key {
            "connect_timeout_ms" => self.connect_timeout = Duration::from_millis(n),
            "request_timeout_ms" => self.request_timeout = Duration::from_millis(n),
            "reconnect_min_ms" => self.reconnect_min = Duration::from_millis(n),
            "reconnect_max_ms" => self.reconnect_max = Duration::from_millis(n),
            "reconnect_attempts" => self.reconnect_attempts = u32::try_from(n).unwrap_or(u32::MAX),
            "queue_messages" => self.queue_messages = size,
            "send_queue_messages" => self.send_queue_messages = size,
            "publish_retries" => self.publish_retries = u32::try_from(n).unwrap_or(u32::MAX),
            "ping_interval_ms" => self.ping_interval = Duration::from_millis(n),
            "pong_wait_ms" => self.pong_wait = Duration::from_millis(n),
            "max_message_bytes" => self.max_message_bytes = size,
            _ => debug_assert!(false, "option '{key}' has no field"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::OptionKind;

    #[test]
    fn every_key_reaches_a_field() {
        let before = format!("{:?}", ClientOptions::default());
        for spec in OPTIONS {
            let other = match spec.kind {
                OptionKind::Integer { max, .. } => max.to_string(),
                OptionKind::Boolean => (spec.default == "false").to_string(),
                OptionKind::Choice(words) => words[1].to_string(),
                OptionKind::Text => "something else".into(),
            };
            let mut options = ClientOptions::default();
            options.set(spec.key, &other).unwrap();
            assert_ne!(before, format!("{options:?}"), "'{}' changes nothing", spec.key);
        }
    }
}
