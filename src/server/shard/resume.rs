//! Subscribers that get what they missed first.
//!
//! Such a subscriber stands in no list yet: it reads the channel's history page by page, each when
//! its socket has taken the one before, and comes into the list with the last one. So it costs no
//! more memory than one page, however much it missed and however slowly it reads.

use std::sync::Arc;

use super::conn::Lane;
use super::encoding::{Encoding, join};
use super::lists::{List, Place};
use super::{AfterFlush, Shard};
use crate::hub::{Channel, Connection, Deleted, Gauges, Item, Resume};
use crate::wire::session::channel_deleted;
use crate::wire::websocket::Message;
use crate::wire::{MessageKind, Position, close, stream};

/// About how much a page has, in bytes of messages.
const PAGE_BYTES: usize = 64 << 10;

/// A subscriber that is behind.
#[derive(Debug)]
pub(super) struct CatchUp {
    channel: Arc<Channel>,
    list: List,
    /// The last publication that it was sent.
    after: Position,
    /// A member is counted already; and must be counted out if it goes.
    member: Option<Arc<Connection>>,
}

impl CatchUp {
    pub(super) fn new(channel: &Arc<Channel>, list: List, after: Position) -> Self {
        Self { channel: Arc::clone(channel), list, after, member: None }
    }

    pub(super) fn of_member(
        channel: &Arc<Channel>,
        list: List,
        offset: u64,
        connection: &Arc<Connection>,
    ) -> Self {
        let after = Position { epoch: channel.epoch(), offset };
        Self { channel: Arc::clone(channel), list, after, member: Some(Arc::clone(connection)) }
    }
}

impl CatchUp {
    /// Whether one of `items` says that it leaves the channel.
    fn leaves_among(&self, items: &[Item]) -> bool {
        let Some(member) = &self.member else { return false };
        items.iter().any(|item| match item {
            Item::Leave { connection, channel } => {
                Arc::ptr_eq(connection, member) && Arc::ptr_eq(channel, &self.channel)
            }
            _ => false,
        })
    }

    /// What it is behind with.
    pub(super) fn channel(&self) -> &Channel {
        &self.channel
    }

    /// The last publication that it was sent.
    pub(super) fn offset(&self) -> u64 {
        self.after.offset
    }
}

impl Shard {
    /// What a connection is catching up with.
    pub(super) fn catching(&self, token: usize) -> &[CatchUp] {
        self.catching.get(&token).map_or(&[], Vec::as_slice)
    }

    /// Lets a connection catch up with a channel, from the end of this round on.
    pub(super) fn begin_catch_up(&mut self, token: usize, catch_up: CatchUp) {
        self.catching.entry(token).or_default().push(catch_up);
        self.hungry.push(token);
    }

    /// Channels that the connection is catching up with.
    pub(super) fn catching_count(&self, token: usize) -> usize {
        self.catching.get(&token).map_or(0, Vec::len)
    }

    /// The connection's socket has taken what it was sent: if it is catching up, it gets more.
    pub(super) fn feed_later(&mut self, token: usize) {
        if !self.catching.is_empty() && self.catching.contains_key(&token) {
            self.hungry.push(token);
        }
    }

    /// Ends the catching up of a connection with one channel; false if it was not.
    pub(super) fn end_catch_up(&mut self, token: usize, channel: u64) -> bool {
        let Some(all) = self.catching.get_mut(&token) else { return false };
        let Some(at) = all.iter().position(|catch_up| catch_up.channel.id() == channel) else {
            return false;
        };
        let catch_up = all.swap_remove(at);
        if all.is_empty() {
            self.catching.remove(&token);
        }
        self.miss(&catch_up);
        true
    }

    /// Ends all catching up of a connection.
    pub(super) fn end_catch_ups(&mut self, token: usize) {
        if self.catching.is_empty() {
            return;
        }
        for catch_up in self.catching.remove(&token).unwrap_or_default() {
            self.miss(&catch_up);
        }
    }

    /// A subscriber goes that never came into its list.
    fn miss(&mut self, catch_up: &CatchUp) {
        if let Some(connection) = &catch_up.member {
            self.miss_member(connection, &catch_up.channel);
        }
    }

    /// Gives everybody whose socket is ready its next page.
    pub(super) fn feed(&mut self) {
        if self.hungry.is_empty() {
            return;
        }
        let mut tokens = std::mem::take(&mut self.hungry);
        tokens.sort_unstable();
        tokens.dedup();
        for token in tokens {
            let ready = self.conns.get(token).is_some_and(|conn| conn.queued() == 0);
            if !ready {
                // A socket that takes again tells.
                continue;
            }
            let Some(all) = self.catching.get_mut(&token) else { continue };
            // In turn, when there are several channels.
            let catch_up = all.remove(0);
            if all.is_empty() {
                self.catching.remove(&token);
            }
            self.feed_page(token, catch_up);
            self.feed_later(token);
        }
    }

    fn feed_page(&mut self, token: usize, mut catch_up: CatchUp) {
        let deflate = self.conns.get(token).is_some_and(|conn| conn.deflate);
        let channel = Arc::clone(&catch_up.channel);
        if deflate && catch_up.member.is_none() {
            channel.add_deflating();
        }
        let mut before = Vec::new();
        let mut since = None;
        let member = catch_up.member.is_some();
        let resumed = channel.resume(self.id, catch_up.after, PAGE_BYTES, member, || {
            since = self.inbox.take(&mut before);
        });
        if deflate && catch_up.member.is_none() && !matches!(resumed, Ok(Resume::Live(_))) {
            channel.remove_deflating();
        }
        match resumed {
            // It stands neither in a list nor among those who catch up, where its leaving would have
            // found it.
            Ok(_) if catch_up.leaves_among(&before) => {
                self.miss(&catch_up);
                self.fan_out(before, since);
            }
            Ok(Resume::Behind(page)) => {
                if let Some((offset, _)) = page.last() {
                    catch_up.after.offset = *offset;
                }
                let list = catch_up.list;
                self.catching.entry(token).or_default().push(catch_up);
                if !before.is_empty() {
                    self.fan_out(before, since);
                }
                self.send_page(token, &channel, list, &page);
            }
            Ok(Resume::Live(page)) => {
                let kind = (catch_up.list, deflate, member);
                let entered = self.enter_list(token, &channel, kind, (before, since));
                match entered {
                    Some(place) => {
                        self.stand(token, &catch_up, place);
                        self.send_page(token, &channel, catch_up.list, &page);
                    }
                    None if deflate => channel.remove_deflating(),
                    None => {}
                }
            }
            Ok(Resume::Lost) => {
                self.miss(&catch_up);
                if !before.is_empty() {
                    self.fan_out(before, since);
                }
                self.overtaken(token, catch_up.list);
            }
            Err(Deleted) => {
                self.miss(&catch_up);
                self.tell_gone(token, &catch_up);
            }
        }
    }

    /// The connection has its place in the list: it remembers it.
    fn stand(&mut self, token: usize, catch_up: &CatchUp, at: Place) {
        let channel = catch_up.channel.id();
        if catch_up.member.is_some() {
            catch_up.channel.member_joined(self.id);
        }
        let Some(conn) = self.conns.get_mut(token) else { return };
        match &mut conn.lane {
            Lane::Listener(place) | Lane::Metas(place) | Lane::Events(place) => *place = at,
            Lane::Stream(streams) => {
                streams.places.insert(channel, at);
            }
            Lane::Peer(peer) => {
                peer.places.insert(channel, at);
            }
            _ => debug_assert!(false, "a subscriber listens, streams or takes events"),
        }
    }

    /// Sends a page to one connection. Its bound does not count: nothing else waits.
    fn send_page(
        &mut self,
        token: usize,
        channel: &Arc<Channel>,
        list: List,
        page: &[(u64, Message)],
    ) {
        if page.is_empty() {
            return;
        }
        // What it was sent before, the answer to its subscription among it.
        self.write_answers_of(token);
        self.flush_peer(token);
        let encoding = Encoding::of(list, (channel.id(), channel.epoch()), channel.name());
        join(page, encoding, |bytes, count| {
            let Some(conn) = self.conns.get_mut(token) else { return };
            if conn.dead || conn.after_flush != AfterFlush::Stay {
                return;
            }
            if let Some(peer) = conn.peer_mut() {
                let traffic = peer.connection.traffic();
                Gauges::add(&traffic.messages_out, count);
                Gauges::add(&traffic.bytes_out, bytes.len() as u64);
            }
            let before = conn.queued();
            let sent = conn.send(bytes, usize::MAX);
            Gauges::add(&self.gauges().delivered, count);
            self.after_send(token, sent, before, bytes.len());
        });
    }

    /// The history has let go of what the connection was still to get. It comes back, and is told.
    fn overtaken(&mut self, token: usize, list: List) {
        Gauges::add(&self.gauges().closed_slow, 1);
        match list {
            List::Events => self.kill(token),
            _ => self.close_websocket(token, close::TOO_SLOW, "reader is too slow for the history"),
        }
    }

    /// The channel is deleted: the connection is told as other subscribers are.
    fn tell_gone(&mut self, token: usize, catch_up: &CatchUp) {
        let id = catch_up.channel.id();
        match catch_up.list {
            List::Listeners | List::Metas => {
                self.close_websocket(token, close::CHANNEL_DELETED, "channel deleted");
            }
            List::Events => self.end_events(token),
            List::Streams => {
                let mut notice = Vec::new();
                Message::append(&mut notice, MessageKind::Binary, &[&stream::gone(id)]);
                self.send_own(token, &notice);
            }
            List::Notifications => {
                let notice = channel_deleted(catch_up.channel.name());
                self.send_direct(token, &Message::new(MessageKind::Text, &notice));
            }
            List::Members => {
                self.send_direct(token, &Message::new(MessageKind::Binary, &stream::gone(id)));
            }
            List::Frames | List::Packets | List::Everyone => {}
        }
    }
}
