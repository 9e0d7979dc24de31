//! What a listener gets that asked for positions: JSON texts instead of bare messages.
//!
//! `{"event":"subscribed","channel":"…","epoch":E,"offset":O,"recovered":true}` comes first;
//! `recovered` only if the listener said where it was. Then each message is
//! `{"event":"message","message":"…","epoch":E,"offset":O}`; a binary one is base64, with
//! `"encoding":"base64"`.

use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::session::quoted;
use super::{MessageKind, Position};

/// The sub-protocol that asks for this.
pub const PROTOCOL: &str = "qyun.meta";

/// A message as a member `message`, and `encoding` if it is base64.
pub fn append_message(out: &mut Vec<u8>, kind: MessageKind, payload: &[u8]) {
    out.extend_from_slice(br#""message":"#);
    match std::str::from_utf8(payload) {
        // Writing to memory does not fail.
        Ok(text) if kind == MessageKind::Text => drop(serde_json::to_writer(out, text)),
        _ => {
            out.push(b'"');
            out.extend_from_slice(STANDARD.encode(payload).as_bytes());
            out.extend_from_slice(br#"","encoding":"base64""#);
        }
    }
}

/// The text of a message.
pub fn message(position: Position, kind: MessageKind, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 128);
    out.extend_from_slice(br#"{"event":"message","#);
    append_message(&mut out, kind, payload);
    let Position { epoch, offset } = position;
    let _ = write!(out, r#","epoch":{epoch},"offset":{offset}}}"#);
    out
}

/// The first text.
pub fn subscribed(channel: &str, position: Position, recovered: Option<bool>) -> String {
    let Position { epoch, offset } = position;
    let recovered = recovered.map_or(String::new(), |told| format!(r#","recovered":{told}"#));
    let channel = quoted(channel);
    format!(
        r#"{{"event":"subscribed","channel":{channel},"epoch":{epoch},"offset":{offset}{recovered}}}"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Position = Position { epoch: 7, offset: 3 };

    #[test]
    fn texts_are_as_documented() {
        let text = |kind, payload: &[u8]| String::from_utf8(message(AT, kind, payload)).unwrap();
        assert_eq!(
            text(MessageKind::Text, "青\"\n".as_bytes()),
            r#"{"event":"message","message":"青\"\n","epoch":7,"offset":3}"#
        );
        assert_eq!(
            text(MessageKind::Binary, b"\xff"),
            r#"{"event":"message","message":"/w==","encoding":"base64","epoch":7,"offset":3}"#
        );
        assert_eq!(
            subscribed("a\"", AT, Some(false)),
            r#"{"event":"subscribed","channel":"a\"","epoch":7,"offset":3,"recovered":false}"#
        );
        assert_eq!(
            subscribed("a", AT, None),
            r#"{"event":"subscribed","channel":"a","epoch":7,"offset":3}"#
        );
    }
}
