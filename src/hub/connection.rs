//! One connection that has a name: who it is, what belongs to it, and the way to it from any thread.

mod handover;

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::members::{Entrance, Wish};
use super::wildcard::Wild;
use super::{Attendance, Channel, Inbox, Item, Pattern, Start, lock};
use crate::sync::atomic::{AtomicBool, Ordering::Relaxed};
use crate::sync::{Arc, Mutex, OnceLock};
use crate::wire::http::RequestHead;
use crate::wire::websocket::Message;
use crate::wire::{Dialect, Position};
use crate::{Error, ErrorKind, Result};

/// What is known of a connection when it is made.
#[derive(Debug)]
pub struct Origin {
    /// What it is called; unique among the connections that are open.
    pub id: Arc<str>,
    /// What it speaks, which decides how a message is encoded for it.
    pub dialect: Dialect,
    /// The path of the endpoint that it came to.
    pub path: Arc<str>,
    /// Who is at the other end, a trusted proxy's word for it included.
    pub remote: SocketAddr,
    /// The request that it came with.
    pub request: RequestHead,
    /// Whether it agreed on compression.
    pub deflates: bool,
}

/// Which shard owns the socket, and what the shard calls it.
#[derive(Debug)]
pub struct Home {
    /// The shard's inbox.
    pub inbox: Arc<Inbox>,
    /// The shard's number.
    pub shard: usize,
    /// The shard's number for the socket.
    pub token: u32,
}

/// What went over a connection. Written by its shard alone.
#[derive(Debug, Default)]
#[allow(missing_docs)]
pub struct Traffic {
    pub bytes_in: AtomicU64,
    pub bytes_out: AtomicU64,
    pub messages_in: AtomicU64,
    pub messages_out: AtomicU64,
    pub dropped: AtomicU64,
}

/// A connection of one of the dialects that name their connections. Everything may be called from
/// any thread; nothing waits for the peer.
///
/// Lock order: registry of connections, connection, channel, inbox.
#[derive(Debug)]
pub struct Connection {
    /// Never used again, unlike `id`.
    serial: u64,
    origin: Origin,
    home: Home,
    connected: Instant,
    connected_ms: u64,
    traffic: Traffic,
    /// The last sign of life that the dialect asks for, in ms after `connected`.
    beat: AtomicU64,
    pub(super) state: Mutex<State>,
    attachment: OnceLock<Box<dyn Any + Send + Sync>>,
    dismissed: AtomicBool,
    /// Set by who handled its last message.
    turn_is_over: AtomicBool,
    /// Set when it is closed.
    end: OnceLock<Box<End>>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) closed: bool,
    user: Option<Arc<str>>,
    pub(super) channels: BTreeMap<u64, Arc<Channel>>,
    /// Present while it has patterns.
    pub(super) wild: Option<Box<Wild>>,
    data: HashMap<Box<str>, Value>,
}

/// What a connection had when it ended, for those who are told of the end.
#[derive(Debug, Default)]
struct End {
    user: Option<Arc<str>>,
    channels: Vec<String>,
    uptime_ms: u64,
}

/// A value of a connection's data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Bytes, whatever they mean.
    Bytes(Arc<[u8]>),
    /// A number that can be incremented.
    Integer(i64),
}

/// What a connection looks like at one moment.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ConnectionInfo {
    /// Its id.
    pub id: Arc<str>,
    /// What it speaks.
    pub dialect: Dialect,
    /// The path of its endpoint.
    pub path: Arc<str>,
    /// Who is at the other end.
    pub remote: SocketAddr,
    /// `User-Agent`, or nothing.
    pub user_agent: String,
    /// The user it is bound to.
    pub user: Option<Arc<str>>,
    /// The names of the channels it is in.
    pub channels: Vec<String>,
    /// When it connected, in ms since the Unix epoch.
    pub connected_ms: u64,
    /// For how long it has been connected, in ms.
    pub uptime_ms: u64,
    /// Bytes read from its socket.
    pub bytes_in: u64,
    /// Bytes written to its socket or queue.
    pub bytes_out: u64,
    /// Messages that came from it.
    pub messages_in: u64,
    /// Messages sent to it.
    pub messages_out: u64,
    /// Of those, how many a channel's overload policy dropped.
    pub dropped: u64,
}

impl Connection {
    /// A connection that is open, in no registry and no channel.
    pub fn new(serial: u64, origin: Origin, home: Home) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            serial,
            origin,
            home,
            connected: Instant::now(),
            connected_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
            traffic: Traffic::default(),
            beat: AtomicU64::new(0),
            state: Mutex::default(),
            attachment: OnceLock::new(),
            dismissed: AtomicBool::new(false),
            turn_is_over: AtomicBool::new(false),
            end: OnceLock::new(),
        }
    }

    /// What it is called.
    pub fn id(&self) -> &Arc<str> {
        &self.origin.id
    }

    /// A number that no other connection of this server ever has.
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// What it speaks.
    pub fn dialect(&self) -> Dialect {
        self.origin.dialect
    }

    /// The path of its endpoint.
    pub fn path(&self) -> &Arc<str> {
        &self.origin.path
    }

    /// Who is at the other end.
    pub fn remote(&self) -> SocketAddr {
        self.origin.remote
    }

    /// The request that it came with.
    pub fn request(&self) -> &RequestHead {
        &self.origin.request
    }

    /// Whether it agreed on compression.
    pub fn deflates(&self) -> bool {
        self.origin.deflates
    }

    /// When it connected, in ms since the Unix epoch.
    pub fn connected_ms(&self) -> u64 {
        self.connected_ms
    }

    /// For how long it has been or, once it is closed, was connected, in ms.
    pub fn uptime_ms(&self) -> u64 {
        match self.end.get() {
            Some(end) => end.uptime_ms,
            None => u64::try_from(self.connected.elapsed().as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// When it connected, by the clock that never jumps.
    pub fn connected_at(&self) -> Instant {
        self.connected
    }

    /// Where its socket lives.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// What went over it.
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// The client gave the sign of life that its dialect asks for.
    pub fn beat(&self) {
        let now = u64::try_from(self.connected.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.beat.store(now, Relaxed);
    }

    /// How long ago the last sign of life was, or the connection's beginning.
    pub fn since_beat(&self) -> Duration {
        let beat = Duration::from_millis(self.beat.load(Relaxed));
        self.connected.elapsed().saturating_sub(beat)
    }

    /// What a dialect keeps with the connection; the first call's value stays.
    pub fn attach<T: Any + Send + Sync>(&self, value: T) -> bool {
        self.attachment.set(Box::new(value)).is_ok()
    }

    /// What a dialect keeps with the connection, made when it is first asked for; `None` when that is
    /// of another type.
    pub fn attachment_or<T: Any + Send + Sync>(&self, make: impl FnOnce() -> T) -> Option<&T> {
        self.attachment.get_or_init(|| Box::new(make())).downcast_ref()
    }

    /// What a dialect keeps with the connection.
    pub fn attachment<T: Any + Send + Sync>(&self) -> Option<&T> {
        self.attachment.get()?.downcast_ref()
    }

    /// The connection as it is now.
    pub fn info(&self) -> ConnectionInfo {
        let (user, channels) = {
            let state = lock(&self.state);
            (state.user.clone(), names(&state.channels))
        };
        let traffic = &self.traffic;
        ConnectionInfo {
            id: Arc::clone(self.id()),
            dialect: self.dialect(),
            path: Arc::clone(self.path()),
            remote: self.remote(),
            user_agent: self.request().header_text("user-agent").unwrap_or_default(),
            user,
            channels,
            connected_ms: self.connected_ms,
            uptime_ms: self.uptime_ms(),
            bytes_in: traffic.bytes_in.load(Relaxed),
            bytes_out: traffic.bytes_out.load(Relaxed),
            messages_in: traffic.messages_in.load(Relaxed),
            messages_out: traffic.messages_out.load(Relaxed),
            dropped: traffic.dropped.load(Relaxed),
        }
    }

    /// Sends one message, encoded as it is. What one thread sends to a connection and publishes to
    /// its channels arrives in that order. Error: `Closed`.
    pub fn send(self: &Arc<Self>, message: &Message) -> Result<()> {
        if self.is_closed() {
            return Err(closed());
        }
        self.tell(Item::Send { to: Arc::clone(self), message: message.clone() });
        Ok(())
    }

    /// Begins the closing handshake behind what was sent before. Harmless when it is closed.
    pub fn close(self: &Arc<Self>, code: u16, reason: &str) {
        if !self.is_closed() {
            self.tell(Item::Close { to: Arc::clone(self), code, reason: reason.into() });
        }
    }

    /// The same on behalf of the program or whoever operates it, which is remembered.
    pub fn dismiss(self: &Arc<Self>, code: u16, reason: &str) {
        self.dismissed.store(true, Relaxed);
        self.close(code, reason);
    }

    /// Says, while one of its messages is handled, that this took long: the shard looks after
    /// others before it looks at the next one.
    pub fn end_turn(&self) {
        self.turn_is_over.store(true, Relaxed);
    }

    /// Whether [`Connection::end_turn`] was called since this was asked last. The shard's.
    pub fn takes_turns(&self) -> bool {
        self.turn_is_over.load(Relaxed) && self.turn_is_over.swap(false, Relaxed)
    }

    /// Whether [`Connection::dismiss`] was called.
    pub fn is_dismissed(&self) -> bool {
        self.dismissed.load(Relaxed)
    }

    fn tell(&self, item: Item) {
        self.home.inbox.push(item);
        self.home.inbox.notify();
    }

    /// Whether it has left the registry and takes no more messages.
    pub fn is_closed(&self) -> bool {
        lock(&self.state).closed
    }

    /// The user it is bound to.
    pub fn user(&self) -> Option<Arc<str>> {
        lock(&self.state).user.clone()
    }

    /// The user it is bound to or, once it is closed, was bound to at its end.
    pub fn last_user(&self) -> Option<Arc<str>> {
        match self.end.get() {
            Some(end) => end.user.clone(),
            None => self.user(),
        }
    }

    /// The names of the channels that it is in or, once it is closed, was in at its end.
    pub fn last_channels(&self) -> Vec<String> {
        match self.end.get() {
            Some(end) => end.channels.clone(),
            None => names(&lock(&self.state).channels),
        }
    }

    /// Binds it, or with `None` unbinds it; gives what it was bound to. Error: it is closed. The
    /// registry's, whose index must agree.
    pub(super) fn set_user(&self, user: Option<Arc<str>>) -> Result<Option<Arc<str>>> {
        let mut state = lock(&self.state);
        if state.closed && user.is_some() {
            return Err(closed());
        }
        for channel in state.channels.values() {
            channel.change_user(self, user.as_ref());
        }
        Ok(std::mem::replace(&mut state.user, user))
    }

    /// Makes it a member of `channel` from the next publication on; false if it is one already, and
    /// not by a pattern alone. Errors: `Closed`; `ChannelNotFound` when the channel was deleted.
    pub fn join(self: &Arc<Self>, channel: &Arc<Channel>) -> Result<bool> {
        self.join_and(channel, Wish::default(), |_, _| None)
    }

    /// The same, from the publication behind `since` on if everything from there can still be had,
    /// and sends it the message that `tell` makes of the start: exactly behind that position, and
    /// before the next message of the channel. A connection that is a member already is told too.
    /// `tell` runs under locks and must be short.
    pub fn join_telling(
        self: &Arc<Self>,
        channel: &Arc<Channel>,
        since: Option<Position>,
        tell: impl FnOnce(&Start) -> Message,
    ) -> Result<bool> {
        let wish = Wish { since, ..Wish::default() };
        self.join_and(channel, wish, |start, _| Some(tell(start)))
    }

    /// The same for one that may wish to be told who comes and goes: then `tell` has who is there at
    /// the start, which is also before the next who comes or goes.
    pub fn join_watching(
        self: &Arc<Self>,
        channel: &Arc<Channel>,
        wish: Wish,
        tell: impl FnOnce(&Start, Option<&Attendance>) -> Message,
    ) -> Result<bool> {
        self.join_and(channel, wish, |start, there| Some(tell(start, there)))
    }

    fn join_and(
        self: &Arc<Self>,
        channel: &Arc<Channel>,
        wish: Wish,
        tell: impl FnOnce(&Start, Option<&Attendance>) -> Option<Message>,
    ) -> Result<bool> {
        let joins = {
            let mut state = lock(&self.state);
            let state = &mut *state;
            if state.closed {
                return Err(closed());
            }
            let id = channel.id();
            let user = state.user.as_ref();
            let joins = !state.channels.contains_key(&id);
            // A pattern brought it in, and now it asks for the channel itself.
            let tightens = state.wild.as_mut().is_some_and(|wild| wild.loose.remove(&id));
            if tightens {
                channel.set_loose(self, user, false);
            }
            match joins {
                true => channel.add_member(self, &Entrance { loose: false, user, wish }, tell),
                false => channel.tell_member(self, wish, tell),
            }
            .map_err(|_| Error::new(ErrorKind::ChannelNotFound, "Channel not found"))?;
            if joins {
                state.channels.insert(id, Arc::clone(channel));
            }
            joins || tightens
        };
        self.home.inbox.notify();
        Ok(joins)
    }

    /// Takes it out of `channel` after the publications so far, unless a pattern of its matches it,
    /// which then keeps it there; false if it is not a member, or by a pattern alone.
    pub fn leave(self: &Arc<Self>, channel: &Arc<Channel>) -> bool {
        {
            let mut state = lock(&self.state);
            let state = &mut *state;
            let id = channel.id();
            if !state.channels.contains_key(&id) {
                return false;
            }
            if let Some(wild) = state.wild.as_mut().filter(|wild| wild.matches(channel.name())) {
                if !wild.loose.insert(id) {
                    return false;
                }
                channel.set_loose(self, None, true);
                return true;
            }
            state.channels.remove(&id);
            channel.remove_member(self);
        }
        self.home.inbox.notify();
        true
    }

    /// Whether it is a member of `channel`.
    pub fn is_in(&self, channel: &Channel) -> bool {
        lock(&self.state).channels.contains_key(&channel.id())
    }

    /// The channels it is in.
    pub fn channels(&self) -> Vec<Arc<Channel>> {
        lock(&self.state).channels.values().cloned().collect()
    }

    /// Forgets a channel that was deleted.
    pub(super) fn forget(&self, channel: u64) {
        let mut state = lock(&self.state);
        state.channels.remove(&channel);
        if let Some(wild) = &mut state.wild {
            wild.loose.remove(&channel);
        }
    }

    /// Refuses messages and memberships from now on and takes it out of its channels, which are
    /// given back with its patterns; `None` if that was done before.
    pub fn retire(self: &Arc<Self>) -> Option<(Vec<Arc<Channel>>, Vec<Pattern>)> {
        let (channels, wild) = {
            let mut state = lock(&self.state);
            if std::mem::replace(&mut state.closed, true) {
                return None;
            }
            let end = End {
                user: state.user.clone(),
                channels: names(&state.channels),
                uptime_ms: self.uptime_ms(),
            };
            // Nobody else sets it: `closed` is set once.
            let _ = self.end.set(Box::new(end));
            (std::mem::take(&mut state.channels), state.wild.take())
        };
        let channels: Vec<_> = channels.into_values().collect();
        for channel in &channels {
            channel.remove_member(self);
        }
        Some((channels, wild.map(|wild| wild.patterns).unwrap_or_default()))
    }

    /// The value under `key`.
    pub fn value(&self, key: &str) -> Option<Value> {
        lock(&self.state).data.get(key).cloned()
    }

    /// Puts a value under `key`; gives the one that was there.
    pub fn set_value(&self, key: &str, value: Value) -> Option<Value> {
        lock(&self.state).data.insert(key.into(), value)
    }

    /// Takes the value under `key` away and gives it.
    pub fn remove_value(&self, key: &str) -> Option<Value> {
        lock(&self.state).data.remove(key)
    }

    /// Adds to the number under `key`, which begins at 0, in one step that no other thread can come
    /// between; gives the sum. Errors: `InvalidArgument` for bytes, and for a sum beyond 64 bits.
    pub fn increment(&self, key: &str, by: i64) -> Result<i64> {
        increment(&mut lock(&self.state).data, key, by)
    }
}

/// See [`Connection::increment`].
pub(crate) fn increment(data: &mut HashMap<Box<str>, Value>, key: &str, by: i64) -> Result<i64> {
    let invalid = |text| Err(Error::new(ErrorKind::InvalidArgument, text));
    match data.get_mut(key) {
        None => {
            data.insert(key.into(), Value::Integer(by));
            Ok(by)
        }
        Some(Value::Bytes(_)) => invalid(format!("the value '{key}' is bytes, not a number")),
        Some(Value::Integer(number)) => match number.checked_add(by) {
            Some(sum) => {
                *number = sum;
                Ok(sum)
            }
            None => invalid(format!("the value '{key}' is {number}: adding {by} overflows")),
        },
    }
}

fn names(channels: &BTreeMap<u64, Arc<Channel>>) -> Vec<String> {
    channels.values().map(|channel| channel.name().to_owned()).collect()
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the connection is closed")
}
