//! One channel: its order, and which shards have subscribers.

use std::collections::BTreeMap;

use super::durable::{Committing, Durable};
use super::expiry::Seen;
use super::history::History;
use super::keys::Keys;
use super::members::Group;
use super::presence::{Observers, Roster};
use super::{Account, ChannelConfig, Deliveries, Hold, Hub, Item, Overload, lock};
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use crate::sync::{Arc, LazyLock, Mutex};
use crate::wire::Position;

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
///
/// In this order, what every publication reads or writes stands together, in two or three lines of
/// the processor's cache: with many channels, each of them is a miss.
#[derive(Debug)]
#[repr(C)]
pub struct Channel {
    pub(super) state: Mutex<State>,
    pub(super) subscribers: AtomicU64,
    /// Subscribers that agreed on compression.
    pub(super) deflating: AtomicU32,
    /// Somebody came, went or read since the last look; see [`Channel::was_used`].
    touched: AtomicBool,
    /// A publication counts only when the store has it.
    pub(super) commits: bool,
    /// It disappears with its last subscriber.
    ephemeral: bool,
    /// What each shard keeps here.
    corners: Box<[Corner]>,
    /// Present if its publishers wait for its subscribers.
    hold: Option<Box<Hold>>,
    id: u64,
    pub(super) epoch: u64,
    /// Present if the channel is kept on disk.
    pub(super) durable: Option<Box<Durable>>,
    pub(super) config: Arc<ChannelConfig>,
    name: Box<str>,
    created_ms: u64,
}

#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct State {
    pub(super) offset: u64,
    /// Bit n: shard n has a subscriber.
    pub(super) shards: u64,
    pub(super) deleted: bool,
    /// Present if the channel keeps one.
    pub(super) history: Option<Box<History>>,
    pub(super) group: Option<Box<Group>>,
    /// Present with the option `presence`.
    pub(super) roster: Option<Box<Roster>>,
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

    pub(super) fn desert(&self, state: &mut State, shard: usize) {
        if !state.is_joining(shard) {
            state.shards &= !(1 << shard);
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
