//! A path, what handles it, and its limits.

use std::sync::Arc;
use std::time::Duration;

use super::Handler;
use crate::Result;
use crate::hub::Channel;
use crate::options::{Field, OptionSpec, parse};

/// Where WebSockets of one kind arrive.
pub struct Endpoint {
    /// The path, decoded.
    pub path: Arc<str>,
    /// Its limits.
    pub options: EndpointOptions,
    /// What handles its connections.
    pub handler: Arc<dyn Handler>,
    /// Every connection of the endpoint subscribes to it, to bare frames: what goes to all of them
    /// is encoded once and sent by the ordinary fan-out.
    pub everyone: Arc<Channel>,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Everything an endpoint can be told; [`ENDPOINT_OPTIONS`] describes each field under its key.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct EndpointOptions {
    pub max_connections: usize,
    pub max_message_bytes: usize,
    pub ping_interval: Duration,
    pub pong_wait: Duration,
    pub write_wait: Duration,
    pub read_buffer_bytes: usize,
    pub write_buffer_bytes: usize,
    pub origins: Vec<String>,
    pub compression: bool,
    /// Time in which the handler must be told that the client lives, or the client is closed; zero
    /// is no limit. Only a dialect with a heartbeat of its own sets it.
    pub heartbeat: Duration,
}

const DAY_MS: u64 = 86_400_000;

/// The keys of [`EndpointOptions`].
pub const ENDPOINT_OPTIONS: &[OptionSpec] = &[
    OptionSpec::integer(
        "max_connections",
        0,
        u32::MAX as u64,
        "0",
        "Connections of this endpoint at a time, more get 503; 0 is no limit.",
    ),
    OptionSpec::integer(
        "max_message_bytes",
        1,
        1 << 30,
        "1048576",
        "Largest message that a client may send.",
    ),
    OptionSpec::integer(
        "ping_interval_ms",
        0,
        DAY_MS,
        "30000",
        "Time between pings to a client; 0 sends none.",
    ),
    OptionSpec::integer(
        "pong_wait_ms",
        1,
        DAY_MS,
        "60000",
        "Time a client has to answer a ping before it is closed with 3012.",
    ),
    OptionSpec::integer(
        "write_wait_ms",
        0,
        DAY_MS,
        "10000",
        "Time a client may take nothing of what waits for it before it is cut off; 0 is no limit.",
    ),
    OptionSpec::integer(
        "read_buffer_bytes",
        64,
        1 << 20,
        "4096",
        "Most that is read from a client before it is the next client's turn.",
    ),
    OptionSpec::integer(
        "write_buffer_bytes",
        64,
        1 << 20,
        "4096",
        "Messages to one client are joined up to this size and written together.",
    ),
    OptionSpec::text(
        "origins",
        "",
        "Origins that web pages may connect from, comma-separated; empty is any.",
    ),
    OptionSpec::boolean(
        "compression",
        "true",
        "Compress messages for clients that offer permessage-deflate, if the server does.",
    ),
];

impl Default for EndpointOptions {
    fn default() -> Self {
        let mut options = Self {
            max_connections: 0,
            max_message_bytes: 0,
            ping_interval: Duration::ZERO,
            pong_wait: Duration::ZERO,
            write_wait: Duration::ZERO,
            read_buffer_bytes: 0,
            write_buffer_bytes: 0,
            origins: Vec::new(),
            compression: false,
            heartbeat: Duration::ZERO,
        };
        for spec in ENDPOINT_OPTIONS {
            let read = options.set(spec.key, spec.default);
            debug_assert!(read.is_ok(), "the default of '{}' is not a value it takes", spec.key);
        }
        options
    }
}

impl EndpointOptions {
    /// Sets the option `key` from text; the error says what it takes.
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let value = parse(ENDPOINT_OPTIONS, key, value)?;
        let fits = self.field(key).is_some_and(|field| field.set(value));
        debug_assert!(fits, "option '{key}' has no field of its kind");
        Ok(())
    }

    fn field(&mut self, key: &str) -> Option<Field<'_>> {
        Some(match key {
            "max_connections" => Field::Size(&mut self.max_connections),
            "max_message_bytes" => Field::Size(&mut self.max_message_bytes),
            "ping_interval_ms" => Field::Millis(&mut self.ping_interval),
            "pong_wait_ms" => Field::Millis(&mut self.pong_wait),
            "write_wait_ms" => Field::Millis(&mut self.write_wait),
            "read_buffer_bytes" => Field::Size(&mut self.read_buffer_bytes),
            "write_buffer_bytes" => Field::Size(&mut self.write_buffer_bytes),
            "origins" => Field::List(&mut self.origins),
            "compression" => Field::Flag(&mut self.compression),
            _ => return None,
        })
    }

    /// Whether a page of this origin may connect. Clients that are no browsers send none, and may.
    pub fn allows_origin(&self, origin: &str) -> bool {
        allows_origin(&self.origins, origin)
    }

    /// The shortest time that the shards must look after.
    pub(in crate::server) fn shortest(&self) -> Duration {
        [self.ping_interval, self.pong_wait, self.write_wait, self.heartbeat]
            .into_iter()
            .filter(|limit| !limit.is_zero())
            .min()
            .unwrap_or(Duration::MAX)
    }
}

/// Whether `origin` is on the list, or there is no list, or no origin. Scheme and host compare
/// without case; `*` stands for any.
pub(in crate::server) fn allows_origin(list: &[String], origin: &str) -> bool {
    origin.is_empty()
        || list.is_empty()
        || list.iter().any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(origin))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::OptionKind;

    #[test]
    fn every_key_reaches_a_field() {
        let before = format!("{:?}", EndpointOptions::default());
        for spec in ENDPOINT_OPTIONS {
            let other = match spec.kind {
                OptionKind::Integer { max, .. } => max.to_string(),
                OptionKind::Boolean => (spec.default == "false").to_string(),
                _ => "https://example.org".into(),
            };
            let mut options = EndpointOptions::default();
            options.set(spec.key, &other).unwrap();
            assert_ne!(before, format!("{options:?}"), "'{}' changes nothing", spec.key);
        }
    }

    #[test]
    fn an_origin_must_be_on_the_list_if_there_is_one() {
        let list: Vec<String> = vec!["https://a.example".into(), "http://localhost:3000".into()];
        assert!(allows_origin(&[], "https://b.example"));
        assert!(allows_origin(&list, ""));
        assert!(allows_origin(&list, "HTTPS://A.example"));
        assert!(!allows_origin(&list, "https://a.example.evil"));
        assert!(!allows_origin(&list, "null"));
        assert!(allows_origin(&["*".into()], "null"));
    }
}
