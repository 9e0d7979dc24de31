//! The server's knobs.

use std::time::Duration;

use crate::Result;
use crate::options::{OptionKind, OptionSpec, OptionValue, parse};

/// Everything a server can be told; [`OPTIONS`] describes each field under the same key.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct ServerOptions {
    pub listen: String,
    pub shards: usize,
    pub thread_name: String,
    pub busy_poll: Duration,
    pub queue_bytes: usize,
    pub inbox_bytes: usize,
    pub max_message_bytes: usize,
    pub max_url_message_bytes: usize,
    pub max_header_bytes: usize,
    pub max_connections: usize,
    pub max_channels: usize,
    pub auto_create: bool,
    pub ping_interval: Duration,
    pub pong_wait: Duration,
    pub handshake_timeout: Duration,
    pub request_timeout: Duration,
    pub idle_timeout: Duration,
}

const fn integer(
    key: &'static str,
    min: u64,
    max: u64,
    default: &'static str,
    help: &'static str,
) -> OptionSpec {
    OptionSpec { key, kind: OptionKind::Integer { min, max }, default, help }
}

const DAY_MS: u64 = 86_400_000;
const GIB: u64 = 1 << 30;

/// The keys of [`ServerOptions`].
pub const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        key: "listen",
        kind: OptionKind::Text,
        default: "127.0.0.1:8000",
        help: "Address to listen on, HOST:PORT; port 0 takes any free one.",
    },
    integer("shards", 0, 64, "0", "Threads that own sockets; 0 is one per core."),
    OptionSpec {
        key: "thread_name",
        kind: OptionKind::Text,
        default: "qy-shard",
        help: "Name of the shard threads; the shard's number follows it.",
    },
    integer(
        "busy_poll_us",
        0,
        1000,
        "50",
        "How long a shard polls without sleeping after work; 0 never does.",
    ),
    integer(
        "queue_bytes",
        1024,
        GIB,
        "1048576",
        "Bytes that may wait for one connection; a slower reader is closed with 3008.",
    ),
    integer(
        "inbox_bytes",
        65536,
        16 * GIB,
        "67108864",
        "Bytes of published messages that may wait for a shard before publishers wait.",
    ),
    integer("max_message_bytes", 1, GIB, "1048576", "Largest message by POST or WebSocket."),
    integer(
        "max_url_message_bytes",
        1,
        1 << 20,
        "65536",
        "Largest message in a URL, after decoding.",
    ),
    integer(
        "max_header_bytes",
        256,
        1 << 20,
        "16384",
        "Largest HTTP request head, a message in the URL not counted.",
    ),
    integer(
        "max_connections",
        0,
        u32::MAX as u64,
        "0",
        "Connections at a time, more get 503; 0 is no limit.",
    ),
    integer(
        "max_channels",
        0,
        u32::MAX as u64,
        "1000000",
        "Channels at a time, more get 507; 0 is no limit.",
    ),
    OptionSpec {
        key: "auto_create",
        kind: OptionKind::Boolean,
        default: "false",
        help: "Create a channel when it is first sent or listened to.",
    },
    integer(
        "ping_interval_ms",
        0,
        DAY_MS,
        "25000",
        "Time between WebSocket pings to a client; 0 sends none.",
    ),
    integer(
        "pong_wait_ms",
        1,
        DAY_MS,
        "8000",
        "Time a client has to answer a ping before it is closed with 3012.",
    ),
    integer(
        "handshake_timeout_ms",
        1,
        DAY_MS,
        "5000",
        "Time a connection has to send a whole request head, and to finish a closing handshake.",
    ),
    integer(
        "request_timeout_ms",
        1,
        DAY_MS,
        "30000",
        "Time a connection has to send a whole request body.",
    ),
    integer(
        "idle_timeout_ms",
        1,
        DAY_MS,
        "75000",
        "Time a kept-alive HTTP connection may wait for its next request.",
    ),
];

impl Default for ServerOptions {
    fn default() -> Self {
        let mut options = Self {
            listen: String::new(),
            shards: 0,
            thread_name: String::new(),
            busy_poll: Duration::ZERO,
            queue_bytes: 0,
            inbox_bytes: 0,
            max_message_bytes: 0,
            max_url_message_bytes: 0,
            max_header_bytes: 0,
            max_connections: 0,
            max_channels: 0,
            auto_create: false,
            ping_interval: Duration::ZERO,
            pong_wait: Duration::ZERO,
            handshake_timeout: Duration::ZERO,
            request_timeout: Duration::ZERO,
            idle_timeout: Duration::ZERO,
        };
        for spec in OPTIONS {
            let read = options.set(spec.key, spec.default);
            debug_assert!(read.is_ok(), "the default of '{}' is not a value it takes", spec.key);
        }
        options
    }
}

impl ServerOptions {
    /// Sets the option `key` from text; the error says what it takes.
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        match parse(OPTIONS, key, value)? {
            OptionValue::Integer(n) => self.set_integer(key, n),
            OptionValue::Boolean(on) => self.auto_create = on,
            OptionValue::Text(text) => match key {
                "listen" => self.listen = text.into(),
                _ => self.thread_name = text.into(),
            },
        }
        Ok(())
    }

    fn set_integer(&mut self, key: &str, n: u64) {
        let size = usize::try_from(n).unwrap_or(usize::MAX);
        match key {
            "shards" => self.shards = size,
            "busy_poll_us" => self.busy_poll = Duration::from_micros(n),
            "queue_bytes" => self.queue_bytes = size,
            "inbox_bytes" => self.inbox_bytes = size,
            "max_message_bytes" => self.max_message_bytes = size,
            "max_url_message_bytes" => self.max_url_message_bytes = size,
            "max_header_bytes" => self.max_header_bytes = size,
            "max_connections" => self.max_connections = size,
            "max_channels" => self.max_channels = size,
            "ping_interval_ms" => self.ping_interval = Duration::from_millis(n),
            "pong_wait_ms" => self.pong_wait = Duration::from_millis(n),
            "handshake_timeout_ms" => self.handshake_timeout = Duration::from_millis(n),
            "request_timeout_ms" => self.request_timeout = Duration::from_millis(n),
            "idle_timeout_ms" => self.idle_timeout = Duration::from_millis(n),
            _ => debug_assert!(false, "option '{key}' has no field"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_reaches_a_field_and_every_default_is_accepted() {
        let before = format!("{:?}", ServerOptions::default());
        for spec in OPTIONS {
            let other = match spec.kind {
                OptionKind::Integer { max, .. } => max.to_string(),
                OptionKind::Boolean => (spec.default == "false").to_string(),
                OptionKind::Choice(words) => words[1].to_string(),
                OptionKind::Text => "something else".into(),
            };
            let mut options = ServerOptions::default();
            options.set(spec.key, &other).unwrap();
            assert_ne!(before, format!("{options:?}"), "'{}' changes nothing", spec.key);
        }
    }

    #[test]
    fn the_documented_defaults() {
        let options = ServerOptions::default();
        assert_eq!(options.listen, "127.0.0.1:8000");
        assert_eq!(options.queue_bytes, 1 << 20);
        assert_eq!(options.ping_interval, Duration::from_secs(25));
        assert_eq!(options.max_url_message_bytes, 64 << 10);
    }
}
