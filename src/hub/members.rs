//! The connections that are members of a channel: who comes, who goes, and who is told.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::channel::{Start, State};
use super::presence::Scene;
use super::{Attendance, Channel, Connection, Deleted, Item, lock};
use crate::sync::Arc;
use crate::sync::atomic::Ordering::Relaxed;
use crate::wire::Position;
use crate::wire::websocket::Message;

/// The connections that are members, by serial, and what their shards have not heard yet.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) members: BTreeMap<u64, Member>,
    /// Members that are here by patterns alone: they do not keep the channel.
    pub(super) loose: u64,
    /// For each shard, members that joined and whom it does not have in its lists yet: as long as
    /// there are any, it must be told of every publication.
    joining: BTreeMap<usize, usize>,
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) connection: Arc<Connection>,
    /// It is here by patterns alone.
    loose: bool,
    /// It wants to be told who comes and goes.
    watches: bool,
}

/// What a connection that joins a channel wishes for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wish {
    /// What it got last: what came behind it is wanted first.
    pub since: Option<Position>,
    /// Whether it is to be told who comes and goes; `None` leaves it as it is. It has no effect in
    /// a channel without the option `presence`.
    pub watch: Option<bool>,
    /// With `watch`, of how many who are there it is told at once.
    pub page: usize,
}

/// How a connection comes into a channel.
pub(super) struct Entrance<'a> {
    /// A pattern brings it.
    pub(super) loose: bool,
    /// The user that it is bound to.
    pub(super) user: Option<&'a Arc<str>>,
    pub(super) wish: Wish,
}

impl Group {
    pub(super) fn connections(&self) -> impl Iterator<Item = Arc<Connection>> {
        self.members.values().map(|member| Arc::clone(&member.connection))
    }

    /// Whether nobody is here who asked for this channel by its name.
    pub(super) fn is_deserted(&self) -> bool {
        self.members.len() as u64 == self.loose
    }
}

impl State {
    pub(super) fn is_joining(&self, shard: usize) -> bool {
        self.group.as_ref().is_some_and(|group| group.joining.contains_key(&shard))
    }

    fn joined(&mut self, shard: usize) {
        let Some(group) = &mut self.group else { return };
        if let Some(count) = group.joining.get_mut(&shard) {
            *count -= 1;
            if *count == 0 {
                group.joining.remove(&shard);
            }
        }
    }
}

impl Channel {
    /// Makes a connection a member: its shard is told under the lock, so that it gets what is
    /// published from now on, and nothing from before; or everything behind `since`, if that can be
    /// had. What `tell` makes of the start is sent to it before. Wake the shard afterwards.
    pub(super) fn add_member(
        self: &Arc<Self>,
        connection: &Arc<Connection>,
        entrance: &Entrance<'_>,
        tell: impl FnOnce(&Start, Option<&Attendance>) -> Option<Message>,
    ) -> Result<(), Deleted> {
        let mut state = lock(&self.state);
        let state = &mut *state;
        if state.deleted {
            return Err(Deleted);
        }
        self.touch();
        let Entrance { loose, user, wish } = *entrance;
        let start = self.start(state, wish.since);
        let watches = wish.watch == Some(true) && state.roster.is_some();
        self.admit(state, connection, loose, watches);
        let scene = self.scene(state.offset);
        if let Some(roster) = state.roster.as_mut().filter(|_| !loose) {
            roster.enter(scene, connection, user);
        }
        self.tell(state, &start, connection, wish, tell);
        let behind = (start.recovered == Some(true)).then_some(start.position.offset);
        let since = behind.filter(|offset| *offset < state.offset);
        self.tell_shard(state, connection, watches, since);
        Ok(())
    }

    /// Makes a connection a member again, as it was in the process before this one: one that was
    /// catching up goes on behind `since`, and nobody is told that it came. Wake the shard
    /// afterwards.
    pub(super) fn readmit(
        self: &Arc<Self>,
        connection: &Arc<Connection>,
        (loose, watches): (bool, bool),
        user: Option<&Arc<str>>,
        since: Option<u64>,
    ) -> Result<(), Deleted> {
        let mut state = lock(&self.state);
        let state = &mut *state;
        if state.deleted {
            return Err(Deleted);
        }
        let watches = watches && state.roster.is_some();
        self.admit(state, connection, loose, watches);
        if let Some(roster) = state.roster.as_mut().filter(|_| !loose) {
            roster.seat(connection, user);
        }
        self.tell_shard(state, connection, watches, since);
        Ok(())
    }

    fn admit(&self, state: &mut State, connection: &Arc<Connection>, loose: bool, watches: bool) {
        let shard = connection.home().shard;
        let group = state.group.get_or_insert_default();
        let member = Member { connection: Arc::clone(connection), loose, watches };
        group.members.insert(connection.serial(), member);
        group.loose += u64::from(loose);
        if connection.deflates() {
            self.add_deflating();
        }
        *group.joining.entry(shard).or_default() += 1;
        state.shards |= 1 << shard;
        self.subscribers.fetch_add(1, Relaxed);
    }

    fn tell_shard(
        self: &Arc<Self>,
        state: &mut State,
        connection: &Arc<Connection>,
        watches: bool,
        since: Option<u64>,
    ) {
        if let Some(roster) = state.roster.as_mut().filter(|_| watches) {
            roster.watch(self, connection, true);
        }
        let inbox = &connection.home().inbox;
        let (connection, channel) = (Arc::clone(connection), Arc::clone(self));
        inbox.push(Item::Join { connection, channel, since });
    }

    /// Whether a member wants to be told who comes and goes.
    pub(super) fn is_watched_by(&self, serial: u64) -> bool {
        let state = lock(&self.state);
        let member = state.group.as_ref().and_then(|group| group.members.get(&serial));
        member.is_some_and(|member| member.watches)
    }

    /// Sends a member what `tell` makes of the present, behind the messages up to it and before the
    /// next one. Wake the shard afterwards.
    pub(super) fn tell_member(
        self: &Arc<Self>,
        connection: &Arc<Connection>,
        wish: Wish,
        tell: impl FnOnce(&Start, Option<&Attendance>) -> Option<Message>,
    ) -> Result<(), Deleted> {
        let mut state = lock(&self.state);
        let state = &mut *state;
        if state.deleted {
            return Err(Deleted);
        }
        let present = self.start(state, None);
        let recovered = wish.since.map(|since| since == present.position);
        self.tell(state, &Start { recovered, ..present }, connection, wish, tell);
        if let (Some(on), Some(roster)) = (wish.watch, &mut state.roster)
            && let Some(group) = &mut state.group
            && let Some(member) = group.members.get_mut(&connection.serial())
            && std::mem::replace(&mut member.watches, on) != on
        {
            roster.watch(self, connection, on);
        }
        Ok(())
    }

    fn tell(
        self: &Arc<Self>,
        state: &State,
        start: &Start,
        connection: &Arc<Connection>,
        wish: Wish,
        tell: impl FnOnce(&Start, Option<&Attendance>) -> Option<Message>,
    ) {
        let attendance = match wish.watch {
            Some(true) => self.attendance_of(state, None, wish.page),
            _ => None,
        };
        if let Some(message) = tell(start, attendance.as_ref()) {
            connection.home().inbox.push(Item::Send { to: Arc::clone(connection), message });
        }
    }

    pub(super) fn scene(self: &Arc<Self>, offset: u64) -> Scene<'_> {
        Scene { channel: self, position: Position { epoch: self.epoch, offset } }
    }

    fn attendance_of(
        &self,
        state: &State,
        after: Option<&str>,
        limit: usize,
    ) -> Option<Attendance> {
        let roster = state.roster.as_ref()?;
        let (members, more) = roster.page(after, limit);
        let named = state.group.as_ref().map_or(0, |group| group.members.len() as u64);
        Some(Attendance {
            members,
            count: roster.len(),
            more,
            anonymous: self.subscribers.load(Relaxed).saturating_sub(named),
            position: Position { epoch: self.epoch, offset: state.offset },
        })
    }

    /// At most `limit` of those who are there and whose ids sort behind `after`; `None` for a
    /// channel without the option `presence`.
    pub fn attendance(&self, after: Option<&str>, limit: usize) -> Option<Attendance> {
        self.attendance_of(&lock(&self.state), after, limit)
    }

    /// The same for a connection, which is sent what `tell` makes of it: behind the events that
    /// are in it, and before the next one. False for a channel without the option.
    pub fn tell_attendance(
        &self,
        connection: &Arc<Connection>,
        after: Option<&str>,
        limit: usize,
        tell: impl FnOnce(&Attendance) -> Message,
    ) -> bool {
        {
            let state = lock(&self.state);
            let Some(attendance) = self.attendance_of(&state, after, limit) else { return false };
            let message = tell(&attendance);
            connection.home().inbox.push(Item::Send { to: Arc::clone(connection), message });
        }
        connection.home().inbox.notify();
        true
    }

    /// Says that a member is here by patterns alone from now on, or not any more. Then it is there,
    /// for others to see.
    pub(super) fn set_loose(
        self: &Arc<Self>,
        connection: &Arc<Connection>,
        user: Option<&Arc<str>>,
        loose: bool,
    ) {
        self.touch();
        let mut state = lock(&self.state);
        let state = &mut *state;
        let Some(group) = &mut state.group else { return };
        let Some(member) = group.members.get_mut(&connection.serial()) else { return };
        if std::mem::replace(&mut member.loose, loose) == loose {
            return;
        }
        let scene = self.scene(state.offset);
        match loose {
            true => {
                group.loose += 1;
                let watched = std::mem::take(&mut member.watches);
                if let Some(roster) = &mut state.roster {
                    if watched {
                        roster.watch(self, connection, false);
                    }
                    roster.exit(scene, connection);
                }
            }
            false => {
                group.loose -= 1;
                if let Some(roster) = &mut state.roster {
                    roster.enter(scene, connection, user);
                }
            }
        }
    }

    /// A member is bound to another user, or to none. Costs nothing without the option `presence`.
    pub(super) fn change_user(self: &Arc<Self>, connection: &Connection, user: Option<&Arc<str>>) {
        if !self.config.presence {
            return;
        }
        let mut state = lock(&self.state);
        let scene = self.scene(state.offset);
        if let Some(roster) = &mut state.roster {
            roster.change_user(scene, connection, user);
        }
    }

    /// Ends a membership after what was published so far. Wake the shard afterwards.
    pub(super) fn remove_member(self: &Arc<Self>, connection: &Arc<Connection>) {
        let mut state = lock(&self.state);
        let state = &mut *state;
        let Some(group) = &mut state.group else { return };
        if let Some(member) = group.members.remove(&connection.serial()) {
            group.loose -= u64::from(member.loose);
            connection.home().inbox.push(Item::Leave {
                connection: Arc::clone(connection),
                channel: Arc::clone(self),
            });
            let scene = self.scene(state.offset);
            if let Some(roster) = &mut state.roster {
                if member.watches {
                    roster.watch(self, connection, false);
                }
                roster.exit(scene, connection);
            }
        }
    }

    /// The shard has the member in its lists.
    pub fn member_joined(&self, shard: usize) {
        lock(&self.state).joined(shard);
    }

    /// The member that joined is gone before the shard had it in its lists; `last` says that the
    /// shard has no other subscriber.
    pub fn member_missed(&self, shard: usize, last: bool) {
        self.subscribers.fetch_sub(1, Relaxed);
        let mut state = lock(&self.state);
        state.joined(shard);
        if last {
            self.desert(&mut state, shard);
        }
    }

    /// The members, in the order in which they connected.
    pub fn members(&self) -> Vec<Arc<Connection>> {
        let state = lock(&self.state);
        state.group.iter().flat_map(|group| group.connections()).collect()
    }

    /// At most `limit` members that connected after the one with the serial `after`, in the order
    /// in which they connected.
    pub fn members_page(&self, after: Option<u64>, limit: usize) -> Vec<Arc<Connection>> {
        let state = lock(&self.state);
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let members = state.group.iter().flat_map(|group| {
            let range = group.members.range((from, Bound::Unbounded));
            range.map(|(_, member)| Arc::clone(&member.connection))
        });
        members.take(limit).collect()
    }

    /// How many members there are.
    pub fn member_count(&self) -> usize {
        lock(&self.state).group.as_ref().map_or(0, |group| group.members.len())
    }
}
