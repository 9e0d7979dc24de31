//! The operations on connections, users and memberships.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::{Service, not_found};
use crate::hub::{
    Attendance, Connection, ConnectionInfo, Filter, Observer, Pattern, PresenceEvent, page_of,
};
use crate::server::dialect;
use crate::server::limits::Limit;
use crate::wire::websocket::{Extras, Message};
use crate::wire::{MessageKind, close, encode};
use crate::{Error, ErrorKind, Result, thread};

/// What a program does when it is told of presence.
pub type PresenceCallback = Arc<dyn Fn(&Arc<PresenceEvent>) + Send + Sync>;

impl Service {
    /// The connection called `id`. Error: `NotFound`.
    pub fn connection(&self, id: &str) -> Result<Arc<Connection>> {
        self.connections.get(id).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("Connection '{}' not found", id.escape_debug()))
        })
    }

    /// At most `limit` connections that `filter` means and whose ids sort behind `after`, by id.
    pub fn connections(
        &self,
        filter: &Filter,
        after: Option<&str>,
        limit: usize,
    ) -> Vec<ConnectionInfo> {
        // A channel knows its members.
        let page = match &filter.channel {
            Some(_) => page_of(self.select(filter), after, limit),
            None => self.connections.page(filter, after, limit),
        };
        page.iter().map(|connection| connection.info()).collect()
    }

    /// How many connections `filter` means.
    pub fn connection_count(&self, filter: &Filter) -> usize {
        match &filter.channel {
            Some(_) => self.select(filter).len(),
            None => self.connections.count(filter),
        }
    }

    /// The connections that `filter` means: of a channel's, without a look at all others.
    fn select(&self, filter: &Filter) -> Vec<Arc<Connection>> {
        let Some(name) = &filter.channel else { return self.connections.select(filter) };
        let mut members = self.members(name).unwrap_or_default();
        members.retain(|member| filter.matches(member));
        members
    }

    /// The registry itself.
    pub fn registry(&self) -> &crate::hub::Connections {
        &self.connections
    }

    /// Sends a message to one connection, encoded as its dialect does. Waits only while the
    /// connection's shard is behind by `inbox_bytes`. Errors: `NotFound`, `Closed`, `TooLarge`,
    /// `InvalidUtf8` of a text.
    pub fn send_to(&self, id: &str, kind: MessageKind, payload: &[u8]) -> Result<()> {
        self.send(&self.connection(id)?, kind, payload)
    }

    /// The same for a connection that is at hand.
    pub fn send(
        &self,
        connection: &Arc<Connection>,
        kind: MessageKind,
        payload: &[u8],
    ) -> Result<()> {
        self.check(kind, payload)?;
        if !thread::must_not_wait() {
            connection.home().inbox.wait_for_room();
        }
        connection.send(&encode(connection.dialect(), kind, payload))
    }

    /// Sends a message to every connection of a user; gives their number. Errors: `NotFound` for a
    /// user whom no connection is bound to, `TooLarge`, `InvalidUtf8`.
    pub fn send_to_user(&self, user: &str, kind: MessageKind, payload: &[u8]) -> Result<usize> {
        let connections = self.connections.of_user(user);
        if connections.is_empty() {
            let text = format!("User '{}' has no connection", user.escape_debug());
            return Err(Error::new(ErrorKind::NotFound, text));
        }
        self.send_all(&connections, kind, payload)
    }

    /// Sends a message to every connection that `filter` means, and for which `wanted` is true;
    /// gives their number. The predicate runs on the caller's thread, under no lock. Errors:
    /// `TooLarge`, `InvalidUtf8`.
    pub fn send_where(
        &self,
        filter: &Filter,
        kind: MessageKind,
        payload: &[u8],
        mut wanted: impl FnMut(&Arc<Connection>) -> bool,
    ) -> Result<usize> {
        self.check(kind, payload)?;
        let mut connections = self.select(filter);
        connections.retain(|connection| wanted(connection));
        self.send_all(&connections, kind, payload)
    }

    /// Each encoding is made once, and compressed at most once, whatever the number of connections.
    fn send_all(
        &self,
        connections: &[Arc<Connection>],
        kind: MessageKind,
        payload: &[u8],
    ) -> Result<usize> {
        self.check(kind, payload)?;
        let mut encoded: Vec<(crate::wire::Dialect, Message)> = Vec::new();
        let mut reached = 0;
        let may_wait = !thread::must_not_wait();
        for connection in connections {
            if may_wait {
                connection.home().inbox.wait_for_room();
            }
            let dialect = connection.dialect();
            let message = match encoded.iter().find(|(other, _)| *other == dialect) {
                Some((_, message)) => message.clone(),
                None => {
                    let message = encode(dialect, kind, payload).sharing(Extras::default());
                    encoded.push((dialect, message.clone()));
                    message
                }
            };
            reached += usize::from(connection.send(&message).is_ok());
        }
        Ok(reached)
    }

    /// Sends a message to every connection of the endpoints at `path`, or of all endpoints, by one
    /// shared frame for each; gives the number of connections. Errors: `NotFound` for a path that
    /// is no endpoint, `TooLarge`, `InvalidUtf8`, `Closed`.
    pub fn broadcast(&self, path: Option<&str>, kind: MessageKind, payload: &[u8]) -> Result<u64> {
        self.check(kind, payload)?;
        let endpoints = match path {
            None => self.endpoints(),
            Some(path) => vec![self.endpoint(path).ok_or_else(|| {
                Error::new(ErrorKind::NotFound, format!("There is no endpoint at '{path}'"))
            })?],
        };
        if !thread::must_not_wait() {
            self.hub.wait_for_room();
        }
        let mut reached = 0;
        for endpoint in endpoints {
            let message = encode(endpoint.handler.dialect(), kind, payload);
            reached += self.broadcast_frame(&endpoint.everyone, &message)?;
        }
        Ok(reached)
    }

    /// Sends an encoded message to everyone of an endpoint; gives their number.
    pub fn broadcast_frame(
        &self,
        everyone: &Arc<crate::hub::Channel>,
        message: &Message,
    ) -> Result<u64> {
        Ok(self.publish_to(everyone, message)?.subscribers)
    }

    /// Closes a connection behind what was sent to it before. Errors: `NotFound`;
    /// `InvalidArgument` for a code that an endpoint may not send (RFC 6455 section 7.4).
    pub fn close_connection(&self, id: &str, code: u16, reason: &str) -> Result<()> {
        Self::dismiss(&self.connection(id)?, code, reason)
    }

    /// The same for a connection that is at hand. Harmless when it is closed. Error:
    /// `InvalidArgument`, also for a reason of more than 123 bytes.
    pub fn dismiss(connection: &Arc<Connection>, code: u16, reason: &str) -> Result<()> {
        let invalid = |text| Err(Error::new(ErrorKind::InvalidArgument, text));
        if !close::may_be_sent(code) {
            return invalid(format!(
                "close code cannot be {code}: it is 1000 to 1003, 1007 to 1014 or 3000 to 4999"
            ));
        }
        if reason.len() > close::MAX_REASON {
            let (size, most) = (reason.len(), close::MAX_REASON);
            return invalid(format!("close reason has {size} bytes; the limit is {most}"));
        }
        connection.dismiss(code, reason);
        Ok(())
    }

    /// Binds a connection to a user; one that is bound is moved. Errors: `NotFound`, `Closed`,
    /// `InvalidArgument` for an empty user.
    pub fn bind_user(&self, id: &str, user: &str) -> Result<()> {
        self.connections.bind(&self.connection(id)?, user)
    }

    /// Unbinds a connection; false if it was bound to nobody. Error: `NotFound`.
    pub fn unbind_user(&self, id: &str) -> Result<bool> {
        Ok(self.connections.unbind(&self.connection(id)?))
    }

    /// At most `limit` users whose ids sort behind `after`, in order, each with the number of its
    /// connections.
    pub fn users(&self, after: Option<&str>, limit: usize) -> Vec<(Arc<str>, usize)> {
        self.connections.users_page(after, limit)
    }

    /// Users now.
    pub fn user_count(&self) -> usize {
        self.connections.users()
    }

    /// The connections of a user, in the order in which they came.
    pub fn user_connections(&self, user: &str) -> Vec<Arc<Connection>> {
        self.connections.of_user(user)
    }

    /// Makes a connection a member of a channel that exists (or is created, with `auto_create`);
    /// false if it is one already. Errors: `NotFound`, `ChannelNotFound`, `InvalidName`, `Closed`.
    pub fn join(&self, id: &str, channel: &str) -> Result<bool> {
        self.join_channel(&self.connection(id)?, channel)
    }

    /// The same for a connection that is at hand.
    pub fn join_channel(&self, connection: &Arc<Connection>, channel: &str) -> Result<bool> {
        let channel = self.find(channel)?;
        self.check_room(connection, &channel)?;
        connection.join(&channel)
    }

    /// The same for a channel that comes with its first member and goes with its last, if there is
    /// none of this name. Errors: `NotFound`, `InvalidName`, `QueueFull` at `max_channels`,
    /// `Closed`.
    pub fn join_group(&self, id: &str, group: &str) -> Result<bool> {
        self.enter_group(&self.connection(id)?, group)
    }

    /// The same for a connection that is at hand.
    pub fn enter_group(&self, connection: &Arc<Connection>, group: &str) -> Result<bool> {
        loop {
            let channel = self.hub.group(group)?;
            let joined =
                self.check_room(connection, &channel).and_then(|()| connection.join(&channel));
            match joined {
                // Its last member left in between.
                Err(error) if error.kind() == ErrorKind::ChannelNotFound => {}
                joined => {
                    self.hub.reap(&channel);
                    return joined;
                }
            }
        }
    }

    /// Whether a connection may become a member, unless it is one. Error: `QueueFull` at
    /// `max_subscriptions`, which may be exceeded by those that join at this very moment.
    pub(in crate::server) fn check_room(
        &self,
        connection: &Arc<Connection>,
        channel: &Arc<crate::hub::Channel>,
    ) -> Result<()> {
        match connection.is_in(channel) {
            true => Ok(()),
            false => self.check_subscriptions(connection.subscription_count()),
        }
    }

    /// Makes a connection a member of all channels that `pattern` matches, now and whenever one is
    /// created, and sends it what `tell` makes of their number before. Errors: `InvalidName`,
    /// `QueueFull` at `max_subscriptions`, `Closed`.
    pub(in crate::server) fn subscribe_pattern(
        &self,
        connection: &Arc<Connection>,
        pattern: &Pattern,
        tell: impl FnOnce(usize) -> Message,
    ) -> Result<()> {
        let notices = dialect::notices(connection.dialect());
        let done = self.hub.subscribe_pattern(connection, pattern, notices, tell);
        if done.as_ref().is_err_and(|error| error.kind() == ErrorKind::QueueFull) {
            self.note_limit(Limit::MaxSubscriptions);
        }
        done
    }

    /// Ends a membership; false if there was none. Errors: `NotFound`, `ChannelNotFound`.
    pub fn leave(&self, id: &str, channel: &str) -> Result<bool> {
        self.quit_channel(&self.connection(id)?, channel)
    }

    /// The same for a connection that is at hand.
    pub fn quit_channel(&self, connection: &Arc<Connection>, channel: &str) -> Result<bool> {
        let channel = self.hub.get(channel).ok_or_else(not_found)?;
        Ok(self.leave_channel(connection, &channel))
    }

    /// Ends a membership; false if there was none.
    pub fn leave_channel(
        &self,
        connection: &Arc<Connection>,
        channel: &Arc<crate::hub::Channel>,
    ) -> bool {
        let left = connection.leave(channel);
        if left {
            self.hub.reap(channel);
        }
        left
    }

    /// The connections that are members of a channel. Error: `ChannelNotFound`.
    pub fn members(&self, channel: &str) -> Result<Vec<Arc<Connection>>> {
        Ok(self.hub.get(channel).ok_or_else(not_found)?.members())
    }

    /// At most `limit` of those who are in a channel with the option `presence`, and whose ids sort
    /// behind `after`. Errors: `ChannelNotFound`; `NotFound` for a channel without the option.
    pub fn presence(&self, channel: &str, after: Option<&str>, limit: usize) -> Result<Attendance> {
        let channel = self.hub.get(channel).ok_or_else(not_found)?;
        channel.attendance(after, limit).ok_or_else(|| {
            let name = channel.name().escape_debug();
            let text =
                format!("Channel '{name}' tells no presence: its option 'presence' is false");
            Error::new(ErrorKind::NotFound, text)
        })
    }

    /// Lets `callback` be told who comes to channels with the option `presence` and who goes, in
    /// the order of each channel, on a delivery thread; `None` ends that. One that is replaced may
    /// still be told of what happened before.
    pub fn on_presence(&self, callback: Option<PresenceCallback>) {
        let lane = self.delivery.lane();
        let observer = callback.map(|callback| -> Observer {
            Arc::new(move |event| {
                let (callback, event) = (Arc::clone(&callback), Arc::clone(event));
                let bytes = event.channel.len() + event.id.len();
                lane.push(bytes, move || callback(&event));
            })
        });
        self.observed.store(observer.is_some(), Relaxed);
        self.hub.observe(observer);
    }

    /// Whether whoever comes to a channel must wait, because the program is behind with what it is
    /// told of presence.
    pub(in crate::server) fn is_presence_behind(&self, channel: &crate::hub::Channel) -> bool {
        channel.config().presence && self.observed.load(Relaxed) && self.delivery.is_busy()
    }

    /// How many connections are members of a channel; none if there is no such channel.
    pub fn member_count(&self, channel: &str) -> usize {
        self.hub.get(channel).map_or(0, |channel| channel.member_count())
    }

    /// Takes every member out of a channel, which disappears if it came with its first. Error:
    /// `ChannelNotFound`, also for a channel without members.
    pub fn dissolve(&self, channel: &str) -> Result<()> {
        let channel = self.hub.get(channel).ok_or_else(not_found)?;
        let members = channel.members();
        if members.is_empty() {
            return Err(not_found());
        }
        for member in members {
            self.leave_channel(&member, &channel);
        }
        Ok(())
    }

    /// Channels that have a member now. Walks through all channels.
    pub fn group_count(&self) -> usize {
        const PAGE: usize = 1024;
        let mut after: Option<String> = None;
        let mut groups = 0;
        loop {
            let page = self.hub.page(after.as_deref(), PAGE);
            groups += page.iter().filter(|channel| channel.member_count() > 0).count();
            match page.last() {
                Some(last) if page.len() == PAGE => after = Some(last.name().to_owned()),
                _ => return groups,
            }
        }
    }

    /// Takes a connection that ended, or is about to, out of its channels, its user and the
    /// registry; harmless when that was done.
    pub(in crate::server) fn forget(&self, connection: &Arc<Connection>) {
        let Some((channels, patterns)) = connection.retire() else { return };
        self.hub.forget_patterns(connection, &patterns);
        for channel in channels {
            self.hub.reap(&channel);
        }
        self.connections.remove(connection);
    }
}
