//! One channel: its order, and which shards have subscribers.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::expiry::Seen;
use super::history::History;
use super::keys::Keys;
use super::{Account, ChannelConfig, Connection, Deliveries, Hub, Item, lock};
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use crate::sync::{Arc, LazyLock, Mutex, OnceLock};
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
    pub(super) state: Mutex<State>,
    pub(super) subscribers: AtomicU64,
    /// Somebody came, went or read since the last look; see [`Channel::was_used`].
    touched: AtomicBool,
    /// Subscribers that agreed on compression.
    pub(super) deflating: AtomicU32,
    /// For each shard, where it keeps its subscribers of this channel. A shard reads and writes
    /// its own entry only: the array saves it a lookup per message.
    slots: Box<[AtomicU32]>,
    /// For each shard that ever had a subscriber, what became of the messages there.
    accounts: Box<[OnceLock<Box<Account>>]>,
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
    /// Present once something was published under a key.
    pub(super) keys: Option<Box<Keys>>,
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
        Self {
            id,
            epoch,
            created_ms: epoch / 1000,
            name: name.into(),
            ephemeral,
            config,
            state: Mutex::new(State { history, ..State::default() }),
            subscribers: AtomicU64::new(0),
            touched: AtomicBool::new(false),
            deflating: AtomicU32::new(0),
            slots: (0..shards).map(|_| AtomicU32::new(NO_SLOT)).collect(),
            accounts: (0..shards).map(|_| OnceLock::new()).collect(),
        }
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
        self.accounts.iter().filter_map(OnceLock::get).for_each(|account| account.add_to(&mut sum));
        sum
    }

    /// Where `shard` enters what becomes of the messages there. It alone writes.
    pub fn account(&self, shard: usize) -> &Account {
        static NOWHERE: LazyLock<Account> = LazyLock::new(Account::default);
        match self.accounts.get(shard) {
            Some(account) => account.get_or_init(Box::default),
            None => &NOWHERE,
        }
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
    ///
    /// `loose` says that a pattern brought it here.
    pub(super) fn add_member(
        self: &Arc<Self>,
        connection: &Arc<Connection>,
        loose: bool,
        since: Option<Position>,
        tell: impl FnOnce(&Start) -> Option<Message>,
    ) -> Result<(), Deleted> {
        let mut state = lock(&self.state);
        if state.deleted {
            return Err(Deleted);
        }
        self.touch();
        let start = self.start(&mut state, since);
        tell_of(&start, connection, tell);
        let behind = (start.recovered == Some(true)).then_some(start.position.offset);
        let since = behind.filter(|offset| *offset < state.offset);
        self.admit(&mut state, connection, loose, since);
        Ok(())
    }

    /// Makes a connection a member again, as it was in the process before this one: one that was
    /// catching up goes on behind `since`. Wake the shard afterwards.
    pub(super) fn readmit(
        self: &Arc<Self>,
        connection: &Arc<Connection>,
        loose: bool,
        since: Option<u64>,
    ) -> Result<(), Deleted> {
        let mut state = lock(&self.state);
        if state.deleted {
            return Err(Deleted);
        }
        self.admit(&mut state, connection, loose, since);
        Ok(())
    }

    fn admit(
        self: &Arc<Self>,
        state: &mut State,
        connection: &Arc<Connection>,
        loose: bool,
        since: Option<u64>,
    ) {
        let home = connection.home();
        let group = state.group.get_or_insert_default();
        let member = Member { connection: Arc::clone(connection), loose };
        group.members.insert(connection.serial(), member);
        group.loose += u64::from(loose);
        if connection.deflates() {
            self.add_deflating();
        }
        *group.joining.entry(home.shard).or_default() += 1;
        state.shards |= 1 << home.shard;
        self.subscribers.fetch_add(1, Relaxed);
        let (connection, channel) = (Arc::clone(connection), Arc::clone(self));
        home.inbox.push(Item::Join { connection, channel, since });
    }

    /// Sends a member what `tell` makes of the present, behind the messages up to it and before the
    /// next one. Wake the shard afterwards.
    pub(super) fn tell_member(
        &self,
        connection: &Arc<Connection>,
        since: Option<Position>,
        tell: impl FnOnce(&Start) -> Option<Message>,
    ) -> Result<(), Deleted> {
        let mut state = lock(&self.state);
        if state.deleted {
            return Err(Deleted);
        }
        let present = self.start(&mut state, None);
        let recovered = since.map(|since| since == present.position);
        tell_of(&Start { recovered, ..present }, connection, tell);
        Ok(())
    }

    /// Says that a member is here by patterns alone from now on, or not any more.
    pub(super) fn set_loose(&self, serial: u64, loose: bool) {
        self.touch();
        let mut state = lock(&self.state);
        let Some(group) = &mut state.group else { return };
        let Some(member) = group.members.get_mut(&serial) else { return };
        match (std::mem::replace(&mut member.loose, loose), loose) {
            (false, true) => group.loose += 1,
            (true, false) => group.loose -= 1,
            _ => {}
        }
    }

    /// Ends a membership after what was published so far. Wake the shard afterwards.
    pub(super) fn remove_member(self: &Arc<Self>, connection: &Arc<Connection>) {
        let mut state = lock(&self.state);
        let Some(group) = &mut state.group else { return };
        if let Some(member) = group.members.remove(&connection.serial()) {
            group.loose -= u64::from(member.loose);
            connection.home().inbox.push(Item::Leave {
                connection: Arc::clone(connection),
                channel: Arc::clone(self),
            });
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
        // Outside the lock: a connection's lock comes before its channels'.
        for member in group.iter().flat_map(BTreeMap::values) {
            member.connection.forget(self.id);
        }
        true
    }

    /// Where `shard` keeps its subscribers of this channel, or [`NO_SLOT`].
    pub fn slot(&self, shard: usize) -> u32 {
        self.slots.get(shard).map_or(NO_SLOT, |slot| slot.load(Relaxed))
    }

    /// Remembers where `shard` keeps them.
    pub fn set_slot(&self, shard: usize, to: u32) {
        if let Some(slot) = self.slots.get(shard) {
            slot.store(to, Relaxed);
        }
    }
}

fn tell_of(
    start: &Start,
    connection: &Arc<Connection>,
    tell: impl FnOnce(&Start) -> Option<Message>,
) {
    if let Some(message) = tell(start) {
        connection.home().inbox.push(Item::Send { to: Arc::clone(connection), message });
    }
}
