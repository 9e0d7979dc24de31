//! A socket's knobs.

use std::time::Duration;

use super::super::inbox::Bounds;
use super::super::link::Limits;
use super::super::options::Overflow;
use crate::options::{OptionSpec, OptionValue, parse};
use crate::{Error, ErrorKind, Result};

/// Everything a [`super::Socket`] can be told; [`SOCKET_OPTIONS`] describes each field under the
/// same key, `headers` and `protocols` under `header` and `protocols`.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct SocketOptions {
    pub headers: Vec<(String, String)>,
    pub protocols: Vec<String>,
    pub connect_timeout: Duration,
    pub reconnect: bool,
    pub reconnect_delay: Duration,
    pub reconnect_jitter_percent: u32,
    pub reconnect_attempts: u32,
    pub ping_interval: Duration,
    pub pong_wait: Duration,
    pub write_wait: Duration,
    pub queue_messages: usize,
    pub overflow: Overflow,
    pub send_queue_messages: usize,
    pub send_queue_bytes: usize,
    pub max_message_bytes: usize,
    pub compression: bool,
    pub packet_max_bytes: usize,
    pub control_events: bool,
    pub ca_file: String,
}

const DAY_MS: u64 = 86_400_000;

/// The keys of [`SocketOptions`].
pub const SOCKET_OPTIONS: &[OptionSpec] = &[
    OptionSpec::text(
        "header",
        "",
        "A header of the upgrade request, 'Name: value'; each one set is added, an empty text removes all.",
    ),
    OptionSpec::text(
        "protocols",
        "",
        "Sub-protocols to offer, the preferred first, separated by commas; the server must then choose one.",
    ),
    OptionSpec::integer(
        "connect_timeout_ms",
        1,
        DAY_MS,
        "5000",
        "Time for one attempt to connect.",
    ),
    OptionSpec::boolean(
        "reconnect",
        "true",
        "Connect again when an attempt fails or the connection is lost.",
    ),
    OptionSpec::integer("reconnect_delay_ms", 1, DAY_MS, "5000", "Delay before another attempt."),
    OptionSpec::integer(
        "reconnect_jitter_percent",
        0,
        100,
        "0",
        "Random part of the delay: 100 waits between nothing and the whole delay.",
    ),
    OptionSpec::integer(
        "reconnect_attempts",
        0,
        u32::MAX as u64,
        "0",
        "Failed attempts in a row before giving up; 0 is no limit.",
    ),
    OptionSpec::integer(
        "ping_interval_ms",
        0,
        DAY_MS,
        "30000",
        "Time between pings to the server; 0 sends none.",
    ),
    OptionSpec::integer(
        "pong_wait_ms",
        1,
        DAY_MS,
        "60000",
        "Time the server has to answer a ping.",
    ),
    OptionSpec::integer(
        "write_wait_ms",
        1,
        DAY_MS,
        "10000",
        "Time the server may take nothing of what is sent before the connection is given up.",
    ),
    OptionSpec::integer("queue_messages", 1, 1 << 24, "65536", "Received messages that may wait."),
    OptionSpec::choice(
        "overflow",
        &["drop_oldest", "drop_newest", "block"],
        "block",
        "What a message that finds the queue full does: displace the oldest, be dropped, or hold the connection.",
    ),
    OptionSpec::integer(
        "send_queue_messages",
        1,
        1 << 24,
        "65536",
        "Messages that may wait to be written.",
    ),
    OptionSpec::integer(
        "send_queue_bytes",
        1,
        1 << 40,
        "16777216",
        "Bytes of messages that may wait to be written; one larger message waits alone.",
    ),
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
    OptionSpec::integer(
        "packet_max_bytes",
        64,
        1 << 30,
        "524288",
        "Of a packet client: largest packet, header included, that it sends and takes.",
    ),
    OptionSpec::boolean("control_events", "false", "Tell pings and pongs received."),
    OptionSpec::text(
        "ca_file",
        "",
        "PEM file of certificate authorities to trust for wss, instead of the system's.",
    ),
];

impl Default for SocketOptions {
    fn default() -> Self {
        let mut options = Self {
            headers: Vec::new(),
            protocols: Vec::new(),
            connect_timeout: Duration::ZERO,
            reconnect: false,
            reconnect_delay: Duration::ZERO,
            reconnect_jitter_percent: 0,
            reconnect_attempts: 0,
            ping_interval: Duration::ZERO,
            pong_wait: Duration::ZERO,
            write_wait: Duration::ZERO,
            queue_messages: 0,
            overflow: Overflow::Block,
            send_queue_messages: 0,
            send_queue_bytes: 0,
            max_message_bytes: 0,
            compression: false,
            packet_max_bytes: 0,
            control_events: false,
            ca_file: String::new(),
        };
        for spec in SOCKET_OPTIONS {
            let read = options.set(spec.key, spec.default);
            debug_assert!(read.is_ok(), "the default of '{}' is not a value it takes", spec.key);
        }
        options
    }
}

impl SocketOptions {
    /// Sets the option `key` from text; the error says what it takes.
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        match parse(SOCKET_OPTIONS, key, value)? {
            OptionValue::Integer(n) => self.set_integer(key, n),
            OptionValue::Boolean(on) if key == "reconnect" => self.reconnect = on,
            OptionValue::Boolean(on) if key == "compression" => self.compression = on,
            OptionValue::Boolean(on) => self.control_events = on,
            OptionValue::Text(text) => match (key, text) {
                ("header", "") => self.headers.clear(),
                ("header", line) => self.headers.push(header(line)?),
                ("protocols", list) => self.protocols = protocols(list)?,
                ("overflow", word) => self.overflow = Overflow::named(word),
                _ => self.ca_file = text.into(),
            },
        }
        Ok(())
    }

    fn set_integer(&mut self, key: &str, n: u64) {
        let size = usize::try_from(n).unwrap_or(usize::MAX);
        let small = u32::try_from(n).unwrap_or(u32::MAX);
        match key {
            "connect_timeout_ms" => self.connect_timeout = Duration::from_millis(n),
            "reconnect_delay_ms" => self.reconnect_delay = Duration::from_millis(n),
            "reconnect_jitter_percent" => self.reconnect_jitter_percent = small,
            "reconnect_attempts" => self.reconnect_attempts = small,
            "ping_interval_ms" => self.ping_interval = Duration::from_millis(n),
            "pong_wait_ms" => self.pong_wait = Duration::from_millis(n),
            "write_wait_ms" => self.write_wait = Duration::from_millis(n),
            "queue_messages" => self.queue_messages = size,
            "send_queue_messages" => self.send_queue_messages = size,
            "send_queue_bytes" => self.send_queue_bytes = size,
            "packet_max_bytes" => self.packet_max_bytes = size,
            "max_message_bytes" => self.max_message_bytes = size,
            _ => debug_assert!(false, "option '{key}' has no field"),
        }
    }

    pub(crate) fn bounds(&self) -> Bounds {
        Bounds { messages: self.queue_messages, overflow: self.overflow }
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits {
            connect_timeout: self.connect_timeout,
            ping_interval: self.ping_interval,
            pong_wait: self.pong_wait,
            write_wait: self.write_wait,
            max_message: self.max_message_bytes,
            compression: self.compression,
        }
    }

    /// How long to wait before another attempt.
    pub(crate) fn delay(&self) -> Duration {
        let part = f64::from(self.reconnect_jitter_percent.min(100)) / 100.0;
        self.reconnect_delay.mul_f64(1.0 - part * fastrand::f64())
    }
}

fn refuse(key: &str, value: &str, accepted: &str) -> Error {
    let value = value.escape_debug();
    Error::new(
        ErrorKind::InvalidOption,
        format!("option '{key}' cannot be '{value}': it takes {accepted}"),
    )
}

/// Whether the text is a token of RFC 9110 section 5.6.2.
fn is_token(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(fits)
}

/// Reads `Name: value`. What the upgrade itself is made of cannot be set.
fn header(line: &str) -> Result<(String, String)> {
    const ACCEPTED: &str = "'Name: value' with a token as its name and no control characters";
    let (name, value) = line.split_once(':').ok_or_else(|| refuse("header", line, ACCEPTED))?;
    let value = value.trim_matches([' ', '\t']);
    if !is_token(name) || value.chars().any(|c| c.is_control() && c != '\t') {
        return Err(refuse("header", line, ACCEPTED));
    }
    let lower = name.to_ascii_lowercase();
    let own = ["connection", "upgrade", "content-length", "transfer-encoding"];
    if own.contains(&lower.as_str()) || lower.starts_with("sec-websocket-") {
        let accepted = "a header that is no part of the upgrade itself; sub-protocols are an \
                        option of their own";
        return Err(refuse("header", line, accepted));
    }
    Ok((lower, value.to_owned()))
}

fn protocols(list: &str) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for one in list.split(',').map(str::trim).filter(|_| !list.trim().is_empty()) {
        if !is_token(one) || all.iter().any(|other| other == one) {
            return Err(refuse("protocols", list, "different names, separated by commas"));
        }
        all.push(one.to_owned());
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::OptionKind;

    #[test]
    fn every_key_reaches_a_field() {
        let before = format!("{:?}", SocketOptions::default());
        for spec in SOCKET_OPTIONS {
            let other = match spec.kind {
                OptionKind::Integer { max, .. } => max.to_string(),
                OptionKind::Boolean => (spec.default == "false").to_string(),
                OptionKind::Choice(words) => words[0].to_string(),
                OptionKind::Text if spec.key == "header" => "Authorization: Bearer x".into(),
                OptionKind::Text => "something-else".into(),
            };
            let mut options = SocketOptions::default();
            options.set(spec.key, &other).unwrap();
            assert_ne!(before, format!("{options:?}"), "'{}' changes nothing", spec.key);
        }
    }

    #[test]
    fn headers_add_up_and_bad_ones_are_refused_by_name() {
        let mut options = SocketOptions::default();
        options.set("header", "Cookie: a=1; b=2").unwrap();
        options.set("header", "X-Empty:").unwrap();
        let expected =
            [("cookie".to_owned(), "a=1; b=2".to_owned()), ("x-empty".into(), "".into())];
        assert_eq!(options.headers, expected);
        for bad in [
            "no colon",
            ": value",
            "A B: c",
            "A: b\r\nC: d",
            "Upgrade: h2c",
            "sec-websocket-key: x",
            "Content-Length: 3",
        ] {
            let error = options.set("header", bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidOption, "{bad}");
            assert!(error.to_string().contains(&*bad.escape_debug().to_string()), "{error}");
        }
        options.set("header", "").unwrap();
        assert!(options.headers.is_empty());
    }

    #[test]
    fn protocols_are_a_list_of_tokens() {
        assert_eq!(protocols("chat.v2, chat.v1").unwrap(), ["chat.v2", "chat.v1"]);
        assert!(protocols("").unwrap().is_empty());
        for bad in ["a,,b", "a b", "a,a", ","] {
            assert!(protocols(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_delay_is_exact_without_jitter_and_never_longer_with_it() {
        let mut options = SocketOptions::default();
        assert_eq!(options.delay(), Duration::from_secs(5));
        options.reconnect_jitter_percent = 40;
        for _ in 0..1000 {
            let delay = options.delay();
            assert!(delay >= Duration::from_secs(3) && delay <= Duration::from_secs(5));
        }
    }
}
