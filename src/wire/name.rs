//! Channel names: 1 to 255 bytes of UTF-8 without control characters.

use crate::{Error, ErrorKind, Result};

/// The longest name, in bytes.
pub const MAX_LEN: usize = 255;

/// Checks a channel name; the error says what is wrong with it.
pub fn validate(name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::new(ErrorKind::InvalidName, "Channel name is empty"));
    }
    if name.len() > MAX_LEN {
        return Err(Error::new(
            ErrorKind::InvalidName,
            format!("Channel name has {} bytes; the limit is {MAX_LEN}", name.len()),
        ));
    }
    match name.chars().position(char::is_control) {
        None => Ok(()),
        Some(index) => Err(Error::new(
            ErrorKind::InvalidName,
            format!("Channel name has a control character at position {index}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_1_to_255_bytes_without_control_characters() {
        for good in ["a", "news.sport/大", "a b", &"x".repeat(255), "%", "😀"] {
            assert!(validate(good).is_ok(), "{good:?}");
        }
        for bad in ["", &"x".repeat(256), "a\nb", "\0", "a\u{7f}", "\u{85}"] {
            assert_eq!(validate(bad).unwrap_err().kind(), ErrorKind::InvalidName, "{bad:?}");
        }
    }
}
