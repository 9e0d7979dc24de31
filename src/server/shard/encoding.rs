//! How messages are written to the subscribers of a list, and joined into buffers that all of them
//! share.

use bytes::Bytes;

use super::lists::List;
use crate::wire::session::notification;
use crate::wire::websocket::Message;
use crate::wire::{MessageKind, Position, events, meta, packet_header, stream};

/// Messages of one channel are joined up to this size. Less costs sends; more delays the first
/// subscriber's bytes.
pub(super) const JOIN_BYTES: usize = 256 << 10;

/// How a message is written to the subscribers of a list.
#[derive(Clone, Copy)]
pub(super) enum Encoding<'a> {
    Frame,
    Stream { channel: u64 },
    Event { epoch: u64 },
    Notification { name: &'a str, epoch: u64 },
    Packet,
    Meta { epoch: u64 },
}

impl<'a> Encoding<'a> {
    /// How the subscribers of `list` get the messages of the channel of this number, epoch and
    /// name.
    pub(super) fn of(list: List, (channel, epoch): (u64, u64), name: &'a str) -> Self {
        match list {
            List::Listeners | List::Frames | List::Everyone => Self::Frame,
            List::Streams | List::Members => Self::Stream { channel },
            List::Events => Self::Event { epoch },
            List::Notifications => Self::Notification { name, epoch },
            List::Packets => Self::Packet,
            List::Metas => Self::Meta { epoch },
        }
    }
}

impl Encoding<'_> {
    /// About how many bytes a message takes; of a bare frame, exactly.
    fn size(self, message: &Message) -> usize {
        match self {
            Self::Frame => message.frame().len(),
            Self::Stream { .. } => message.payload().len() + stream::MESSAGE_HEADER + 10,
            Self::Notification { name, .. } => message.payload().len() + name.len() + 128,
            Self::Packet => message.payload().len() + 24,
            Self::Event { .. } => events::size(message.kind(), message.payload()),
            Self::Meta { .. } => message.payload().len() + 128,
        }
    }

    /// Which of the compressed forms that shards share (below `DEFLATED_FORMS`) is this encoding's.
    pub(super) fn form(self) -> usize {
        match self {
            Self::Frame => 0,
            Self::Stream { .. } => 1,
            Self::Notification { .. } => 2,
            Self::Packet => 3,
            Self::Meta { .. } => 4,
            // Never compressed.
            Self::Event { .. } => usize::MAX,
        }
    }

    /// A message alone. A bare frame is not copied.
    pub(super) fn frame(self, offset: u64, message: &Message) -> Bytes {
        match self {
            Self::Frame => message.frame().clone(),
            _ => {
                let mut out = Vec::with_capacity(self.size(message));
                self.append(&mut out, offset, message);
                out.into()
            }
        }
    }

    fn append(self, out: &mut Vec<u8>, offset: u64, message: &Message) {
        match self {
            Self::Frame => out.extend_from_slice(message.frame()),
            Self::Stream { channel } => {
                let header = stream::message_header(channel, offset, message.kind());
                Message::append(out, MessageKind::Binary, &[&header, message.payload()]);
            }
            Self::Notification { name, epoch } => {
                let position = Position { epoch, offset };
                let text = notification(Some((name, position)), message.kind(), message.payload());
                Message::append(out, MessageKind::Text, &[&text]);
            }
            Self::Packet => {
                let header = packet_header(message.payload());
                Message::append(out, MessageKind::Binary, &[&header, message.payload()]);
            }
            Self::Meta { epoch } => {
                let position = Position { epoch, offset };
                let text = meta::message(position, message.kind(), message.payload());
                Message::append(out, MessageKind::Text, &[&text]);
            }
            Self::Event { epoch } => {
                let position = Position { epoch, offset };
                events::append(out, position, message.kind(), message.payload());
            }
        }
    }
}

/// Joins messages into buffers of about [`JOIN_BYTES`] and hands each on with the number of
/// messages in it. A bare frame that is alone in its buffer is handed on as it is.
pub(super) fn join(
    pending: &[(u64, Message)],
    encoding: Encoding<'_>,
    mut send: impl FnMut(&Bytes, u64),
) {
    let mut rest = pending;
    while let Some((_, first)) = rest.first() {
        let mut total = encoding.size(first);
        let mut count = 1;
        while let Some((_, next)) = rest.get(count)
            && total + encoding.size(next) <= JOIN_BYTES
        {
            total += encoding.size(next);
            count += 1;
        }
        let (now, later) = rest.split_at(count);
        rest = later;
        if let (Encoding::Frame, [(_, alone)]) = (encoding, now) {
            send(alone.frame(), 1);
            continue;
        }
        let mut out = Vec::with_capacity(total);
        for (offset, message) in now {
            encoding.append(&mut out, *offset, message);
        }
        send(&out.into(), count as u64);
    }
}
