//! The server's knobs.

use std::time::Duration;

use super::remote;
use crate::Result;
use crate::hub::Namespaces;
use crate::options::{Field, OptionSpec, OptionValue, parse, unknown};
use crate::wire::reconnect;

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
    pub max_batch_messages: usize,
    pub max_batch_bytes: usize,
    pub max_url_message_bytes: usize,
    pub max_header_bytes: usize,
    pub max_connections: usize,
    pub max_connections_per_ip: usize,
    pub connections_per_second_per_ip: usize,
    pub handshakes_per_second: usize,
    pub handshakes_per_second_per_ip: usize,
    pub message_rate: usize,
    pub message_burst: usize,
    pub max_fragments: usize,
    pub max_channels: usize,
    pub auto_create: bool,
    pub namespaces: String,
    pub store: String,
    pub compression: bool,
    pub compress_min_bytes: usize,
    pub page: bool,
    pub admin: bool,
    pub admin_token: Secret,
    pub ping_interval: Duration,
    pub pong_wait: Duration,
    pub handshake_timeout: Duration,
    pub request_timeout: Duration,
    pub message_timeout: Duration,
    pub idle_timeout: Duration,
    pub reconnect_window: Duration,
    pub drain_spread: Duration,
    pub trusted_proxies: Vec<String>,
    pub origins: Vec<String>,
    pub delivery_threads: usize,
    pub delivery_bytes: usize,
    pub packet_path: String,
    pub packet_max_bytes: usize,
    pub gateway_path: String,
    pub gateway_format: String,
    pub gateway_heartbeat: Duration,
    pub grpc_listen: String,
    pub grpc_allow: Vec<String>,
    pub session_path: String,
    pub session_listing: bool,
    pub session_patterns: bool,
    pub max_subscriptions: usize,
    pub rpc_timeout: Duration,
    pub rpc_max_in_flight: usize,
}

/// A text that does not show when the options are printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_empty() { "none" } else { "hidden" })
    }
}

const DAY_MS: u64 = 86_400_000;
const GIB: u64 = 1 << 30;
const MOST_PER_SECOND: u64 = 1_000_000_000;

/// A bound that can change at any time.
const fn limit(
    key: &'static str,
    min: u64,
    max: u64,
    default: &'static str,
    help: &'static str,
) -> OptionSpec {
    OptionSpec::integer(key, min, max, default, help).within("limits").live()
}

/// A time in ms that can change at any time.
const fn time(
    key: &'static str,
    min: u64,
    default: &'static str,
    help: &'static str,
) -> OptionSpec {
    OptionSpec::integer(key, min, DAY_MS, default, help).within("timeouts").live()
}

/// The keys of [`ServerOptions`].
pub const OPTIONS: &[OptionSpec] = &[
    OptionSpec::text(
        "listen",
        "127.0.0.1:8000",
        "Address to listen on, HOST:PORT; port 0 takes any free one.",
    )
    .within("server"),
    OptionSpec::integer("shards", 0, 64, "0", "Threads that own sockets; 0 is one per core.")
        .within("server"),
    OptionSpec::text(
        "thread_name",
        "qy-shard",
        "Name of the shard threads; the shard's number follows it.",
    )
    .within("server"),
    OptionSpec::integer(
        "busy_poll_us",
        0,
        1000,
        "50",
        "How long a shard polls without sleeping after work; 0 never does.",
    )
    .within("server")
    .live(),
    OptionSpec::boolean(
        "auto_create",
        "false",
        "Create a channel when it is first sent or listened to.",
    )
    .within("server")
    .live(),
    OptionSpec::text(
        "namespaces",
        "",
        "Options of channels by their names, 'PATTERN: KEY=VALUE, KEY=VALUE; PATTERN: …'; the first pattern that matches decides.",
    )
    .within("channels")
    .live(),
    OptionSpec::text(
        "store",
        "",
        "Folder of the durable channels, made if it is not there; without one, there are none.",
    )
    .within("channels"),
    OptionSpec::boolean(
        "compression",
        "true",
        "Compress messages for WebSocket clients that offer permessage-deflate.",
    )
    .within("server")
    .live(),
    limit(
        "compress_min_bytes",
        0,
        GIB,
        "256",
        "Smallest message that is compressed; a smaller one is sent as it is.",
    ),
    OptionSpec::boolean("page", "true", "Serve the test page and the console at /.")
        .within("server")
        .live(),
    OptionSpec::boolean("admin", "true", "Serve the admin API below /api/v1/.")
        .within("server")
        .live(),
    OptionSpec::text(
        "admin_token",
        "",
        "What 'Authorization: Bearer' must give to the admin API; without one, it is for this machine only.",
    )
    .within("server")
    .secret()
    .live(),
    limit(
        "queue_bytes",
        1024,
        GIB,
        "1048576",
        "Bytes that may wait for one connection; a slower reader is closed with 3008.",
    ),
    limit(
        "inbox_bytes",
        65536,
        16 * GIB,
        "67108864",
        "Bytes of published messages that may wait for a shard before publishers wait.",
    ),
    limit("max_message_bytes", 1, GIB, "1048576", "Largest message by POST or WebSocket."),
    limit("max_batch_messages", 1, 1_000_000, "1000", "Most messages that are published in one request."),
    limit("max_batch_bytes", 1024, GIB, "4194304", "Largest body that publishes several messages."),
    limit(
        "max_url_message_bytes",
        1,
        1 << 20,
        "65536",
        "Largest message in a URL, after decoding.",
    ),
    limit(
        "max_header_bytes",
        256,
        1 << 20,
        "16384",
        "Largest HTTP request head, a message in the URL not counted.",
    ),
    limit(
        "max_connections",
        0,
        u32::MAX as u64,
        "0",
        "Connections at a time, more get 503; 0 is no limit.",
    ),
    limit(
        "max_connections_per_ip",
        0,
        u32::MAX as u64,
        "0",
        "Connections at a time of one address (of IPv6, one /64), more get 429; 0 is no limit.",
    ),
    limit(
        "connections_per_second_per_ip",
        0,
        MOST_PER_SECOND,
        "0",
        "New connections of one address a second, more get 429; 0 is no limit.",
    ),
    limit(
        "handshakes_per_second",
        0,
        MOST_PER_SECOND,
        "0",
        "WebSocket upgrades and event streams a second, more get 503; 0 is no limit.",
    ),
    limit(
        "handshakes_per_second_per_ip",
        0,
        MOST_PER_SECOND,
        "0",
        "The same of one address, more get 429; 0 is no limit.",
    ),
    limit(
        "message_rate",
        0,
        MOST_PER_SECOND,
        "0",
        "Messages and requests of one connection a second, more are refused; 0 is no limit.",
    ),
    limit(
        "message_burst",
        0,
        MOST_PER_SECOND,
        "0",
        "Messages that a connection may send at once after a pause; 0 is as many as message_rate.",
    ),
    limit(
        "max_fragments",
        1,
        u32::MAX as u64,
        "262144",
        "Frames that one WebSocket message may come in; more close with 1009.",
    ),
    limit(
        "max_channels",
        0,
        u32::MAX as u64,
        "1000000",
        "Channels at a time, more get 507; 0 is no limit.",
    ),
    time("ping_interval_ms", 0, "25000", "Time between WebSocket pings to a client; 0 sends none."),
    time(
        "pong_wait_ms",
        1,
        "8000",
        "Time a client has to answer a ping before it is closed with 3012.",
    ),
    time(
        "handshake_timeout_ms",
        1,
        "5000",
        "Time a connection has to send a whole request head, and to finish a closing handshake.",
    ),
    time("request_timeout_ms", 1, "30000", "Time a connection has to send a whole request body."),
    time(
        "message_timeout_ms",
        1,
        "120000",
        "Time a WebSocket has for a whole message from its first byte; longer closes with 3018.",
    ),
    time(
        "idle_timeout_ms",
        1,
        "75000",
        "Time a kept-alive HTTP connection may wait for its next request.",
    ),
    OptionSpec::integer(
        "reconnect_window_ms",
        0,
        reconnect::MAX.as_millis() as u64,
        "5000",
        "Clients of a server that stops are asked to come back at a random moment within this time; \
         0 does not ask.",
    )
    .within("timeouts")
    .live(),
    time(
        "drain_spread_ms",
        0,
        "0",
        "Time over which a server that stops tells its clients, at most half the drain.",
    ),
    OptionSpec::text(
        "trusted_proxies",
        "",
        "Addresses and networks, comma-separated, whose Forwarded or X-Forwarded-For is believed.",
    )
    .within("server")
    .list()
    .live(),
    OptionSpec::text(
        "origins",
        "",
        "Origins that web pages may open WebSockets from, comma-separated; empty is any.",
    )
    .within("server")
    .list()
    .live(),
    OptionSpec::integer(
        "delivery_threads",
        0,
        256,
        "0",
        "Threads that run the program's callbacks, in order for each connection; 0 is one per core.",
    )
    .within("server"),
    OptionSpec::integer(
        "delivery_bytes",
        0,
        GIB,
        "16777216",
        "What may wait for the program's callbacks before connections are no longer read.",
    )
    .within("limits"),
    OptionSpec::text("packet_path", "/join", "Where the packet dialect is spoken; empty is nowhere.")
        .within("dialects"),
    OptionSpec::integer(
        "packet_max_bytes",
        14,
        GIB,
        "524288",
        "Largest packet of the packet dialect, header included, whoever sends it.",
    )
    .within("limits"),
    OptionSpec::text("gateway_path", "/", "Where the gateway's clients connect; empty is nowhere.")
        .within("dialects"),
    OptionSpec::choice(
        "gateway_format",
        &["text", "binary"],
        "text",
        "Kind of the frames that the gateway's clients get.",
    )
    .within("dialects"),
    OptionSpec::integer(
        "gateway_heartbeat_ms",
        1,
        DAY_MS,
        "180000",
        "Time in which a client of the gateway must send `ping`.",
    )
    .within("timeouts")
    .live(),
    OptionSpec::text("grpc_listen", "", "Address of the gateway's gRPC, HOST:PORT; empty is none.")
        .within("grpc"),
    OptionSpec::text(
        "grpc_allow",
        "",
        "Addresses and networks, comma-separated, that may call gRPC; empty is all.",
    )
    .within("grpc")
    .list()
    .live(),
    OptionSpec::text(
        "session_path",
        "/ws",
        "Where the session dialect is spoken; empty is nowhere.",
    )
    .within("dialects"),
    OptionSpec::boolean(
        "session_listing",
        "true",
        "Let clients of the session dialect list connections and the members of channels.",
    )
    .within("dialects")
    .live(),
    OptionSpec::boolean(
        "session_patterns",
        "true",
        "Let clients of the session dialect subscribe to patterns of names, like news.*.",
    )
    .within("dialects")
    .live(),
    OptionSpec::integer(
        "max_subscriptions",
        1,
        u32::MAX as u64,
        "10000",
        "Channels that one connection may be in, whatever it speaks, and patterns that it subscribed to.",
    )
    .within("limits")
    .live(),
    OptionSpec::integer(
        "rpc_timeout_ms",
        1,
        DAY_MS,
        "10000",
        "Time the program has to answer a call before the caller gets an error.",
    )
    .within("timeouts")
    .live(),
    OptionSpec::integer(
        "rpc_max_in_flight",
        1,
        1 << 20,
        "10000",
        "Calls of one connection that may wait for the program's answers.",
    )
    .within("limits"),
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
            max_batch_messages: 0,
            max_batch_bytes: 0,
            max_url_message_bytes: 0,
            max_header_bytes: 0,
            max_connections: 0,
            max_connections_per_ip: 0,
            connections_per_second_per_ip: 0,
            handshakes_per_second: 0,
            handshakes_per_second_per_ip: 0,
            message_rate: 0,
            message_burst: 0,
            max_fragments: 0,
            max_channels: 0,
            auto_create: false,
            namespaces: String::new(),
            store: String::new(),
            compression: false,
            compress_min_bytes: 0,
            page: false,
            admin: false,
            admin_token: Secret::default(),
            ping_interval: Duration::ZERO,
            pong_wait: Duration::ZERO,
            handshake_timeout: Duration::ZERO,
            request_timeout: Duration::ZERO,
            message_timeout: Duration::ZERO,
            idle_timeout: Duration::ZERO,
            reconnect_window: Duration::ZERO,
            drain_spread: Duration::ZERO,
            trusted_proxies: Vec::new(),
            origins: Vec::new(),
            delivery_threads: 0,
            delivery_bytes: 0,
            packet_path: String::new(),
            packet_max_bytes: 0,
            gateway_path: String::new(),
            gateway_format: String::new(),
            gateway_heartbeat: Duration::ZERO,
            grpc_listen: String::new(),
            grpc_allow: Vec::new(),
            session_path: String::new(),
            session_listing: false,
            session_patterns: false,
            max_subscriptions: 0,
            rpc_timeout: Duration::ZERO,
            rpc_max_in_flight: 0,
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
        let value = parse(OPTIONS, key, value)?;
        if let ("trusted_proxies" | "grpc_allow", OptionValue::Text(text)) = (key, value) {
            remote::networks(key, text)?;
        }
        if let ("namespaces", OptionValue::Text(text)) = (key, value) {
            Namespaces::parse(text)?;
        }
        let fits = self.field(key).is_some_and(|field| field.set(value));
        debug_assert!(fits, "option '{key}' has no field of its kind");
        Ok(())
    }

    /// The value of the option `key`, as [`ServerOptions::set`] takes it. Costs a copy of the
    /// options. Error: `UnknownOption`.
    pub fn get(&self, key: &str) -> Result<String> {
        let mut copy = self.clone();
        copy.field(key).map(Field::get).ok_or_else(|| unknown(OPTIONS, key))
    }

    fn field(&mut self, key: &str) -> Option<Field<'_>> {
        Some(match key {
            "listen" => Field::Text(&mut self.listen),
            "shards" => Field::Size(&mut self.shards),
            "thread_name" => Field::Text(&mut self.thread_name),
            "busy_poll_us" => Field::Micros(&mut self.busy_poll),
            "queue_bytes" => Field::Size(&mut self.queue_bytes),
            "inbox_bytes" => Field::Size(&mut self.inbox_bytes),
            "max_message_bytes" => Field::Size(&mut self.max_message_bytes),
            "max_batch_messages" => Field::Size(&mut self.max_batch_messages),
            "max_batch_bytes" => Field::Size(&mut self.max_batch_bytes),
            "max_url_message_bytes" => Field::Size(&mut self.max_url_message_bytes),
            "max_header_bytes" => Field::Size(&mut self.max_header_bytes),
            "max_connections" => Field::Size(&mut self.max_connections),
            "max_connections_per_ip" => Field::Size(&mut self.max_connections_per_ip),
            "connections_per_second_per_ip" => Field::Size(&mut self.connections_per_second_per_ip),
            "handshakes_per_second" => Field::Size(&mut self.handshakes_per_second),
            "handshakes_per_second_per_ip" => Field::Size(&mut self.handshakes_per_second_per_ip),
            "message_rate" => Field::Size(&mut self.message_rate),
            "message_burst" => Field::Size(&mut self.message_burst),
            "max_fragments" => Field::Size(&mut self.max_fragments),
            "max_channels" => Field::Size(&mut self.max_channels),
            "auto_create" => Field::Flag(&mut self.auto_create),
            "namespaces" => Field::Text(&mut self.namespaces),
            "store" => Field::Text(&mut self.store),
            "compression" => Field::Flag(&mut self.compression),
            "compress_min_bytes" => Field::Size(&mut self.compress_min_bytes),
            "page" => Field::Flag(&mut self.page),
            "admin" => Field::Flag(&mut self.admin),
            "admin_token" => Field::Text(&mut self.admin_token.0),
            "ping_interval_ms" => Field::Millis(&mut self.ping_interval),
            "pong_wait_ms" => Field::Millis(&mut self.pong_wait),
            "handshake_timeout_ms" => Field::Millis(&mut self.handshake_timeout),
            "request_timeout_ms" => Field::Millis(&mut self.request_timeout),
            "message_timeout_ms" => Field::Millis(&mut self.message_timeout),
            "idle_timeout_ms" => Field::Millis(&mut self.idle_timeout),
            "reconnect_window_ms" => Field::Millis(&mut self.reconnect_window),
            "drain_spread_ms" => Field::Millis(&mut self.drain_spread),
            "trusted_proxies" => Field::List(&mut self.trusted_proxies),
            "origins" => Field::List(&mut self.origins),
            "delivery_threads" => Field::Size(&mut self.delivery_threads),
            "delivery_bytes" => Field::Size(&mut self.delivery_bytes),
            "packet_path" => Field::Text(&mut self.packet_path),
            "packet_max_bytes" => Field::Size(&mut self.packet_max_bytes),
            "gateway_path" => Field::Text(&mut self.gateway_path),
            "gateway_format" => Field::Text(&mut self.gateway_format),
            "gateway_heartbeat_ms" => Field::Millis(&mut self.gateway_heartbeat),
            "grpc_listen" => Field::Text(&mut self.grpc_listen),
            "grpc_allow" => Field::List(&mut self.grpc_allow),
            "session_path" => Field::Text(&mut self.session_path),
            "session_listing" => Field::Flag(&mut self.session_listing),
            "session_patterns" => Field::Flag(&mut self.session_patterns),
            "max_subscriptions" => Field::Size(&mut self.max_subscriptions),
            "rpc_timeout_ms" => Field::Millis(&mut self.rpc_timeout),
            "rpc_max_in_flight" => Field::Size(&mut self.rpc_max_in_flight),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::OptionKind;

    #[test]
    fn every_key_reaches_a_field_and_every_default_is_accepted() {
        let before = format!("{:?}", ServerOptions::default());
        for spec in OPTIONS {
            let other = match spec.kind {
                OptionKind::Integer { max, .. } => max.to_string(),
                OptionKind::Boolean => (spec.default == "false").to_string(),
                OptionKind::Choice(words) => words[1].to_string(),
                OptionKind::Text if ["trusted_proxies", "grpc_allow"].contains(&spec.key) => {
                    "10.0.0.0/8".into()
                }
                OptionKind::Text if spec.key == "namespaces" => "news.>: history_size=9".into(),
                OptionKind::Text => "something else".into(),
            };
            let mut options = ServerOptions::default();
            options.set(spec.key, &other).unwrap();
            assert_ne!(before, format!("{options:?}"), "'{}' changes nothing", spec.key);
            assert_eq!(options.get(spec.key).unwrap(), other);
            assert!(!spec.section.is_empty(), "'{}' has no place in a file", spec.key);
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
