//! Subscriptions to all channels whose names match a pattern, those that do not exist yet included.
//!
//! A pattern makes its connection a member of each such channel: at once of those that there are,
//! and of a new one before anybody can publish to it. A connection that several patterns, or a
//! pattern and a subscription by name, bring into a channel is one member of it. Who is there by
//! patterns alone does not keep a channel from going when it is empty.

use std::collections::BTreeSet;
use std::collections::btree_map::Entry;

use super::members::{Entrance, Wish};
use super::{Channel, Connection, Hub, Pattern, Start, lock};
use crate::sync::{Arc, PoisonError};
use crate::wire::Position;
use crate::wire::websocket::Message;
use crate::{Error, ErrorKind, Result};

/// The most segments that a pattern of a subscription has.
pub const MAX_SEGMENTS: usize = 32;
/// The most channels that are looked at when a subscription begins.
pub const MAX_SCAN: usize = 100_000;

/// What a connection is told of what its patterns do, as its dialect has it.
#[derive(Debug, Clone, Copy)]
pub struct Notices {
    /// Makes the message about a new channel, by its name, that it is not brought into because it is
    /// in as many as it may be.
    pub beyond: fn(&str) -> Message,
    /// Makes the message about a channel that a pattern of its matches: its number, its name and the
    /// position behind which its messages come by the pattern. It precedes them.
    pub entered: Option<Entered>,
}

/// See [`Notices::entered`].
pub type Entered = fn(u64, &str, Position) -> Message;

/// The patterns of a connection and what they did.
#[derive(Debug)]
pub(super) struct Wild {
    pub(super) patterns: Vec<Pattern>,
    /// The channels that it is in by patterns alone.
    pub(super) loose: BTreeSet<u64>,
    pub(super) notices: Notices,
}

impl Wild {
    pub(super) fn matches(&self, name: &str) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(name))
    }
}

impl Connection {
    /// What counts for `max_subscriptions`: the channels it is in, and its patterns.
    pub fn subscription_count(&self) -> usize {
        lock(&self.state).subscriptions()
    }

    /// Its patterns, in the order in which it subscribed to them.
    pub fn patterns(&self) -> Vec<Pattern> {
        lock(&self.state).wild.as_ref().map(|wild| wild.patterns.clone()).unwrap_or_default()
    }

    /// False if it has the pattern already. Error: `Closed`.
    fn add_pattern(&self, pattern: &Pattern, notices: Notices) -> Result<bool> {
        let mut state = lock(&self.state);
        if state.closed {
            return Err(Error::new(ErrorKind::Closed, "the connection is closed"));
        }
        let wild = state.wild.get_or_insert_with(|| {
            Box::new(Wild { patterns: Vec::new(), loose: BTreeSet::new(), notices })
        });
        if wild.patterns.contains(pattern) {
            return Ok(false);
        }
        wild.patterns.push(pattern.clone());
        Ok(true)
    }

    /// Forgets a pattern and leaves the channels that nothing else brings it into; false if it does
    /// not have the pattern.
    fn remove_pattern(self: &Arc<Self>, pattern: &Pattern) -> bool {
        let mut state = lock(&self.state);
        let Some(mut wild) = state.wild.take() else { return false };
        let Some(at) = wild.patterns.iter().position(|other| other == pattern) else {
            state.wild = Some(wild);
            return false;
        };
        wild.patterns.remove(at);
        let mut stays = std::mem::take(&mut wild.loose);
        stays.retain(|id| {
            let Some(channel) = state.channels.get(id) else { return false };
            if wild.matches(channel.name()) {
                return true;
            }
            channel.remove_member(self);
            state.channels.remove(id);
            false
        });
        wild.loose = stays;
        state.wild = (!wild.patterns.is_empty()).then_some(wild);
        true
    }

    /// Makes it a member of a channel that one of its patterns matches, unless it is one, or is in
    /// `max` already and is told so.
    fn join_by_pattern(self: &Arc<Self>, channel: &Arc<Channel>, max: usize) {
        let beyond = {
            let mut state = lock(&self.state);
            let full = state.subscriptions() >= max;
            let state = &mut *state;
            let Some(wild) = &mut state.wild else { return };
            if state.closed || !wild.matches(channel.name()) {
                return;
            }
            let Notices { beyond, entered } = wild.notices;
            let tell = |start: &Start| Some(entered?(channel.id(), channel.name(), start.position));
            match state.channels.entry(channel.id()) {
                Entry::Occupied(_) => {
                    // One that was deleted tells so itself.
                    let _ = channel.tell_member(self, Wish::default(), |start, _| tell(start));
                    None
                }
                Entry::Vacant(_) if full => Some(beyond),
                Entry::Vacant(place) => {
                    let entrance = Entrance { loose: true, user: None, wish: Wish::default() };
                    if channel.add_member(self, &entrance, |start, _| tell(start)).is_ok() {
                        wild.loose.insert(channel.id());
                        place.insert(Arc::clone(channel));
                    }
                    None
                }
            }
        };
        match beyond {
            // It fails only when the connection is closed.
            Some(beyond) => drop(self.send(&beyond(channel.name()))),
            None => self.home().inbox.notify(),
        }
    }
}

impl super::connection::State {
    fn subscriptions(&self) -> usize {
        self.channels.len() + self.wild.as_ref().map_or(0, |wild| wild.patterns.len())
    }
}

impl Hub {
    /// Subscribes a connection to all channels that `pattern` matches, now and whenever one is
    /// created. What `tell` makes of their number now is sent to it before their messages. Harmless
    /// when it has the pattern already, and it is told as well.
    ///
    /// Costs a look at every channel whose name begins like the pattern, under the registry's lock.
    ///
    /// Errors: `InvalidName` for a pattern of more than [`MAX_SEGMENTS`] segments; `QueueFull` when
    /// the connection would be in more than `max_subscriptions` channels, its patterns counted, and
    /// when more than [`MAX_SCAN`] channels would be looked at; `Closed`.
    pub fn subscribe_pattern(
        &self,
        connection: &Arc<Connection>,
        pattern: &Pattern,
        notices: Notices,
        tell: impl FnOnce(usize) -> Message,
    ) -> Result<()> {
        let segments = pattern.as_str().split('.').count();
        if segments > MAX_SEGMENTS {
            let text = format!("a pattern has {segments} segments; the limit is {MAX_SEGMENTS}");
            return Err(Error::new(ErrorKind::InvalidName, text));
        }
        let matching = {
            // No channel is created meanwhile: each is among these, or is created behind this.
            let channels = self.channels.read().unwrap_or_else(PoisonError::into_inner);
            let matching = self.scan(&channels, pattern)?;
            self.check_reach(connection, pattern, &matching)?;
            // Held together, so that whoever ends the connection finds what was noted.
            let mut interest = self.interest.write().unwrap_or_else(PoisonError::into_inner);
            if connection.add_pattern(pattern, notices)? {
                interest.insert(pattern, connection.serial(), Arc::clone(connection));
            }
            drop(interest);
            connection.send(&tell(matching.len()))?;
            matching
        };
        for channel in &matching {
            connection.join_by_pattern(channel, self.max_memberships());
        }
        Ok(())
    }

    fn scan(
        &self,
        channels: &super::registry::Channels,
        pattern: &Pattern,
    ) -> Result<Vec<Arc<Channel>>> {
        let prefix = pattern.prefix();
        let from = (std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded);
        let mut matching = Vec::new();
        let range = channels.range::<str, _>(from).take_while(|(name, _)| name.starts_with(prefix));
        for (looked_at, (name, channel)) in range.enumerate() {
            if looked_at >= MAX_SCAN {
                let text = format!(
                    "there are more than {MAX_SCAN} channels whose names begin with '{prefix}': a \
                     pattern must begin with more"
                );
                return Err(Error::new(ErrorKind::QueueFull, text));
            }
            if pattern.matches(name) {
                matching.push(Arc::clone(channel));
            }
        }
        Ok(matching)
    }

    fn check_reach(
        &self,
        connection: &Connection,
        pattern: &Pattern,
        matching: &[Arc<Channel>],
    ) -> Result<()> {
        let state = lock(&connection.state);
        let new = matching.iter().filter(|channel| !state.channels.contains_key(&channel.id()));
        let known = state.wild.as_ref().is_some_and(|wild| wild.patterns.contains(pattern));
        let count = state.subscriptions() + usize::from(!known) + new.count();
        let max = self.max_memberships();
        if count <= max {
            return Ok(());
        }
        let text = format!(
            "'{pattern}' matches {} channels: with what there is, it would be {count} subscriptions, \
             and {max} may be",
            matching.len()
        );
        Err(Error::new(ErrorKind::QueueFull, text))
    }

    /// Ends a subscription to a pattern: the connection leaves the channels that no other pattern
    /// and no subscription by name brings it into. False if it does not have the pattern.
    pub fn unsubscribe_pattern(&self, connection: &Arc<Connection>, pattern: &Pattern) -> bool {
        let removed = {
            let mut interest = self.interest.write().unwrap_or_else(PoisonError::into_inner);
            interest.remove(pattern, connection.serial());
            connection.remove_pattern(pattern)
        };
        connection.home().inbox.notify();
        removed
    }

    /// Forgets the patterns of a connection that has been retired.
    pub fn forget_patterns(&self, connection: &Connection, patterns: &[Pattern]) {
        if patterns.is_empty() {
            return;
        }
        let mut interest = self.interest.write().unwrap_or_else(PoisonError::into_inner);
        for pattern in patterns {
            interest.remove(pattern, connection.serial());
        }
    }

    /// Brings those into a new channel whose patterns match it. The caller holds the registry's
    /// lock, so that nobody has found the channel yet.
    pub(super) fn bring_in(&self, channel: &Arc<Channel>) {
        let interest = self.interest.read().unwrap_or_else(PoisonError::into_inner);
        if interest.is_empty() {
            return;
        }
        let matching = interest.matching(channel.name());
        drop(interest);
        for connection in matching.values() {
            connection.join_by_pattern(channel, self.max_memberships());
        }
    }
}
