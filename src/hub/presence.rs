//! Who is in a channel, and who is told when somebody comes or goes.
//!
//! A channel with the option `presence` has a roster: a seat for each connection id that is in it
//! by name. Changes of it are made and told under the channel's lock, so that they stand at one
//! place in the channel's order, and a list of who is there is exact at its place. Channels without
//! the option have none of it.
//!
//! A connection that another one with the same id displaces leaves its seat to it, if that comes
//! before it is gone: nobody came and nobody went.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use super::history::now_ms;
use super::{Channel, Connection, Inbox, Item};
use crate::sync::{Arc, PoisonError, RwLock};
use crate::wire::Position;

/// Whether somebody came or went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// Came.
    Join,
    /// Went.
    Leave,
}

/// Somebody came to a channel, or went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresenceEvent {
    /// Which.
    pub change: Change,
    /// The channel's name.
    pub channel: Box<str>,
    /// The connection's id.
    pub id: Arc<str>,
    /// The user that it is bound to.
    pub user: Option<Arc<str>>,
    /// Of a join: the user has no other connection here. Of a leave: none is left. Always true
    /// without a user.
    pub edge: bool,
    /// The last publication before it.
    pub position: Position,
    /// When, in ms since the Unix epoch.
    pub time_ms: u64,
}

/// One who is there.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Attendee {
    /// The connection's id.
    pub id: Arc<str>,
    /// The user that it is bound to.
    pub user: Option<Arc<str>>,
    /// When it connected, in ms since the Unix epoch.
    pub connected_ms: u64,
}

/// Who is there, in part, at one place of the channel's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attendance {
    /// By id.
    pub members: Vec<Attendee>,
    /// How many there are in all.
    pub count: usize,
    /// Whether there are more behind the last of `members`.
    pub more: bool,
    /// Subscribers that are no members.
    pub anonymous: u64,
    /// The last publication before this.
    pub position: Position,
}

/// Whom a program lets be told of the presence in all channels. It runs under the channel's lock:
/// it must be short, wait for nothing, and not come back to the hub.
pub type Observer = Arc<dyn Fn(&Arc<PresenceEvent>) + Send + Sync>;

/// Where the observer is kept.
#[derive(Default)]
pub(super) struct Observers(RwLock<Option<Observer>>);

impl std::fmt::Debug for Observers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Observers")
    }
}

impl Observers {
    pub(super) fn set(&self, observer: Option<Observer>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = observer;
    }

    fn get(&self) -> Option<Observer> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Roster {
    /// By connection id.
    seats: BTreeMap<Arc<str>, Seat>,
    /// How many seats each user has.
    users: HashMap<Arc<str>, u32>,
    /// For each shard with members that want to be told, its inbox and how many they are.
    watched: BTreeMap<usize, (Arc<Inbox>, u32)>,
    observers: Arc<Observers>,
}

#[derive(Debug)]
struct Seat {
    serial: u64,
    user: Option<Arc<str>>,
    connected_ms: u64,
}

/// Where something happens: the channel and its last publication.
#[derive(Clone, Copy)]
pub(super) struct Scene<'a> {
    pub(super) channel: &'a Arc<Channel>,
    pub(super) position: Position,
}

impl Roster {
    pub(super) fn new(observers: Arc<Observers>) -> Self {
        Self { seats: BTreeMap::new(), users: HashMap::new(), watched: BTreeMap::new(), observers }
    }

    /// A connection takes its seat, or that of the one that it displaced.
    pub(super) fn enter(
        &mut self,
        scene: Scene<'_>,
        connection: &Connection,
        user: Option<&Arc<str>>,
    ) {
        let (id, serial) = (connection.id(), connection.serial());
        match self.seats.get_mut(id) {
            // One that was displaced comes after the one that displaced it.
            Some(seat) if seat.serial > serial => {}
            Some(seat) => {
                seat.serial = serial;
                seat.connected_ms = connection.connected_ms();
                self.change_user(scene, connection, user);
            }
            None => {
                let connected_ms = connection.connected_ms();
                let seat = Seat { serial, user: user.cloned(), connected_ms };
                self.seats.insert(Arc::clone(id), seat);
                self.tell(scene, Change::Join, id, user.cloned());
            }
        }
    }

    /// A connection has its seat from the process before this one: those who were told of it there
    /// know.
    pub(super) fn seat(&mut self, connection: &Connection, user: Option<&Arc<str>>) {
        let (id, serial) = (connection.id(), connection.serial());
        if self.seats.get(id).is_some_and(|seat| seat.serial > serial) {
            return;
        }
        let connected_ms = connection.connected_ms();
        let seat = Seat { serial, user: user.cloned(), connected_ms };
        if let Some(displaced) = self.seats.insert(Arc::clone(id), seat)
            && let Some(user) = displaced.user
        {
            self.count(Change::Leave, &user);
        }
        if let Some(user) = user {
            self.count(Change::Join, user);
        }
    }

    /// A connection gives up its seat, if it has one.
    pub(super) fn exit(&mut self, scene: Scene<'_>, connection: &Connection) {
        let (id, serial) = (connection.id(), connection.serial());
        if self.seats.get(id).is_some_and(|seat| seat.serial == serial)
            && let Some(seat) = self.seats.remove(id)
        {
            self.tell(scene, Change::Leave, id, seat.user);
        }
    }

    /// A connection is bound to another user, or to none: the one went, and the other came.
    pub(super) fn change_user(
        &mut self,
        scene: Scene<'_>,
        connection: &Connection,
        user: Option<&Arc<str>>,
    ) {
        let (id, serial) = (connection.id(), connection.serial());
        let Some(seat) = self.seats.get_mut(id).filter(|seat| seat.serial == serial) else {
            return;
        };
        if seat.user.as_ref() != user {
            let before = std::mem::replace(&mut seat.user, user.cloned());
            self.tell(scene, Change::Leave, id, before);
            self.tell(scene, Change::Join, id, user.cloned());
        }
    }

    /// The channel ends: the program is told that everybody goes. Members are told of the end.
    pub(super) fn dissolve(&mut self, scene: Scene<'_>) {
        self.watched.clear();
        for (id, seat) in std::mem::take(&mut self.seats) {
            self.tell(scene, Change::Leave, &id, seat.user);
        }
    }

    fn tell(&mut self, scene: Scene<'_>, change: Change, id: &Arc<str>, user: Option<Arc<str>>) {
        let edge = match &user {
            None => true,
            Some(user) => self.count(change, user),
        };
        let observer = self.observers.get();
        if self.watched.is_empty() && observer.is_none() {
            return;
        }
        let event = Arc::new(PresenceEvent {
            change,
            channel: scene.channel.name().into(),
            id: Arc::clone(id),
            user,
            edge,
            position: scene.position,
            time_ms: now_ms(),
        });
        for (inbox, _) in self.watched.values() {
            let (channel, event) = (Arc::clone(scene.channel), Arc::clone(&event));
            inbox.push(Item::Presence { channel, event });
            inbox.notify();
        }
        if let Some(observer) = observer {
            observer(&event);
        }
    }

    /// Counts a user's seats; whether this is the first or was the last.
    fn count(&mut self, change: Change, user: &Arc<str>) -> bool {
        match change {
            Change::Join => {
                let count = self.users.entry(Arc::clone(user)).or_default();
                *count += 1;
                *count == 1
            }
            Change::Leave => {
                let Some(count) = self.users.get_mut(user) else { return true };
                *count -= 1;
                let last = *count == 0;
                if last {
                    self.users.remove(user);
                }
                last
            }
        }
    }

    /// A member wants to be told of every change behind this, or not any more.
    pub(super) fn watch(&mut self, channel: &Arc<Channel>, who: &Arc<Connection>, on: bool) {
        let home = who.home();
        let entry = self.watched.entry(home.shard);
        let (_, count) = entry.or_insert_with(|| (Arc::clone(&home.inbox), 0));
        match on {
            true => *count += 1,
            false => *count = count.saturating_sub(1),
        }
        if *count == 0 {
            self.watched.remove(&home.shard);
        }
        let (connection, channel) = (Arc::clone(who), Arc::clone(channel));
        home.inbox.push(Item::Watch { connection, channel, on });
    }

    /// At most `limit` who are there and whose ids sort behind `after`, by id.
    pub(super) fn page(&self, after: Option<&str>, limit: usize) -> (Vec<Attendee>, bool) {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = self.seats.range::<str, _>((from, Bound::Unbounded));
        let attendee = |(id, seat): (&Arc<str>, &Seat)| Attendee {
            id: Arc::clone(id),
            user: seat.user.clone(),
            connected_ms: seat.connected_ms,
        };
        let page = rest.by_ref().take(limit).map(attendee).collect();
        (page, rest.next().is_some())
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.seats.len()
    }
}
