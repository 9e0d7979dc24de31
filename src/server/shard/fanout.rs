//! The way from the inbox to the sockets.
//!
//! The cost of a message: taken from the inbox in a batch, put to its channel's pending list, and
//! joined with the round's other messages of that channel into one contiguous buffer; then, per
//! subscriber and buffer, one non-blocking send of those shared bytes. No allocation per
//! subscriber, no copy per subscriber.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::conn::{AfterFlush, Conn, Sent};
use super::encoding::{Encoding, join};
use super::lists::List;
use super::overload::Fates;
use super::queue::Tag;
use super::{Shard, gauges_of};
use crate::hub::{Channel, Gauges, Item};
use crate::tally::Counts;
use crate::wire::session::channel_deleted;
use crate::wire::websocket::Message;
use crate::wire::{MessageKind, close, stream};

impl Shard {
    /// Sends what waits in the inbox to this shard's subscribers.
    pub(super) fn deliver(&mut self) {
        if self.inbox.is_empty() {
            return;
        }
        let mut items = std::mem::take(&mut self.batch);
        let since = self.inbox.take(&mut items);
        self.batch = self.fan_out(items, since);
    }

    /// Delivers `items`, the first of which waited since `since`, and gives the empty vector back.
    pub(super) fn fan_out(&mut self, mut items: Vec<Item>, since: Option<Instant>) -> Vec<Item> {
        let mut touched = std::mem::take(&mut self.touched);
        let mut messages = 0;
        for item in items.drain(..) {
            match item {
                Item::Publish { channel, offset, message } => {
                    let slot = channel.slot(self.id);
                    if let Some(local) = self.locals.get_mut(slot as usize) {
                        if local.pending.is_empty() {
                            local.turn = touched.len() as u32;
                            touched.push(slot);
                        }
                        local.pending.push((offset, message));
                        messages += 1;
                    } else {
                        self.service.arrived(&channel, message.frame().len(), 1);
                    }
                }
                Item::Deleted(channel) => {
                    let slot = channel.slot(self.id);
                    self.fan_out_channel(slot);
                    self.close_channel(slot, &channel);
                    self.watchers.forget(channel.id());
                }
                Item::Send { to, message } => {
                    if let Some(token) = self.token_of(&to) {
                        self.fan_out_to(token, &touched);
                        self.send_direct(token, &message);
                    }
                }
                Item::Close { to, code, reason } => {
                    if let Some(token) = self.token_of(&to) {
                        self.fan_out_to(token, &touched);
                        self.close_websocket(token, code, &reason);
                    }
                }
                Item::Join { connection, channel, since } => {
                    self.join(&connection, &channel, since);
                }
                Item::Leave { connection, channel } => self.leave(&connection, &channel),
                Item::Watch { connection, channel, on } => {
                    self.watchers.set(&connection, channel.id(), on);
                }
                Item::Presence { channel, event } => self.tell_watchers(&channel, &event),
                Item::Decided { token, ticket, decision } => {
                    // Later: admitting somebody takes the inbox, and this batch comes before it.
                    self.decided.push((token as usize, ticket, *decision));
                }
                Item::Answer(answer) => self.late.push(*answer),
                Item::Survey(survey) => self.answer_survey(&survey),
            }
        }
        for (turn, slot) in touched.drain(..).enumerate() {
            // One that was fanned out before its turn stands here again for what came behind that.
            if self.locals.get(slot as usize).is_some_and(|local| local.turn == turn as u32) {
                self.fan_out_channel(slot);
            }
        }
        self.flush_peers();
        self.touched = touched;
        // One reading of the clock for all: each message counts as long as the first of them
        // waited and the last of their subscribers was written to.
        if let Some(since) = since.filter(|_| messages > 0) {
            self.gauges().publish_to_write.observe(since.elapsed(), messages);
        }
        if items.capacity() > 4096 {
            items = Vec::new();
        }
        items
    }

    /// Fans out the channels that the connection is in: what it is sent next comes behind them.
    fn fan_out_to(&mut self, token: usize, touched: &[u32]) {
        if touched.is_empty() {
            return;
        }
        let Some(peer) = self.conns.get_mut(token).and_then(Conn::peer_mut) else { return };
        let mut slots: Vec<u32> = peer.places.values().map(|place| place.slot).collect();
        slots.push(peer.everyone.slot);
        slots.retain(|&slot| {
            self.locals.get(slot as usize).is_some_and(|local| !local.pending.is_empty())
        });
        // As they would be without it.
        slots.sort_unstable_by_key(|&slot| self.locals.get(slot as usize).map(|local| local.turn));
        for slot in slots {
            self.fan_out_channel(slot);
        }
    }

    pub(super) fn fan_out_channel(&mut self, slot: u32) {
        let Some(local) = self.locals.get_mut(slot as usize) else { return };
        if local.pending.is_empty() {
            return;
        }
        let mut pending = std::mem::take(&mut local.pending);
        let numbers = (local.channel.id(), local.channel.epoch());
        let paced = local.policy.map(|policy| policy.with(self.options.queue_bytes));
        let held = local.channel.hold().is_some().then(|| Arc::clone(&local.channel));
        let mut failed = Vec::new();
        for (list, deflate) in local.occupied() {
            let Some(local) = self.locals.get(slot as usize) else { break };
            let channel = (list == List::Notifications).then(|| Arc::clone(&local.channel));
            let name = channel.as_ref().map_or("", |channel| channel.name());
            let encoding = Encoding::of(list, numbers, name);
            let deflated =
                (deflate && paced.is_none()).then(|| self.join_deflated(&pending, encoding));
            if list.has_peers() {
                let bytes = match &deflated {
                    Some(buffers) => buffers.iter().map(|(bytes, _)| bytes.len()).sum(),
                    None => pending.iter().map(|(_, message)| message.frame().len()).sum(),
                };
                self.before_peers(slot, (list, deflate), pending.len(), bytes);
            }
            let place = (slot, list, deflate);
            if let Some(paced) = &paced {
                self.fan_out_paced(place, encoding, &pending, paced, &mut failed);
                continue;
            }
            let mut counted = pending.as_slice();
            let mut send = |bytes: &Bytes, count| {
                let counts = self.send_to_all(place, bytes, count, &mut failed);
                let (sent, rest) = counted.split_at(counted.len().min(count as usize));
                counted = rest;
                let tallies = sent.iter().filter_map(|(_, message)| message.tally());
                tallies.for_each(|tally| tally.add(counts));
            };
            match deflated {
                Some(buffers) => buffers.iter().for_each(|(bytes, count)| send(bytes, *count)),
                None => join(&pending, encoding, send),
            }
        }
        if let Some(channel) = held {
            let bytes = pending.iter().map(|(_, message)| message.frame().len()).sum();
            self.service.arrived(&channel, bytes, pending.len());
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

    /// Writes what was sent to the connections of a list before these messages, and counts the
    /// messages.
    fn before_peers(
        &mut self,
        slot: u32,
        (list, deflate): (List, bool),
        messages: usize,
        bytes: usize,
    ) {
        let len =
            |shard: &Self| shard.locals.get(slot as usize).map(|l| l.tokens(list, deflate).len());
        // From the end: one that fails leaves the list, and the last one takes its place.
        for at in (0..len(self).unwrap_or(0)).rev() {
            let Some(local) = self.locals.get(slot as usize) else { return };
            let Some(&token) = local.tokens(list, deflate).get(at) else { continue };
            let Some(peer) = self.conns.get_mut(token as usize).and_then(Conn::peer_mut) else {
                continue;
            };
            let traffic = peer.connection.traffic();
            Gauges::add(&traffic.messages_out, messages as u64);
            Gauges::add(&traffic.bytes_out, bytes as u64);
            if peer.has_pending() {
                self.flush_peer(token as usize);
            }
        }
    }

    /// The loop that everything else serves: what became of these bytes, by subscribers.
    fn send_to_all(
        &mut self,
        (slot, list, deflate): (u32, List, bool),
        bytes: &Bytes,
        count: u64,
        failed: &mut Vec<(usize, Sent)>,
    ) -> Counts {
        let Some(local) = self.locals.get(slot as usize) else { return Counts::default() };
        let max_queue = self.options.queue_bytes;
        let channel = &local.channel;
        let now = self.now;
        let tag = || {
            let channel = Arc::clone(channel);
            Some(Tag { channel, count: count as u32, since: now, key: None })
        };
        let (mut written, mut queued) = (0, 0);
        let (mut all, mut waiting, mut lost, mut closed_slow) = (0, 0, 0, 0);
        for &token in local.tokens(list, deflate) {
            let Some(conn) = self.conns.get_mut(token as usize) else { continue };
            if conn.dead || conn.after_flush != AfterFlush::Stay {
                lost += 1;
                continue;
            }
            let before = conn.queued();
            match conn.send_tagged(bytes, max_queue, tag) {
                Sent::All => {
                    written += bytes.len();
                    all += 1;
                }
                Sent::Queued => {
                    waiting += 1;
                    let waits = conn.queued() - before;
                    written += bytes.len() - waits;
                    queued += waits;
                    conn.note_queueing(before, now);
                }
                sent => {
                    // It is still in the list that is being walked: it leaves after the walk.
                    conn.after_flush = AfterFlush::Free;
                    failed.push((token as usize, sent));
                    lost += 1;
                    closed_slow += u64::from(sent == Sent::Full);
                }
            }
        }
        let gauges = gauges_of(&self.service, self.id);
        let fates = Fates {
            written: count * all,
            queued: count * waiting,
            lost: count * lost,
            closed_slow,
            ..Fates::default()
        };
        fates.enter(channel.account(self.id));
        fates.enter(&gauges.messages);
        Gauges::add(&gauges.delivered, count * (all + waiting));
        Gauges::add(&gauges.bytes_out, written as u64);
        Gauges::add(&gauges.queued_bytes, queued as u64);
        Counts { reached: all + waiting, queued: waiting, dropped: lost }
    }

    /// Tells a deleted channel's subscribers, who have got everything that came before.
    fn close_channel(&mut self, slot: u32, channel: &Channel) {
        let id = channel.id();
        let Some(local) = self.locals.get(slot as usize) else { return };
        let tokens = |list| [local.tokens(list, false), local.tokens(list, true)].concat();
        let (listeners, streams) = (tokens(List::Listeners), tokens(List::Streams));
        let (events, notifications) = (tokens(List::Events), tokens(List::Notifications));
        let (frames, packets) = (tokens(List::Frames), tokens(List::Packets));
        let (metas, members) = (tokens(List::Metas), tokens(List::Members));
        for token in listeners.into_iter().chain(metas) {
            self.close_websocket(token as usize, close::CHANNEL_DELETED, "channel deleted");
        }
        for token in events {
            self.end_events(token as usize);
        }
        let gone = Message::new(MessageKind::Binary, &stream::gone(id));
        for token in streams {
            self.unsubscribe_stream(token as usize, id);
            self.send_own(token as usize, gone.frame());
        }
        for &token in frames.iter().chain(&notifications).chain(&packets).chain(&members) {
            let token = token as usize;
            let Some(peer) = self.conns.get_mut(token).and_then(Conn::peer_mut) else { continue };
            let connection = Arc::clone(&peer.connection);
            if let Some(place) = peer.places.remove(&id) {
                self.remove_member(place, &connection);
            }
        }
        for token in members {
            self.send_direct(token as usize, &gone);
        }
        if !notifications.is_empty() {
            let notice = Message::new(MessageKind::Text, &channel_deleted(channel.name()));
            for token in notifications {
                self.send_direct(token as usize, &notice);
            }
        }
    }
}
