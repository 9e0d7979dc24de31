//! Server-sent events (the WHATWG HTML standard, section 9.2): a channel as an HTTP answer that
//! never ends.
//!
//! A message is one event. Its `id` is its position, `EPOCH-OFFSET`. Text is its data, a line of it
//! on each `data` line; the format cannot tell CR LF, CR and LF apart, and a reader gets LF for each.
//! A binary message is an event called `binary` whose data is base64.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{MessageKind, Position};

/// A comment: keeps the connection alive and says nothing.
pub const KEEP_ALIVE: &[u8] = b":\n\n";

/// The media type.
pub const MEDIA_TYPE: &str = "text/event-stream";

/// Has the reader wait for `ms` before it connects again.
pub fn retry(ms: u64) -> String {
    format!("retry: {ms}\n\n")
}

/// About how many bytes [`append`] will add.
pub fn size(kind: MessageKind, payload: &[u8]) -> usize {
    let data = match kind {
        MessageKind::Text => payload.len(),
        MessageKind::Binary => payload.len() * 4 / 3 + 20,
    };
    data + 64
}

/// Appends what a stream begins with: a block that sets the reader's last event id and is no event
/// and, if it could not go on where it was, an event `recovery` that tells so.
pub fn append_start(out: &mut Vec<u8>, position: Position, recovered: Option<bool>) {
    out.extend_from_slice(format!("id: {position}\n").as_bytes());
    if recovered == Some(false) {
        let Position { epoch, offset } = position;
        let data = format!(
            "event: recovery\ndata: {{\"recovered\":false,\"epoch\":{epoch},\"offset\":{offset}}}\n"
        );
        out.extend_from_slice(data.as_bytes());
    }
    out.push(b'\n');
}

/// Appends a message's event.
pub fn append(out: &mut Vec<u8>, position: Position, kind: MessageKind, payload: &[u8]) {
    out.extend_from_slice(format!("id: {position}\n").as_bytes());
    match kind {
        MessageKind::Text => lines(payload, |line| {
            out.extend_from_slice(b"data: ");
            out.extend_from_slice(line);
            out.push(b'\n');
        }),
        MessageKind::Binary => {
            out.extend_from_slice(b"event: binary\ndata: ");
            out.extend_from_slice(STANDARD.encode(payload).as_bytes());
            out.push(b'\n');
        }
    }
    out.push(b'\n');
}

/// How many of `events`, whole events one after the other, end at or before byte `at`. An empty line
/// ends an event, and nothing else in it is one.
pub fn events_before(events: &[u8], at: usize) -> u32 {
    let sent = events.get(..at).unwrap_or(events);
    memchr::memmem::find_iter(sent, b"\n\n").count() as u32
}

/// Calls `each` with every line; the ends are LF, CR, or both.
fn lines(mut text: &[u8], mut each: impl FnMut(&[u8])) {
    while let Some(at) = memchr::memchr2(b'\n', b'\r', text) {
        let (line, rest) = text.split_at(at);
        each(line);
        text = rest.strip_prefix(b"\r\n").or(rest.get(1..)).unwrap_or_default();
    }
    each(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: MessageKind, payload: &[u8]) -> String {
        let mut out = Vec::new();
        append(&mut out, Position { epoch: 7, offset: 42 }, kind, payload);
        assert!(out.len() <= size(kind, payload) + 6 * payload.len());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_line_is_a_data_line() {
        for (text, data) in [
            ("", "data: \n"),
            ("青云", "data: 青云\n"),
            ("a\nb", "data: a\ndata: b\n"),
            ("a\r\nb\rc", "data: a\ndata: b\ndata: c\n"),
            ("\n", "data: \ndata: \n"),
            (" x", "data:  x\n"),
            ("data: x\n\nid: 1", "data: data: x\ndata: \ndata: id: 1\n"),
        ] {
            let expected = format!("id: 7-42\n{data}\n");
            assert_eq!(event(MessageKind::Text, text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn binary_is_base64_under_a_name_of_its_own() {
        let expected = "id: 7-42\nevent: binary\ndata: AP8=\n\n";
        assert_eq!(event(MessageKind::Binary, b"\x00\xff"), expected);
    }
}
