//! UTF-8 in pieces, and server-sent events.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use qyun::wire::websocket::Utf8Stream;
use qyun::wire::{MessageKind, Position, events};

use crate::cuts::{Cuts, steered};

/// Text in pieces is valid when std says so of the whole, and a fault shows at the piece that has it.
pub fn utf8(input: &[u8]) {
    let Some((cuts, input)) = steered(input) else { return };
    let mut stream = Utf8Stream::default();
    let mut seen = 0;
    for piece in Cuts::new(cuts).pieces(input) {
        seen += piece.len();
        let broken =
            std::str::from_utf8(&input[..seen]).is_err_and(|error| error.error_len().is_some());
        assert_eq!(stream.push(piece), !broken);
        if broken {
            return;
        }
    }
    assert_eq!(stream.is_complete(), std::str::from_utf8(input).is_ok());
}

/// What a reader makes of an event is the message, whatever it holds.
pub fn events(input: &[u8]) {
    let position = Position { epoch: u64::MAX, offset: input.len() as u64 };
    let mut out = Vec::new();
    events::append(&mut out, position, MessageKind::Binary, input);
    let read = read_event(&out);
    assert_eq!(read.name, "binary");
    assert_eq!(STANDARD.decode(&read.data).unwrap(), input);

    let Ok(text) = std::str::from_utf8(input) else { return };
    out.clear();
    events::append(&mut out, position, MessageKind::Text, input);
    let read = read_event(&out);
    assert_eq!(read.name, "");
    assert_eq!(read.id, format!("{}-{}", u64::MAX, input.len()));
    assert_eq!(read.data, text.replace("\r\n", "\n").replace('\r', "\n"));
}

#[derive(Default)]
struct Event {
    id: String,
    name: String,
    data: String,
}

/// One event, read as the HTML standard says (section 9.2.6); there must be exactly one.
fn read_event(bytes: &[u8]) -> Event {
    let text = std::str::from_utf8(bytes).unwrap();
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let (mut event, mut data) = (Event::default(), Vec::new());
    let mut lines = text.split('\n');
    for line in lines.by_ref() {
        if line.is_empty() {
            break;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => event.id = value.into(),
            "event" => event.name = value.into(),
            "data" => data.push(value),
            other => panic!("a field {other:?}"),
        }
    }
    assert_eq!(lines.collect::<Vec<_>>(), [""], "more than one event");
    event.data = data.join("\n");
    event
}
