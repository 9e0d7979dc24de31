//! How a subscriber gets what it missed, without a hole and without anything twice.
//!
//! It reads the history page by page. The page that reaches the end is read under the same lock
//! that makes it a subscriber, so that the next publication is the next that it gets.

use super::channel::State;
use super::history::now_ms;
use super::{Channel, Deleted, Publication, Range, Start, lock};
use crate::Error;
use crate::sync::Arc;
use crate::sync::atomic::Ordering::Relaxed;
use crate::wire::Position;
use crate::wire::websocket::Message;

/// Publications in the order of their offsets.
pub type Page = Vec<(u64, Message)>;

/// What a subscriber that missed something gets next.
#[derive(Debug)]
pub enum Resume {
    /// A part of it; more follows.
    Behind(Page),
    /// The rest of it. From the next publication on it is a subscriber like any other.
    Live(Page),
    /// Not everything that it missed is there any more; nothing was done.
    Lost,
}

/// A part of a channel's history.
#[derive(Debug, Clone)]
pub struct Extract {
    /// The publications, in the order that was asked for.
    pub publications: Vec<Publication>,
    /// Whether the range has more than these.
    pub more: bool,
    /// The channel's last publication.
    pub position: Position,
    /// The oldest offset that is kept; the one behind the last if none is.
    pub first: u64,
}

impl State {
    fn trim(&mut self, channel: &Channel) {
        if let Some(history) = &mut self.history {
            history.trim(channel.tail_config(), now_ms());
        }
    }

    /// The oldest offset that is in memory.
    fn first_in_memory(&self) -> u64 {
        self.history.as_ref().map_or(self.offset + 1, |history| history.first(self.offset))
    }

    /// The oldest offset that is kept.
    fn first(&self, channel: &Channel) -> u64 {
        let first = self.first_in_memory();
        let durable = channel.durable.as_ref().and_then(|durable| durable.first());
        durable.map_or(first, |durable| durable.min(first))
    }

    /// Whether everything behind `since` is there.
    fn holds(&self, channel: &Channel, since: Position) -> bool {
        since.epoch == channel.epoch
            && since.offset <= self.offset
            && since.offset.saturating_add(1) >= self.first(channel)
    }
}

impl Channel {
    /// Where a subscriber starts that asks for what came behind `since`: there, if all of that can
    /// be had, and else at the present.
    pub(super) fn start(&self, state: &mut State, since: Option<Position>) -> Start {
        let present = Position { epoch: self.epoch, offset: state.offset };
        let Some(since) = since else { return Start { position: present, recovered: None } };
        state.trim(self);
        match state.holds(self, since) {
            true => Start { position: since, recovered: Some(true) },
            false => Start { position: present, recovered: Some(false) },
        }
    }

    /// Where a subscriber would start now that asks for what came behind `since`.
    pub fn start_behind(&self, since: Position) -> Start {
        self.start(&mut lock(&self.state), Some(since))
    }

    /// Reads on behind `after`, about `max_bytes`, and makes `shard` receive the channel for one
    /// more subscriber when that reaches the end.
    ///
    /// `member` says that the subscriber is a member, which is counted already. `flush` is that of
    /// [`Channel::subscribe`]; it is called when the end is reached and, because anybody may take a
    /// member out of the channel, always for a member: if it takes the member's leaving, the result
    /// is not the member's any more.
    pub fn resume(
        &self,
        shard: usize,
        after: Position,
        max_bytes: usize,
        member: bool,
        flush: impl FnOnce(),
    ) -> Result<Resume, Deleted> {
        let mut flush = Some(flush);
        let mut flush = || flush.take().into_iter().for_each(|flush| flush());
        let mut state = lock(&self.state);
        if state.deleted {
            return Err(Deleted);
        }
        self.touch();
        if member {
            flush();
        }
        state.trim(self);
        if !state.holds(self, after) {
            return Ok(Resume::Lost);
        }
        if let Some(durable) = &self.durable
            && after.offset + 1 < state.first_in_memory()
        {
            // What is there is bounded by what was handed to the shards: the store may be ahead.
            let end = state.offset + 1;
            drop(state);
            return Ok(durable.behind(after.offset, end, max_bytes));
        }
        let (page, last) = match &state.history {
            Some(history) => history.behind(after.offset, max_bytes),
            None => (Page::new(), true),
        };
        if !last {
            return Ok(Resume::Behind(page));
        }
        if !member {
            flush();
            state.shards |= 1 << shard;
            self.subscribers.fetch_add(1, Relaxed);
        }
        Ok(Resume::Live(page))
    }

    /// Reads a part of the history: bound `range.limit`. Holds the channel's lock for what is in
    /// memory; what is on disk only is read without it. Error: `Io`, of the disk.
    pub fn history(&self, range: &Range) -> Result<Extract, Error> {
        let mut state = lock(&self.state);
        state.trim(self);
        let first = state.first(self);
        let position = Position { epoch: self.epoch, offset: state.offset };
        let in_memory = state.first_in_memory();
        let read = state.history.as_ref().map(|history| history.read(range));
        let (mut publications, mut more) = read.unwrap_or_default();
        drop(state);
        if let Some(durable) = &self.durable
            && first < in_memory
        {
            let from = range.after.map_or(first, |after| after.saturating_add(1)).max(first);
            // A page is of the disk or of memory, so that it has no hole; more can be asked for.
            if from < in_memory && (!range.backward || publications.is_empty()) {
                (publications, more) = durable.read(range, position.offset)?;
            } else if range.backward {
                more |= from < in_memory;
            }
        }
        Ok(Extract { publications, more, position, first })
    }

    /// The options of the part of the history that is in memory.
    pub(super) fn tail_config(&self) -> &super::ChannelConfig {
        self.durable.as_ref().map_or(&self.config, |durable| durable.tail())
    }

    /// Lets go of what has become too old. Everything else that touches the history does so too.
    pub fn trim_history(&self) {
        lock(&self.state).trim(self);
    }

    /// The options that it was created with.
    pub fn config(&self) -> &Arc<super::ChannelConfig> {
        &self.config
    }
}
