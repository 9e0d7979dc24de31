//! The answers of a round: collected while its requests are executed, written after its messages
//! were delivered.

use std::ops::Range;

use super::conn::{Lane, Sent};
use super::{Shard, gauges_of};
use crate::hub::Gauges;
use crate::server::answer::{Answer, Dates};

/// Answers that one connection may have waiting before its next request is looked at.
pub(super) const MAX_ANSWERS: usize = 256 << 10;

/// How a request wants to be answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reply {
    pub keep_alive: bool,
    /// The answer to HEAD has no body.
    pub head_only: bool,
}

/// The answers of a round, for all connections in one buffer. They are written after the round's
/// messages were delivered.
#[derive(Debug, Default)]
pub(super) struct Answers {
    bytes: Vec<u8>,
    records: Vec<(usize, Range<usize>)>,
    dates: Dates,
    /// When the date changes, in ms of the shard's clock.
    next_date: u64,
}

impl Answers {
    /// Appends bytes for a connection.
    pub(super) fn push_for(&mut self, token: usize, bytes: &[u8]) {
        self.with(token, |out, _| out.extend_from_slice(bytes));
    }

    /// The head of an answer that is server-sent events: it has no length and ends with the
    /// connection.
    pub(super) fn events_head(&self) -> Vec<u8> {
        self.dates.events_head()
    }

    /// Makes the date that of `now`, in ms of the shard's clock.
    pub(super) fn follow_clock(&mut self, now: u64) {
        if now >= self.next_date {
            self.next_date = now + self.dates.refresh();
        }
    }

    fn with(&mut self, token: usize, write: impl FnOnce(&mut Vec<u8>, &Dates)) {
        let start = self.bytes.len();
        write(&mut self.bytes, &self.dates);
        let end = self.bytes.len();
        match self.records.last_mut() {
            Some((last, range)) if *last == token && range.end == start => range.end = end,
            _ => self.records.push((token, start..end)),
        }
    }

    /// Bytes that wait for the connection that was served last.
    pub(super) fn waiting_for(&self, token: usize) -> usize {
        self.records.last().filter(|(last, _)| *last == token).map_or(0, |(_, range)| range.len())
    }
}

impl Shard {
    pub(super) fn answer_broadcasted(&mut self, token: usize, reply: Reply) {
        self.answers.with(token, |out, dates| match reply.keep_alive {
            true => out.extend_from_slice(dates.broadcasted()),
            false => Answer::broadcasted().write(out, dates, false, false),
        });
    }

    pub(super) fn answer(&mut self, token: usize, answer: &Answer, reply: Reply) {
        if answer.is_error() {
            Gauges::add(&self.gauges().rejected, 1);
        }
        self.answers.with(token, |out, dates| {
            answer.write(out, dates, reply.keep_alive, reply.head_only);
        });
    }

    /// Writes every answer that was collected.
    pub(super) fn write_answers(&mut self) {
        if self.answers.records.is_empty() {
            return;
        }
        let mut bytes = std::mem::take(&mut self.answers.bytes);
        let mut records = std::mem::take(&mut self.answers.records);
        for (token, range) in records.drain(..) {
            self.write_answer(token, bytes.get(range).unwrap_or_default());
        }
        bytes.clear();
        if bytes.capacity() > 4 * MAX_ANSWERS {
            bytes = Vec::new();
        }
        // Writing may have collected new answers only for connections that ended.
        if self.answers.records.is_empty() {
            self.answers.bytes = bytes;
            self.answers.records = records;
        }
    }

    /// Writes one connection's answers ahead of the others.
    pub(super) fn write_answers_of(&mut self, token: usize) {
        let mut mine = Vec::new();
        let Answers { bytes, records, .. } = &mut self.answers;
        records.retain(|(owner, range)| {
            if *owner == token {
                mine.extend_from_slice(bytes.get(range.clone()).unwrap_or_default());
            }
            *owner != token
        });
        if !mine.is_empty() {
            self.write_answer(token, &mine);
        }
    }

    fn write_answer(&mut self, token: usize, bytes: &[u8]) {
        let Some(conn) = self.conns.get_mut(token) else { return };
        if conn.dead || bytes.is_empty() {
            return;
        }
        match conn.lane {
            // Answers are bounded by pausing the requests, not by dropping.
            Lane::Http(_) => {
                let before = conn.queued();
                let sent = conn.send_own(bytes, usize::MAX);
                let queued = conn.queued() - before;
                let gauges = gauges_of(&self.service, self.id);
                Gauges::add(&gauges.queued_bytes, queued as u64);
                Gauges::add(&gauges.bytes_out, (bytes.len() - queued) as u64);
                match sent {
                    Sent::Dead => self.kill(token),
                    Sent::All => self.on_flushed(token),
                    _ => {}
                }
            }
            Lane::Stream(_) => self.send_own(token, bytes),
            _ => {}
        }
    }
}
