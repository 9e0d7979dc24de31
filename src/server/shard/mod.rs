//! A shard: one thread that owns its sockets from accept to close.
//!
//! No lock, no task and no buffer per connection. A round: wait for events, read and execute what
//! came, fan out what was published, then write the answers ("deliver first, answer later").
//! While the rounds of a busy moment keep adding messages, delivery waits for a few of them:
//! batches grow by themselves under load, and an idle server answers at once.

mod accept;
mod admit;
mod answers;
mod conn;
mod control;
mod deflate;
mod drain;
mod encoding;
mod fanout;
mod handover;
mod holders;
mod http;
mod late;
mod ledger;
mod lists;
mod overload;
mod pause;
mod peer;
mod presence;
mod queue;
mod resume;
mod sending;
mod spin;
mod stream;
mod subscriptions;
mod survey;
mod sweep;
mod upgrade;
mod websocket;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use mio::event::Event;
use mio::net::TcpListener;
use mio::{Events, Poll, Token, Waker};
use slab::Slab;

use self::answers::Answers;
use self::conn::{AfterFlush, Conn, Lane, Sent};
pub(super) use self::control::Control;
use self::control::Phase;
use self::drain::Leaving;
use self::ledger::Ledger;

pub(super) use self::handover::Known;
use self::holders::Holders;
use self::lists::Local;
pub(super) use self::pause::Pause;
use self::pause::Verdict;
use self::presence::Watchers;
use self::resume::CatchUp;
use self::spin::Spin;
use super::dialect::Closure;
use super::{ServerOptions, Service};
use crate::hub::{Channel, Decision, Gauges, Inbox, Item, Late};
use crate::thread;
use crate::wire::http::Reader;
use crate::wire::websocket::{Deflater, Inflater};

const WAKER: Token = Token(usize::MAX - 1);

/// How many rounds delivery may wait for more messages.
const MAX_GATHER_ROUNDS: u32 = 4;
/// Channels with a time to live that are looked at in one round.
const EXPIRE_LOOKS: usize = 256;
/// Input read from one connection in one round.
const READ_BYTES: usize = 256 << 10;

/// What a shard is made of.
pub(super) struct Parts {
    pub id: usize,
    pub service: Arc<Service>,
    pub inbox: Arc<Inbox>,
    pub control: Arc<Control>,
    pub poll: Poll,
}

/// Makes the poll of a shard and what wakes it from other threads.
pub(super) fn poll() -> io::Result<(Poll, Waker)> {
    let poll = Poll::new()?;
    let waker = Waker::new(poll.registry(), WAKER)?;
    Ok((poll, waker))
}

pub(super) struct Shard {
    id: usize,
    service: Arc<Service>,
    /// A snapshot of the service's options, of `version`; read without a lock.
    options: Arc<ServerOptions>,
    version: u64,
    trusted_proxies: Vec<IpNet>,
    ledger: Ledger,
    inbox: Arc<Inbox>,
    control: Arc<Control>,
    poll: Poll,
    listeners: Vec<TcpListener>,
    conns: Slab<Conn>,
    locals: Slab<Local>,
    watchers: Watchers,
    /// Channels by the path segment that named them, so that a hot name is decoded, validated and
    /// looked up once. Deleted channels are found out when they are used.
    /// Peers choose the names: the hash is seeded at random, and the map is small.
    cache: HashMap<Box<str>, Arc<Channel>, foldhash::fast::RandomState>,
    heads: Reader,
    /// Where every socket is read to.
    scratch: Vec<u8>,
    answers: Answers,
    /// Connections that have more to read although no event will tell.
    again: Vec<usize>,
    /// Connections to free at the end of the round; until then their numbers are not used again.
    dead: Vec<usize>,
    batch: Vec<Item>,
    touched: Vec<u32>,
    /// Connections that have joined sends waiting.
    unwritten: Vec<u32>,
    /// Buffers for joined sends.
    spare: Vec<Vec<u8>>,
    /// Pongs to the connection whose input is being read.
    pongs: Vec<u8>,
    /// Decisions about WebSockets that wait to be admitted: socket, ticket, decision.
    decided: Vec<(usize, u64, Decision)>,
    /// Answers to requests that waited for them.
    late: Vec<Late>,
    next_ticket: u64,
    /// Who gets what it missed, by socket.
    catching: HashMap<usize, Vec<CatchUp>>,
    /// Those of them whose sockets have taken what they were sent.
    hungry: Vec<usize>,
    /// Who makes publishers wait.
    holders: Holders,
    /// Messages that policies kept from connections without a name, by socket.
    dropped: HashMap<u32, u64>,
    /// A connection was not read because its handler is busy.
    held_back: bool,
    /// For all connections that agreed on compression; their state is made when it is first used.
    deflater: Deflater,
    inflater: Inflater,
    spin: Spin,
    /// ms since the control's start.
    now: u64,
    next_sweep: u64,
    sweep_interval: u64,
    sweep_at: usize,
    /// Accepting failed for want of descriptors and is tried again at the next sweep.
    accept_again: bool,
    stopping: bool,
    /// WebSockets that are told to go by and by, while the server stops.
    leaving: Leaving,
}

impl Shard {
    /// A shard that has no socket yet.
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { id, service, inbox, control, poll } = parts;
        let options = service.options();
        let spin = Spin::new(options.busy_poll);
        let sweep_interval = sweep::interval(&options);
        let trusted_proxies = control::trusted_proxies(&options);
        Self {
            id,
            ledger: Ledger::new(&options),
            options,
            version: 0,
            trusted_proxies,
            inbox,
            control,
            poll,
            listeners: Vec::new(),
            conns: Slab::new(),
            locals: Slab::new(),
            watchers: Watchers::default(),
            cache: HashMap::default(),
            heads: Reader::default(),
            scratch: vec![0; READ_BYTES],
            answers: Answers::default(),
            again: Vec::new(),
            dead: Vec::new(),
            batch: Vec::new(),
            touched: Vec::new(),
            unwritten: Vec::new(),
            spare: Vec::new(),
            pongs: Vec::new(),
            decided: Vec::new(),
            late: Vec::new(),
            next_ticket: 0,
            catching: HashMap::new(),
            hungry: Vec::new(),
            holders: Holders::default(),
            dropped: HashMap::new(),
            held_back: false,
            deflater: Deflater::default(),
            inflater: Inflater::default(),
            spin,
            now: 0,
            next_sweep: 0,
            sweep_interval,
            sweep_at: 0,
            accept_again: false,
            stopping: false,
            leaving: Leaving::default(),
            service,
        }
    }

    pub(super) fn id(&self) -> usize {
        self.id
    }

    pub(super) fn inbox(&self) -> &Arc<Inbox> {
        &self.inbox
    }

    /// Serves until it is told to stop and all connections are gone or the drain is over.
    pub(super) fn run(mut self) {
        thread::never_waits();
        let mut events = Events::with_capacity(1024);
        let mut gathered = 0;
        let mut waiting_before = 0;
        loop {
            let timeout = self.timeout(gathered > 0);
            if let Err(error) = self.poll.poll(&mut events, timeout)
                && error.kind() != io::ErrorKind::Interrupted
            {
                log::error!(target: "qyun::server", "shard {}: poll failed: {error}", self.id);
                break;
            }
            self.inbox.awake();
            self.now = self.control.start.elapsed().as_millis() as u64;
            self.answers.follow_clock(self.now);
            self.follow_options();
            if gathered == 0 {
                self.read_again();
            }
            for event in &events {
                self.on_event(event);
            }

            let waiting = self.inbox.len();
            if waiting > waiting_before && gathered < MAX_GATHER_ROUNDS {
                waiting_before = waiting;
                gathered += 1;
                continue;
            }
            self.spin.after_round(!events.is_empty() || waiting > 0);
            gathered = 0;
            waiting_before = 0;
            self.deliver();
            self.settle_decided();
            self.settle_late();
            self.feed();
            self.write_answers();
            self.sweep();
            self.expire_channels();
            self.free_dead();
            self.settle_holders();
            match self.control.phase() {
                Phase::Serving => {}
                Phase::Pausing => {
                    if self.pause() == Verdict::Leave {
                        // Another process serves the connections.
                        return;
                    }
                }
                Phase::Stopping => {
                    if self.is_stopped() {
                        break;
                    }
                }
            }
        }
        self.finish();
    }

    /// How long the next poll may sleep. `None` is for ever: only when there is no connection.
    fn timeout(&mut self, gathering: bool) -> Option<Duration> {
        if gathering || self.spin.keeps_polling() {
            return Some(Duration::ZERO);
        }
        if !self.again.is_empty() {
            // With another shard behind, or a handler, there is no use in turning at full speed.
            let held_back = std::mem::take(&mut self.held_back);
            let wait = if held_back || self.service.hub().is_congested() { 1 } else { 0 };
            return Some(Duration::from_millis(wait));
        }
        if !self.hungry.is_empty() || !self.inbox.prepare_sleep() {
            return Some(Duration::ZERO);
        }
        if self.stopping {
            return Some(Duration::from_millis(5));
        }
        let sweep = match self.conns.is_empty() && !self.accept_again {
            true => None,
            false => Some(Duration::from_millis(self.next_sweep.saturating_sub(self.now).max(1))),
        };
        match self.next_expiry() {
            Some(expiry) => Some(sweep.map_or(expiry, |sweep| sweep.min(expiry))),
            None => sweep,
        }
    }

    /// When a channel's time to live may be over. The first shard looks after that; whoever creates
    /// a channel whose time is over earlier wakes it.
    fn next_expiry(&self) -> Option<Duration> {
        match self.id {
            0 => self.service.hub().next_expiry(Instant::now),
            _ => None,
        }
    }

    /// Deletes channels that nobody has used for their time to live.
    fn expire_channels(&self) {
        if self.next_expiry().is_some_and(|left| left.is_zero()) {
            self.service.hub().expire(Instant::now(), EXPIRE_LOOKS);
        }
    }

    fn on_event(&mut self, event: &Event) {
        match event.token() {
            WAKER => {}
            token if accept::is_listener(token) => self.accept(),
            Token(token) => {
                if event.is_writable() {
                    self.on_writable(token);
                }
                if event.is_read_closed()
                    && let Some(conn) = self.conns.get_mut(token)
                {
                    conn.read_closed = true;
                }
                if event.is_readable() {
                    self.on_readable(token);
                }
            }
        }
    }

    fn on_readable(&mut self, token: usize) {
        if self.service.hub().is_congested() {
            self.deliver();
            if self.service.hub().is_congested() {
                self.again.push(token);
                return;
            }
        }
        let Some(conn) = self.conns.get_mut(token) else { return };
        if conn.dead {
            return;
        }
        if let Lane::Sender(channel) = &conn.lane
            && channel.hold().is_some_and(|hold| hold.waiting() > 0)
        {
            self.held_back = true;
            self.again.push(token);
            return;
        }
        if let Lane::Peer(peer) = &mut conn.lane {
            peer.held_back = peer.endpoint.handler.is_busy();
            if peer.held_back {
                self.held_back = true;
                self.again.push(token);
                return;
            }
        }
        let Some(conn) = self.conns.get(token) else { return };
        // Who asks more than it reads the answers of would end as a slow reader.
        if self.is_behind(conn) {
            if let Some(conn) = self.conns.get_mut(token) {
                conn.paused = true;
            }
            return;
        }
        if self.resume_input(token) {
            return;
        }
        let Some(conn) = self.conns.get(token) else { return };
        let mut scratch = std::mem::take(&mut self.scratch);
        let more = match &conn.lane {
            Lane::Http(_) => self.read_http(token, &mut scratch),
            Lane::Peer(peer) => {
                let turn = peer.endpoint.options.read_buffer_bytes.min(scratch.len());
                self.read_websocket(token, scratch.get_mut(..turn).unwrap_or_default())
            }
            _ => self.read_websocket(token, &mut scratch),
        };
        self.scratch = scratch;
        if more {
            self.again.push(token);
        }
    }

    /// Reads where no event will tell. Only at the start of a round whose predecessor wrote its
    /// answers: a connection that has answers waiting is not to get more of them.
    fn read_again(&mut self) {
        let mut tokens = std::mem::take(&mut self.again);
        tokens.sort_unstable();
        tokens.dedup();
        for token in tokens {
            self.resume_http(token);
            self.on_readable(token);
        }
    }

    fn on_writable(&mut self, token: usize) {
        let Some(conn) = self.conns.get_mut(token) else { return };
        let before = conn.queued();
        if conn.dead || before == 0 {
            return;
        }
        let (service, id) = (&self.service, self.id);
        let sent = conn.flush(|tag| overload::book_written(service, id, tag));
        let written = (before - conn.queued()) as u64;
        let now = self.now;
        if written > 0
            && let Some(peer) = conn.peer_mut()
        {
            peer.progressed(now);
        }
        let gauges = gauges_of(&self.service, self.id);
        Gauges::add(&gauges.bytes_out, written);
        Gauges::sub(&gauges.queued_bytes, written);
        match sent {
            Sent::Dead => self.kill(token),
            Sent::All => {
                self.feed_later(token);
                self.on_flushed(token);
            }
            _ => self.resume_peer(token),
        }
    }

    /// Whether a connection has so much queued that what it asks must wait.
    fn is_behind(&self, conn: &Conn) -> bool {
        matches!(conn.lane, Lane::Peer(_))
            && conn.queued() > 0
            && conn.queued() >= self.options.queue_bytes / 4
    }

    /// Reads again from a connection of an endpoint that took some of what is queued.
    fn resume_peer(&mut self, token: usize) {
        let Some(conn) = self.conns.get(token) else { return };
        if conn.paused && matches!(conn.lane, Lane::Peer(_)) && !self.is_behind(conn) {
            self.again.push(token);
            if let Some(conn) = self.conns.get_mut(token) {
                conn.paused = false;
            }
        }
    }

    /// Gives the connection up at once.
    fn kill(&mut self, token: usize) {
        self.end_peer(token, || Closure {
            code: 1006,
            reason: "connection lost".into(),
            by_peer: true,
        });
        self.unsubscribe_all(token);
        let Some(conn) = self.conns.get_mut(token) else { return };
        if !std::mem::replace(&mut conn.dead, true) {
            self.dead.push(token);
        }
    }

    fn free_dead(&mut self) {
        while let Some(token) = self.dead.pop() {
            let Some(conn) = self.conns.try_remove(token) else { continue };
            self.ledger.forget(token, self.service.gate(), self.now);
            self.dropped.remove(&(token as u32));
            self.forget(conn);
        }
    }

    /// Counts a connection out that is no more.
    fn forget(&self, mut conn: Conn) {
        let gauges = gauges_of(&self.service, self.id);
        Gauges::sub(&gauges.queued_bytes, conn.queued() as u64);
        conn.drop_all(|tag, written| overload::book_gone(&self.service, self.id, tag, written));
        Gauges::sub(&gauges.connections, 1);
        self.service.release(conn.admission());
    }

    fn gauges(&self) -> &Gauges {
        gauges_of(&self.service, self.id)
    }
}

/// The counters that shard `id` writes. A free function, so that a connection may be borrowed.
fn gauges_of(service: &Service, id: usize) -> &Gauges {
    static NOWHERE: std::sync::LazyLock<Gauges> = std::sync::LazyLock::new(Gauges::default);
    service.gauges(id).unwrap_or(&NOWHERE)
}
