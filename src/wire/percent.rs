//! Percent-encoding of a URL path segment (RFC 3986 sections 2.1 and 3.3), decoded strictly: a `%`
//! that is not followed by two hexadecimal digits is an error, never passed through.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, utf8_percent_encode};

use crate::{Error, ErrorKind, Result};

/// Everything but RFC 3986's unreserved characters.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Encodes `text` so that it is one path segment whatever it holds. The segments `.` and `..`,
/// which URL parsers resolve away even when encoded, cannot be sent in a path.
pub fn encode(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// Encodes bytes for a query, from which they are had back whatever they are.
pub fn encode_bytes(bytes: &[u8]) -> String {
    percent_encoding::percent_encode(bytes, SEGMENT).to_string()
}

/// Decodes one path segment, once, to UTF-8. Borrows when nothing is encoded.
pub fn decode(segment: &str) -> Result<Cow<'_, str>> {
    if memchr::memchr(b'%', segment.as_bytes()).is_none() {
        return Ok(Cow::Borrowed(segment));
    }
    let segment = segment.as_bytes();
    let mut rest = segment;
    while let Some(at) = memchr::memchr(b'%', rest) {
        match rest.get(at + 1..at + 3) {
            Some([a, b]) if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => {
                rest = &rest[at + 3..];
            }
            _ => {
                return Err(Error::new(
                    ErrorKind::InvalidUtf8,
                    "'%' is not followed by two hexadecimal digits; send '%' itself as %25",
                ));
            }
        }
    }
    percent_decode(segment)
        .decode_utf8()
        .map_err(|_| Error::new(ErrorKind::InvalidUtf8, "Not UTF-8 after percent-decoding"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_encode_writes_decode_reads() {
        for text in ["", "a/b?c#d%e f\n\0", "青云 😀", "%2F", "+", "~-._"] {
            let encoded = encode(text);
            assert!(encoded.bytes().all(|b| b.is_ascii_graphic() && !b"/?#".contains(&b)));
            assert_eq!(decode(&encoded).unwrap(), text);
        }
    }

    #[test]
    fn decoding_happens_once_and_plus_is_a_plus() {
        assert_eq!(decode("%252F+").unwrap(), "%2F+");
    }

    #[test]
    fn bad_escapes_and_bad_utf8_are_errors() {
        for bad in ["%", "a%2", "%zz", "%%41", "%ff", "%c3%28", "青%e9%9d"] {
            assert_eq!(decode(bad).unwrap_err().kind(), ErrorKind::InvalidUtf8, "{bad:?}");
        }
    }
}
