//! Compressed messages made plain, before they are judged.

use qyun::wire::MessageKind;
use qyun::wire::websocket::{Event, Inflater, Limits};

use super::frame::{self, Parsed};
use super::payload;

/// What one subscriber that compresses has received.
#[derive(Default)]
pub struct Unpacker {
    /// The beginning of a frame.
    carry: Vec<u8>,
}

impl Unpacker {
    /// Takes the next bytes that came, and appends what they would have been without compression.
    /// The error says why nothing can be read on.
    pub fn unpack(
        &mut self,
        inflater: &mut Inflater,
        data: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<(), String> {
        self.carry.extend_from_slice(data);
        let mut at = 0;
        loop {
            match frame::parse(&self.carry[at..]) {
                Parsed::Partial => break,
                Parsed::Bad(why) => return Err(why.into()),
                Parsed::Frame { first: frame::DEFLATED, payload, total } => {
                    let limits = Limits::keep(payload::MAX);
                    let message = match inflater.inflate(MessageKind::Text, payload, limits) {
                        Ok(Event::Message(_, message)) => message,
                        Ok(_) => return Err("a message that is too large".into()),
                        Err(fault) => return Err(fault.reason.into()),
                    };
                    let start = plain.len();
                    plain.resize(start + frame::header_len(message.len()), 0);
                    frame::write_header(&mut plain[start..], frame::TEXT, message.len());
                    plain.extend_from_slice(message);
                    at += total;
                }
                Parsed::Frame { total, .. } => {
                    plain.extend_from_slice(&self.carry[at..at + total]);
                    at += total;
                }
            }
        }
        self.carry.drain(..at);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use qyun::wire::websocket::{Deflater, Message, deflated_frame};

    use super::*;

    #[test]
    fn frames_of_both_kinds_become_plain_however_they_are_cut() {
        let message = |text: &str| Message::new(MessageKind::Text, text.as_bytes());
        let long = "qyun ".repeat(100);
        let mut deflater = Deflater::default();
        let mut bytes = deflated_frame(&mut deflater, message(&long).frame()).unwrap().to_vec();
        let plain = [message("plain").frame(), &b"\x89\x00"[..]].concat();
        bytes.extend_from_slice(&plain);
        let expected = [message(&long).frame(), &plain[..]].concat();
        let mut inflater = Inflater::default();
        for cut in 1..bytes.len() {
            let (mut unpacker, mut out) = (Unpacker::default(), Vec::new());
            for piece in bytes.chunks(cut) {
                unpacker.unpack(&mut inflater, piece, &mut out).unwrap();
            }
            assert_eq!(out, expected, "cut every {cut}");
        }
        let broken = Unpacker::default().unpack(&mut inflater, b"\xc1\x01\x07", &mut Vec::new());
        assert!(broken.is_err());
    }
}
