//! Who subscribes to what on this shard, and the way from the inbox to the sockets.
//!
//! The cost of a message: taken from the inbox in a batch, put to its channel's pending list, and
//! joined with the round's other messages of that channel into one contiguous buffer; then, per
//! subscriber and buffer, one non-blocking send of those shared bytes. No allocation per
//! subscriber, no copy per subscriber.

use std::sync::Arc;

use bytes::Bytes;

use super::Shard;
use super::conn::{AfterFlush, Conn, Lane, Sent};
use crate::hub::{Channel, Gauges, Item, NO_SLOT, Start};
use crate::wire::websocket::Message;
use crate::wire::{MessageKind, Position, close, events, stream};

/// Messages of one channel are joined up to this size. Less costs sends; more delays the first
/// subscriber's bytes.
const JOIN_BYTES: usize = 256 << 10;

/// A channel's subscribers on this shard.
#[derive(Debug)]
pub(super) struct Local {
    channel: Arc<Channel>,
    /// The subscribed connections, by what they get.
    lists: [Vec<u32>; LISTS],
    /// Messages of this round, in order.
    pending: Vec<(u64, Message)>,
    /// Somebody is about to subscribe: the entry stays although it may be empty.
    joining: bool,
}

/// Where a subscriber stands: the channel's entry in the shard, and its place in that list.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    slot: u32,
    index: u32,
}

/// What a subscriber gets of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum List {
    /// The bare WebSocket frame.
    Listeners,
    /// A packet of the stream protocol.
    Streams,
    /// A server-sent event.
    Events,
}

const LISTS: usize = 3;

impl Local {
    fn list(&mut self, list: List) -> &mut Vec<u32> {
        let [listeners, streams, events] = &mut self.lists;
        match list {
            List::Listeners => listeners,
            List::Streams => streams,
            List::Events => events,
        }
    }

    fn subscribers(&self) -> usize {
        self.lists.iter().map(Vec::len).sum()
    }

    fn is_deserted(&self) -> bool {
        !self.joining && self.subscribers() == 0
    }

    /// Forgets all subscribers of a shard that ends.
    pub(super) fn abandon(self, shard: usize, gauges: &Gauges) {
        let subscribers = self.subscribers();
        for left in (0..subscribers).rev() {
            self.channel.unsubscribe(shard, left == 0);
        }
        Gauges::sub(&gauges.subscribers, subscribers as u64);
    }
}

impl Shard {
    /// Makes the connection a listener, from the message after the returned position on. `None`
    /// when the channel is deleted or the connection has come to its end.
    pub(super) fn subscribe_listener(
        &mut self,
        token: usize,
        channel: &Arc<Channel>,
    ) -> Option<Start> {
        let (start, place) = self.subscribe(token, channel, List::Listeners)?;
        if let Some(conn) = self.conns.get_mut(token) {
            conn.lane = Lane::Listener(place);
        }
        Some(start)
    }

    /// Makes the connection a stream of server-sent events.
    pub(super) fn subscribe_events(
        &mut self,
        token: usize,
        channel: &Arc<Channel>,
    ) -> Option<Start> {
        let (start, place) = self.subscribe(token, channel, List::Events)?;
        if let Some(conn) = self.conns.get_mut(token) {
            conn.lane = Lane::Events(place);
        }
        Some(start)
    }

    /// Adds the channel to a stream connection's subscriptions; harmless when it is there.
    pub(super) fn subscribe_stream(
        &mut self,
        token: usize,
        channel: &Arc<Channel>,
    ) -> Option<Start> {
        let has = |shard: &Self| match &shard.conns.get(token)?.lane {
            Lane::Stream(places) => Some(places.contains_key(&channel.id())),
            _ => None,
        };
        if has(self)? {
            // What was published before this answer is delivered before it.
            let mut before = Vec::new();
            let position = channel.position(|| self.inbox.take(&mut before));
            self.fan_out(before);
            return Some(Start { position });
        }
        let (start, place) = self.subscribe(token, channel, List::Streams)?;
        if let Some(Lane::Stream(places)) = self.conns.get_mut(token).map(|conn| &mut conn.lane) {
            places.insert(channel.id(), place);
        }
        Some(start)
    }

    fn subscribe(
        &mut self,
        token: usize,
        channel: &Arc<Channel>,
        list: List,
    ) -> Option<(Start, Place)> {
        let mut before = Vec::new();
        let start = channel.subscribe(self.id, || self.inbox.take(&mut before)).ok()?;
        let slot = match channel.slot(self.id) {
            NO_SLOT => {
                let slot = self.locals.insert(Local {
                    channel: Arc::clone(channel),
                    lists: Default::default(),
                    pending: Vec::new(),
                    joining: true,
                });
                channel.set_slot(self.id, slot as u32);
                slot as u32
            }
            slot => {
                self.locals.get_mut(slot as usize)?.joining = true;
                slot
            }
        };
        // Everything published before the subscription goes to the earlier subscribers first. One
        // of them may fail and leave: were the last one to take the entry along, this shard would
        // no longer be told of the channel. The subscriber itself may fail as well.
        self.fan_out(before);
        let remains = self.conns.get(token).is_some_and(Conn::may_subscribe);
        let local = self.locals.get_mut(slot as usize)?;
        local.joining = false;
        if !remains {
            let deserted = local.is_deserted();
            if deserted {
                channel.set_slot(self.id, NO_SLOT);
                self.locals.remove(slot as usize);
            }
            channel.unsubscribe(self.id, deserted);
            return None;
        }
        let list = local.list(list);
        let index = list.len() as u32;
        list.push(token as u32);
        Gauges::add(&self.gauges().subscribers, 1);
        Some((start, Place { slot, index }))
    }

    /// Ends all subscriptions of a connection.
    pub(super) fn unsubscribe_all(&mut self, token: usize) {
        let Some(conn) = self.conns.get_mut(token) else { return };
        match &mut conn.lane {
            Lane::Listener(place) => {
                let place = *place;
                conn.lane = Lane::Closing;
                self.remove(place, List::Listeners);
            }
            Lane::Events(place) => {
                let place = *place;
                conn.lane = Lane::Lingering;
                self.remove(place, List::Events);
            }
            Lane::Stream(places) => {
                // Each removal may move another subscriber, never this connection, whose places
                // are taken first.
                let places = std::mem::take(&mut **places);
                conn.lane = Lane::Closing;
                for place in places.into_values() {
                    self.remove(place, List::Streams);
                }
            }
            _ => {}
        }
    }

    /// Ends one subscription of a stream connection; false when there is none.
    pub(super) fn unsubscribe_stream(&mut self, token: usize, channel: u64) -> bool {
        let place = match self.conns.get_mut(token).map(|conn| &mut conn.lane) {
            Some(Lane::Stream(places)) => places.remove(&channel),
            _ => None,
        };
        match place {
            Some(place) => {
                self.remove(place, List::Streams);
                true
            }
            None => false,
        }
    }

    /// Takes a subscriber out of its list; the list's last one moves to its place.
    fn remove(&mut self, place: Place, list: List) {
        let slot = place.slot as usize;
        let Some(local) = self.locals.get_mut(slot) else { return };
        let tokens = local.list(list);
        let index = place.index as usize;
        if index >= tokens.len() {
            debug_assert!(false, "a subscriber stands where its list ends");
            return;
        }
        tokens.swap_remove(index);
        let moved = tokens.get(index).copied();
        let deserted = local.is_deserted();
        let channel = Arc::clone(&local.channel);
        if let Some(moved) = moved.and_then(|token| self.conns.get_mut(token as usize)) {
            match &mut moved.lane {
                Lane::Listener(other) | Lane::Events(other) => other.index = place.index,
                Lane::Stream(places) => {
                    if let Some(other) = places.get_mut(&channel.id()) {
                        other.index = place.index;
                    }
                }
                _ => debug_assert!(false, "a subscriber listens, streams or takes events"),
            }
        }
        if deserted {
            channel.set_slot(self.id, NO_SLOT);
            self.locals.remove(slot);
        }
        channel.unsubscribe(self.id, deserted);
        Gauges::sub(&self.gauges().subscribers, 1);
    }

    /// Sends what waits in the inbox to this shard's subscribers.
    pub(super) fn deliver(&mut self) {
        if self.inbox.is_empty() {
            return;
        }
        let mut items = std::mem::take(&mut self.batch);
        self.inbox.take(&mut items);
        self.batch = self.fan_out(items);
    }

    /// Delivers `items` and gives the empty vector back.
    fn fan_out(&mut self, mut items: Vec<Item>) -> Vec<Item> {
        let mut touched = std::mem::take(&mut self.touched);
        for item in items.drain(..) {
            match item {
                Item::Publish { channel, offset, message } => {
                    let slot = channel.slot(self.id);
                    if let Some(local) = self.locals.get_mut(slot as usize) {
                        if local.pending.is_empty() {
                            touched.push(slot);
                        }
                        local.pending.push((offset, message));
                    }
                }
                Item::Deleted(channel) => {
                    let slot = channel.slot(self.id);
                    self.fan_out_channel(slot);
                    self.close_channel(slot, channel.id());
                }
            }
        }
        for slot in touched.drain(..) {
            self.fan_out_channel(slot);
        }
        self.touched = touched;
        if items.capacity() > 4096 {
            items = Vec::new();
        }
        items
    }

    fn fan_out_channel(&mut self, slot: u32) {
        let Some(local) = self.locals.get_mut(slot as usize) else { return };
        if local.pending.is_empty() {
            return;
        }
        let mut pending = std::mem::take(&mut local.pending);
        let id = local.channel.id();
        let epoch = local.channel.epoch();
        let mut failed = Vec::new();
        for list in [List::Listeners, List::Streams, List::Events] {
            let Some(local) = self.locals.get_mut(slot as usize) else { break };
            let tokens = std::mem::take(local.list(list));
            if tokens.is_empty() {
                continue;
            }
            let send = |bytes: &Bytes, count| self.send_to_all(&tokens, bytes, count, &mut failed);
            match list {
                List::Listeners => join(&pending, Encoding::Frame, send),
                List::Streams => join(&pending, Encoding::Packet { channel: id }, send),
                List::Events => join(&pending, Encoding::Event { epoch }, send),
            }
            if let Some(local) = self.locals.get_mut(slot as usize) {
                *local.list(list) = tokens;
            }
        }
        pending.clear();
        if pending.capacity() <= 1024
            && let Some(local) = self.locals.get_mut(slot as usize)
        {
            local.pending = pending;
        }
        for (token, sent) in failed {
            self.on_send_failed(token, sent);
        }
    }

    /// The loop that everything else serves.
    fn send_to_all(
        &mut self,
        tokens: &[u32],
        bytes: &Bytes,
        count: u64,
        failed: &mut Vec<(usize, Sent)>,
    ) {
        let max_queue = self.service.options().queue_bytes;
        let (mut written, mut queued, mut reached) = (0, 0, 0);
        for &token in tokens {
            let Some(conn) = self.conns.get_mut(token as usize) else { continue };
            if conn.dead || conn.after_flush != AfterFlush::Stay {
                continue;
            }
            let before = conn.queued();
            match conn.send(bytes, max_queue) {
                Sent::All => {
                    written += bytes.len();
                    reached += 1;
                }
                Sent::Queued => {
                    reached += 1;
                    let waits = conn.queued() - before;
                    written += bytes.len() - waits;
                    queued += waits;
                }
                sent => {
                    // It is still in the list that is being walked: it leaves after the walk.
                    conn.after_flush = AfterFlush::Free;
                    failed.push((token as usize, sent));
                }
            }
        }
        let gauges = self.gauges();
        Gauges::add(&gauges.delivered, count * reached);
        Gauges::add(&gauges.bytes_out, written as u64);
        Gauges::add(&gauges.queued_bytes, queued as u64);
    }

    /// Tells a deleted channel's subscribers, who have got everything that came before.
    fn close_channel(&mut self, slot: u32, id: u64) {
        let Some(local) = self.locals.get_mut(slot as usize) else { return };
        let [listeners, streams, events] = local.lists.clone();
        for token in listeners {
            self.close_websocket(token as usize, close::CHANNEL_DELETED, "channel deleted");
        }
        for token in events {
            self.end_events(token as usize);
        }
        let mut notice = Vec::new();
        Message::append(&mut notice, MessageKind::Binary, &[&stream::gone(id)]);
        for token in streams {
            self.unsubscribe_stream(token as usize, id);
            self.send_own(token as usize, &notice);
        }
    }
}

/// How a message is written to the subscribers of a list.
#[derive(Clone, Copy)]
enum Encoding {
    Frame,
    Packet { channel: u64 },
    Event { epoch: u64 },
}

impl Encoding {
    /// About how many bytes a message takes; of a bare frame, exactly.
    fn size(self, message: &Message) -> usize {
        match self {
            Self::Frame => message.frame().len(),
            Self::Packet { .. } => message.payload().len() + stream::MESSAGE_HEADER + 10,
            Self::Event { .. } => events::size(message.kind(), message.payload()),
        }
    }

    fn append(self, out: &mut Vec<u8>, offset: u64, message: &Message) {
        match self {
            Self::Frame => out.extend_from_slice(message.frame()),
            Self::Packet { channel } => {
                let header = stream::message_header(channel, offset, message.kind());
                Message::append(out, MessageKind::Binary, &[&header, message.payload()]);
            }
            Self::Event { epoch } => {
                let position = Position { epoch, offset };
                events::append(out, position, message.kind(), message.payload());
            }
        }
    }
}

/// Joins messages into buffers of about [`JOIN_BYTES`] and hands each on with the number of
/// messages in it. A bare frame that is alone in its buffer is handed on as it is.
fn join(pending: &[(u64, Message)], encoding: Encoding, mut send: impl FnMut(&Bytes, u64)) {
    let mut rest = pending;
    while let Some((_, first)) = rest.first() {
        let mut total = encoding.size(first);
        let mut count = 1;
        while let Some((_, next)) = rest.get(count)
            && total + encoding.size(next) <= JOIN_BYTES
        {
            total += encoding.size(next);
            count += 1;
        }
        let (now, later) = rest.split_at(count);
        rest = later;
        if let (Encoding::Frame, [(_, alone)]) = (encoding, now) {
            send(alone.frame(), 1);
            continue;
        }
        let mut out = Vec::with_capacity(total);
        for (offset, message) in now {
            encoding.append(&mut out, *offset, message);
        }
        send(&out.into(), count as u64);
    }
}
