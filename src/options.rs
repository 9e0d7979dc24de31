//! Options as `key = value` text: one table per object says keys, types, defaults and help, and the
//! C ABI, the command line and the documentation all read that table.

use std::time::Duration;

use crate::{Error, ErrorKind, Result};

/// One knob: what it is called, what it takes, what it does.
#[derive(Debug, Clone, Copy)]
pub struct OptionSpec {
    /// The key, `snake_case`, with its unit as a suffix (`_ms`, `_us`, `_bytes`).
    pub key: &'static str,
    /// What values are accepted.
    pub kind: OptionKind,
    /// The default, written as a caller would write it.
    pub default: &'static str,
    /// One sentence.
    pub help: &'static str,
    /// The table of a configuration file that it stands in, `""` where there is no such file.
    pub section: &'static str,
    /// Whether it can be changed while the object runs.
    pub live: bool,
    /// Whether it is several values, separated by commas.
    pub list: bool,
    /// Whether its value is not to be shown.
    pub secret: bool,
}

/// The type of an option's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptionKind {
    /// A decimal number in a closed range.
    Integer {
        /// Smallest accepted value.
        min: u64,
        /// Largest accepted value.
        max: u64,
    },
    /// Any UTF-8 text.
    Text,
    /// `true` or `false`.
    Boolean,
    /// One of these words.
    Choice(&'static [&'static str]),
}

impl OptionKind {
    /// The type's name as the C ABI and the documentation show it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Integer { .. } => "integer",
            Self::Text => "text",
            Self::Boolean => "boolean",
            Self::Choice(_) => "choice",
        }
    }
}

/// A value that fits its [`OptionSpec`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptionValue<'a> {
    /// From [`OptionKind::Integer`].
    Integer(u64),
    /// From [`OptionKind::Text`] and [`OptionKind::Choice`].
    Text(&'a str),
    /// From [`OptionKind::Boolean`].
    Boolean(bool),
}

/// Finds `key` in `table` and reads `value` as what it takes.
pub fn parse<'a>(
    table: &'static [OptionSpec],
    key: &str,
    value: &'a str,
) -> Result<OptionValue<'a>> {
    let spec = table.iter().find(|spec| spec.key == key).ok_or_else(|| unknown(table, key))?;
    spec.parse(value)
}

/// That `table` has no such key.
pub fn unknown(table: &[OptionSpec], key: &str) -> Error {
    let keys: Vec<_> = table.iter().map(|spec| spec.key).collect();
    let message = format!("no option '{key}'; there are: {}", keys.join(", "));
    Error::new(ErrorKind::UnknownOption, message)
}

/// The elements of a comma-separated text, trimmed, without empty ones.
pub fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// The field that an option is kept in, by what it holds.
#[allow(missing_docs)]
pub enum Field<'a> {
    Size(&'a mut usize),
    Micros(&'a mut Duration),
    Millis(&'a mut Duration),
    Flag(&'a mut bool),
    Text(&'a mut String),
    /// Elements separated by commas.
    List(&'a mut Vec<String>),
}

impl Field<'_> {
    /// Keeps a value; false if the field is not of its kind.
    pub fn set(self, value: OptionValue<'_>) -> bool {
        match (self, value) {
            (Self::Size(field), OptionValue::Integer(n)) => {
                *field = usize::try_from(n).unwrap_or(usize::MAX);
            }
            (Self::Micros(field), OptionValue::Integer(n)) => *field = Duration::from_micros(n),
            (Self::Millis(field), OptionValue::Integer(n)) => *field = Duration::from_millis(n),
            (Self::Flag(field), OptionValue::Boolean(on)) => *field = on,
            (Self::Text(field), OptionValue::Text(text)) => *field = text.into(),
            (Self::List(field), OptionValue::Text(text)) => *field = list(text),
            _ => return false,
        }
        true
    }

    /// The value as text.
    pub fn get(self) -> String {
        match self {
            Self::Size(field) => field.to_string(),
            Self::Micros(field) => field.as_micros().to_string(),
            Self::Millis(field) => field.as_millis().to_string(),
            Self::Flag(field) => field.to_string(),
            Self::Text(field) => field.clone(),
            Self::List(field) => field.join(", "),
        }
    }
}

impl OptionSpec {
    const fn new(
        key: &'static str,
        kind: OptionKind,
        default: &'static str,
        help: &'static str,
    ) -> Self {
        Self { key, kind, default, help, section: "", live: false, list: false, secret: false }
    }

    /// A number from `min` to `max`.
    pub const fn integer(
        key: &'static str,
        min: u64,
        max: u64,
        default: &'static str,
        help: &'static str,
    ) -> Self {
        Self::new(key, OptionKind::Integer { min, max }, default, help)
    }

    /// Any text.
    pub const fn text(key: &'static str, default: &'static str, help: &'static str) -> Self {
        Self::new(key, OptionKind::Text, default, help)
    }

    /// `true` or `false`.
    pub const fn boolean(key: &'static str, default: &'static str, help: &'static str) -> Self {
        Self::new(key, OptionKind::Boolean, default, help)
    }

    /// One of `words`.
    pub const fn choice(
        key: &'static str,
        words: &'static [&'static str],
        default: &'static str,
        help: &'static str,
    ) -> Self {
        Self::new(key, OptionKind::Choice(words), default, help)
    }

    /// The same option in a section of the configuration file.
    pub const fn within(self, section: &'static str) -> Self {
        Self { section, ..self }
    }

    /// The same option, which can be changed while the object runs.
    pub const fn live(self) -> Self {
        Self { live: true, ..self }
    }

    /// The same option, which is several values, separated by commas.
    pub const fn list(self) -> Self {
        Self { list: true, ..self }
    }

    /// The same option, whose value is not to be shown.
    pub const fn secret(self) -> Self {
        Self { secret: true, ..self }
    }

    /// What values are accepted, in words.
    pub fn accepted(&self) -> String {
        match self.kind {
            OptionKind::Text => "text".into(),
            OptionKind::Integer { min, max } => format!("a number from {min} to {max}"),
            OptionKind::Boolean => "true or false".into(),
            OptionKind::Choice(words) => format!("one of {}", words.join(", ")),
        }
    }

    /// That this option does not take `value`.
    pub fn refuse(&self, value: impl std::fmt::Display) -> Error {
        let (key, accepted) = (self.key, self.accepted());
        Error::new(
            ErrorKind::InvalidOption,
            format!("option '{key}' cannot be {value}: it takes {accepted}"),
        )
    }

    /// Reads `value` as what this option takes; the error says what would be accepted.
    pub fn parse<'a>(&self, value: &'a str) -> Result<OptionValue<'a>> {
        let refuse = || self.refuse(format_args!("'{value}'"));
        match self.kind {
            OptionKind::Text => Ok(OptionValue::Text(value)),
            OptionKind::Integer { min, max } => match value.parse() {
                Ok(number) if (min..=max).contains(&number) => Ok(OptionValue::Integer(number)),
                _ => Err(refuse()),
            },
            OptionKind::Boolean => match value {
                "true" | "1" | "yes" | "on" => Ok(OptionValue::Boolean(true)),
                "false" | "0" | "no" | "off" => Ok(OptionValue::Boolean(false)),
                _ => Err(refuse()),
            },
            OptionKind::Choice(words) => match words.contains(&value) {
                true => Ok(OptionValue::Text(value)),
                false => Err(refuse()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[OptionSpec] = &[
        OptionSpec::integer("size_bytes", 1, 9, "3", "A size."),
        OptionSpec::choice("policy", &["drop", "block"], "drop", "A policy."),
        OptionSpec::boolean("on", "true", "A switch."),
    ];

    #[test]
    fn a_value_in_range_is_read() {
        assert_eq!(parse(TABLE, "size_bytes", "9").unwrap(), OptionValue::Integer(9));
        assert_eq!(parse(TABLE, "policy", "block").unwrap(), OptionValue::Text("block"));
        assert_eq!(parse(TABLE, "on", "off").unwrap(), OptionValue::Boolean(false));
    }

    #[test]
    fn an_error_names_key_value_and_what_is_accepted() {
        let error = parse(TABLE, "size_bytes", "10").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidOption);
        assert_eq!(
            error.to_string(),
            "option 'size_bytes' cannot be '10': it takes a number from 1 to 9"
        );
        let error = parse(TABLE, "colour", "red").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnknownOption);
        assert_eq!(error.to_string(), "no option 'colour'; there are: size_bytes, policy, on");
    }
}
