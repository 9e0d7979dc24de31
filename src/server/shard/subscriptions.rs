//! Who subscribes to what on this shard: each channel's lists of connections, and each connection's
//! places in them.

use std::sync::Arc;
use std::time::Instant;

use super::Shard;
use super::conn::{Conn, Lane};
use super::lists::{List, Local, Place};
use super::resume::CatchUp;
use crate::hub::{Channel, Connection, Gauges, Item, NO_SLOT, Start};
use crate::wire::Position;

impl Shard {
    /// Makes the connection a listener, from the message after the returned position on. `None`
    /// when the channel is deleted or the connection has come to its end.
    pub(super) fn subscribe_listener(
        &mut self,
        token: usize,
        channel: &Arc<Channel>,
        since: Option<Position>,
        metas: bool,
    ) -> Option<Start> {
        let list = if metas { List::Metas } else { List::Listeners };
        let (start, place) = self.subscribe_since(token, channel, list, since)?;
        if let Some(conn) = self.conns.get_mut(token) {
            conn.lane = if metas { Lane::Metas(place) } else { Lane::Listener(place) };
        }
        Some(start)
    }

    /// Makes the connection a stream of server-sent events.
    pub(super) fn subscribe_events(
        &mut self,
        token: usize,
        channel: &Arc<Channel>,
        since: Option<Position>,
    ) -> Option<Start> {
        let (start, place) = self.subscribe_since(token, channel, List::Events, since)?;
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
        since: Option<Position>,
    ) -> Option<Start> {
        let has = |shard: &Self| match &shard.conns.get(token)?.lane {
            Lane::Stream(streams) => Some(streams.places.contains_key(&channel.id())),
            _ => None,
        };
        if has(self)? {
            // What was published before this answer is delivered before it.
            let mut before = Vec::new();
            let mut waiting = None;
            let start = channel.present(since, || waiting = self.inbox.take(&mut before));
            self.fan_out(before, waiting);
            return Some(start);
        }
        // It is to have the rest from the new position, wherever it was.
        self.end_catch_up(token, channel.id());
        let (start, place) = self.subscribe_since(token, channel, List::Streams, since)?;
        if place != Place::NOWHERE
            && let Some(Lane::Stream(streams)) =
                self.conns.get_mut(token).map(|conn| &mut conn.lane)
        {
            streams.places.insert(channel.id(), place);
        }
        Some(start)
    }

    /// Subscribes; with something missed that can be had, the connection catches up with it first.
    fn subscribe_since(
        &mut self,
        token: usize,
        channel: &Arc<Channel>,
        list: List,
        since: Option<Position>,
    ) -> Option<(Start, Place)> {
        let Some(since) = since else { return self.subscribe(token, channel, list) };
        let start = channel.start_behind(since);
        if start.recovered == Some(true) {
            self.begin_catch_up(token, CatchUp::new(channel, list, start.position));
            return Some((start, Place::NOWHERE));
        }
        let (start, place) = self.subscribe(token, channel, list)?;
        Some((Start { recovered: Some(false), ..start }, place))
    }

    /// Lets the connection receive what goes to everyone of its endpoint.
    pub(super) fn subscribe_everyone(
        &mut self,
        token: usize,
        channel: &Arc<Channel>,
    ) -> Option<Place> {
        self.subscribe(token, channel, List::Everyone).map(|(_, place)| place)
    }

    /// Takes the entry of a channel away that has no subscriber here any more.
    fn remove_local(&mut self, slot: u32, channel: &Arc<Channel>) {
        channel.set_slot(self.id, NO_SLOT);
        let Some(local) = self.locals.try_remove(slot as usize) else { return };
        // Messages that nobody is left for are under way no more.
        for (_, message) in local.pending {
            self.service.arrived(channel, message.frame().len(), 1);
        }
    }

    /// The shard's entry of a channel.
    fn local(&mut self, channel: &Arc<Channel>) -> u32 {
        match channel.slot(self.id) {
            NO_SLOT => {
                let slot = self.locals.insert(Local::new(Arc::clone(channel)));
                channel.set_slot(self.id, slot as u32);
                slot as u32
            }
            slot => slot,
        }
    }

    pub(super) fn subscribe(
        &mut self,
        token: usize,
        channel: &Arc<Channel>,
        list: List,
    ) -> Option<(Start, Place)> {
        let deflate = self.deflates(token);
        if deflate {
            channel.add_deflating();
        }
        let subscribed = self.subscribe_to(token, channel, list, deflate);
        if deflate && subscribed.is_none() {
            channel.remove_deflating();
        }
        subscribed
    }

    /// Whether the connection agreed on compression.
    fn deflates(&self, token: usize) -> bool {
        self.conns.get(token).is_some_and(|conn| conn.deflate)
    }

    fn subscribe_to(
        &mut self,
        token: usize,
        channel: &Arc<Channel>,
        list: List,
        deflate: bool,
    ) -> Option<(Start, Place)> {
        let mut before = Vec::new();
        let mut since = None;
        let start = channel.subscribe(self.id, || since = self.inbox.take(&mut before)).ok()?;
        let place = self.enter_list(token, channel, (list, deflate, false), (before, since))?;
        Some((start, place))
    }

    /// Puts a connection that has been made a subscriber, or is a member already, into its list,
    /// behind what was published before.
    pub(super) fn enter_list(
        &mut self,
        token: usize,
        channel: &Arc<Channel>,
        (list, deflate, member): (List, bool, bool),
        (before, since): (Vec<Item>, Option<Instant>),
    ) -> Option<Place> {
        let slot = self.local(channel);
        self.locals.get_mut(slot as usize)?.joining = true;
        // Everything published before the subscription goes to the earlier subscribers first. One
        // of them may fail and leave: were the last one to take the entry along, this shard would
        // no longer be told of the channel. The subscriber itself may fail as well.
        self.fan_out(before, since);
        let remains = self.conns.get(token).is_some_and(Conn::may_be_listed);
        let local = self.locals.get_mut(slot as usize)?;
        local.joining = false;
        if !remains {
            let deserted = local.is_deserted();
            if deserted {
                self.remove_local(slot, channel);
            }
            match member {
                true => channel.member_missed(self.id, deserted),
                false => channel.unsubscribe(self.id, deserted),
            }
            return None;
        }
        self.place(token, slot, list, deflate)
    }

    /// Puts a connection at the end of a list.
    fn place(&mut self, token: usize, slot: u32, list: List, deflate: bool) -> Option<Place> {
        let index = self.locals.get_mut(slot as usize)?.push(list, deflate, token as u32);
        if list != List::Everyone {
            Gauges::add(&self.gauges().subscribers, 1);
        }
        Some(Place { slot, index })
    }

    /// Carries out a membership that was decided anywhere. It stands in the inbox between the
    /// publications that its member does not get and those that it gets.
    pub(super) fn join(
        &mut self,
        connection: &Arc<Connection>,
        channel: &Arc<Channel>,
        since: Option<u64>,
    ) {
        let slot = channel.slot(self.id);
        self.fan_out_channel(slot);
        let token = self.token_of(connection);
        if let (Some(token), Some(offset)) = (token, since) {
            let list = List::of(connection.dialect());
            let catch_up = CatchUp::of_member(channel, list, offset, connection);
            self.begin_catch_up(token, catch_up);
            return;
        }
        let place = token.and_then(|token| {
            let slot = self.local(channel);
            let list = List::of(connection.dialect());
            Some((token, self.place(token, slot, list, connection.deflates())?))
        });
        match place {
            Some((token, place)) => {
                channel.member_joined(self.id);
                if let Some(peer) = self.conns.get_mut(token).and_then(Conn::peer_mut) {
                    peer.places.insert(channel.id(), place);
                }
            }
            None => self.miss_member(connection, channel),
        }
    }

    /// Counts a member out that never came into its list.
    pub(super) fn miss_member(&mut self, connection: &Connection, channel: &Channel) {
        // Fanning out may have let go of the last subscriber.
        let last = match self.locals.get(channel.slot(self.id) as usize) {
            Some(local) => local.is_deserted(),
            None => true,
        };
        channel.member_missed(self.id, last);
        if connection.deflates() {
            channel.remove_deflating();
        }
    }

    pub(super) fn leave(&mut self, connection: &Arc<Connection>, channel: &Arc<Channel>) {
        let Some(token) = self.token_of(connection) else { return };
        if self.end_catch_up(token, channel.id()) {
            return;
        }
        self.fan_out_channel(channel.slot(self.id));
        // Fanning out may have ended the connection.
        let Some(peer) = self.conns.get_mut(token).and_then(Conn::peer_mut) else { return };
        if let Some(place) = peer.places.remove(&channel.id()) {
            self.remove_member(place, connection);
        }
    }

    pub(super) fn remove_member(&mut self, place: Place, connection: &Connection) {
        self.remove(place, List::of(connection.dialect()), connection.deflates());
    }

    pub(super) fn remove_everyone(&mut self, place: Place, connection: &Connection) {
        self.remove(place, List::Everyone, connection.deflates());
    }

    /// Ends all subscriptions of a connection.
    pub(super) fn unsubscribe_all(&mut self, token: usize) {
        self.end_catch_ups(token);
        let Some(conn) = self.conns.get_mut(token) else { return };
        let deflate = conn.deflate;
        match &mut conn.lane {
            Lane::Listener(place) => {
                let place = *place;
                conn.lane = Lane::Closing;
                self.remove(place, List::Listeners, deflate);
            }
            Lane::Metas(place) => {
                let place = *place;
                conn.lane = Lane::Closing;
                self.remove(place, List::Metas, deflate);
            }
            Lane::Events(place) => {
                let place = *place;
                conn.lane = Lane::Lingering;
                self.remove(place, List::Events, deflate);
            }
            Lane::Stream(streams) => {
                // Each removal may move another subscriber, never this connection, whose places
                // are taken first.
                let places = std::mem::take(&mut streams.places);
                conn.lane = Lane::Closing;
                for place in places.into_values() {
                    self.remove(place, List::Streams, deflate);
                }
            }
            _ => {}
        }
    }

    /// Ends one subscription of a stream connection; false when there is none.
    pub(super) fn unsubscribe_stream(&mut self, token: usize, channel: u64) -> bool {
        let place = match self.conns.get_mut(token).map(|conn| &mut conn.lane) {
            Some(Lane::Stream(streams)) => streams.places.remove(&channel),
            _ => None,
        };
        match place {
            Some(place) => {
                let deflate = self.deflates(token);
                self.remove(place, List::Streams, deflate);
                true
            }
            None => self.end_catch_up(token, channel),
        }
    }

    /// Takes a subscriber out of its list; the list's last one moves to its place.
    fn remove(&mut self, place: Place, list: List, deflate: bool) {
        let slot = place.slot as usize;
        let Some(local) = self.locals.get_mut(slot) else { return };
        let moved = local.swap_remove(list, deflate, place.index as usize);
        let deserted = local.is_deserted();
        let channel = Arc::clone(&local.channel);
        if let Some(moved) = moved.and_then(|token| self.conns.get_mut(token as usize)) {
            match &mut moved.lane {
                Lane::Listener(other) | Lane::Metas(other) | Lane::Events(other) => {
                    other.index = place.index;
                }
                Lane::Stream(streams) => {
                    if let Some(other) = streams.places.get_mut(&channel.id()) {
                        other.index = place.index;
                    }
                }
                Lane::Peer(peer) => match list {
                    List::Everyone => peer.everyone.index = place.index,
                    _ => {
                        if let Some(other) = peer.places.get_mut(&channel.id()) {
                            other.index = place.index;
                        }
                    }
                },
                _ => debug_assert!(false, "a subscriber listens, streams or takes events"),
            }
        }
        if deserted {
            self.remove_local(slot as u32, &channel);
        }
        channel.unsubscribe(self.id, deserted);
        if deflate {
            channel.remove_deflating();
        }
        if list != List::Everyone {
            Gauges::sub(&self.gauges().subscribers, 1);
        }
    }
}
