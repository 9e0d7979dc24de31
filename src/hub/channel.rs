//! One channel: its order, and which shards have subscribers.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::durable::{Committing, Durable};
use super::expiry::Seen;
use super::history::History;
use super::keys::Keys;
use super::presence::{Observers, Roster, Scene};
use super::{
    Account, Attendance, ChannelConfig, Connection, Deliveries, Hold, Hub, Item, Overload, lock,
};
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use crate::sync::{Arc, LazyLock, Mutex};
use crate::wire::Position;
use crate::wire::websocket::Message;

/// What is known of a channel at one moment.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ChannelInfo {
    /// The name, decoded.
    pub name: String,
    /// Subscribers now, members included.
    pub subscribers: u64,
    /// Connections that are members, and so known by name.
    #[serde(default)]
    pub members: u64,
    /// Publications since the channel was created: the offset of the last one.
    pub offset: u64,
    /// The channel's incarnation.
    pub epoch: u64,
    /// When it was created, in ms since the Unix epoch.
    pub created_ms: u64,
    /// How it was configured, in JSON; where one channel is asked for, not in listings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<serde_json::Map<String, serde_json::Value>>,
    /// What became of its messages.
    #[serde(default)]
    pub deliveries: Deliveries,
}

/// Where a publication landed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// Its place in the channel.
    pub position: Position,
    /// Subscribers of the channel at that moment.
    pub subscribers: u64,
    /// It was published before, under the same key: nothing was published now.
    pub duplicate: bool,
}

/// Where a subscription starts: the first message that it gets is the one after `position`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// The last publication before the subscription or, when it is recovered, the one that the
    /// subscriber got last.
    pub position: Position,
    /// To a subscriber that said what it got last: whether everything behind that follows.
    pub recovered: Option<bool>,
}

/// The channel has been deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deleted;

/// In [`Channel::slot`]: the shard has no subscriber.
pub const NO_SLOT: u32 = u32::MAX;

/// A named set of subscribers with one order of messages.
#[derive(Debug)]
pub struct Channel {
    id: u64,
    pub(super) epoch: u64,
    created_ms: u64,
    name: Box<str>,
    /// It disappears with its last subscriber.
    ephemeral: bool,
    pub(super) config: Arc<ChannelConfig>,
    /// Present if the channel is kept on disk.
    pub(super) durable: Option<Box<Durable>>,
    /// A publication counts only when the store has it.
    pub(super) commits: bool,
    pub(super) state: Mutex<State>,
    pub(super) subscribers: AtomicU64,
    /// Somebody came, went or read since the last look; see [`Channel::was_used`].
    touched: AtomicBool,
    /// Subscribers that agreed on compression.
    pub(super) deflating: AtomicU32,
    /// What each shard keeps here.
    corners: Box<[Corner]>,
    /// Present if its publishers wait for its subscribers.
    hold: Option<Box<Hold>>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) offset: u64,
    /// Bit n: shard n has a subscriber.
    pub(super) shards: u64,
    pub(super) deleted: bool,
    group: Option<Box<Group>>,
    /// Present if the channel keeps one.
    pub(super) history: Option<Box<History>>,
    /// Present with the option `presence`.
    roster: Option<Box<Roster>>,
    /// Present once something was published under a key.
    pub(super) keys: Option<Box<Keys>>,
    /// Present once something was published under a key and is to be committed.
    pub(super) committing: Option<Box<Committing>>,
}

/// What a shard keeps with a channel; it alone writes. One allocation for all: the place of the
/// subscribers and the first counts are read and written with every message.
#[derive(Debug)]
#[repr(C)]
struct Corner {
    /// Where the shard keeps its subscribers of this channel: saves it a lookup per message.
    slot: AtomicU32,
    /// What became of the messages there.
    account: Account,
}

impl Default for Corner {
    fn default() -> Self {
        Self { slot: AtomicU32::new(NO_SLOT), account: Account::default() }
    }
}

/// The connections that are members, by serial, and what their shards have not heard yet.
#[derive(Debug, Default)]
struct Group {
    members: BTreeMap<u64, Member>,
    /// Members that are here by patterns alone: they do not keep the channel.
    loose: u64,
    /// For each shard, members that joined and whom it does not have in its lists yet: as long as
    /// there are any, it must be told of every publication.
    joining: BTreeMap<usize, usize>,
}

#[derive(Debug)]
struct Member {
    connection: Arc<Connection>,
    /// It is here by patterns alone.
    loose: bool,
    /// It wants to be told who comes and goes.
    watches: bool,
}

/// What a connection that joins a channel wishes for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wish {
    /// What it got last: what came behind it is wanted first.
    pub since: Option<Position>,
    /// Whether it is to be told who comes and goes; `None` leaves it as it is. It has no effect in
    /// a channel without the option `presence`.
    pub watch: Option<bool>,
    /// With `watch`, of how many who are there it is told at once.
    pub page: usize,
}

/// How a connection comes into a channel.
pub(super) struct Entrance<'a> {
    /// A pattern brings it.
    pub(super) loose: bool,
    /// The user that it is bound to.
    pub(super) user: Option<&'a Arc<str>>,
    pub(super) wish: Wish,
}

impl Group {
    fn connections(&self) -> impl Iterator<Item = Arc<Connection>> {
        self.members.values().map(|member| Arc::clone(&member.connection))
    }

    /// Whether nobody is here who asked for this channel by its name.
    fn is_deserted(&self) -> bool {
        self.members.len() as u64 == self.loose
    }
}

impl State {
    fn is_joining(&self, shard: usize) -> bool {
        self.group.as_ref().is_some_and(|group| group.joining.contains_key(&shard))
    }

    fn joined(&mut self, shard: usize) {
        let Some(group) = &mut self.group else { return };
        if let Some(count) = group.joining.get_mut(&shard) {
            *count -= 1;
            if *count == 0 {
                group.joining.remove(&shard);
            }
        }
    }
}

impl Channel {
    pub(super) fn new(
        name: &str,
        id: u64,
        epoch: u64,
        shards: usize,
        ephemeral: bool,
        config: Arc<ChannelConfig>,
    ) -> Self {
        let history = config.keeps_history().then(Box::default);
        let hold = (config.policy() == Overload::Hold).then(Box::default);
        Self {
            id,
            epoch,
            created_ms: epoch / 1000,
            name: name.into(),
            ephemeral,
            config,
            durable: None,
            commits: false,
            state: Mutex::new(State { history, ..State::default() }),
            subscribers: AtomicU64::new(0),
            touched: AtomicBool::new(false),
            deflating: AtomicU32::new(0),
            corners: (0..shards).map(|_| Corner::default()).collect(),
            hold,
        }
    }

    /// The same channel; with the option `presence` it keeps who is there, and these are told.
    pub(super) fn observed_by(self, observers: &Arc<Observers>) -> Self {
        if self.config.presence {
            let roster = Roster::new(Arc::clone(observers));
            lock(&self.state).roster = Some(Box::new(roster));
        }
        self
    }

    /// The same, kept on disk.
    pub(super) fn durable(self, durable: Durable) -> Self {
        Self { commits: durable.commits(), durable: Some(Box::new(durable)), ..self }
    }

    /// The same, as the store has it: created then, with this as its last offset, and these keys.
    pub(super) fn restored(
        mut self,
        created_ms: u64,
        offset: u64,
        keys: Option<Box<Keys>>,
    ) -> Self {
        self.created_ms = created_ms;
        let state = self.state.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        (state.offset, state.keys) = (offset, keys);
        self
    }

    /// The name, decoded.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The hub's number for this incarnation of the channel, never used again.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The channel as it is now.
    pub fn info(&self) -> ChannelInfo {
        let (offset, members) = {
            let state = lock(&self.state);
            (state.offset, state.group.as_ref().map_or(0, |group| group.members.len()))
        };
        ChannelInfo {
            name: self.name.to_string(),
            subscribers: self.subscribers.load(Relaxed),
            members: members as u64,
            offset,
            epoch: self.epoch,
            created_ms: self.created_ms,
            options: None,
            deliveries: self.deliveries(),
        }
    }

    /// What became of its messages so far. Each count is exact, all together not from one instant.
    pub fn deliveries(&self) -> Deliveries {
        let mut sum = Deliveries::default();
        self.corners.iter().for_each(|corner| corner.account.add_to(&mut sum));
        sum.held = self.hold().map_or(0, Hold::held);
        sum
    }

    /// Whether publishers have to wait, if its option `overload` makes them.
    pub fn hold(&self) -> Option<&Hold> {
        self.hold.as_deref()
    }

    /// Where `shard` enters what becomes of the messages there. It alone writes.
    pub fn account(&self, shard: usize) -> &Account {
        static NOWHERE: LazyLock<Account> = LazyLock::new(Account::default);
        self.corners.get(shard).map_or(&NOWHERE, |corner| &corner.account)
    }

    /// The same with its options.
    pub fn full_info(&self) -> ChannelInfo {
        ChannelInfo { options: Some(self.config.json()), ..self.info() }
    }

    /// Makes `shard` receive this channel, or goes on doing so, for one more subscriber.
    ///
    /// `flush` runs under the channel's lock and must take the shard's inbox: what it takes was
    /// published before the subscription, what comes later after it.
    pub fn subscribe(&self, shard: usize, flush: impl FnOnce()) -> Result<Start, Deleted> {
        let mut state = lock(&self.state);
        if state.deleted {
            return Err(Deleted);
        }
        flush();
        self.touch();
        state.shards |= 1 << shard;
        self.subscribers.fetch_add(1, Relaxed);
        Ok(self.start(&mut state, None))
    }

    /// Counts a subscriber that agreed on compression. Before it subscribes, and so before the
    /// publications that it gets.
    pub fn add_deflating(&self) {
        self.deflating.fetch_add(1, Relaxed);
    }

    /// Counts it out.
    pub fn remove_deflating(&self) {
        self.deflating.fetch_sub(1, Relaxed);
    }

    /// Where the channel stands, at a moment in which `flush` took the shard's inbox; whether that
    /// is `since`.
    pub fn present(&self, since: Option<Position>, flush: impl FnOnce()) -> Start {
        let mut state = lock(&self.state);
        flush();
        let present = self.start(&mut state, None);
        Start { recovered: since.map(|since| since == present.position), ..present }
    }

    /// The channel's incarnation.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Takes one subscriber of `shard` away; `last` says that the shard has no other.
    pub fn unsubscribe(&self, shard: usize, last: bool) {
        self.touch();
        self.subscribers.fetch_sub(1, Relaxed);
        if last {
            self.desert(&mut lock(&self.state), shard);
        }
    }

    fn desert(&self, state: &mut State, shard: usize) {
        if !state.is_joining(shard) {
            state.shards &= !(1 << shard);
        }
    }

    /// Makes a connection a member: its shard is told under the lock, so that it gets what is
    /// published from now on, and nothing from before; or everything behind `since`, if that can be
    /// had. What `tell` makes of the start is sent to it before. Wake the shard afterwards.
    pub(super) fn add_member(
        self: &Arc<Self>,
        connection: &Arc<Connection>,
        entrance: &Entrance<'_>,
        tell: impl FnOnce(&Start, Option<&Attendance>) -> Option<Message>,
    ) -> Result<(), Deleted> {
        let mut state = lock(&self.state);
        let state = &mut *state;
        if state.deleted {
            return Err(Deleted);
        }
        self.touch();
        let Entrance { loose, user, wish } = *entrance;
        let start = self.start(state, wish.since);
        let watches = wish.watch == Some(true) && state.roster.is_some();
        self.admit(state, connection, loose, watches);
        let scene = self.scene(state.offset);
        if let Some(roster) = state.roster.as_mut().filter(|_| !loose) {
            roster.enter(scene, connection, user);
        }
        self.tell(state, &start, connection, wish, tell);
        let behind = (start.recovered == Some(true)).then_some(start.position.offset);
        let since = behind.filter(|offset| *offset < state.offset);
        self.tell_shard(state, connection, watches, since);
        Ok(())
    }

    /// Makes a connection a member again, as it was in the process before this one: one that was
    /// catching up goes on behind `since`, and nobody is told that it came. Wake the shard
    /// afterwards.
    pub(super) fn readmit(
        self: &Arc<Self>,
        connection: &Arc<Connection>,
        (loose, watches): (bool, bool),
        user: Option<&Arc<str>>,
        since: Option<u64>,
    ) -> Result<(), Deleted> {
        let mut state = lock(&self.state);
        let state = &mut *state;
        if state.deleted {
            return Err(Deleted);
        }
        let watches = watches && state.roster.is_some();
        self.admit(state, connection, loose, watches);
        if let Some(roster) = state.roster.as_mut().filter(|_| !loose) {
            roster.seat(connection, user);
        }
        self.tell_shard(state, connection, watches, since);
        Ok(())
    }

    fn admit(&self, state: &mut State, connection: &Arc<Connection>, loose: bool, watches: bool) {
        let shard = connection.home().shard;
        let group = state.group.get_or_insert_default();
        let member = Member { connection: Arc::clone(connection), loose, watches };
        group.members.insert(connection.serial(), member);
        group.loose += u64::from(loose);
        if connection.deflates() {
            self.add_deflating();
        }
        *group.joining.entry(shard).or_default() += 1;
        state.shards |= 1 << shard;
        self.subscribers.fetch_add(1, Relaxed);
    }

    fn tell_shard(
        self: &Arc<Self>,
        state: &mut State,
        connection: &Arc<Connection>,
        watches: bool,
        since: Option<u64>,
    ) {
        if let Some(roster) = state.roster.as_mut().filter(|_| watches) {
            roster.watch(self, connection, true);
        }
        let inbox = &connection.home().inbox;
        let (connection, channel) = (Arc::clone(connection), Arc::clone(self));
        inbox.push(Item::Join { connection, channel, since });
    }

    /// Whether a member wants to be told who comes and goes.
    pub(super) fn is_watched_by(&self, serial: u64) -> bool {
        let state = lock(&self.state);
        let member = state.group.as_ref().and_then(|group| group.members.get(&serial));
        member.is_some_and(|member| member.watches)
    }

    /// Sends a member what `tell` makes of the present, behind the messages up to it and before the
    /// next one. Wake the shard afterwards.
    pub(super) fn tell_member(
        self: &Arc<Self>,
        connection: &Arc<Connection>,
        wish: Wish,
        tell: impl FnOnce(&Start, Option<&Attendance>) -> Option<Message>,
    ) -> Result<(), Deleted> {
        let mut state = lock(&self.state);
        let state = &mut *state;
        if state.deleted {
            return Err(Deleted);
        }
        let present = self.start(state, None);
        let recovered = wish.since.map(|since| since == present.position);
        self.tell(state, &Start { recovered, ..present }, connection, wish, tell);
        if let (Some(on), Some(roster)) = (wish.watch, &mut state.roster)
            && let Some(group) = &mut state.group
            && let Some(member) = group.members.get_mut(&connection.serial())
            && std::mem::replace(&mut member.watches, on) != on
        {
            roster.watch(self, connection, on);
        }
        Ok(())
    }

    fn tell(
        self: &Arc<Self>,
        state: &State,
        start: &Start,
        connection: &Arc<Connection>,
        wish: Wish,
        tell: impl FnOnce(&Start, Option<&Attendance>) -> Option<Message>,
    ) {
        let attendance = match wish.watch {
            Some(true) => self.attendance_of(state, None, wish.page),
            _ => None,
        };
        if let Some(message) = tell(start, attendance.as_ref()) {
            connection.home().inbox.push(Item::Send { to: Arc::clone(connection), message });
        }
    }

    fn scene(self: &Arc<Self>, offset: u64) -> Scene<'_> {
        Scene { channel: self, position: Position { epoch: self.epoch, offset } }
    }

    fn attendance_of(
        &self,
        state: &State,
        after: Option<&str>,
        limit: usize,
    ) -> Option<Attendance> {
        let roster = state.roster.as_ref()?;
        let (members, more) = roster.page(after, limit);
        let named = state.group.as_ref().map_or(0, |group| group.members.len() as u64);
        Some(Attendance {
            members,
            count: roster.len(),
            more,
            anonymous: self.subscribers.load(Relaxed).saturating_sub(named),
            position: Position { epoch: self.epoch, offset: state.offset },
        })
    }

    /// At most `limit` of those who are there and whose ids sort behind `after`; `None` for a
    /// channel without the option `presence`.
    pub fn attendance(&self, after: Option<&str>, limit: usize) -> Option<Attendance> {
        self.attendance_of(&lock(&self.state), after, limit)
    }

    /// The same for a connection, which is sent what `tell` makes of it: behind the events that
    /// are in it, and before the next one. False for a channel without the option.
    pub fn tell_attendance(
        &self,
        connection: &Arc<Connection>,
        after: Option<&str>,
        limit: usize,
        tell: impl FnOnce(&Attendance) -> Message,
    ) -> bool {
        {
            let state = lock(&self.state);
            let Some(attendance) = self.attendance_of(&state, after, limit) else { return false };
            let message = tell(&attendance);
            connection.home().inbox.push(Item::Send { to: Arc::clone(connection), message });
        }
        connection.home().inbox.notify();
        true
    }

    /// Says that a member is here by patterns alone from now on, or not any more. Then it is there,
    /// for others to see.
    pub(super) fn set_loose(
        self: &Arc<Self>,
        connection: &Arc<Connection>,
        user: Option<&Arc<str>>,
        loose: bool,
    ) {
        self.touch();
        let mut state = lock(&self.state);
        let state = &mut *state;
        let Some(group) = &mut state.group else { return };
        let Some(member) = group.members.get_mut(&connection.serial()) else { return };
        if std::mem::replace(&mut member.loose, loose) == loose {
            return;
        }
        let scene = self.scene(state.offset);
        match loose {
            true => {
                group.loose += 1;
                let watched = std::mem::take(&mut member.watches);
                if let Some(roster) = &mut state.roster {
                    if watched {
                        roster.watch(self, connection, false);
                    }
                    roster.exit(scene, connection);
                }
            }
            false => {
                group.loose -= 1;
                if let Some(roster) = &mut state.roster {
                    roster.enter(scene, connection, user);
                }
            }
        }
    }

    /// A member is bound to another user, or to none. Costs nothing without the option `presence`.
    pub(super) fn change_user(self: &Arc<Self>, connection: &Connection, user: Option<&Arc<str>>) {
        if !self.config.presence {
            return;
        }
        let mut state = lock(&self.state);
        let scene = self.scene(state.offset);
        if let Some(roster) = &mut state.roster {
            roster.change_user(scene, connection, user);
        }
    }

    /// Ends a membership after what was published so far. Wake the shard afterwards.
    pub(super) fn remove_member(self: &Arc<Self>, connection: &Arc<Connection>) {
        let mut state = lock(&self.state);
        let state = &mut *state;
        let Some(group) = &mut state.group else { return };
        if let Some(member) = group.members.remove(&connection.serial()) {
            group.loose -= u64::from(member.loose);
            connection.home().inbox.push(Item::Leave {
                connection: Arc::clone(connection),
                channel: Arc::clone(self),
            });
            let scene = self.scene(state.offset);
            if let Some(roster) = &mut state.roster {
                if member.watches {
                    roster.watch(self, connection, false);
                }
                roster.exit(scene, connection);
            }
        }
    }

    /// Somebody uses the channel who may not be seen at the next look.
    pub(super) fn touch(&self) {
        if !self.config.empty_ttl.is_zero() {
            self.touched.store(true, Relaxed);
        }
    }

    /// Whether it has a subscriber, or was used in any way since `seen`, which is brought up to now.
    pub(super) fn was_used(&self, seen: &mut Seen) -> bool {
        self.used_since(&lock(&self.state), seen)
    }

    fn used_since(&self, state: &State, seen: &mut Seen) -> bool {
        let now = Seen { offset: state.offset };
        let published = std::mem::replace(seen, now) != now;
        let touched = self.touched.swap(false, Relaxed);
        let loose = state.group.as_ref().map_or(0, |group| group.loose);
        published || touched || self.subscribers.load(Relaxed) > loose
    }

    /// Whether it was deleted.
    pub fn is_deleted(&self) -> bool {
        lock(&self.state).deleted
    }

    /// Deletes it unless it was used since `seen`, or deleted. The registry's, which then removes
    /// it.
    pub(super) fn delete_unless_used(self: &Arc<Self>, hub: &Hub, seen: &mut Seen) -> bool {
        self.delete_if(hub, |state| !self.used_since(state, seen))
    }

    /// The shard has the member in its lists.
    pub fn member_joined(&self, shard: usize) {
        lock(&self.state).joined(shard);
    }

    /// The member that joined is gone before the shard had it in its lists; `last` says that the
    /// shard has no other subscriber.
    pub fn member_missed(&self, shard: usize, last: bool) {
        self.subscribers.fetch_sub(1, Relaxed);
        let mut state = lock(&self.state);
        state.joined(shard);
        if last {
            self.desert(&mut state, shard);
        }
    }

    /// The members, in the order in which they connected.
    pub fn members(&self) -> Vec<Arc<Connection>> {
        let state = lock(&self.state);
        state.group.iter().flat_map(|group| group.connections()).collect()
    }

    /// At most `limit` members that connected after the one with the serial `after`, in the order
    /// in which they connected.
    pub fn members_page(&self, after: Option<u64>, limit: usize) -> Vec<Arc<Connection>> {
        let state = lock(&self.state);
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let members = state.group.iter().flat_map(|group| {
            let range = group.members.range((from, Bound::Unbounded));
            range.map(|(_, member)| Arc::clone(&member.connection))
        });
        members.take(limit).collect()
    }

    /// How many members there are.
    pub fn member_count(&self) -> usize {
        lock(&self.state).group.as_ref().map_or(0, |group| group.members.len())
    }

    /// Whether it disappears with its last member.
    pub fn is_ephemeral(&self) -> bool {
        self.ephemeral
    }

    /// Deletes an ephemeral channel that nobody asked for by its name. The registry's, which then
    /// removes it.
    pub(super) fn expire(self: &Arc<Self>, hub: &Hub) -> bool {
        self.delete_if(hub, |state| {
            self.ephemeral && state.group.as_ref().is_none_or(|group| group.is_deserted())
        })
    }

    /// Refuses what comes from now on, and tells the shards that have subscribers. False if it was
    /// deleted before.
    pub(super) fn delete(self: &Arc<Self>, hub: &Hub) -> bool {
        self.delete_if(hub, |_| true)
    }

    /// The same if `wanted`, which is asked under the lock.
    fn delete_if(self: &Arc<Self>, hub: &Hub, wanted: impl FnOnce(&State) -> bool) -> bool {
        let (shards, group) = {
            let mut state = lock(&self.state);
            if state.deleted || !wanted(&state) {
                return false;
            }
            state.deleted = true;
            let scene = self.scene(state.offset);
            if let Some(roster) = &mut state.roster {
                roster.dissolve(scene);
            }
            for inbox in hub.inboxes(state.shards) {
                inbox.push(Item::Deleted(Arc::clone(self)));
            }
            let members = state.group.as_mut().map(|group| {
                group.loose = 0;
                std::mem::take(&mut group.members)
            });
            (state.shards, members)
        };
        hub.inboxes(shards).for_each(super::Inbox::notify);
        if let Some(durable) = &self.durable {
            durable.discard();
        }
        // Outside the lock: a connection's lock comes before its channels'.
        for member in group.iter().flat_map(BTreeMap::values) {
            member.connection.forget(self.id);
        }
        true
    }

    /// Where `shard` keeps its subscribers of this channel, or [`NO_SLOT`].
    pub fn slot(&self, shard: usize) -> u32 {
        self.corners.get(shard).map_or(NO_SLOT, |corner| corner.slot.load(Relaxed))
    }

    /// Remembers where `shard` keeps them.
    pub fn set_slot(&self, shard: usize, to: u32) {
        if let Some(Corner { slot, .. }) = self.corners.get(shard) {
            slot.store(to, Relaxed);
        }
    }
}
