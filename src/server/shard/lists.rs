//! Whom a shard has of each channel, by what they are sent.

use std::sync::Arc;

use smallvec::SmallVec;

use super::overload::Policy;
use crate::hub::{Channel, Gauges, NO_SLOT};
use crate::wire::Dialect;
use crate::wire::websocket::Message;

/// A channel's subscribers on this shard.
///
/// In this order, what a message to a listener reads and writes is one line of the processor's
/// cache: with many channels, each line is a miss.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Local {
    pub channel: Arc<Channel>,
    /// Messages of this round, in order.
    pub pending: Vec<(u64, Message)>,
    /// While there are any: which of the round's channels this was, by their first messages.
    pub turn: u32,
    /// Bit n: list n is not empty, or, from bit [`LISTS`] on, that of those who compress. Most
    /// channels have one list, and the others are not touched.
    occupied: u32,
    /// The subscribed connections, by what they get.
    lists: Lists,
    /// The same for those that agreed on compression; present once there was one.
    deflating: Option<Box<Lists>>,
    /// What the channel does about subscribers that do not keep up, unless it is the ordinary.
    pub policy: Option<Policy>,
    /// Somebody is about to subscribe: the entry stays although it may be empty.
    pub(super) joining: bool,
}

/// A few connections stand in the entry itself, which takes no more room than a pointer to them.
type Lists = [SmallVec<[u32; 4]>; LISTS];

const _: () = {
    let first_list = std::mem::offset_of!(Local, lists) + size_of::<Lists>() / LISTS;
    assert!(first_list <= 64, "a message to a listener touches more than a line");
};

/// Where a subscriber stands: the channel's entry in the shard, and its place in that list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub slot: u32,
    pub index: u32,
}

impl Place {
    /// Of a subscriber that is catching up: in no list.
    pub const NOWHERE: Self = Self { slot: NO_SLOT, index: 0 };
}

/// What a subscriber gets of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum List {
    /// The bare WebSocket frame.
    Listeners,
    /// A packet of the stream protocol.
    Streams,
    /// A server-sent event.
    Events,
    /// The bare frame, for connections that have a name.
    Frames,
    /// The session dialect's notification.
    Notifications,
    /// The packet dialect's packet.
    Packets,
    /// The frame of an endpoint's own channel, which is encoded for its dialect already.
    Everyone,
    /// A text that tells the message and its position.
    Metas,
    /// A packet of the stream protocol, for connections that have a name.
    Members,
}

const LISTS: usize = 9;

impl List {
    const ALL: [Self; LISTS] = [
        Self::Listeners,
        Self::Streams,
        Self::Events,
        Self::Frames,
        Self::Notifications,
        Self::Packets,
        Self::Everyone,
        Self::Metas,
        Self::Members,
    ];

    /// Where the members of a channel stand that speak `dialect`.
    pub(super) fn of(dialect: Dialect) -> Self {
        match dialect {
            Dialect::Stream => Self::Members,
            Dialect::Session => Self::Notifications,
            Dialect::Packet => Self::Packets,
            Dialect::Gateway | Dialect::Host => Self::Frames,
        }
    }

    /// Whether its subscribers are connections with a name.
    pub(super) fn has_peers(self) -> bool {
        match self {
            Self::Listeners | Self::Streams | Self::Events | Self::Metas => false,
            Self::Frames | Self::Notifications | Self::Packets | Self::Everyone | Self::Members => {
                true
            }
        }
    }
}

impl Local {
    pub(super) fn new(channel: Arc<Channel>) -> Self {
        Self {
            policy: Policy::of(channel.config()),
            channel,
            pending: Vec::new(),
            turn: 0,
            occupied: 0,
            joining: false,
            lists: Default::default(),
            deflating: None,
        }
    }

    /// The connections in a list, those that agreed on compression or those that did not.
    pub(super) fn tokens(&self, list: List, deflate: bool) -> &[u32] {
        let lists = match deflate {
            true => self.deflating.as_deref(),
            false => Some(&self.lists),
        };
        lists.and_then(|lists| lists.get(list as usize)).map_or(&[], SmallVec::as_slice)
    }

    pub(super) fn tokens_mut(
        &mut self,
        list: List,
        deflate: bool,
    ) -> Option<&mut SmallVec<[u32; 4]>> {
        let lists = match deflate {
            true => &mut **self.deflating.get_or_insert_default(),
            false => &mut self.lists,
        };
        lists.get_mut(list as usize)
    }

    pub(super) fn bit(list: List, deflate: bool) -> u32 {
        1 << (list as usize + if deflate { LISTS } else { 0 })
    }

    pub(super) fn push(&mut self, list: List, deflate: bool, token: u32) -> u32 {
        self.occupied |= Self::bit(list, deflate);
        let Some(tokens) = self.tokens_mut(list, deflate) else { return 0 };
        tokens.push(token);
        tokens.len() as u32 - 1
    }

    /// Takes a connection out; gives the one that took its place.
    pub(super) fn swap_remove(&mut self, list: List, deflate: bool, index: usize) -> Option<u32> {
        let tokens = self.tokens_mut(list, deflate)?;
        if index >= tokens.len() {
            debug_assert!(false, "a subscriber stands where its list ends");
            return None;
        }
        tokens.swap_remove(index);
        let (empty, moved) = (tokens.is_empty(), tokens.get(index).copied());
        if empty {
            self.occupied &= !Self::bit(list, deflate);
        }
        moved
    }

    /// The lists that have somebody in them, each with whether it is of those who compress.
    pub(super) fn occupied(&self) -> impl Iterator<Item = (List, bool)> + use<> {
        // A step for each bit that is set: with one list, which is nearly always, one.
        let mut left = self.occupied;
        std::iter::from_fn(move || {
            let bit = left.trailing_zeros() as usize;
            left &= left.wrapping_sub(1);
            let (list, deflate) = if bit < LISTS { (bit, false) } else { (bit - LISTS, true) };
            Some((*List::ALL.get(list)?, deflate))
        })
    }

    pub(super) fn subscribers(&self) -> usize {
        self.lists.iter().map(SmallVec::len).sum::<usize>() + self.deflating()
    }

    pub(super) fn deflating(&self) -> usize {
        self.deflating.iter().flat_map(|lists| lists.iter()).map(SmallVec::len).sum()
    }

    pub(super) fn is_deserted(&self) -> bool {
        !self.joining && self.subscribers() == 0
    }

    /// Forgets all subscribers of a shard that ends.
    pub(super) fn abandon(self, shard: usize, gauges: &Gauges) {
        let subscribers = self.subscribers();
        for left in (0..subscribers).rev() {
            self.channel.unsubscribe(shard, left == 0);
        }
        (0..self.deflating()).for_each(|_| self.channel.remove_deflating());
        let uncounted = [false, true].map(|deflate| self.tokens(List::Everyone, deflate).len());
        let uncounted: usize = uncounted.iter().sum();
        Gauges::sub(&gauges.subscribers, (subscribers - uncounted) as u64);
    }
}
