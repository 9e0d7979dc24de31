//! Subscribers that make publishers wait (`overload=hold`): more than half of what may wait for them
//! does.

use std::collections::HashMap;
use std::sync::Arc;

use super::conn::Sent;
use super::overload::Policy;
use super::{Shard, gauges_of};
use crate::hub::{Channel, Gauges, Hold};

/// By socket and channel number. Empty but where such channels have slow subscribers.
#[derive(Debug, Default)]
pub(super) struct Holders(HashMap<(u32, u64), Holder>);

#[derive(Debug)]
struct Holder {
    channel: Arc<Channel>,
    /// In ms of the shard's clock.
    since: u64,
}

impl Holders {
    /// The connection holds the channel, from now on if it did not before.
    pub(super) fn hold(&mut self, token: u32, channel: &Arc<Channel>, now: u64) {
        self.0.entry((token, channel.id())).or_insert_with(|| {
            channel.hold().into_iter().for_each(Hold::add_holder);
            Holder { channel: Arc::clone(channel), since: now }
        });
    }
}

impl Shard {
    /// Lets a connection that came from another process hold a channel, if so much waits for it.
    pub(super) fn hold_again(&mut self, token: usize, channel: &Arc<Channel>) {
        let Some(policy) = Policy::of(channel.config()) else { return };
        let paced = policy.with(self.options.queue_bytes);
        let conn = self.conns.get(token);
        if conn.is_some_and(|conn| conn.is_over_half(&paced, channel.id())) {
            self.holders.hold(token as u32, channel, self.now);
        }
    }

    /// Lets the publishers of a channel go on whose holders have taken enough or are gone, and closes
    /// those that held it too long.
    pub(super) fn settle_holders(&mut self) {
        if self.holders.0.is_empty() {
            return;
        }
        let (now, max_queue) = (self.now, self.options.queue_bytes);
        let (mut freed, mut late) = (Vec::new(), Vec::new());
        let conns = &self.conns;
        self.holders.0.retain(|&(token, id), Holder { channel, since }| {
            let conn = conns.get(token as usize).filter(|conn| !conn.dead);
            let policy = Policy::of(channel.config());
            let holds = conn
                .zip(policy)
                .is_some_and(|(conn, policy)| conn.is_over_half(&policy.with(max_queue), id));
            let patience = channel.config().hold.as_millis() as u64;
            let is_late = holds && now.saturating_sub(*since) >= patience;
            if is_late {
                late.push((token as usize, Arc::clone(channel)));
            }
            if holds && !is_late {
                return true;
            }
            channel.hold().into_iter().for_each(Hold::remove_holder);
            freed.push(Arc::clone(channel));
            false
        });
        for (token, channel) in late {
            let gauges = gauges_of(&self.service, self.id);
            for account in [channel.account(self.id), &gauges.messages] {
                Gauges::add(&account.closed_slow, 1);
            }
            self.on_send_failed(token, Sent::Full);
        }
        for channel in freed {
            self.service.let_in(&channel);
        }
    }
}
