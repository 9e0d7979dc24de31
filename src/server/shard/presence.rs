//! Members of channels on this shard that are told who comes and goes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::Shard;
use crate::hub::{Channel, Connection, PresenceEvent};
use crate::server::dialect::{members, presence};
use crate::wire::Dialect;
use crate::wire::websocket::Extras;

/// By channel number and by serial. Few channels have any.
#[derive(Debug, Default)]
pub(super) struct Watchers(HashMap<u64, BTreeMap<u64, Arc<Connection>>>);

impl Watchers {
    /// A connection is one of them, or not any more.
    pub(super) fn set(&mut self, connection: &Arc<Connection>, channel: u64, on: bool) {
        let serial = connection.serial();
        if on {
            self.0.entry(channel).or_default().insert(serial, Arc::clone(connection));
        } else if let Some(all) = self.0.get_mut(&channel) {
            all.remove(&serial);
            if all.is_empty() {
                self.0.remove(&channel);
            }
        }
    }

    /// The channel is gone.
    pub(super) fn forget(&mut self, channel: u64) {
        self.0.remove(&channel);
    }
}

impl Shard {
    /// Tells them, behind the channel's messages up to here and before the next one.
    pub(super) fn tell_watchers(&mut self, channel: &Channel, event: &PresenceEvent) {
        let Some(all) = self.watchers.0.get(&channel.id()) else { return };
        let (members, others): (Vec<_>, Vec<_>) =
            all.values().cloned().partition(|who| who.dialect() == Dialect::Stream);
        self.fan_out_channel(channel.slot(self.id));
        for (watchers, is_member) in [(members, true), (others, false)] {
            if watchers.is_empty() {
                continue;
            }
            let message = match is_member {
                true => members::presence(channel.id(), event),
                false => presence::notification(event),
            };
            let message = message.sharing(Extras::default());
            // Fanning out may have ended one, and then there is nobody to write to.
            for token in watchers.iter().filter_map(|who| self.token_of(who)).collect::<Vec<_>>() {
                self.send_direct(token, &message);
            }
        }
    }
}
