//! Publishing: one message as fast as can be, or several that stand together, and those that are not
//! to be repeated.

use std::borrow::Cow;
use std::time::Instant;

use super::channel::State;
use super::history::now_ms;
use super::keys::{Found, Keyed};
use super::outgoing::check_key;
use super::{Channel, Deleted, Hub, Item, Published, lock};
use crate::sync::Arc;
use crate::sync::atomic::Ordering::Relaxed;
use crate::wire::Position;
use crate::wire::websocket::{Extras, Message};
use crate::{Error, ErrorKind, Result};

/// A message and the key under which it is published once.
pub type Keyable<'a> = (&'a Message, Option<&'a [u8]>);

impl Channel {
    /// Gives `message` the next offset and hands it to every shard that has a subscriber: one lock,
    /// and for each such shard one more. A message that is given away and goes to one shard is moved;
    /// otherwise its clones share an allocation besides that of its frame. With subscribers that
    /// compress, another one, for what the shards then share.
    pub fn publish<'a>(
        self: &Arc<Self>,
        hub: &Hub,
        message: impl Into<Cow<'a, Message>>,
    ) -> std::result::Result<Published, Deleted> {
        let message = message.into();
        let (offset, shards, subscribers) = {
            let mut state = lock(&self.state);
            if state.deleted {
                return Err(Deleted);
            }
            // Before a shard may find out that one of them is too slow.
            let subscribers = self.subscribers.load(Relaxed);
            let offset = self.next_offset(&mut state, &message, None);
            let message = self.outgoing(message);
            self.depart(message.frame().len(), state.shards);
            let mut inboxes = hub.inboxes(state.shards);
            if let Some(first) = inboxes.next() {
                inboxes.for_each(|other| other.push(self.item(offset, (*message).clone())));
                first.push(self.item(offset, message.into_owned()));
            }
            (offset, state.shards, subscribers)
        };
        hub.inboxes(shards).for_each(super::Inbox::notify);
        Ok(Published {
            position: Position { epoch: self.epoch, offset },
            subscribers,
            duplicate: false,
        })
    }

    /// The next offset, for `message`, which the history keeps if there is one.
    fn next_offset(&self, state: &mut State, message: &Message, key: Option<&[u8]>) -> u64 {
        debug_assert!(!self.commits, "what is to be committed gets its offset from the store");
        state.offset += 1;
        if let Some(history) = &mut state.history {
            history.push(self.tail_config(), state.offset, now_ms(), message.alone());
            if let Some(durable) = &self.durable {
                durable.write(state.offset, message, key);
            }
        }
        state.offset
    }

    /// A message is about to be told to these shards.
    pub(super) fn depart(&self, size: usize, shards: u64) {
        if let Some(hold) = self.hold() {
            hold.depart(size, shards.count_ones() as usize);
        }
    }

    /// The message as it goes to the shards.
    pub(super) fn outgoing<'a>(&self, message: Cow<'a, Message>) -> Cow<'a, Message> {
        match self.deflating.load(Relaxed) {
            0 => message,
            _ if message.shares() => message,
            _ => Cow::Owned(message.sharing(Extras::default())),
        }
    }

    pub(super) fn item(self: &Arc<Self>, offset: u64, message: Message) -> Item {
        Item::Publish { channel: Arc::clone(self), offset, message }
    }

    /// Publishes a message unless its key was used before: then the result is that of the first
    /// time, and says so. Errors: `ChannelNotFound` once the channel is deleted; `InvalidArgument`
    /// for a key that is not 1 to [`MAX_KEY`](super::MAX_KEY) bytes, or in a channel that remembers none;
    /// `Conflict` if another message was published under the key.
    pub fn publish_with(self: &Arc<Self>, hub: &Hub, keyable: Keyable<'_>) -> Result<Published> {
        let mut results = self.publish_run(hub, &[keyable]);
        results.pop().unwrap_or_else(|| Err(deleted()))
    }

    /// Publishes messages one after the other, with nothing of others in between, and for each shard
    /// at once. The results are those of [`Channel::publish_with`], in the order of the messages; one
    /// that fails does not keep the others back.
    pub fn publish_run(self: &Arc<Self>, hub: &Hub, run: &[Keyable<'_>]) -> Vec<Result<Published>> {
        if self.commits {
            let error = Error::new(ErrorKind::InvalidArgument, "the channel is to be committed to");
            return run.iter().map(|_| Err(error.clone())).collect();
        }
        // A whole message is read for its key: not under the lock.
        let keys: Vec<_> = run.iter().map(|(message, key)| self.keyed(*key, message)).collect();
        let now = Instant::now();
        let mut results = Vec::with_capacity(run.len());
        let mut placed: Vec<(u64, Cow<'_, Message>)> = Vec::with_capacity(run.len());
        let shards = {
            let mut state = lock(&self.state);
            if state.deleted {
                return run.iter().map(|_| Err(deleted())).collect();
            }
            let subscribers = self.subscribers.load(Relaxed);
            for ((message, text), key) in run.iter().zip(keys) {
                let offset = match key {
                    Err(error) => Err(error),
                    Ok(key) => match self.known(&mut state, key, now) {
                        Found::New => {
                            let offset = self.next_offset(&mut state, message, *text);
                            placed.push((offset, self.outgoing(Cow::Borrowed(*message))));
                            self.depart(message.frame().len(), state.shards);
                            if let Some(key) = key {
                                let keys = state.keys.get_or_insert_default();
                                keys.remember(&self.config, key, offset, now);
                            }
                            Ok((offset, false))
                        }
                        Found::Repeat(offset) => Ok((offset, true)),
                        Found::Other => {
                            let text = "another message was published under this key";
                            Err(Error::new(ErrorKind::Conflict, text))
                        }
                    },
                };
                results.push(offset.map(|(offset, duplicate)| Published {
                    position: Position { epoch: self.epoch, offset },
                    subscribers,
                    duplicate,
                }));
            }
            for inbox in hub.inboxes(state.shards) {
                let items = placed.iter().map(|(offset, message)| (*offset, (**message).clone()));
                inbox.push_all(items.map(|(offset, message)| self.item(offset, message)));
            }
            state.shards
        };
        hub.inboxes(shards).for_each(super::Inbox::notify);
        results
    }

    pub(super) fn keyed<'a>(
        &self,
        key: Option<&'a [u8]>,
        message: &Message,
    ) -> Result<Option<Keyed<'a>>> {
        let Some(key) = key else { return Ok(None) };
        check_key(key)?;
        if !self.config.remembers_keys() {
            let text = "the channel remembers no idempotency keys";
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        Ok(Some(Keyed::new(key, message)))
    }

    pub(super) fn known(&self, state: &mut State, key: Option<Keyed<'_>>, now: Instant) -> Found {
        match (key, &mut state.keys) {
            (Some(key), Some(keys)) => keys.find(&self.config, key, now),
            _ => Found::New,
        }
    }
}

pub(super) fn deleted() -> Error {
    Error::new(ErrorKind::ChannelNotFound, "Channel not found")
}
