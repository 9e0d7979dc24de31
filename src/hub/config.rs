//! What can be said about a channel: its options, and the namespaces that give them by name.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::{Overload, Pattern};
use crate::options::{Field, OptionKind, OptionSpec, parse, unknown};
use crate::{Error, ErrorKind, Result};

/// How a channel behaves; [`CHANNEL_OPTIONS`] describes each field under the same key. It holds for
/// one incarnation of a channel, from its creation on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ChannelConfig {
    pub history_size: usize,
    pub history_bytes: usize,
    pub history_ttl: Duration,
    pub durability: String,
    pub idempotency_window: Duration,
    pub idempotency_size: usize,
    pub auto_create: String,
    pub empty_ttl: Duration,
    pub overload: String,
    pub queue_messages: usize,
    pub queue_bytes: usize,
    pub presence: bool,
    pub hold: Duration,
}

const DAY_MS: u64 = 86_400_000;

/// The keys of [`ChannelConfig`].
pub const CHANNEL_OPTIONS: &[OptionSpec] = &[
    OptionSpec::integer(
        "history_size",
        0,
        1_000_000,
        "0",
        "Publications that are kept for those who come later or come back; 0 keeps none.",
    ),
    OptionSpec::integer(
        "history_bytes",
        1024,
        1 << 40,
        "16777216",
        "Bytes of messages that are kept; the oldest go first.",
    ),
    OptionSpec::integer(
        "history_ttl_ms",
        0,
        366 * DAY_MS,
        "0",
        "How long a publication is kept; 0 is as long as there is room.",
    ),
    OptionSpec::choice(
        "durability",
        &["none", "memory", "os", "fsync"],
        "none",
        "Keep publications on disk too, and when they count as published: at once, when the system has \
         them, or when the disk has; the history options say how many, and a size of 0 is no limit.",
    ),
    OptionSpec::integer(
        "idempotency_ms",
        0,
        DAY_MS,
        "300000",
        "How long a message that was published under a key is not published under it again; 0 takes \
         no keys.",
    ),
    OptionSpec::integer(
        "idempotency_size",
        1,
        1_000_000,
        "10000",
        "Keys that are remembered at a time; the oldest go first.",
    ),
    OptionSpec::boolean(
        "presence",
        "false",
        "Keep who is in the channel, for everybody to ask, and tell who comes and goes.",
    ),
    OptionSpec::choice(
        "auto_create",
        &["inherit", "true", "false"],
        "inherit",
        "Create the channel when it is first sent or listened to; inherit is as the server does.",
    ),
    OptionSpec::integer(
        "empty_ttl_ms",
        0,
        366 * DAY_MS,
        "0",
        "Delete the channel after so long without a subscriber or a publication; 0 keeps it.",
    ),
    OptionSpec::choice(
        "overload",
        Overload::NAMES,
        "disconnect",
        "What happens to a message for which a subscriber's queue has no room.",
    ),
    OptionSpec::integer(
        "queue_messages",
        0,
        1 << 32,
        "0",
        "Messages of the channel that may wait for one subscriber; 0 is no limit of their number.",
    ),
    OptionSpec::integer(
        "queue_bytes",
        0,
        1 << 30,
        "0",
        "Bytes of the channel that may wait for one subscriber; 0 is what its connection may have.",
    ),
    OptionSpec::integer(
        "hold_ms",
        1,
        3_600_000,
        "5000",
        "With overload=hold, how long a subscriber may make publishers wait before it is closed.",
    ),
];

impl Default for ChannelConfig {
    fn default() -> Self {
        let mut config = Self {
            history_size: 0,
            history_bytes: 0,
            history_ttl: Duration::ZERO,
            durability: String::new(),
            idempotency_window: Duration::ZERO,
            idempotency_size: 0,
            auto_create: String::new(),
            empty_ttl: Duration::ZERO,
            overload: String::new(),
            queue_messages: 0,
            queue_bytes: 0,
            presence: false,
            hold: Duration::ZERO,
        };
        for spec in CHANNEL_OPTIONS {
            let read = config.set(spec.key, spec.default);
            debug_assert!(read.is_ok(), "the default of '{}' is not a value it takes", spec.key);
        }
        config
    }
}

impl ChannelConfig {
    /// Sets the option `key` from text; the error says what it takes.
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let value = parse(CHANNEL_OPTIONS, key, value)?;
        let fits = self.field(key).is_some_and(|field| field.set(value));
        debug_assert!(fits, "option '{key}' has no field of its kind");
        Ok(())
    }

    /// The value of the option `key`, as [`ChannelConfig::set`] takes it. Error: `UnknownOption`.
    pub fn get(&self, key: &str) -> Result<String> {
        let mut copy = self.clone();
        copy.field(key).map(Field::get).ok_or_else(|| unknown(CHANNEL_OPTIONS, key))
    }

    /// Sets the options of a text `key=value, key=value`.
    pub fn set_all(&mut self, text: &str) -> Result<()> {
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let Some((key, value)) = part.split_once('=') else {
                let text = format!("'{part}' is no channel option: it takes KEY=VALUE");
                return Err(Error::new(ErrorKind::InvalidOption, text));
            };
            self.set(key.trim(), value.trim())?;
        }
        Ok(())
    }

    /// The options that are not at their defaults, as [`ChannelConfig::set_all`] takes them.
    pub fn text(&self) -> String {
        let changed = CHANNEL_OPTIONS.iter().filter_map(|spec| {
            let value = self.get(spec.key).ok()?;
            (value != spec.default).then(|| format!("{}={value}", spec.key))
        });
        changed.collect::<Vec<_>>().join(", ")
    }

    /// Whether publications may come with keys.
    pub fn remembers_keys(&self) -> bool {
        !self.idempotency_window.is_zero()
    }

    /// Every option as JSON: numbers, booleans and strings.
    pub fn json(&self) -> Map<String, Value> {
        let mut map = Map::new();
        for spec in CHANNEL_OPTIONS {
            let Ok(text) = self.get(spec.key) else { continue };
            let value = match spec.kind {
                OptionKind::Integer { .. } => text.parse::<u64>().map_or(Value::Null, Value::from),
                OptionKind::Boolean => Value::from(text == "true"),
                OptionKind::Text | OptionKind::Choice(_) => Value::from(text),
            };
            map.insert(spec.key.into(), value);
        }
        map
    }

    /// Reads options from a JSON object; what it does not have is at its default. Error:
    /// `InvalidOption`, `UnknownOption`.
    pub fn from_json(json: &[u8]) -> Result<Self> {
        let refuse = |text| Err(Error::new(ErrorKind::InvalidOption, text));
        let map: Map<String, Value> = match serde_json::from_slice(json) {
            Ok(map) => map,
            Err(error) => return refuse(format!("options are a JSON object: {error}")),
        };
        let mut config = Self::default();
        for (key, value) in &map {
            match value {
                Value::String(text) => config.set(key, text)?,
                Value::Number(_) | Value::Bool(_) => config.set(key, &value.to_string())?,
                other => {
                    return refuse(format!(
                        "option '{key}' cannot be {other}: it takes a number, a string, true or false"
                    ));
                }
            }
        }
        Ok(config)
    }

    /// Whether the channel is created when it is first used; `server` says what the server does.
    pub fn creates_itself(&self, server: bool) -> bool {
        match self.auto_create.as_str() {
            "true" => true,
            "false" => false,
            _ => server,
        }
    }

    /// What happens to a message for which a subscriber's queue has no room.
    pub fn policy(&self) -> Overload {
        Overload::from_name(&self.overload).unwrap_or_default()
    }

    /// Whether publications are kept.
    pub fn keeps_history(&self) -> bool {
        self.history_size > 0 || self.level().is_some()
    }

    fn field(&mut self, key: &str) -> Option<Field<'_>> {
        Some(match key {
            "history_size" => Field::Size(&mut self.history_size),
            "history_bytes" => Field::Size(&mut self.history_bytes),
            "history_ttl_ms" => Field::Millis(&mut self.history_ttl),
            "durability" => Field::Text(&mut self.durability),
            "idempotency_ms" => Field::Millis(&mut self.idempotency_window),
            "idempotency_size" => Field::Size(&mut self.idempotency_size),
            "auto_create" => Field::Text(&mut self.auto_create),
            "empty_ttl_ms" => Field::Millis(&mut self.empty_ttl),
            "overload" => Field::Text(&mut self.overload),
            "queue_messages" => Field::Size(&mut self.queue_messages),
            "queue_bytes" => Field::Size(&mut self.queue_bytes),
            "presence" => Field::Flag(&mut self.presence),
            "hold_ms" => Field::Millis(&mut self.hold),
            _ => return None,
        })
    }
}

/// Which channels are created with which options: patterns, of which the first that matches a name
/// decides. A name that none matches gets the defaults.
#[derive(Debug, Clone, Default)]
pub struct Namespaces {
    list: Vec<(Pattern, Arc<ChannelConfig>)>,
    default: Arc<ChannelConfig>,
}

impl Namespaces {
    /// Reads `PATTERN: KEY=VALUE, KEY=VALUE; PATTERN: …`. The error names what is wrong.
    pub fn parse(text: &str) -> Result<Self> {
        let mut list = Vec::new();
        for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            let Some((pattern, options)) = part.rsplit_once(':') else {
                let text = format!("'{part}' is no namespace: it takes PATTERN: KEY=VALUE, …");
                return Err(Error::new(ErrorKind::InvalidOption, text));
            };
            let mut config = ChannelConfig::default();
            config.set_all(options)?;
            list.push((Pattern::parse(pattern.trim())?, Arc::new(config)));
        }
        Ok(Self { list, default: Arc::default() })
    }

    /// The options of a channel called `name`.
    pub fn config(&self, name: &str) -> &Arc<ChannelConfig> {
        let found = self.list.iter().find(|(pattern, _)| pattern.matches(name));
        found.map_or(&self.default, |(_, config)| config)
    }

    /// The patterns and their options, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Pattern, &Arc<ChannelConfig>)> {
        self.list.iter().map(|(pattern, config)| (pattern, config))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_reaches_a_field() {
        for spec in CHANNEL_OPTIONS {
            let other = match spec.kind {
                crate::options::OptionKind::Integer { max, .. } => max.to_string(),
                crate::options::OptionKind::Boolean => (spec.default == "false").to_string(),
                crate::options::OptionKind::Choice(words) => words[1].to_string(),
                crate::options::OptionKind::Text => "something else".into(),
            };
            let mut config = ChannelConfig::default();
            assert_eq!(config.get(spec.key).unwrap(), spec.default);
            config.set(spec.key, &other).unwrap();
            assert_eq!(config.get(spec.key).unwrap(), other);
            assert_eq!(config.text(), format!("{}={other}", spec.key));
        }
    }

    #[test]
    fn json_is_read_as_it_was_written() {
        let json = br#"{"history_size":5,"auto_create":true,"empty_ttl_ms":"70"}"#;
        let config = ChannelConfig::from_json(json).unwrap();
        assert_eq!(config.text(), "history_size=5, auto_create=true, empty_ttl_ms=70");
        let written = serde_json::to_vec(&config.json()).unwrap();
        assert_eq!(ChannelConfig::from_json(&written).unwrap(), config);
        assert_eq!(config.json().len(), CHANNEL_OPTIONS.len());
        for (json, words) in [
            ("", "a JSON object"),
            ("[]", "a JSON object"),
            (r#"{"history_size":-1}"#, "cannot be '-1'"),
            (r#"{"history_size":1.5}"#, "cannot be '1.5'"),
            (r#"{"history_size":null}"#, "cannot be null"),
            (r#"{"colour":"red"}"#, "no option 'colour'"),
        ] {
            let error = ChannelConfig::from_json(json.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(words), "{json}: {error}");
        }
    }

    #[test]
    fn the_first_namespace_that_matches_decides() {
        let text = "news.sport: history_size=5; news.>: history_size=7, history_ttl_ms=1000;";
        let namespaces = Namespaces::parse(text).unwrap();
        for (name, size) in [("news.sport", 5), ("news.a.b", 7), ("news", 0), ("other", 0)] {
            assert_eq!(namespaces.config(name).history_size, size, "{name}");
        }
        assert_eq!(namespaces.config("news.x").text(), "history_size=7, history_ttl_ms=1000");
        assert_eq!(namespaces.iter().count(), 2);
    }

    #[test]
    fn what_is_no_namespace_is_named() {
        for (text, words) in [
            ("news", "'news' is no namespace"),
            ("a: b", "'b' is no channel option"),
            ("a: colour=red", "no option 'colour'"),
            ("a: history_size=many", "a number from 0 to 1000000"),
            ("a..b: history_size=1", "'a..b'"),
        ] {
            let error = Namespaces::parse(text).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
