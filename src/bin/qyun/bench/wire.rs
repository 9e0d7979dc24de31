//! How messages are framed on the way to the server and back: WebSocket for the channel dialect, and
//! the protocols of two brokers that are measured as a reference, NATS and MQTT 3.1.1.
//!
//! What a subscriber receives is `before`, the message, `after`, with nothing in it that differs
//! between two messages of one channel, so that all three are checked by the same comparison.

use super::frame::{self, Parsed};

/// The longest line of NATS that is not a message: its INFO has the cluster's addresses.
const MAX_LINE: usize = 64 << 10;
/// `PUBLISH` with quality of service 0.
const PUBLISH: u8 = 0x30;
const CONNACK: u8 = 0x20;
const SUBACK: u8 = 0x90;
const PINGRESP: u8 = 0xd0;

/// What a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    WebSocket,
    Nats,
    Mqtt,
}

/// How the messages of one channel come to its subscribers.
pub struct Framing {
    pub wire: Wire,
    pub before: Vec<u8>,
    pub after: &'static [u8],
}

impl Framing {
    pub fn new(wire: Wire, channel: &str, size: usize) -> Self {
        let (before, after): (_, &[u8]) = match wire {
            Wire::WebSocket => {
                let mut header = vec![0; frame::header_len(size)];
                frame::write_header(&mut header, frame::TEXT, size);
                (header, b"")
            }
            Wire::Nats => (format!("MSG {channel} 1 {size}\r\n").into_bytes(), b"\r\n"),
            Wire::Mqtt => (publish_header(channel, size), b""),
        };
        Self { wire, before, after }
    }
}

impl Wire {
    /// What a subscriber of `channel` sends first, when that is not an HTTP upgrade.
    pub fn subscribe(self, channel: &str) -> Vec<u8> {
        let mut out = self.introduce();
        match self {
            Self::WebSocket => {}
            Self::Nats => out.extend_from_slice(format!("SUB {channel} 1\r\nPING\r\n").as_bytes()),
            Self::Mqtt => {
                let length = 2 + 2 + channel.len() + 1;
                out.push(0x82);
                remaining(&mut out, length);
                out.extend_from_slice(&[0, 1]);
                string(&mut out, channel);
                out.push(0);
            }
        }
        out
    }

    /// What anybody sends first.
    pub fn introduce(self) -> Vec<u8> {
        match self {
            Self::WebSocket => Vec::new(),
            Self::Nats => {
                b"CONNECT {\"verbose\":false,\"pedantic\":false,\"tls_required\":false}\r\n"
                    .to_vec()
            }
            // Protocol "MQTT", level 4, a clean session, no keep-alive, an id that the server gives.
            Self::Mqtt => b"\x10\x0c\0\x04MQTT\x04\x02\0\0\0\0".to_vec(),
        }
    }

    /// Whether `bytes`, the answer to [`Wire::subscribe`], is whole, and how long it is then.
    pub fn subscribed(self, bytes: &[u8]) -> Result<Option<usize>, String> {
        let mut at = 0;
        loop {
            match self.parse(&bytes[at..]) {
                Parsed::Partial => return Ok(None),
                Parsed::Bad(why) => return Err(why.into()),
                Parsed::Frame { total, .. } => {
                    let first = &bytes[at..];
                    at += total;
                    match self {
                        Self::Nats if first.starts_with(b"PONG") => return Ok(Some(at)),
                        Self::Mqtt if first[0] == SUBACK => return Ok(Some(at)),
                        _ => {}
                    }
                }
            }
        }
    }

    /// What stands before and after a message to `channel`, when it is not a WebSocket's.
    pub fn envelope(self, channel: &str, size: usize) -> (Vec<u8>, Vec<u8>) {
        match self {
            Self::WebSocket => (Vec::new(), Vec::new()),
            Self::Nats => (format!("PUB {channel} {size}\r\n").into_bytes(), b"\r\n".to_vec()),
            Self::Mqtt => (publish_header(channel, size), Vec::new()),
        }
    }

    /// Reads what the server's bytes begin with, in the terms of WebSocket: a message is a text, and
    /// what needs no answer is a pong.
    pub fn parse(self, bytes: &[u8]) -> Parsed<'_> {
        match self {
            Self::WebSocket => frame::parse(bytes),
            Self::Nats => parse_nats(bytes),
            Self::Mqtt => parse_mqtt(bytes),
        }
    }

    /// Appends the answer to a ping.
    pub fn pong(self, out: &mut Vec<u8>, body: &[u8]) {
        match self {
            Self::WebSocket => {
                frame::append_masked(out, frame::PONG, body, fastrand::u32(..).to_ne_bytes());
            }
            Self::Nats => out.extend_from_slice(b"PONG\r\n"),
            // The broker of MQTT does not ask.
            Self::Mqtt => {}
        }
    }
}

fn parse_nats(bytes: &[u8]) -> Parsed<'_> {
    let Some(end) = memchr::memchr(b'\n', bytes) else {
        return if bytes.len() > MAX_LINE {
            Parsed::Bad("a line without end")
        } else {
            Parsed::Partial
        };
    };
    let total = end + 1;
    let line = bytes[..end].trim_ascii_end();
    let control = |first| Parsed::Frame { first, payload: &[], total };
    if line == b"PING" {
        return control(frame::PING);
    }
    if line == b"PONG" || line == b"+OK" || line.starts_with(b"INFO ") {
        return control(frame::PONG);
    }
    if line.starts_with(b"-ERR") {
        return Parsed::Bad("the server sent -ERR");
    }
    let size = line.strip_prefix(b"MSG ").and_then(|rest| {
        let last = rest.rsplit(|byte| *byte == b' ').next()?;
        std::str::from_utf8(last).ok()?.parse::<usize>().ok()
    });
    match size {
        Some(size) if size <= super::payload::MAX => match bytes.get(total..total + size + 2) {
            Some(body) if body.ends_with(b"\r\n") => Parsed::Frame {
                first: frame::TEXT,
                payload: &body[..size],
                total: total + size + 2,
            },
            Some(_) => Parsed::Bad("a message that does not end where it says"),
            None => Parsed::Partial,
        },
        _ => Parsed::Bad("a line that NATS does not have"),
    }
}

fn parse_mqtt(bytes: &[u8]) -> Parsed<'_> {
    let Some(&first) = bytes.first() else { return Parsed::Partial };
    let (mut length, mut at) = (0_usize, 1);
    loop {
        let Some(&byte) = bytes.get(at) else { return Parsed::Partial };
        if at > 4 {
            return Parsed::Bad("a length of more than four bytes");
        }
        length |= usize::from(byte & 0x7f) << (7 * (at - 1));
        at += 1;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let total = at + length;
    let Some(body) = bytes.get(at..total) else { return Parsed::Partial };
    match (first, body) {
        // A return code other than 0 refuses.
        (CONNACK, [_, 0]) | (SUBACK, [_, _, 0]) | (PINGRESP, []) => {
            Parsed::Frame { first: frame::PONG, payload: &[], total }
        }
        (PUBLISH, [high, low, rest @ ..]) => {
            match rest.get(usize::from(u16::from_be_bytes([*high, *low]))..) {
                Some(payload) => Parsed::Frame { first: frame::TEXT, payload, total },
                None => Parsed::Bad("a topic longer than its packet"),
            }
        }
        (CONNACK | SUBACK, _) => Parsed::Bad("the broker refuses"),
        _ => Parsed::Bad("a packet that a subscriber does not expect"),
    }
}

fn publish_header(topic: &str, size: usize) -> Vec<u8> {
    let mut out = vec![PUBLISH];
    remaining(&mut out, 2 + topic.len() + size);
    string(&mut out, topic);
    out
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// MQTT's variable byte integer (3.1.1, section 2.2.3).
fn remaining(out: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivered_message_is_parsed_and_a_part_of_it_is_partial() {
        for wire in [Wire::WebSocket, Wire::Nats, Wire::Mqtt] {
            for size in [19, 128, 16384] {
                let framing = Framing::new(wire, "bench-1-0", size);
                let payload = vec![b'x'; size];
                let mut bytes = [&framing.before[..], &payload, framing.after].concat();
                let total = bytes.len();
                for cut in 0..total {
                    assert_eq!(wire.parse(&bytes[..cut]), Parsed::Partial, "{wire:?} {cut}");
                }
                bytes.extend_from_slice(b"rest");
                let whole = Parsed::Frame { first: frame::TEXT, payload: &payload, total };
                assert_eq!(wire.parse(&bytes), whole, "{wire:?} {size}");
            }
        }
    }

    #[test]
    fn a_subscriber_of_nats_is_there_with_the_pong() {
        let asked = Wire::Nats.subscribe("a");
        assert!(asked.starts_with(b"CONNECT {") && asked.ends_with(b"}\r\nSUB a 1\r\nPING\r\n"));
        let answer = b"INFO {\"x\":1}\r\nPONG\r\nMSG";
        for cut in 0..answer.len() - 3 {
            assert_eq!(Wire::Nats.subscribed(&answer[..cut]), Ok(None), "{cut}");
        }
        assert_eq!(Wire::Nats.subscribed(answer), Ok(Some(answer.len() - 3)));
        assert!(Wire::Nats.subscribed(b"-ERR 'no'\r\n").is_err());
        assert!(Wire::Nats.subscribed(b"HTTP/1.1 200 OK\r\n").is_err());
    }

    #[test]
    fn a_subscriber_of_mqtt_is_there_with_the_suback() {
        let asked = Wire::Mqtt.subscribe("a/b");
        assert_eq!(asked, b"\x10\x0c\0\x04MQTT\x04\x02\0\0\0\0\x82\x08\0\x01\0\x03a/b\0");
        let answer = b"\x20\x02\0\0\x90\x03\0\x01\0";
        for cut in 0..answer.len() {
            assert_eq!(Wire::Mqtt.subscribed(&answer[..cut]), Ok(None), "{cut}");
        }
        assert_eq!(Wire::Mqtt.subscribed(answer), Ok(Some(answer.len())));
        assert!(Wire::Mqtt.subscribed(b"\x20\x02\0\x05").is_err(), "not authorised");
        assert!(Wire::Mqtt.subscribed(b"\x20\x02\0\0\x90\x03\0\x01\x80").is_err(), "no such topic");
    }

    #[test]
    fn pings_are_told_from_messages() {
        let ping = Parsed::Frame { first: frame::PING, payload: &[][..], total: 6 };
        assert_eq!(Wire::Nats.parse(b"PING\r\n"), ping);
        let mut out = Vec::new();
        Wire::Nats.pong(&mut out, b"");
        assert_eq!(out, b"PONG\r\n");
        assert!(matches!(Wire::Mqtt.parse(b"\x32\x05\0\x01ab\0"), Parsed::Bad(_)), "QoS 1");
    }
}
