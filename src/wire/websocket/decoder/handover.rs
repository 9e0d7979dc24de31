//! A decoder in the middle of a frame, written down and read again.

use super::{Decoder, Frame};
use crate::wire::MessageKind;
use crate::wire::handover::{Reader, Writer};
use crate::wire::websocket::utf8::Utf8Stream;

impl Decoder {
    /// Writes down what is half read.
    pub fn hand_over(&self, out: &mut Writer) {
        let head = self.head.get(..usize::from(self.head_len)).unwrap_or_default();
        out.bytes(head);
        out.option(self.frame, |out, frame| {
            out.u8(frame.opcode);
            out.flag(frame.fin);
            out.size(frame.remaining);
            out.u32(u32::from_ne_bytes(frame.mask));
        });
        out.option(self.message, |out, kind| out.flag(kind == MessageKind::Binary));
        out.flag(self.deflated);
        out.size(self.size);
        out.bytes(self.text.incomplete());
        // What was lent with the last event is not a part of anything any more.
        out.bytes(if self.lent { &[] } else { &self.buffer });
        out.bytes(&self.control);
    }

    /// Reads what [`Decoder::hand_over`] wrote.
    pub fn take_over(input: &mut Reader<'_>) -> Option<Self> {
        let mut decoder = Self::default();
        let head = input.bytes()?;
        decoder.head.get_mut(..head.len())?.copy_from_slice(head);
        decoder.head_len = u8::try_from(head.len()).ok()?;
        decoder.frame = input.option(|input| {
            Some(Frame {
                opcode: input.u8()?,
                fin: input.flag()?,
                remaining: input.size()?,
                mask: input.u32()?.to_ne_bytes(),
            })
        })?;
        decoder.message = input.option(Reader::flag)?.map(|binary| match binary {
            true => MessageKind::Binary,
            false => MessageKind::Text,
        });
        decoder.deflated = input.flag()?;
        decoder.size = input.size()?;
        decoder.text = Utf8Stream::of(input.bytes()?)?;
        decoder.buffer = input.bytes()?.to_vec();
        decoder.control = input.bytes()?.to_vec();
        Some(decoder)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Limits;
    use super::*;
    use crate::wire::websocket::{Deflater, deflated_frame};

    /// A client's frame.
    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [9, 88, 7, 166];
        let mut out = vec![first];
        match payload.len() {
            len @ 0..=125 => out.push(0x80 | len as u8),
            len => {
                out.push(0x80 | 126);
                out.extend_from_slice(&(len as u16).to_be_bytes());
            }
        }
        out.extend_from_slice(&mask);
        out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        out
    }

    /// What the decoder says about `input`, with `moves` hand-overs in front of every byte.
    fn events(input: &[u8], limits: Limits, moves: bool) -> Vec<String> {
        let mut decoder = Decoder::default();
        let mut said = Vec::new();
        for byte in input {
            if moves {
                let mut out = Writer::default();
                decoder.hand_over(&mut out);
                let bytes = out.take();
                let mut reader = Reader::new(&bytes);
                decoder = Decoder::take_over(&mut reader).unwrap();
                assert!(reader.is_at_end());
            }
            let mut piece = [*byte];
            let mut piece = &mut piece[..];
            loop {
                match decoder.next(&mut piece, limits) {
                    Ok(Some(event)) => said.push(format!("{event:?}")),
                    Ok(None) => break,
                    Err(fault) => {
                        said.push(format!("{fault:?}"));
                        return said;
                    }
                }
            }
        }
        said
    }

    #[test]
    fn a_hand_over_at_any_byte_changes_nothing() {
        let mut compressed = deflated_frame(
            &mut Deflater::default(),
            crate::wire::websocket::Message::new(MessageKind::Text, &[b'x'; 300]).frame(),
        )
        .unwrap()
        .to_vec();
        // A client's frame has a mask; the server's has none.
        let payload = compressed.split_off(2);
        let input = [
            masked(0x81, "青云".as_bytes()),
            masked(0x01, &"青".as_bytes()[..2]),
            masked(0x89, b"ping in the middle"),
            masked(0x80, &"青".as_bytes()[2..]),
            masked(0x82, &[7; 200]),
            masked(0xc1, &payload),
            masked(0x82, &[8; 900]),
            masked(0x88, b"\x03\xe8bye"),
        ]
        .concat();
        let keep = Limits { deflate: true, skip: 2000, head: 16, ..Limits::keep(500) };
        for limits in [keep, Limits { keep: false, ..keep }] {
            let said = events(&input, limits, false);
            assert_eq!(said.len(), 7, "{said:?}");
            assert_eq!(events(&input, limits, true), said);
        }
        let broken = masked(0x81, b"\xe9\x9d\xff");
        assert_eq!(events(&broken, keep, true), events(&broken, keep, false));
    }

    #[test]
    fn what_was_not_written_by_a_decoder_is_refused() {
        for bytes in [&[][..], &[15; 8], &[0xff; 64]] {
            assert!(Decoder::take_over(&mut Reader::new(bytes)).is_none(), "{bytes:?}");
        }
    }
}
