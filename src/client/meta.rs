//! What a listener reads that asked for positions; see [`crate::wire::meta`].

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use tokio_tungstenite::tungstenite::handshake::client::Response;

use crate::wire::{MessageKind, Position};

/// A text of a server that tells positions.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// A message and its place.
    Message(MessageKind, Bytes, Position),
    /// Something else, which the answer to the upgrade has told already, or which is of a later
    /// version.
    Other,
}

#[derive(Deserialize)]
struct Text<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow, default)]
    message: Cow<'a, str>,
    #[serde(borrow, default)]
    encoding: Cow<'a, str>,
    #[serde(default)]
    epoch: u64,
    #[serde(default)]
    offset: u64,
}

/// Reads one text; `None` when it is none of these. A message without escapes is not copied.
pub(crate) fn read(bytes: &Bytes) -> Option<Told> {
    let text: Text<'_> = serde_json::from_slice(bytes).ok()?;
    if text.event != "message" {
        return Some(Told::Other);
    }
    let (kind, data) = match (&*text.encoding, text.message) {
        ("base64", coded) => (MessageKind::Binary, STANDARD.decode(&*coded).ok()?.into()),
        ("", Cow::Borrowed(message)) => (MessageKind::Text, bytes.slice_ref(message.as_bytes())),
        ("", Cow::Owned(message)) => (MessageKind::Text, message.into()),
        _ => return None,
    };
    Some(Told::Message(kind, data, Position { epoch: text.epoch, offset: text.offset }))
}

/// What the answer to an upgrade tells: behind which position the messages begin, and whether that
/// is everything behind the position that was asked for. `None` from a server that tells no
/// positions, whose messages come bare.
pub(crate) fn start(response: &Response) -> Option<(Position, Option<bool>)> {
    let field = |name| response.headers().get(name)?.to_str().ok();
    let position = field("qyun-position")?.parse().ok()?;
    let recovered = field("qyun-recovered").and_then(|told| match told {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    });
    Some((position, recovered))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::meta;

    const AT: Position = Position { epoch: 7, offset: 3 };

    #[test]
    fn what_a_server_writes_is_read() {
        for (kind, data) in [
            (MessageKind::Text, "".as_bytes()),
            (MessageKind::Text, "青云".as_bytes()),
            (MessageKind::Text, b"\"\\\n\0"),
            (MessageKind::Binary, b"\xff\0"),
            (MessageKind::Binary, b""),
        ] {
            let written = Bytes::from(meta::message(AT, kind, data));
            let expected = Told::Message(kind, Bytes::copy_from_slice(data), AT);
            assert_eq!(read(&written), Some(expected));
        }
        assert_eq!(read(&meta::subscribed("a", AT, Some(true)).into()), Some(Told::Other));
    }

    #[test]
    fn what_is_none_of_these_is_refused() {
        for bad in [
            &b""[..],
            b"hi",
            b"{}",
            b"[1]",
            br#"{"event":"message","message":1}"#,
            br#"{"event":"message","message":"-","encoding":"base64"}"#,
            br#"{"event":"message","message":"a","encoding":"hex"}"#,
            br#"{"event":"message","message":"a","epoch":-1,"offset":1}"#,
            b"{\"event\":\"message\",\"message\":\"\xff\"}",
        ] {
            assert_eq!(read(&Bytes::from_static(bad)), None, "{bad:?}");
        }
    }
}
