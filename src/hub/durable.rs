//! Channels whose publications are kept on disk: publishing that commits first and delivers then,
//! and history from where memory ends.
//!
//! At `os` and `fsync` a message goes to the store without an offset. The store's thread writes it,
//! and its callback, which comes in the order of the offsets, gives the message its place under the
//! channel's lock, hands it to the shards and tells the publisher. So nobody ever sees a message
//! that a crash could take back. At `memory` the message is published as ever, and written behind.
//!
//! The newest part of the history is in memory too, so that those who come back after a moment, and
//! the step from history to what is live, need no disk.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::channel::State;
use super::history::{EXTRACT_BYTES, now_ms};
use super::keys::{Found, Keyed, Keys};
use super::publish::deleted;
use super::{Channel, ChannelConfig, Inbox, Page, Publication, Published, Range, Resume, lock};
use crate::store::{
    Appended, ChannelRecord, Level, Query, Reached, Record, Retention, Store, Stored,
};
use crate::sync::Arc;
use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};
use crate::wire::Position;
use crate::wire::websocket::Message;
use crate::{Error, ErrorKind, Result};

/// Told what became of a publication that is to be committed; on the store's thread or, for what is
/// known at once, on the publisher's.
pub type Committed = Box<dyn FnOnce(Result<Published>) + Send>;

/// A message to commit, its idempotency key, and who is told.
pub type Commit = (Message, Option<Vec<u8>>, Committed);

/// The newest publications that are in memory too.
const TAIL_RECORDS: usize = 4096;
const TAIL_BYTES: usize = 1 << 20;

/// Where commits are handed to the shards; also on the store's thread, which has no hub.
#[derive(Debug)]
pub(super) struct Outlet {
    pub inboxes: Box<[Arc<Inbox>]>,
    /// Publications since the start.
    pub published: AtomicU64,
}

/// A channel's part in the store.
#[derive(Debug)]
pub(super) struct Durable {
    store: Arc<Store>,
    id: u64,
    level: Level,
    /// The options of the part of the history that is in memory.
    tail: ChannelConfig,
    outlet: Arc<Outlet>,
}

/// Keys whose first messages are not committed yet.
pub(super) type Committing = HashMap<Vec<u8>, Repeats, foldhash::fast::RandomState>;

/// Who published the same message under the same key meanwhile.
#[derive(Default)]
pub(super) struct Repeats {
    print: u64,
    told: Vec<Committed>,
}

impl std::fmt::Debug for Repeats {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Repeats").field("told", &self.told.len()).finish_non_exhaustive()
    }
}

impl ChannelConfig {
    /// Where its publications are kept beside memory, if they are, and when they count as kept.
    pub fn level(&self) -> Option<Level> {
        match self.durability.as_str() {
            "memory" => Some(Level::Memory),
            "os" => Some(Level::Os),
            "fsync" => Some(Level::Fsync),
            _ => None,
        }
    }

    fn retention(&self) -> Retention {
        Retention {
            records: self.history_size as u64,
            bytes: self.history_bytes as u64,
            age_ms: u64::try_from(self.history_ttl.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// The options of the part of a durable history that is in memory.
    fn tail(&self) -> Self {
        let size = match self.history_size {
            0 => TAIL_RECORDS,
            size => size.min(TAIL_RECORDS),
        };
        let bytes = self.history_bytes.min(TAIL_BYTES);
        Self { history_size: size, history_bytes: bytes, ..self.clone() }
    }
}

impl Durable {
    pub(super) fn new(
        store: &Arc<Store>,
        id: u64,
        level: Level,
        config: &ChannelConfig,
        outlet: &Arc<Outlet>,
    ) -> Self {
        let (store, outlet) = (Arc::clone(store), Arc::clone(outlet));
        Self { store, id, level, tail: config.tail(), outlet }
    }

    /// Adds a channel to the store. That it is there is known at the latest when the first of its
    /// messages is.
    pub(super) fn create(
        store: &Arc<Store>,
        (name, epoch, level): (&str, u64, Level),
        config: &ChannelConfig,
        outlet: &Arc<Outlet>,
    ) -> Self {
        let record = ChannelRecord {
            id: 0,
            name: name.into(),
            epoch,
            level,
            retention: config.retention(),
            created_ms: epoch / 1000,
            text: config.text(),
        };
        let named = record.name.clone();
        let told = move |done: Result<()>| {
            if let Err(error) = done {
                log::error!(target: "qyun::store", "channel '{named}' is not in the store: {error}");
            }
        };
        let id = store.create(record, Box::new(told));
        Self::new(store, id, level, config, outlet)
    }

    /// The part of a channel that another process kept in the store as number `id`; `None` if nobody
    /// says when its publications count.
    pub(super) fn inherit(
        store: &Arc<Store>,
        id: u64,
        config: &ChannelConfig,
        outlet: &Arc<Outlet>,
    ) -> Option<Self> {
        let known = || store.channel(id).map(|known| known.channel.level);
        let level = config.level().or_else(known)?;
        Some(Self::new(store, id, level, config, outlet))
    }

    /// The store's number for the channel.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// Whether publishers wait for the store.
    pub(super) fn commits(&self) -> bool {
        self.level != Level::Memory
    }

    /// The options of the part of the history that is in memory.
    pub(super) fn tail(&self) -> &ChannelConfig {
        &self.tail
    }

    /// The oldest offset that is kept on disk; `None` if none is.
    pub(super) fn first(&self) -> Option<u64> {
        let (first, last) = self.store.bounds(self.id)?;
        (first <= last).then_some(first)
    }

    /// Writes a publication behind.
    pub(super) fn write(&self, offset: u64, message: &Message, key: Option<&[u8]>) {
        if let Err(error) = self.store.append_behind(self.id, record(message, key), offset) {
            log::warn!(target: "qyun::store", "offset {offset} is not written: {error}");
        }
    }

    /// Removes all of it.
    pub(super) fn discard(&self) {
        let id = self.id;
        let told = move |done: Result<()>| {
            if let Err(error) = done {
                log::error!(target: "qyun::store", "channel {id} is not removed: {error}");
            }
        };
        self.store.delete(id, Box::new(told));
    }

    /// The publications behind `after` and in front of `end`, about `max_bytes` of them. Reads the
    /// disk.
    pub(super) fn behind(&self, after: u64, end: u64, max_bytes: usize) -> Resume {
        let query = Query { after: Some(after), before: Some(end), max_bytes, ..Query::default() };
        match self.store.read(self.id, &query) {
            Err(error) => {
                log::error!(target: "qyun::store", "history behind offset {after}: {error}");
                Resume::Lost
            }
            Ok(page) => match page.records.first() {
                Some(first) if first.offset == after + 1 => Resume::Behind(
                    page.records.iter().map(|one| (one.offset, message(one))).collect(),
                ),
                // What is not written yet will be, unless nothing is written any more.
                None if self.level == Level::Memory && self.store.failure().is_none() => {
                    Resume::Behind(Page::new())
                }
                _ => Resume::Lost,
            },
        }
    }

    /// A part of the history, up to the offset `last`, and whether the range has more.
    pub(super) fn read(&self, range: &Range, last: u64) -> Result<(Vec<Publication>, bool)> {
        let before = range.before.unwrap_or(u64::MAX).min(last + 1);
        let page = self.store.read(
            self.id,
            &Query {
                after: range.after,
                before: Some(before),
                limit: range.limit,
                max_bytes: EXTRACT_BYTES,
                backward: range.backward,
            },
        )?;
        let from = range.after.map_or(0, |after| after.saturating_add(1)).max(page.first);
        let more = match (page.records.last(), range.backward) {
            (None, _) => false,
            (Some(last), false) => last.offset + 1 < before,
            (Some(last), true) => last.offset > from,
        };
        let publications = page.records.iter().map(|one| Publication {
            offset: one.offset,
            time_ms: one.record.time_ms,
            message: message(one),
        });
        Ok((publications.collect(), more))
    }

    /// The keys of the publications within the channel's window.
    pub(super) fn keys(&self, config: &ChannelConfig) -> Result<Option<Box<Keys>>> {
        let window = u64::try_from(config.idempotency_window.as_millis()).unwrap_or(u64::MAX);
        let (now, now_ms) = (Instant::now(), now_ms());
        let mut found: Vec<Stored> = Vec::new();
        let mut before = None;
        if window == 0 {
            return Ok(None);
        }
        'pages: loop {
            let query = Query { before, backward: true, ..Query::default() };
            let page = self.store.read(self.id, &query)?.records;
            let Some(last) = page.last() else { break };
            before = Some(last.offset);
            for stored in page {
                let old = now_ms.saturating_sub(stored.record.time_ms) >= window;
                if old || found.len() >= config.idempotency_size {
                    break 'pages;
                }
                if !stored.record.idempotency.is_empty() {
                    found.push(stored);
                }
            }
        }
        if found.is_empty() {
            return Ok(None);
        }
        let mut keys = Box::<Keys>::default();
        for stored in found.iter().rev() {
            let age = Duration::from_millis(now_ms.saturating_sub(stored.record.time_ms));
            let at = now.checked_sub(age).unwrap_or(now);
            let message = message(stored);
            let keyed = Keyed::new(&stored.record.idempotency, &message);
            keys.remember(config, keyed, stored.offset, at);
        }
        Ok(Some(keys))
    }
}

fn record(message: &Message, key: Option<&[u8]>) -> Record {
    Record {
        kind: message.kind(),
        payload: Bytes::copy_from_slice(message.payload()),
        key: Bytes::new(),
        idempotency: key.map(Bytes::copy_from_slice).unwrap_or_default(),
        time_ms: now_ms(),
    }
}

fn message(stored: &Stored) -> Message {
    Message::new(stored.record.kind, &stored.record.payload)
}

impl Channel {
    /// Whether a publication counts only when the store has it: then [`Channel::commit`] is the way
    /// to publish.
    pub fn commits(&self) -> bool {
        self.commits
    }

    /// Publishes messages one after the other, with nothing of others in between, each when the
    /// store has it. Every one of `run` is told what became of its message: errors are those of
    /// [`Channel::publish_with`], and what the store failed with. A message whose key belongs to one
    /// that is not committed yet is told with that one.
    pub fn commit(self: &Arc<Self>, run: Vec<Commit>) {
        let Some(durable) = &self.durable else {
            let error = Error::new(ErrorKind::InvalidArgument, "the channel is not durable");
            return run.into_iter().for_each(|(_, _, told)| told(Err(error.clone())));
        };
        let now = Instant::now();
        let (mut records, mut early) = (Vec::new(), Vec::new());
        // A whole message is read for its key: not under the lock.
        let prints: Vec<_> = run
            .iter()
            .map(|(message, key, _)| {
                let keyed = self.keyed(key.as_deref(), message)?;
                Ok(keyed.map(|keyed| keyed.print()))
            })
            .collect();
        {
            let mut state = lock(&self.state);
            for ((message, key, told), print) in run.into_iter().zip(prints) {
                let print = match print {
                    Err(error) => {
                        early.push((told, Err(error)));
                        continue;
                    }
                    Ok(_) if state.deleted => {
                        early.push((told, Err(deleted())));
                        continue;
                    }
                    Ok(print) => print,
                };
                let key = key.zip(print);
                if let Some((told, result)) = self.settle_key(&mut state, key.as_ref(), told, now) {
                    match result {
                        Some(result) => early.push((told, result)),
                        None => records.push((message, key, told)),
                    }
                }
            }
        }
        // Without the lock: what is refused is told at once.
        early.into_iter().for_each(|(told, result)| told(result));
        let reached = match durable.level {
            Level::Fsync => Reached::Fsync,
            _ => Reached::Os,
        };
        let records = records.into_iter().map(|(message, key, told)| {
            let record = record(&message, key.as_ref().map(|(key, _)| &**key));
            let channel = Arc::clone(self);
            let done = Box::new(move |appended: Result<Appended>| {
                channel.committed(appended, message, key, told);
            });
            (record, done as Box<dyn FnOnce(Result<Appended>) + Send>)
        });
        durable.store.append_many(durable.id, records, reached);
    }

    /// Looks whether the message was published under its key, or is about to be. `None`: it will be
    /// told with that one. Otherwise the result, if there is one already.
    fn settle_key(
        &self,
        state: &mut State,
        key: Option<&(Vec<u8>, u64)>,
        told: Committed,
        now: Instant,
    ) -> Option<(Committed, Option<Result<Published>>)> {
        let Some((key, print)) = key else { return Some((told, None)) };
        let conflict = || {
            let text = "another message was published under this key";
            Error::new(ErrorKind::Conflict, text)
        };
        match self.known(state, Some(Keyed::of(key, *print)), now) {
            Found::Other => return Some((told, Some(Err(conflict())))),
            Found::Repeat(offset) => {
                let published = self.published(offset, true);
                return Some((told, Some(Ok(published))));
            }
            Found::New => {}
        }
        let committing = state.committing.get_or_insert_default();
        match committing.get_mut(key) {
            Some(repeats) if repeats.print == *print => {
                repeats.told.push(told);
                None
            }
            Some(_) => Some((told, Some(Err(conflict())))),
            None => {
                let repeats = Repeats { print: *print, told: Vec::new() };
                committing.insert(key.clone(), repeats);
                Some((told, None))
            }
        }
    }

    fn published(&self, offset: u64, duplicate: bool) -> Published {
        let position = Position { epoch: self.epoch, offset };
        Published { position, subscribers: self.subscribers.load(Relaxed), duplicate }
    }

    /// The store has a message, or refused it. On the store's thread, in the order of the offsets.
    fn committed(
        self: &Arc<Self>,
        appended: Result<Appended>,
        message: Message,
        key: Option<(Vec<u8>, u64)>,
        told: Committed,
    ) {
        let Some(durable) = &self.durable else { return };
        let (result, repeats, shards) = {
            let mut state = lock(&self.state);
            let repeats = match (&key, &mut state.committing) {
                (Some((key, _)), Some(committing)) => committing.remove(key),
                _ => None,
            };
            match appended {
                Ok(_) if state.deleted => (Err(deleted()), repeats, 0),
                Ok(Appended { offset, time_ms }) => {
                    state.offset = offset;
                    if let Some(history) = &mut state.history {
                        history.push(&durable.tail, offset, time_ms, message.alone());
                    }
                    if let Some((key, print)) = &key {
                        let keys = state.keys.get_or_insert_default();
                        keys.remember(&self.config, Keyed::of(key, *print), offset, Instant::now());
                    }
                    let published = self.published(offset, false);
                    let outgoing = self.outgoing(Cow::Borrowed(&message));
                    self.depart(message.frame().len(), state.shards);
                    for inbox in durable.inboxes(state.shards) {
                        inbox.push(self.item(offset, (*outgoing).clone()));
                    }
                    (Ok(published), repeats, state.shards)
                }
                Err(error) => (Err(error), repeats, 0),
            }
        };
        if result.is_ok() {
            durable.outlet.published.fetch_add(1, Relaxed);
        }
        durable.inboxes(shards).for_each(Inbox::notify);
        let repeated = result.clone().map(|published| Published { duplicate: true, ..published });
        // The message is held to the end: who counts whom it reaches hears the result first.
        told(result);
        for told in repeats.into_iter().flat_map(|repeats| repeats.told) {
            told(repeated.clone());
        }
    }
}

impl Durable {
    /// The inboxes of the shards whose bits are set.
    fn inboxes(&self, mask: u64) -> impl Iterator<Item = &Inbox> {
        inboxes(&self.outlet.inboxes, mask)
    }
}

/// The inboxes whose bits are set.
pub(super) fn inboxes(all: &[Arc<Inbox>], mask: u64) -> impl Iterator<Item = &Inbox> {
    all.iter().enumerate().filter(move |(shard, _)| mask & (1 << shard) != 0).map(|(_, one)| &**one)
}
