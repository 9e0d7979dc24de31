//! A shard's connections on their way to another process, and there.
//!
//! Nothing of a connection is lost or said twice: what is queued goes along, a frame that is half
//! read goes along, and a request that is half read is replayed, byte for byte, by who takes it.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Token};

use super::conn::{AfterFlush, Conn, HalfRead, Lane, Streams};
use super::drain::REASON;
use super::http::HttpState;
use super::lists::{List, Place};
use super::peer::Peer;
use super::queue::{Stands, Tag};
use super::resume::CatchUp;
use super::{Shard, accept, gauges_of};
use crate::hub::{Channel, Connection, Gauges, Home};
use crate::server::dialect;
use crate::server::handover::kind;
use crate::server::handover::link::{MAX_DESCRIPTORS, Outgoing};
use crate::wire::handover::{Reader, Writer};
use crate::wire::websocket::{Decoder, close_frame};
use crate::wire::{Position, close, reconnect};

/// A frame of connections is sent when it has so many bytes.
const FRAME_BYTES: usize = 256 << 10;

/// Lanes, as they are written.
mod lane {
    pub const HTTP: u8 = 0;
    pub const LISTENER: u8 = 1;
    pub const METAS: u8 = 2;
    pub const SENDER: u8 = 3;
    pub const STREAM: u8 = 4;
    pub const EVENTS: u8 = 5;
    pub const PEER: u8 = 6;
    pub const CLOSING: u8 = 7;
    pub const LINGERING: u8 = 8;
}

/// What stands for no deadline, and for no channel.
const NEVER: u64 = u64::MAX;
const NO_CHANNEL: u64 = 0;

/// What connections refer to, in the process that takes them.
#[derive(Debug, Default)]
pub(in crate::server) struct Known {
    /// By number.
    pub channels: HashMap<u64, Arc<Channel>>,
    /// Queued bytes, which many connections of a shard may share, by the shard's number for them.
    pub buffers: HashMap<u64, Bytes>,
}

/// Buffers that were sent, by where they are: connections that share one go on sharing it.
#[derive(Default)]
struct Buffers {
    numbers: HashMap<(usize, usize), u64>,
}

impl Buffers {
    /// The number of a buffer, which is sent if it was not before.
    fn number(&mut self, bytes: &Bytes, link: &Outgoing) -> io::Result<u64> {
        let next = self.numbers.len() as u64;
        let place = (bytes.as_ptr().addr(), bytes.len());
        if let Some(number) = self.numbers.get(&place) {
            return Ok(*number);
        }
        let mut out = Writer::default();
        out.u64(next);
        out.bytes(bytes);
        link.send(kind::BUFFER, &out.take(), &[])?;
        self.numbers.insert(place, next);
        Ok(next)
    }
}

impl Shard {
    /// Brings everything to rest as far as that is up to this shard: afterwards, nothing waits but
    /// for sockets and for what comes in. False while requests wait for answers that others give.
    pub(super) fn come_to_rest(&mut self) -> bool {
        self.deliver();
        self.settle_decided();
        self.settle_late();
        self.write_answers();
        self.free_dead();
        !self.conns.iter().any(|(_, conn)| conn.waits())
    }

    /// Sends the listening sockets and all connections; gives how many these are.
    pub(super) fn hand_over(&self, link: &Outgoing) -> io::Result<usize> {
        let listeners: Vec<_> = self.listeners.iter().map(AsFd::as_fd).collect();
        link.send(kind::SHARD, &[], &listeners)?;
        let mut buffers = Buffers::default();
        let mut records = Writer::default();
        let mut descriptors: Vec<BorrowedFd<'_>> = Vec::new();
        for (token, conn) in &self.conns {
            self.write_conn(token, conn, &mut records, &mut buffers, link)?;
            descriptors.push(conn.stream.as_fd());
            if descriptors.len() == MAX_DESCRIPTORS || records.bytes_so_far().len() > FRAME_BYTES {
                link.send(kind::CONNECTIONS, &records.take(), &descriptors)?;
                descriptors.clear();
            }
        }
        if !descriptors.is_empty() {
            link.send(kind::CONNECTIONS, &records.take(), &descriptors)?;
        }
        Ok(self.conns.len())
    }

    fn write_conn(
        &self,
        token: usize,
        conn: &Conn,
        out: &mut Writer,
        buffers: &mut Buffers,
        link: &Outgoing,
    ) -> io::Result<()> {
        out.u64(match conn.deadline {
            NEVER => NEVER,
            deadline => deadline.saturating_sub(self.now),
        });
        out.flag(conn.awaiting_pong);
        out.flag(conn.deflate);
        out.flag(conn.refused);
        out.u8(conn.after_flush as u8);
        let mut queue = Vec::new();
        for waiting in conn.queue() {
            queue.push((buffers.number(waiting.bytes, link)?, waiting));
        }
        out.list(queue.into_iter(), |out, (number, waiting)| {
            out.u64(number);
            out.size(waiting.at);
            let tag = waiting.tag.filter(|tag| !tag.channel.is_deleted());
            out.option(tag, |out, tag| {
                out.u64(tag.channel.id());
                out.u32(tag.count);
                out.option(tag.key.as_deref(), Writer::text);
                out.u8(waiting.stands as u8);
            });
        });
        out.option(conn.reader.as_deref(), |out, half_read| {
            out.u64(self.now.saturating_sub(half_read.since));
            half_read.decoder.hand_over(out);
        });
        self.write_lane(token, &conn.lane, out);
        Ok(())
    }

    fn write_lane(&self, token: usize, lane: &Lane, out: &mut Writer) {
        let behind = self.catching(token);
        match lane {
            Lane::Http(state) => {
                out.u8(lane::HTTP);
                let input = state.as_ref().map(|state| state.replay()).unwrap_or_default();
                out.bytes(&input);
            }
            Lane::Listener(place) => {
                out.u8(lane::LISTENER);
                self.write_subscription(*place, behind, out);
            }
            Lane::Metas(place) => {
                out.u8(lane::METAS);
                self.write_subscription(*place, behind, out);
            }
            Lane::Events(place) => {
                out.u8(lane::EVENTS);
                self.write_subscription(*place, behind, out);
            }
            Lane::Sender(channel) => {
                out.u8(lane::SENDER);
                out.u64(if channel.is_deleted() { NO_CHANNEL } else { channel.id() });
            }
            Lane::Stream(streams) => {
                out.u8(lane::STREAM);
                write_memberships(&streams.places, behind, out);
            }
            Lane::Peer(peer) => {
                out.u8(lane::PEER);
                peer.connection.hand_over(out);
                peer.hand_over(self.now, out);
                write_memberships(&peer.places, behind, out);
                let watched = peer.connection.watched_channels();
                out.list(watched.into_iter(), Writer::u64);
            }
            Lane::Closing => out.u8(lane::CLOSING),
            Lane::Lingering => out.u8(lane::LINGERING),
        }
    }

    /// The channel of a connection that has one, and what it got last if it is catching up.
    fn write_subscription(&self, place: Place, behind: &[CatchUp], out: &mut Writer) {
        let local = self.locals.get(place.slot as usize);
        match (behind.first(), local) {
            (Some(catch_up), _) => {
                out.u64(catch_up.channel().id());
                out.option(Some(catch_up.offset()), Writer::u64);
            }
            (None, Some(local)) => {
                out.u64(local.channel.id());
                out.option(None, Writer::u64);
            }
            (None, None) => {
                out.u64(NO_CHANNEL);
                out.option(None, Writer::u64);
            }
        }
    }

    /// Serves a connection of another process from now on; not before [`Shard::run`]. `None` if the
    /// input is no connection.
    pub(in crate::server) fn take_over(
        &mut self,
        input: &mut Reader<'_>,
        socket: OwnedFd,
        known: &Known,
    ) -> Option<io::Result<()>> {
        self.now = self.control.start.elapsed().as_millis() as u64;
        let deadline = match input.u64()? {
            NEVER => NEVER,
            left => self.now.saturating_add(left),
        };
        let (awaiting_pong, deflate) = (input.flag()?, input.flag()?);
        let refused = input.flag()?;
        let after_flush = AfterFlush::from_number(input.u8()?)?;
        let queue = input.list(|input| read_waiting(input, known))?;
        let now = self.now;
        let reader = input.option(|input| {
            let since = now.saturating_sub(input.u64()?);
            Some(HalfRead { decoder: Decoder::take_over(input)?, since })
        })?;
        let token = match self.watch(socket, deadline, refused) {
            Ok(token) => token,
            Err(error) => return Some(Err(error)),
        };
        let gauges = gauges_of(&self.service, self.id);
        let conn = self.conns.get_mut(token)?;
        (conn.awaiting_pong, conn.deflate) = (awaiting_pong, deflate);
        conn.reader = reader.map(Box::new);
        let mut holding = Vec::new();
        for (bytes, at, tag) in queue {
            let (tag, stands) = tag.map_or((None, Stands::Nowhere), |(tag, stands)| {
                let account = tag.channel.account(self.id);
                Gauges::add(&account.queued, u64::from(tag.count));
                (Some(tag), stands)
            });
            if let Some(tag) = &tag
                && tag.channel.hold().is_some()
            {
                holding.push(Arc::clone(&tag.channel));
            }
            conn.restore(bytes.clone(), at, tag, stands);
        }
        Gauges::add(&gauges.queued_bytes, conn.queued() as u64);
        holding.into_iter().for_each(|channel| self.hold_again(token, &channel));
        self.read_lane(token, input, known)?;
        let conn = self.conns.get_mut(token)?;
        // After the subscriptions, which whoever is about to go does not make.
        conn.after_flush = after_flush;
        self.count_party(token);
        Some(Ok(()))
    }

    fn watch(&mut self, socket: OwnedFd, deadline: u64, refused: bool) -> io::Result<usize> {
        let socket = std::net::TcpStream::from(socket);
        socket.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(socket);
        let entry = self.conns.vacant_entry();
        let token = entry.key();
        let interest = Interest::READABLE | Interest::WRITABLE;
        // What came in meanwhile, and room in the socket, are events as soon as somebody looks.
        self.poll.registry().register(&mut stream, Token(token), interest)?;
        let mut conn = Conn::new(stream, deadline);
        conn.refused = refused;
        entry.insert(conn);
        self.service.adopt(refused);
        Gauges::add(&self.gauges().connections, 1);
        Ok(token)
    }

    fn read_lane(&mut self, token: usize, input: &mut Reader<'_>, known: &Known) -> Option<()> {
        let lane = input.u8()?;
        match lane {
            lane::HTTP => {
                let carry = input.bytes()?;
                if !carry.is_empty() {
                    let conn = self.conns.get_mut(token)?;
                    conn.lane = Lane::Http(Some(Box::new(HttpState::replaying(carry))));
                    conn.stalled = true;
                    self.again.push(token);
                }
            }
            lane::LISTENER => self.read_subscription(token, List::Listeners, input, known)?,
            lane::METAS => self.read_subscription(token, List::Metas, input, known)?,
            lane::EVENTS => self.read_subscription(token, List::Events, input, known)?,
            lane::SENDER => {
                let channel = match input.u64()? {
                    NO_CHANNEL => self.service.hub().deleted(),
                    number => Arc::clone(known.channels.get(&number)?),
                };
                self.become_sender(token, channel);
            }
            lane::STREAM => {
                self.next_ticket += 1;
                let streams = Streams { ticket: self.next_ticket, ..Streams::default() };
                self.conns.get_mut(token)?.lane = Lane::Stream(Box::new(streams));
                for (channel, since) in read_memberships(input, known)? {
                    let Some(place) = self.stand_again(token, channel, List::Streams, since) else {
                        continue;
                    };
                    if let Lane::Stream(streams) = &mut self.conns.get_mut(token)?.lane {
                        streams.places.insert(channel.id(), place);
                    }
                }
            }
            lane::PEER => self.read_peer(token, input, known)?,
            lane::CLOSING => self.conns.get_mut(token)?.lane = Lane::Closing,
            lane::LINGERING => self.conns.get_mut(token)?.lane = Lane::Lingering,
            _ => return None,
        }
        Some(())
    }

    fn read_subscription(
        &mut self,
        token: usize,
        list: List,
        input: &mut Reader<'_>,
        known: &Known,
    ) -> Option<()> {
        let channel = known.channels.get(&input.u64()?)?;
        let since = input.option(Reader::u64)?;
        let place = self.stand_again(token, channel, list, since).unwrap_or(Place::NOWHERE);
        self.conns.get_mut(token)?.lane = match list {
            List::Metas => Lane::Metas(place),
            List::Events => Lane::Events(place),
            _ => Lane::Listener(place),
        };
        Some(())
    }

    /// Puts a connection where it stood; `None` while it is catching up.
    fn stand_again(
        &mut self,
        token: usize,
        channel: &Arc<Channel>,
        list: List,
        since: Option<u64>,
    ) -> Option<Place> {
        match since {
            Some(offset) => {
                let after = Position { epoch: channel.epoch(), offset };
                self.begin_catch_up(token, CatchUp::new(channel, list, after));
                None
            }
            None => self.subscribe(token, channel, list).map(|(_, place)| place),
        }
    }

    fn read_peer(&mut self, token: usize, input: &mut Reader<'_>, known: &Known) -> Option<()> {
        let home = Home { inbox: Arc::clone(&self.inbox), shard: self.id, token: token as u32 };
        let (connection, user) = Connection::take_over(input, home, dialect::notices)?;
        let connection = Arc::new(connection);
        let written = Peer::take_over(input)?;
        let memberships = read_memberships(input, known)?;
        let watched: HashSet<u64> = input.list(Reader::u64)?.into_iter().collect();
        let endpoint = self.service.endpoint(connection.path());
        let endpoint = endpoint.filter(|there| there.handler.dialect() == connection.dialect());
        let Some(endpoint) = endpoint else {
            // This process has nothing at its path.
            let window = Duration::ZERO..=self.options.reconnect_window;
            let goodbye = close_frame(close::RESTART, &reconnect::reason(REASON, window));
            let wait = self.options.handshake_timeout.as_millis() as u64;
            let conn = self.conns.get_mut(token)?;
            conn.lane = Lane::Closing;
            conn.deadline = self.now + wait;
            Gauges::add(&gauges_of(&self.service, self.id).queued_bytes, goodbye.len() as u64);
            conn.push(goodbye.into(), 0);
            return Some(());
        };
        let everyone = self.subscribe_everyone(token, &endpoint.everyone)?;
        let registry = self.service.registry();
        registry.insert(&connection);
        if let Some(user) = user {
            // It cannot fail: the connection is open, and the user has a name.
            let _ = registry.bind(&connection, &user);
        }
        let mut peer = Peer::new(endpoint, Arc::clone(&connection), everyone, self.now);
        peer.go_on(written, self.now);
        if !peer.carry.is_empty() {
            self.again.push(token);
        }
        self.conns.get_mut(token)?.lane = Lane::Peer(Box::new(peer));
        for (channel, since) in memberships {
            connection.rejoin(channel, watched.contains(&channel.id()), since);
        }
        self.service.hub().take_over_patterns(&connection);
        Some(())
    }

    /// Takes connections from these sockets too; not before [`Shard::run`].
    pub(in crate::server) fn listen(&mut self, mut listeners: Vec<TcpListener>) -> io::Result<()> {
        debug_assert!(self.listeners.is_empty(), "tokens are counted from the first");
        accept::watch(&self.poll, &mut listeners)?;
        self.listeners = listeners;
        Ok(())
    }
}

type Queued<'a> = (&'a Bytes, usize, Option<(Tag, Stands)>);

/// Something that is queued: bytes of which a part is still to be written, and whose they are.
fn read_waiting<'a>(input: &mut Reader<'_>, known: &'a Known) -> Option<Queued<'a>> {
    let bytes = known.buffers.get(&input.u64()?)?;
    let at = input.size()?;
    let tag = input.option(|input| {
        let channel = Arc::clone(known.channels.get(&input.u64()?)?);
        let count = input.u32()?;
        let key = input.option(Reader::text)?.map(Arc::from);
        // The clock of this process began just now.
        Some((Tag { channel, count, since: 0, key }, Stands::from_number(input.u8()?)?))
    })?;
    (at < bytes.len()).then_some((bytes, at, tag))
}

/// Channels by number, with what the connection got last of those that it is catching up with.
fn write_memberships(places: &HashMap<u64, Place>, behind: &[CatchUp], out: &mut Writer) {
    let standing = places.keys().map(|number| (*number, None));
    let catching = behind.iter().map(|one| (one.channel().id(), Some(one.offset())));
    let all: Vec<_> = standing.chain(catching).collect();
    out.list(all.into_iter(), |out, (number, since)| {
        out.u64(number);
        out.option(since, Writer::u64);
    });
}

fn read_memberships<'a>(
    input: &mut Reader<'_>,
    known: &'a Known,
) -> Option<Vec<(&'a Arc<Channel>, Option<u64>)>> {
    input.list(|input| Some((known.channels.get(&input.u64()?)?, input.option(Reader::u64)?)))
}
