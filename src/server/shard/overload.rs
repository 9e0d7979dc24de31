//! The way to the subscribers of channels that have an overload policy, and the books that are kept
//! of every channel's messages.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;

use super::conn::{AfterFlush, Conn, Sent};
use super::encoding::{Encoding, JOIN_BYTES};
use super::lists::List;
use super::queue::{Admission, Bounds, Tag};
use super::{Shard, gauges_of};
use crate::hub::{Account, ChannelConfig, Gauges, Overload};
use crate::server::Service;
use crate::tally::Counts;
use crate::wire::websocket::Message;

/// What a channel does about subscribers that do not keep up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Policy {
    overload: Overload,
    max_messages: usize,
    max_bytes: usize,
}

impl Policy {
    /// `None` for a channel of the ordinary kind: there is only the connection's bound, and whoever
    /// exceeds it is closed.
    pub(super) fn of(config: &ChannelConfig) -> Option<Self> {
        let unlimited = |limit| if limit == 0 { usize::MAX } else { limit };
        let overload = config.policy();
        let plain = overload == Overload::Disconnect
            && config.queue_bytes == 0
            && config.queue_messages == 0;
        (!plain).then(|| Self {
            overload,
            max_messages: unlimited(config.queue_messages),
            max_bytes: unlimited(config.queue_bytes),
        })
    }

    /// What it is for connections that may have `max_queue` bytes waiting.
    pub(super) fn with(self, max_queue: usize) -> Paced {
        let bounds = Bounds {
            bytes: max_queue,
            line_bytes: self.max_bytes,
            line_messages: self.max_messages,
        };
        Paced { policy: self.overload, bounds }
    }
}

/// A channel's policy and how much may wait for each of its subscribers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paced {
    pub policy: Overload,
    pub bounds: Bounds,
}

/// What became of a message for one subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Written,
    /// The policy was asked.
    Admitted(Admission),
    /// The subscriber is at its end.
    Lost,
}

impl Fate {
    /// A part of it was written, and the rest waits.
    pub(super) const QUEUED: Self =
        Self::Admitted(Admission { queued: true, oldest: 0, conflated: 0 });

    fn counts(self) -> Counts {
        let (reached, queued) = match self {
            Self::Written => (true, false),
            Self::Admitted(admission) => (admission.queued, admission.queued),
            Self::Lost => (false, false),
        };
        Counts { reached: reached.into(), queued: queued.into(), dropped: (!reached).into() }
    }
}

/// Of a round's messages and a list's subscribers, what became of how many.
#[derive(Debug, Default)]
pub(super) struct Fates {
    pub written: u64,
    pub queued: u64,
    pub lost: u64,
    pub oldest: u64,
    pub newest: u64,
    pub conflated: u64,
    pub closed_slow: u64,
}

impl Fates {
    fn add(&mut self, fate: Fate) {
        match fate {
            Fate::Written => self.written += 1,
            Fate::Lost => self.lost += 1,
            Fate::Admitted(admission) => {
                match admission.queued {
                    true => self.queued += 1,
                    false => self.newest += 1,
                }
                self.oldest += admission.oldest;
                self.conflated += admission.conflated;
            }
        }
    }

    fn dropped(&self) -> u64 {
        self.oldest + self.newest + self.conflated
    }

    /// Enters them into an account.
    pub(super) fn enter(&self, account: &Account) {
        let due = self.written + self.queued + self.newest + self.lost;
        Gauges::add(&account.due, due);
        Gauges::add(&account.written, self.written);
        if due == self.written && self.dropped() == 0 {
            return;
        }
        let left = self.oldest + self.conflated;
        Gauges::add(&account.queued, self.queued.wrapping_sub(left));
        for (count, n) in [
            (&account.lost, self.lost),
            (&account.dropped_oldest, self.oldest),
            (&account.dropped_newest, self.newest),
            (&account.conflated, self.conflated),
            (&account.closed_slow, self.closed_slow),
        ] {
            Gauges::add(count, n);
        }
    }
}

/// Enters that messages that waited were written.
pub(super) fn book_written(service: &Service, shard: usize, tag: &Tag) {
    book(service, shard, tag, |account, n| {
        Gauges::add(&account.written, n);
        Gauges::sub(&account.queued, n);
    });
}

/// Enters that messages that waited are gone, `written` of them to the socket before.
pub(super) fn book_gone(service: &Service, shard: usize, tag: &Tag, written: u32) {
    let written = u64::from(written);
    book(service, shard, tag, |account, n| {
        Gauges::add(&account.written, written);
        Gauges::add(&account.lost, n.saturating_sub(written));
        Gauges::sub(&account.queued, n);
    });
}

fn book(service: &Service, shard: usize, tag: &Tag, enter: impl Fn(&Account, u64)) {
    let n = u64::from(tag.count);
    enter(tag.channel.account(shard), n);
    enter(&gauges_of(service, shard).messages, n);
}

/// Adds the difference to a gauge that the calling thread alone writes.
pub(super) fn shift(gauge: &AtomicU64, before: usize, after: usize) {
    Gauges::add(gauge, (after as u64).wrapping_sub(before as u64));
}

impl Shard {
    /// The messages of a round to the subscribers in one list of a channel with a policy.
    pub(super) fn fan_out_paced(
        &mut self,
        (slot, list, deflate): (u32, List, bool),
        encoding: Encoding<'_>,
        pending: &[(u64, Message)],
        paced: &Paced,
        failed: &mut Vec<(usize, Sent)>,
    ) {
        let mut frames: Vec<Bytes> = Vec::with_capacity(pending.len());
        for (offset, message) in pending {
            frames.push(match deflate {
                true => self.frame_for_deflating(encoding, *offset, message),
                false => encoding.frame(*offset, message),
            });
        }
        let mut first = 0;
        while let Some(rest) = frames.get(first..).filter(|rest| !rest.is_empty()) {
            let mut bytes = 0;
            let fits = |frame: &&Bytes| {
                bytes += frame.len();
                bytes <= JOIN_BYTES
            };
            let count = rest.iter().take_while(fits).count().max(1);
            let batch = Batch {
                frames: rest.get(..count).unwrap_or_default(),
                messages: pending.get(first..first + count).unwrap_or_default(),
            };
            self.send_batch((slot, list, deflate), paced, &batch, failed);
            first += count;
        }
    }

    fn send_batch(
        &mut self,
        (slot, list, deflate): (u32, List, bool),
        paced: &Paced,
        batch: &Batch<'_>,
        failed: &mut Vec<(usize, Sent)>,
    ) {
        let Some(local) = self.locals.get(slot as usize) else { return };
        let channel = &local.channel;
        let now = self.now;
        let tag = |index: usize| Tag {
            channel: Arc::clone(channel),
            count: 1,
            since: now,
            key: batch.key(index),
        };
        let joined = batch.joined();
        let mut sum = Fates::default();
        let tallied = batch.messages.iter().any(|(_, message)| message.tally().is_some());
        let mut tallies = vec![Counts::default(); if tallied { batch.frames.len() } else { 0 }];
        let (mut bytes_out, mut before, mut after) = (0, 0, 0);
        for &token in local.tokens(list, deflate) {
            let Some(conn) = self.conns.get_mut(token as usize) else { continue };
            if conn.dead || conn.after_flush != AfterFlush::Stay {
                sum.lost += batch.frames.len() as u64;
                tallies.iter_mut().for_each(|counts| counts.dropped += 1);
                continue;
            }
            let (queued, dropped) = (conn.queued(), sum.dropped());
            let (sent, written) =
                conn.send_paced(paced, &joined, batch.frames, tag, |index, fate| {
                    sum.add(fate);
                    if let Some(counts) = tallies.get_mut(index) {
                        *counts += fate.counts();
                    }
                });
            bytes_out += written;
            before += queued;
            after += conn.queued();
            if conn.queued() > 0 {
                conn.note_queueing(queued, now);
            }
            if paced.policy == Overload::Hold && conn.is_over_half(paced, channel.id()) {
                self.holders.hold(token, channel, now);
            }
            if sum.dropped() > dropped {
                conn.count_dropped(token, sum.dropped() - dropped, &mut self.dropped);
            }
            if matches!(sent, Sent::Full | Sent::Dead) {
                sum.closed_slow += u64::from(sent == Sent::Full);
                // It is still in the list that is being walked: it leaves after the walk.
                conn.after_flush = AfterFlush::Free;
                failed.push((token as usize, sent));
            }
        }
        for ((_, message), counts) in batch.messages.iter().zip(tallies) {
            message.tally().into_iter().for_each(|tally| tally.add(counts));
        }
        let gauges = gauges_of(&self.service, self.id);
        sum.enter(channel.account(self.id));
        sum.enter(&gauges.messages);
        Gauges::add(&gauges.delivered, sum.written + sum.queued);
        Gauges::add(&gauges.bytes_out, bytes_out as u64);
        shift(&gauges.queued_bytes, before, after);
    }
}

/// Messages that are offered to a socket at once.
struct Batch<'a> {
    /// As the subscribers of the list get them.
    frames: &'a [Bytes],
    messages: &'a [(u64, Message)],
}

impl Batch<'_> {
    fn joined(&self) -> Bytes {
        match self.frames {
            [alone] => alone.clone(),
            frames => frames.concat().into(),
        }
    }

    /// What the message is the latest value of.
    fn key(&self, index: usize) -> Option<Arc<str>> {
        self.messages.get(index).and_then(|(_, message)| message.conflation().cloned())
    }
}

impl Conn {
    /// Counts messages that a policy kept from this connection.
    fn count_dropped(&mut self, token: u32, n: u64, anonymous: &mut HashMap<u32, u64>) {
        match self.peer_mut() {
            Some(peer) => Gauges::add(&peer.connection.traffic().dropped, n),
            None => *anonymous.entry(token).or_default() += n,
        }
    }
}
