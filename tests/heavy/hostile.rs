//! Valid streams, bent at random places and cut at random places. The random numbers are always
//! the same.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use qyun::wire::MessageKind;
use qyun::wire::stream::{Op, PATH};

use crate::kit::{alone, stream_packet, until_deserted, upgrade};
use crate::process;
use crate::raw::{Frame, Raw, masked, server, until};

const CASES: usize = 2000;
/// No mutation of a script makes this name.
const WITNESS: &str = "the witness listens here 青云";
const TARGET: &str = "target";

/// Bytes, and for each message in them where it becomes whole.
struct Script {
    bytes: Vec<u8>,
    messages: Vec<(usize, String)>,
}

impl Script {
    fn add(&mut self, bytes: impl AsRef<[u8]>, message: Option<&str>) {
        self.bytes.extend_from_slice(bytes.as_ref());
        self.messages.extend(message.map(|text| (self.bytes.len(), text.to_string())));
    }

    fn http(case: usize) -> Self {
        let mut script = Self { bytes: Vec::new(), messages: Vec::new() };
        let text = |n: usize| format!("http-{case}-{n}");
        let get = format!("GET /channel/send/{TARGET}/{} HTTP/1.1\r\nHost: t\r\n\r\n", text(0));
        script.add(get, Some(&text(0)));
        script.add("GET /channels?limit=2 HTTP/1.1\r\nHost: t\r\nX-Y: z\r\n\r\n", None);
        let post = format!(
            "POST /channel/send/{TARGET} HTTP/1.1\r\nHost: t\r\nContent-Length: {}\r\n\r\n{}",
            text(1).len(),
            text(1)
        );
        script.add(post, Some(&text(1)));
        let chunked = format!(
            "POST /channel/send/{TARGET} HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n\
             2;x=y\r\nht\r\n{:x}\r\n{}\r\n0\r\nT: t\r\n\r\n",
            text(2).len() - 2,
            &text(2)[2..]
        );
        script.add(chunked, Some(&text(2)));
        script
    }

    fn sender(case: usize) -> Self {
        let mut script = Self { bytes: upgrade("/channel/send/target"), messages: Vec::new() };
        let text = |n: usize| format!("sender-{case}-{n}");
        script.add(masked(0x81, text(0).as_bytes()), Some(&text(0)));
        script.add(masked(0x01, b"sender-"), None);
        script.add(masked(0x89, b"ping in between"), None);
        script.add(masked(0x00, format!("{case}-").as_bytes()), None);
        script.add(masked(0x80, b"1"), Some(&text(1)));
        let long = format!("{}{}", text(2), "x".repeat(300));
        script.add(masked(0x81, long.as_bytes()), Some(&long));
        script.add(masked(0x88, b"\x03\xe8done"), None);
        script
    }

    fn stream(case: usize) -> Self {
        let mut script = Self { bytes: upgrade(PATH), messages: Vec::new() };
        let text = format!("stream-{case}-0");
        script.add(stream_packet(1, TARGET, Op::Subscribe), None);
        let publish = Op::Publish(MessageKind::Text, text.as_bytes());
        script.add(stream_packet(2, TARGET, publish), Some(&text));
        script.add(stream_packet(3, TARGET, Op::Unsubscribe), None);
        script
    }

    /// Changes some bytes; what is sent after the first change is anybody's guess.
    fn bend(&mut self, random: &mut fastrand::Rng) {
        for _ in 0..random.usize(1..=4) {
            let at = random.usize(..self.bytes.len());
            match random.u8(..6) {
                0 => self.bytes[at] ^= 1 << random.u8(..8),
                1 => self.bytes[at] = random.u8(..),
                2 => drop(self.bytes.remove(at)),
                3 => self.bytes.insert(at, random.choice(*b"\r\n\0 /%:;\xff0").unwrap_or(0)),
                4 => {
                    let end = (at + random.usize(1..40)).min(self.bytes.len());
                    let again = self.bytes[at..end].to_vec();
                    self.bytes.splice(at..at, again);
                }
                _ => {
                    let end = (at + random.usize(1..40)).min(self.bytes.len());
                    self.bytes.drain(at..end);
                }
            }
            if self.bytes.is_empty() {
                self.bytes.push(0);
            }
        }
    }
}

/// Sends `bytes` in pieces, ends, and reads until the server has ended as well.
fn deliver(address: SocketAddr, bytes: &[u8], random: &mut fastrand::Rng) {
    let mut raw = Raw::connect(address);
    let mut rest = bytes;
    while !rest.is_empty() {
        let (piece, later) = rest.split_at(random.usize(1..=rest.len()));
        rest = later;
        // A server that has refused the start may be gone before the end.
        if raw.stream.write_all(piece).is_err() {
            break;
        }
    }
    if random.u8(..8) == 0 {
        socket2::SockRef::from(&raw.stream).set_linger(Some(Duration::ZERO)).unwrap();
        return;
    }
    let _ = raw.stream.shutdown(Shutdown::Write);
    let mut buffer = [0; 4096];
    loop {
        match raw.stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return,
            Err(error) => panic!("{error}, after {}", bytes.escape_ascii()),
        }
    }
}

/// The messages that reached `listener` before `marker`.
fn heard(listener: &mut Raw, marker: &str) -> Vec<Frame> {
    let mut heard = Vec::new();
    loop {
        let frame = listener.message();
        if frame.payload == marker.as_bytes() {
            return heard;
        }
        heard.push(frame);
    }
}

#[test]
fn two_thousand_bent_and_cut_streams_broadcast_nothing_that_was_not_said() {
    let _alone = alone();
    let server = server(&[("shards", "2"), ("max_message_bytes", "65536")]);
    let (address, service) = (server.local_addr(), server.service());
    service.create_channel(TARGET).unwrap();
    service.create_channel(WITNESS).unwrap();
    let path: String =
        WITNESS.bytes().map(|byte| format!("%{byte:02x}")).collect::<Vec<_>>().concat();
    let mut witness = Raw::websocket(address, &format!("/channel/listen/{path}"));
    let mut target = Raw::websocket(address, &format!("/channel/listen/{TARGET}"));
    let mut control = Raw::connect(address);
    assert_eq!(control.get("/health").status, 200);
    let descriptors = process::descriptors();
    let mut random = fastrand::Rng::with_seed(0x5eed);

    for case in 0..CASES {
        let mut script = match case % 4 {
            0 | 1 => Script::http(case),
            2 => Script::sender(case),
            _ => Script::stream(case),
        };
        let bent = random.bool();
        if bent {
            script.bend(&mut random);
        }
        let cut = match random.bool() {
            true => script.bytes.len(),
            false => random.usize(1..=script.bytes.len()),
        };
        // A reset may overtake what was sent before it: only messages that were promised whole and
        // then ended in order must arrive.
        let mut reset = random.clone();
        let bytes = &script.bytes[..cut];
        deliver(address, bytes, &mut random);
        let was_reset = {
            let mut rest = bytes.len();
            while rest > 0 {
                rest -= reset.usize(1..=rest);
            }
            reset.u8(..8) == 0
        };

        // The connection has been read to its end, or reset and soon forgotten.
        let accepted = 3 + case as u64 + 1;
        until("it was accepted", || service.counters().connections_total == accepted);
        until("it is gone", || service.counters().connections == 3);
        service.publish(TARGET, MessageKind::Text, format!("marker {case}").as_bytes()).unwrap();
        let frames = heard(&mut target, &format!("marker {case}"));
        let whole: Vec<&str> = script
            .messages
            .iter()
            .filter(|(end, _)| *end <= cut)
            .map(|(_, text)| text.as_str())
            .collect();
        if bent {
            for frame in frames {
                let text = std::str::from_utf8(&frame.payload);
                assert!(frame.opcode == 2 || text.is_ok(), "{frame:?}");
            }
        } else {
            let got: Vec<_> =
                frames.iter().map(|frame| std::str::from_utf8(&frame.payload).unwrap()).collect();
            if was_reset {
                let all: BTreeSet<_> = whole.iter().collect();
                assert!(got.iter().all(|text| all.contains(text)), "{got:?} of {whole:?}");
            } else {
                assert_eq!(got, whole, "{}", bytes.escape_ascii());
            }
        }
        if case % 100 == 99 {
            assert_eq!(control.get("/health").status, 200);
            let text = format!("still here {case}");
            service.publish(WITNESS, MessageKind::Text, text.as_bytes()).unwrap();
            assert_eq!(witness.message(), Frame::text(&text));
        }
    }
    assert_eq!(process::descriptors(), descriptors);
    assert!(service.counters().rejected > 100, "{:?}", service.counters());
    drop((witness, target, control));
    until_deserted(&server, 3 + CASES as u64);
}
