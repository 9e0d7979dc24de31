//! What the connections that agreed on compression (RFC 7692) are sent.
//!
//! A publication to a channel with such subscribers carries a place for its compressed frames,
//! which all shards share. The first shard that needs an encoding compresses it there, the others
//! take it, so that a message is compressed once for each encoding that it goes out in, and joined
//! with the round's other messages like any other.

use bytes::Bytes;

use super::encoding::{Encoding, JOIN_BYTES};
use super::{Shard, gauges_of};
use crate::hub::Gauges;
use crate::wire::websocket::{Message, deflated_frame, frame_payload};

impl Shard {
    /// What a message is to the connections that agreed on compression: its compressed frame if it
    /// is large enough and gets smaller by it, otherwise the plain one.
    pub(super) fn frame_for_deflating(
        &mut self,
        encoding: Encoding<'_>,
        offset: u64,
        message: &Message,
    ) -> Bytes {
        if message.payload().len() < self.options.compress_min_bytes {
            return encoding.frame(offset, message);
        }
        let gauges = gauges_of(&self.service, self.id);
        let deflater = &mut self.deflater;
        let deflated = message.deflated(encoding.form(), || {
            let plain = encoding.frame(offset, message);
            let deflated = deflated_frame(deflater, &plain);
            let before = frame_payload(&plain).len();
            let after = deflated.as_deref().map_or(before, |frame| frame_payload(frame).len());
            Gauges::add(&gauges.compressions, 1);
            Gauges::add(&gauges.compressed_bytes_in, before as u64);
            Gauges::add(&gauges.compressed_bytes_out, after as u64);
            deflated
        });
        deflated.unwrap_or_else(|| encoding.frame(offset, message))
    }

    /// Joins a round's messages for the connections that agreed on compression, into buffers of
    /// about [`JOIN_BYTES`] with the number of messages in each. A frame that is alone in its buffer
    /// is handed on as it is.
    pub(super) fn join_deflated(
        &mut self,
        pending: &[(u64, Message)],
        encoding: Encoding<'_>,
    ) -> Vec<(Bytes, u64)> {
        let mut buffers = Vec::new();
        let mut joined: Vec<u8> = Vec::new();
        let mut first: Option<Bytes> = None;
        let mut count = 0;
        for (offset, message) in pending {
            let frame = self.frame_for_deflating(encoding, *offset, message);
            let waiting = joined.len() + first.as_ref().map_or(0, Bytes::len);
            if count > 0 && waiting + frame.len() > JOIN_BYTES {
                let bytes = first.take().unwrap_or_else(|| std::mem::take(&mut joined).into());
                buffers.push((bytes, count));
                count = 0;
            }
            count += 1;
            match first.take() {
                _ if count == 1 => first = Some(frame),
                alone => {
                    joined.extend_from_slice(alone.as_deref().unwrap_or_default());
                    joined.extend_from_slice(&frame);
                }
            }
        }
        if count > 0 {
            buffers.push((first.unwrap_or_else(|| joined.into()), count));
        }
        buffers
    }
}
