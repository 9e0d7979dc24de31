//! The channels by name.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use super::durable::{Durable, Outlet, inboxes};
use super::expiry::{Expiry, Seen};
use super::presence::Observers;
use super::{
    Channel, ChannelConfig, Connection, Inbox, Interest, Item, Namespaces, Observer, Survey,
};
use crate::store::{ChannelState, Stats, Store};
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use crate::sync::{Arc, PoisonError, RwLock};
use crate::wire::name;
use crate::{Error, ErrorKind, Result};

/// Channels by name, in order.
pub(super) type Channels = BTreeMap<Box<str>, Arc<Channel>>;

/// All channels of a server and the inboxes of its shards.
#[derive(Debug)]
pub struct Hub {
    /// Ordered, so that a listing can be read in pages without holding the lock for all of it.
    pub(super) channels: RwLock<Channels>,
    /// Who subscribed to patterns. Lock order: channels, this, connection.
    pub(super) interest: RwLock<Interest<Arc<Connection>>>,
    pub(super) inboxes: Box<[Arc<Inbox>]>,
    pub(super) next_id: AtomicU64,
    pub(super) last_epoch: AtomicU64,
    pub(super) published: AtomicU64,
    /// For commits, which come from the store's thread.
    pub(super) outlet: Arc<Outlet>,
    store: OnceLock<Arc<Store>>,
    max_channels: AtomicUsize,
    namespaces: RwLock<Arc<Namespaces>>,
    pub(super) expiry: Expiry,
    pub(super) expired: AtomicU64,
    max_memberships: AtomicUsize,
    /// Who is told of the presence in all channels.
    pub(super) observers: Arc<Observers>,
}

impl Hub {
    /// A hub without channels for these shards (at most 64), that holds at most `max_channels`;
    /// 0 is no limit.
    pub fn new(inboxes: Vec<Arc<Inbox>>, max_channels: usize) -> Self {
        debug_assert!(inboxes.len() <= 64);
        let outlet = Outlet { inboxes: inboxes.clone().into(), published: AtomicU64::new(0) };
        Self {
            outlet: Arc::new(outlet),
            store: OnceLock::new(),
            channels: RwLock::default(),
            interest: RwLock::default(),
            inboxes: inboxes.into(),
            next_id: AtomicU64::new(1),
            last_epoch: AtomicU64::new(0),
            published: AtomicU64::new(0),
            max_channels: AtomicUsize::new(max_channels),
            namespaces: RwLock::default(),
            expiry: Expiry::default(),
            expired: AtomicU64::new(0),
            max_memberships: AtomicUsize::new(usize::MAX),
            observers: Arc::default(),
        }
    }

    /// Another limit of channels and another bound of each inbox from now on. What is over a lower
    /// limit stays.
    pub fn set_limits(&self, max_channels: usize, inbox_bytes: usize) {
        self.max_channels.store(max_channels, Relaxed);
        for inbox in &self.inboxes {
            inbox.set_max_bytes(inbox_bytes);
        }
    }

    /// How many channels a connection may be in from now on, its patterns counted. Patterns keep to
    /// it here; whoever joins a channel by its name must ask before.
    pub fn set_max_memberships(&self, max: usize) {
        self.max_memberships.store(max, Relaxed);
    }

    /// Lets `observer` be told who comes to channels with the option `presence` and who goes, in
    /// place of the one before.
    pub fn observe(&self, observer: Option<Observer>) {
        self.observers.set(observer);
    }

    pub(super) fn max_memberships(&self) -> usize {
        self.max_memberships.load(Relaxed)
    }

    /// Other options for the channels that are created from now on.
    pub fn set_namespaces(&self, namespaces: Namespaces) {
        *self.namespaces.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(namespaces);
    }

    /// Which channels are created with which options.
    pub fn namespaces(&self) -> Arc<Namespaces> {
        Arc::clone(&self.namespaces.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks every shard. Its answers come when they have all looked.
    pub fn survey(&self, survey: &Arc<Survey>) {
        for inbox in &self.inboxes {
            inbox.push(Item::Survey(Arc::clone(survey)));
            inbox.notify();
        }
    }

    /// The inboxes of the shards whose bits are set.
    pub(super) fn inboxes(&self, mask: u64) -> impl Iterator<Item = &Inbox> {
        inboxes(&self.inboxes, mask)
    }

    /// Whether some shard, or the store, is so far behind that publishers should wait.
    pub fn is_congested(&self) -> bool {
        self.inboxes.iter().any(|inbox| inbox.is_full())
            || self.store.get().is_some_and(|store| store.is_full())
    }

    /// What the store of durable channels has done, if there is one.
    pub fn store_stats(&self) -> Option<Stats> {
        self.store.get().map(|store| store.stats())
    }

    /// Whether the store writes nothing any more, because the disk failed it.
    pub fn store_failed(&self) -> bool {
        self.store.get().is_some_and(|store| store.failure().is_some())
    }

    /// Waits until nobody is behind. Never call it on a shard's thread, nor on the store's.
    pub fn wait_for_room(&self) {
        if let Some(store) = self.store.get() {
            store.wait_for_room();
        }
        for inbox in &self.inboxes {
            inbox.wait_for_room();
        }
    }

    /// Counts a publication.
    pub fn count_published(&self) {
        self.published.fetch_add(1, Relaxed);
    }

    /// Publications since the start.
    pub fn published(&self) -> u64 {
        self.published.load(Relaxed) + self.outlet.published.load(Relaxed)
    }

    /// Takes the channels of a store over, and keeps durable channels there from now on. Before
    /// anybody uses the hub. Error: `InvalidOption` for options that are not known; `Io`.
    pub fn open_store(&self, store: Arc<Store>) -> Result<()> {
        for ChannelState { channel, last, .. } in store.channels() {
            let mut config = ChannelConfig::default();
            let about = |error: Error| error.context(format!("channel '{}'", channel.name));
            config.set_all(&channel.text).map_err(about)?;
            // What was repaired without its catalogue has no options.
            let level = config.level().unwrap_or(channel.level);
            let durable = Durable::new(&store, channel.id, level, &config, &self.outlet);
            let keys = durable.keys(&config).map_err(about)?;
            let id = self.next_id.fetch_add(1, Relaxed);
            let shards = self.inboxes.len();
            let restored =
                Channel::new(&channel.name, id, channel.epoch, shards, false, Arc::new(config))
                    .durable(durable)
                    .restored(channel.created_ms, last, keys)
                    .observed_by(&self.observers);
            let restored = Arc::new(restored);
            self.last_epoch.fetch_max(channel.epoch, Relaxed);
            self.channels
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(channel.name.as_str().into(), Arc::clone(&restored));
            self.watch_emptiness(&restored);
        }
        self.keep_in(store);
        Ok(())
    }

    /// Keeps durable channels in this store from now on. Before there are any.
    pub fn keep_in(&self, store: Arc<Store>) {
        let _ = self.store.set(store);
    }

    /// Where durable channels are kept, if they are.
    pub fn store(&self) -> Option<&Arc<Store>> {
        self.store.get()
    }

    /// Writes what waits for the store and closes it.
    pub fn close_store(&self) {
        if let Some(store) = self.store.get() {
            store.close();
        }
    }

    /// A new channel's part in the store, if its options ask for one. What disappears with its last
    /// member has none.
    fn durable(
        &self,
        (name, epoch, ephemeral): (&str, u64, bool),
        config: &ChannelConfig,
    ) -> Result<Option<Durable>> {
        let Some(level) = config.level().filter(|_| !ephemeral) else { return Ok(None) };
        let Some(store) = self.store.get() else {
            let text = format!(
                "channel '{name}' has the option durability={}, and the server no option 'store'",
                config.durability
            );
            return Err(Error::new(ErrorKind::InvalidOption, text));
        };
        if let Some(error) = store.failure() {
            return Err(error);
        }
        Ok(Some(Durable::create(store, (name, epoch, level), config, &self.outlet)))
    }

    /// Channels now.
    pub fn len(&self) -> usize {
        self.channels.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether there is no channel.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Finds a channel.
    pub fn get(&self, name: &str) -> Option<Arc<Channel>> {
        self.channels.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Creates a channel with the options of its namespace. Errors: `InvalidName`, `ChannelExists`,
    /// `QueueFull` at the limit.
    pub fn create(&self, name: &str) -> Result<Arc<Channel>> {
        self.add(name, false, None)
    }

    /// Creates a channel with options of its own. Errors as of [`Hub::create`].
    pub fn create_with(&self, name: &str, config: ChannelConfig) -> Result<Arc<Channel>> {
        self.add(name, false, Some(Arc::new(config)))
    }

    /// The channel of this name, or else a new one that disappears with its last member. Errors:
    /// `InvalidName`, `QueueFull` at the limit.
    pub fn group(&self, name: &str) -> Result<Arc<Channel>> {
        loop {
            if let Some(channel) = self.get(name) {
                return Ok(channel);
            }
            match self.add(name, true, None) {
                Err(error) if error.kind() == ErrorKind::ChannelExists => {}
                added => return added,
            }
        }
    }

    /// Removes `channel` if it is one that disappears with its last member and has none.
    pub fn reap(&self, channel: &Arc<Channel>) {
        if !channel.is_ephemeral() {
            return;
        }
        let mut channels = self.channels.write().unwrap_or_else(PoisonError::into_inner);
        // A channel expires only if it was not deleted, and so is the one of its name. One that is
        // being deleted may have a successor already.
        if channels.get(channel.name()).is_some_and(|other| Arc::ptr_eq(other, channel))
            && channel.expire(self)
        {
            channels.remove(channel.name());
        }
    }

    /// Deletes a channel whose time is over, if it was not used meanwhile: whoever uses it comes
    /// before or is told that it is gone.
    pub(super) fn expire_channel(&self, channel: &Arc<Channel>, seen: &mut Seen) -> bool {
        let mut channels = self.channels.write().unwrap_or_else(PoisonError::into_inner);
        // One that is being deleted may have a successor already.
        let found = channels.get(channel.name()).is_some_and(|other| Arc::ptr_eq(other, channel));
        if !found || !channel.delete_unless_used(self, seen) {
            return false;
        }
        channels.remove(channel.name());
        true
    }

    /// A channel that no name leads to.
    pub fn private(&self, name: &str) -> Arc<Channel> {
        let id = self.next_id.fetch_add(1, Relaxed);
        let (epoch, shards) = (self.new_epoch(), self.inboxes.len());
        Arc::new(Channel::new(name, id, epoch, shards, false, Arc::default()))
    }

    fn add(
        &self,
        name: &str,
        ephemeral: bool,
        config: Option<Arc<ChannelConfig>>,
    ) -> Result<Arc<Channel>> {
        name::validate(name)?;
        let config = config.unwrap_or_else(|| Arc::clone(self.namespaces().config(name)));
        let mut channels = self.channels.write().unwrap_or_else(PoisonError::into_inner);
        if channels.contains_key(name) {
            return Err(Error::new(ErrorKind::ChannelExists, "Channel already exists"));
        }
        let limit = self.max_channels.load(Relaxed);
        if limit != 0 && channels.len() >= limit {
            let message = format!("There are {} channels, the limit", channels.len());
            return Err(Error::new(ErrorKind::QueueFull, message));
        }
        let id = self.next_id.fetch_add(1, Relaxed);
        let epoch = self.new_epoch();
        let shards = self.inboxes.len();
        let durable = self.durable((name, epoch, ephemeral), &config)?;
        let mut channel = Channel::new(name, id, epoch, shards, ephemeral, config);
        if let Some(durable) = durable {
            channel = channel.durable(durable);
        }
        let channel = Arc::new(channel.observed_by(&self.observers));
        channels.insert(name.into(), Arc::clone(&channel));
        self.bring_in(&channel);
        drop(channels);
        if self.watch_emptiness(&channel) {
            // Who looks after it may sleep for longer.
            self.inboxes(1).for_each(Inbox::notify);
        }
        Ok(channel)
    }

    /// Deletes a channel: what is published before reaches its subscribers, nothing after.
    /// Error: `ChannelNotFound`.
    pub fn delete(&self, name: &str) -> Result<()> {
        let removed = self.channels.write().unwrap_or_else(PoisonError::into_inner).remove(name);
        match removed {
            Some(channel) => {
                channel.delete(self);
                Ok(())
            }
            None => Err(Error::new(ErrorKind::ChannelNotFound, "Channel not found")),
        }
    }

    /// At most `limit` channels whose names sort behind `after`, in order.
    pub fn page(&self, after: Option<&str>, limit: usize) -> Vec<Arc<Channel>> {
        self.page_of("", after, limit)
    }

    /// Of the channels whose names begin with `prefix`, the same.
    pub fn page_of(&self, prefix: &str, after: Option<&str>, limit: usize) -> Vec<Arc<Channel>> {
        let channels = self.channels.read().unwrap_or_else(PoisonError::into_inner);
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        channels
            .range::<str, _>((from, Bound::Unbounded))
            .take_while(|(name, _)| name.starts_with(prefix))
            .take(limit)
            .map(|(_, channel)| Arc::clone(channel))
            .collect()
    }

    /// Microseconds since the Unix epoch, never the same twice, also when the clock stands still.
    /// It stays below 2^53 until the year 2255, so JSON numbers carry it.
    fn new_epoch(&self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
        let last = self
            .last_epoch
            .fetch_update(Relaxed, Relaxed, |last| Some(now.max(last + 1)))
            .unwrap_or_else(|last| last);
        now.max(last + 1)
    }
}
