//! WebSocket (RFC 6455), the server's side, without I/O: reading what clients send, making the
//! frames that servers send, the opening handshake's accept key, and compression (RFC 7692).
//!
//! Reading is a streaming [`Decoder`] that holds nothing between messages, so that a connection
//! which is not in the middle of a frame needs no reading state at all. Writing makes one immutable
//! frame per message, shared by every subscriber.

mod decoder;
mod deflate;
mod extension;
mod frame;
mod utf8;

pub use decoder::{Decoder, Event, Fault, Limits};
pub use deflate::{Deflater, Inflater};
pub(crate) use extension::is_token_byte;
pub use extension::{Agreement, DEFLATE_OFFER, Malformed, accept_deflate, is_deflate_answer};
pub use frame::{
    DEFLATED_FORMS, Extras, Message, close_frame, deflated_frame, frame_end, frame_payload,
    frames_before, pong_frame,
};
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub use utf8::Utf8Stream;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

/// A ping without payload, as a server sends it.
pub const PING: &[u8] = &[0x89, 0];

/// The answer to a `Sec-WebSocket-Key` (RFC 6455 section 4.2.2).
pub fn accept_key(key: &str) -> String {
    let mut hash = Sha1::new();
    hash.update(key.as_bytes());
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(hash.finalize())
}

/// Whether `key` is the base64 form of 16 bytes, as RFC 6455 section 4.1 asks.
pub fn is_key(key: &str) -> bool {
    key.len() == 24 && STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_6455() {
        assert!(is_key("dGhlIHNhbXBsZSBub25jZQ=="));
        assert_eq!(accept_key("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_key_is_16_bytes_of_base64() {
        for bad in
            ["", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZSE=", "????????????????????????"]
        {
            assert!(!is_key(bad), "{bad}");
        }
    }
}
