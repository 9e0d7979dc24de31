//! The opening handshake of a WebSocket (RFC 6455 section 4.1), client's side.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use qyun::wire::websocket::{DEFLATE_OFFER, is_deflate_answer};
use sha1::{Digest, Sha1};

/// The longest answer that is read.
const MAX_HEAD: usize = 16 << 10;

/// A key and what the server must make of it. One is enough for a run: what it protects from,
/// caches between client and server, is not there.
pub struct Key {
    key: String,
    accept: String,
    /// Compression is offered, and must be agreed on.
    compress: bool,
}

impl Key {
    /// A random key. `compress` offers permessage-deflate.
    pub fn new(compress: bool) -> Self {
        let key = BASE64_STANDARD.encode(fastrand::u128(..).to_ne_bytes());
        let hash = Sha1::new().chain_update(&key).chain_update(GUID).finalize();
        Self { key, accept: BASE64_STANDARD.encode(hash), compress }
    }

    /// The request for `path`.
    pub fn request(&self, authority: &str, path: &str) -> Vec<u8> {
        let offer = match self.compress {
            true => format!("{EXTENSIONS}: {DEFLATE_OFFER}\r\n"),
            false => String::new(),
        };
        format!(
            "GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {}\r\n{offer}\r\n",
            self.key
        )
        .into_bytes()
    }

    /// Reads an answer: `None` while it is not whole, else how many bytes of `bytes` it has.
    pub fn answered(&self, bytes: &[u8]) -> Result<Option<usize>, String> {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut answer = httparse::Response::new(&mut headers);
        let length = match answer.parse(bytes) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if bytes.len() < MAX_HEAD => return Ok(None),
            Ok(httparse::Status::Partial) => return Err("the answer's head does not end".into()),
            Err(error) => return Err(format!("the answer is not HTTP: {error}")),
        };
        if answer.code != Some(101) {
            let code = answer.code.unwrap_or_default();
            return Err(format!("the upgrade is refused with HTTP {code}"));
        }
        let field = |name: &str| {
            let field = answer.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
            field.map(|field| field.value)
        };
        if field("sec-websocket-accept") != Some(self.accept.as_bytes()) {
            return Err("the answer has the wrong Sec-WebSocket-Accept".into());
        }
        match self.compress && !field(EXTENSIONS).is_some_and(is_deflate_answer) {
            true => Err("the server does not agree on permessage-deflate".into()),
            false => Ok(Some(length)),
        }
    }
}

const EXTENSIONS: &str = "sec-websocket-extensions";
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_6455() {
        let accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
        let key =
            Key { key: "dGhlIHNhbXBsZSBub25jZQ==".into(), accept: accept.into(), compress: false };
        let hash = Sha1::new().chain_update(&key.key).chain_update(GUID).finalize();
        assert_eq!(BASE64_STANDARD.encode(hash), accept);
        let answer = format!("HTTP/1.1 101 Hi\r\nsec-websocket-accept: {accept}\r\n\r\n\x01");
        for cut in 0..answer.len() - 1 {
            assert_eq!(key.answered(&answer.as_bytes()[..cut]), Ok(None));
        }
        assert_eq!(key.answered(answer.as_bytes()), Ok(Some(answer.len() - 1)));
    }

    #[test]
    fn refusals_and_wrong_answers_are_told() {
        let key = Key::new(true);
        let agreed = format!(
            "HTTP/1.1 101 Hi\r\nsec-websocket-accept: {}\r\nsec-websocket-extensions: \
             permessage-deflate; server_no_context_takeover\r\n\r\n",
            key.accept
        );
        assert_eq!(key.answered(agreed.as_bytes()), Ok(Some(agreed.len())));
        let plain = agreed.replace("server_no_context_takeover", "x");
        assert!(key.answered(plain.as_bytes()).unwrap_err().contains("permessage-deflate"));
        for (answer, told) in [
            ("HTTP/1.1 403 Forbidden\r\n\r\n", "HTTP 403"),
            ("HTTP/1.1 101 Hi\r\n\r\n", "Sec-WebSocket-Accept"),
            ("SSH-2.0-x\r\n", "not HTTP"),
        ] {
            let error = key.answered(answer.as_bytes()).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
        let endless = format!("HTTP/1.1 101 Hi\r\nx: {}", "x".repeat(MAX_HEAD));
        assert!(key.answered(endless.as_bytes()).is_err());
    }
}
