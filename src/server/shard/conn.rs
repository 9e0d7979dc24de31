//! A connection as its shard holds it: a few dozen bytes while nothing is under way.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use mio::net::TcpStream;
use rustix::io::Errno;
use rustix::net::{SendFlags, send};

use super::http::HttpState;
use super::lists::Place;
use super::overload::{Fate, Paced};
use super::peer::Peer;
use super::queue::{OutQueue, Stands, Tag, Waiting};
use crate::hub::Channel;
use crate::server::service::Admission;
use crate::wire::events::events_before;
use crate::wire::websocket::{Decoder, frame_end, frames_before};

/// See [`Conn::margin`].
const OWN_BYTES: usize = 64 << 10;

/// One connection.
#[derive(Debug)]
pub(super) struct Conn {
    pub stream: TcpStream,
    pub lane: Lane,
    /// What the socket did not take yet; present only while there is something.
    out: Option<Box<OutQueue>>,
    /// A frame or message that is half read; present only then.
    pub reader: Option<Box<HalfRead>>,
    /// When the lane's current phase has lasted too long, in ms of the shard's clock.
    pub deadline: u64,
    /// A ping was sent and nothing was heard since.
    pub awaiting_pong: bool,
    /// Nothing is read until what is queued has been written.
    pub paused: bool,
    /// Input that was read and not looked at waits in the HTTP state.
    pub stalled: bool,
    /// The peer has ended its side. An event told so, none will tell again: what is left is read
    /// up to the end, however short a read is.
    pub read_closed: bool,
    /// What to do once everything is written.
    pub after_flush: AfterFlush,
    /// It agreed on compression.
    pub deflate: bool,
    /// It is not served, only told why.
    pub refused: bool,
    /// It is to be freed at the end of the round.
    pub dead: bool,
}

/// A frame or message of which a part has come.
#[derive(Debug)]
pub(super) struct HalfRead {
    pub decoder: Decoder,
    /// When the first part came, in ms of the shard's clock.
    pub since: u64,
}

/// What a connection is for at the moment.
#[derive(Debug)]
pub(super) enum Lane {
    /// HTTP/1.1 requests. The state is present while one is half read.
    Http(Option<Box<HttpState>>),
    /// A WebSocket on `/channel/listen/{name}`.
    Listener(Place),
    /// The same, whose messages come with their positions.
    Metas(Place),
    /// A WebSocket on `/channel/send/{name}`.
    Sender(Arc<Channel>),
    /// A WebSocket on `/channel/stream`.
    Stream(Box<Streams>),
    /// Server-sent events of a channel.
    Events(Place),
    /// A WebSocket of an endpoint.
    Peer(Box<Peer>),
    /// A WebSocket that was sent a Close; only the peer's Close is of interest.
    Closing,
    /// What comes is thrown away, so that the peer can read the last bytes before the socket goes.
    Lingering,
}

/// What a shard knows of a connection that speaks the stream protocol.
#[derive(Debug, Default)]
pub(super) struct Streams {
    /// Which of all that had its number in the shard: so answers that come later find the right one.
    pub ticket: u64,
    /// Its places in the channels that it subscribes to, by channel number.
    pub places: HashMap<u64, Place>,
}

/// What to do with a connection when all is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AfterFlush {
    Stay,
    /// End the sending side, read until the peer ends its own.
    Linger,
    /// Close at once.
    Free,
}

impl AfterFlush {
    /// The one that is this number.
    pub(super) fn from_number(number: u8) -> Option<Self> {
        [Self::Stay, Self::Linger, Self::Free].into_iter().find(|one| *one as u8 == number)
    }
}

/// What became of bytes handed to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// The socket took all.
    All,
    /// Some wait in the queue.
    Queued,
    /// They do not fit into the queue: nothing of them was kept.
    Full,
    /// The socket is broken.
    Dead,
}

impl Conn {
    pub(super) fn new(stream: TcpStream, deadline: u64) -> Self {
        Self {
            stream,
            lane: Lane::Http(None),
            out: None,
            reader: None,
            deadline,
            awaiting_pong: false,
            paused: false,
            stalled: false,
            read_closed: false,
            after_flush: AfterFlush::Stay,
            deflate: false,
            refused: false,
            dead: false,
        }
    }

    /// What it was counted in as.
    pub(super) fn admission(&self) -> Admission {
        if self.refused { Admission::Refused } else { Admission::Admitted }
    }

    /// Bytes that wait to be written.
    pub(super) fn queued(&self) -> usize {
        self.out.as_ref().map_or(0, |out| out.bytes())
    }

    /// Bytes of its own that may wait beyond the bound: where a policy keeps the queue full, control
    /// frames and answers find room all the same.
    pub(super) fn margin(&self) -> usize {
        match self.out.as_ref().is_some_and(|out| out.is_paced()) {
            true => OWN_BYTES,
            false => 0,
        }
    }

    /// What waits to be written, in order.
    pub(super) fn queue(&self) -> impl Iterator<Item = Waiting<'_>> {
        self.out.iter().flat_map(|out| out.iter())
    }

    /// Appends what waited in the same order in another process.
    pub(super) fn restore(&mut self, bytes: Bytes, at: usize, tag: Option<Tag>, stands: Stands) {
        self.out.get_or_insert_default().restore(bytes, at, tag, stands);
    }

    /// Messages of channels that wait to be written.
    pub(super) fn queued_messages(&self) -> u64 {
        self.out.as_ref().map_or(0, |out| out.messages())
    }

    /// For how long the first of them has waited, in ms.
    pub(super) fn oldest(&self, now: u64) -> Option<u64> {
        Some(now.saturating_sub(self.out.as_ref()?.since()?))
    }

    /// Whether so much waits that publishers to the channel should.
    pub(super) fn is_over_half(&self, paced: &Paced, channel: u64) -> bool {
        self.out.as_ref().is_some_and(|out| out.is_over_half(paced.bounds, channel))
    }

    /// Whether the lane is a WebSocket that has not begun to close.
    pub(super) fn is_open_websocket(&self) -> bool {
        matches!(
            self.lane,
            Lane::Listener(_) | Lane::Metas(_) | Lane::Sender(_) | Lane::Stream(_) | Lane::Peer(_)
        )
    }

    /// Whether the connection lives and its lane is one that subscribes.
    pub(super) fn may_be_listed(&self) -> bool {
        let subscribes = match self.lane {
            Lane::Http(_) | Lane::Stream(_) | Lane::Peer(_) => true,
            Lane::Listener(_) | Lane::Metas(_) | Lane::Events(_) => true,
            Lane::Sender(_) | Lane::Closing | Lane::Lingering => false,
        };
        subscribes && !self.dead && self.after_flush == AfterFlush::Stay
    }

    /// Bytes wait now: a connection whose client must take something in time is looked after.
    pub(super) fn note_queueing(&mut self, queued_before: usize, now: u64) {
        if queued_before == 0
            && let Lane::Peer(peer) = &mut self.lane
        {
            self.deadline = self.deadline.min(peer.queueing(now));
        }
    }

    /// Writes shared bytes: one system call and no copy. What the socket does not take waits as a
    /// slice of the same buffer, up to `max_queue` bytes in all; an empty queue takes any one
    /// buffer, so that a message larger than the bound can pass.
    pub(super) fn send(&mut self, bytes: &Bytes, max_queue: usize) -> Sent {
        self.send_tagged(bytes, max_queue, || None)
    }

    /// The same for messages of a channel, which `tag` names if they have to wait.
    pub(super) fn send_tagged(
        &mut self,
        bytes: &Bytes,
        max_queue: usize,
        tag: impl FnOnce() -> Option<Tag>,
    ) -> Sent {
        if self.out.is_none() {
            match write(&self.stream, bytes) {
                Some(written) if written == bytes.len() => return Sent::All,
                Some(written) => {
                    self.out.get_or_insert_default().push(bytes.clone(), written, tag());
                    return Sent::Queued;
                }
                None => return Sent::Dead,
            }
        }
        if self.queued() + bytes.len() > max_queue {
            return Sent::Full;
        }
        self.out.get_or_insert_default().push(bytes.clone(), 0, tag());
        Sent::Queued
    }

    /// Like [`Conn::send`] for bytes that are this connection's alone: copied only if they wait.
    pub(super) fn send_own(&mut self, bytes: &[u8], max_queue: usize) -> Sent {
        let written = match self.out {
            Some(_) => 0,
            None => match write(&self.stream, bytes) {
                Some(written) if written == bytes.len() => return Sent::All,
                Some(written) => written,
                None => return Sent::Dead,
            },
        };
        if self.out.is_some() && self.queued() + bytes.len() > max_queue {
            return Sent::Full;
        }
        self.push(Bytes::copy_from_slice(bytes), written);
        Sent::Queued
    }

    /// Sends messages of a channel with an overload policy: `frames`, which are `joined` in one
    /// buffer for a socket that takes it. Those that wait stand alone, so that each can be taken out
    /// and none keeps its neighbours' memory. `fate` is told what became of each, by its place. Gives the
    /// bytes that the socket took besides.
    pub(super) fn send_paced(
        &mut self,
        paced: &Paced,
        joined: &Bytes,
        frames: &[Bytes],
        tag: impl Fn(usize) -> Tag,
        mut fate: impl FnMut(usize, Fate),
    ) -> (Sent, usize) {
        let lose_from = |first: usize, fate: &mut dyn FnMut(usize, Fate)| {
            (first..frames.len()).for_each(|index| fate(index, Fate::Lost));
        };
        let written = match self.out {
            Some(_) => 0,
            None => match write(&self.stream, joined) {
                Some(written) => written,
                None => {
                    lose_from(0, &mut fate);
                    return (Sent::Dead, 0);
                }
            },
        };
        let mut end = 0;
        for (index, frame) in frames.iter().enumerate() {
            let start = end;
            end += frame.len();
            if end <= written {
                fate(index, Fate::Written);
                continue;
            }
            let out = self.out.get_or_insert_default();
            if start < written {
                out.push(frame.clone(), written - start, Some(tag(index)));
                fate(index, Fate::QUEUED);
                continue;
            }
            match out.admit(paced.policy, paced.bounds, frame, tag(index)) {
                Some(admission) => fate(index, Fate::Admitted(admission)),
                None => {
                    lose_from(index, &mut fate);
                    return (Sent::Full, written);
                }
            }
        }
        let sent = if written == joined.len() { Sent::All } else { Sent::Queued };
        (sent, written)
    }

    /// Queues bytes whatever the bound: for the last words of a connection.
    pub(super) fn push(&mut self, bytes: Bytes, written: usize) {
        self.out.get_or_insert_default().push(bytes, written, None);
    }

    /// Writes what waits, as far as the socket takes it; `done` is told whose messages went.
    pub(super) fn flush(&mut self, mut done: impl FnMut(&Tag)) -> Sent {
        while let Some(out) = &mut self.out {
            let Some(front) = out.front() else {
                self.out = None;
                break;
            };
            match write(&self.stream, front) {
                None => return Sent::Dead,
                Some(written) => {
                    let whole = written == front.len();
                    if let Some(tag) = out.advance(written) {
                        done(&tag);
                    }
                    if !whole {
                        return Sent::Queued;
                    }
                }
            }
        }
        Sent::All
    }

    /// Throws away what waits, except the rest of a WebSocket frame of which a part was written:
    /// without it, nothing that follows could be understood. `gone` is told whose messages those
    /// were, and how many of them had been written.
    pub(super) fn drop_whole_frames(&mut self, mut gone: impl FnMut(&Tag, u32)) {
        let Some(out) = self.out.take() else { return };
        for (index, (bytes, at, tag)) in out.into_entries().enumerate() {
            let begun = if index == 0 { frame_end(&bytes, at) } else { 0 };
            let tag = tag.map(|mut tag| {
                let rest = u32::from(begun > at);
                tag.count = tag.count.saturating_sub(rest);
                gone(&tag, units_before(&bytes, at));
                Tag { count: rest, ..tag }
            });
            if begun > at {
                self.out.get_or_insert_default().push(bytes.slice(..begun), at, tag);
            }
        }
    }

    /// Throws away all that waits: the connection is no more. `gone` is told as by
    /// [`Conn::drop_whole_frames`].
    pub(super) fn drop_all(&mut self, mut gone: impl FnMut(&Tag, u32)) {
        let Some(out) = self.out.take() else { return };
        for (bytes, at, tag) in out.into_entries() {
            if let Some(tag) = tag {
                gone(&tag, units_before(&bytes, at));
            }
        }
    }
}

/// How many messages of an entry end at or before byte `at`. Server frames begin with the bit that
/// no event's text does.
fn units_before(bytes: &[u8], at: usize) -> u32 {
    match bytes.first() {
        Some(first) if first & 0x80 != 0 => frames_before(bytes, at),
        _ => events_before(bytes, at),
    }
}

/// Bytes that the socket took, 0 if it is full; `None` if it is broken. With `NOSIGNAL`, so that a
/// peer that is gone raises no signal in the host program; and not by libc's `send`, which makes
/// itself a cancellation point each time.
fn write(stream: &TcpStream, bytes: &[u8]) -> Option<usize> {
    loop {
        match send(stream, bytes, SendFlags::NOSIGNAL) {
            Ok(written) => return Some(written),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Some(0),
            Err(_) => return None,
        }
    }
}

const _: () = assert!(size_of::<Conn>() <= 64, "an idle connection costs this much");
