//! Options as `key = value` text: one table per object says keys, types, defaults and help, and the
//! C ABI, the command line and the documentation all read that table.

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
    let spec = table.iter().find(|spec| spec.key == key).ok_or_else(|| {
        let keys: Vec<_> = table.iter().map(|spec| spec.key).collect();
        Error::new(
            ErrorKind::UnknownOption,
            format!("no option '{key}'; there are: {}", keys.join(", ")),
        )
    })?;
    spec.parse(value)
}

impl OptionSpec {
    /// Reads `value` as what this option takes; the error says what would be accepted.
    pub fn parse<'a>(&self, value: &'a str) -> Result<OptionValue<'a>> {
        let refuse = |accepted: String| {
            let key = self.key;
            Error::new(
                ErrorKind::InvalidOption,
                format!("option '{key}' cannot be '{value}': it takes {accepted}"),
            )
        };
        match self.kind {
            OptionKind::Text => Ok(OptionValue::Text(value)),
            OptionKind::Integer { min, max } => match value.parse() {
                Ok(number) if (min..=max).contains(&number) => Ok(OptionValue::Integer(number)),
                _ => Err(refuse(format!("a number from {min} to {max}"))),
            },
            OptionKind::Boolean => match value {
                "true" | "1" | "yes" | "on" => Ok(OptionValue::Boolean(true)),
                "false" | "0" | "no" | "off" => Ok(OptionValue::Boolean(false)),
                _ => Err(refuse("true or false".into())),
            },
            OptionKind::Choice(words) => match words.contains(&value) {
                true => Ok(OptionValue::Text(value)),
                false => Err(refuse(format!("one of {}", words.join(", ")))),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[OptionSpec] = &[
        OptionSpec {
            key: "size_bytes",
            kind: OptionKind::Integer { min: 1, max: 9 },
            default: "3",
            help: "A size.",
        },
        OptionSpec {
            key: "policy",
            kind: OptionKind::Choice(&["drop", "block"]),
            default: "drop",
            help: "A policy.",
        },
        OptionSpec { key: "on", kind: OptionKind::Boolean, default: "true", help: "A switch." },
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
