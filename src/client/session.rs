//! A handle's subscriptions and open requests, and how they speak the stream protocol.
//!
//! Only the connection's task owns a session. It outlives connections: topics stay, the server's
//! numbers for them and the open requests do not.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Context;

use bytes::Bytes;
use slab::Slab;
use tokio::time::Instant;

use super::connection::{Retry, Talk};
use super::handle::{Join, Shared};
use super::host::Host;
use super::inbox::Inbox;
use super::link::Lost;
use super::outgoing::{Outgoing, packet};
use super::queue::Offer;
use super::topic::Topic;
use super::{ClientState, Event, EventKind, http};
use crate::hub::{Published, Report};
use crate::wire::stream::{MESSAGE_HEADER, Op, Packet, Reply, decode_packet};
use crate::wire::{MessageKind, Position, close};
use crate::{Error, ErrorKind};

/// See the module's documentation.
pub(crate) struct Session {
    shared: Arc<Shared>,
    topics: Slab<Topic>,
    names: HashMap<Arc<str>, usize>,
    /// The server's numbers on this connection.
    numbers: HashMap<u64, usize>,
    /// Requests that await their reply on this connection.
    open: HashMap<u32, Open>,
    /// Above this many open requests, those that nobody waits for are looked for.
    prune_at: usize,
    /// Subscribe and unsubscribe requests to write; at most two per topic.
    control: VecDeque<Bytes>,
    /// Messages whose subscription is full and blocks the connection: nothing is read meanwhile.
    stalled: VecDeque<(Arc<Inbox>, Event)>,
    connected: bool,
    retry: Retry,
    /// Why the session ends.
    error: Option<Error>,
}

enum Open {
    /// A publication that somebody waits for.
    Publish(Outgoing),
    Subscribe(usize),
}

impl Open {
    fn publish(self) -> Option<Outgoing> {
        match self {
            Self::Publish(request) => Some(request),
            Self::Subscribe(_) => None,
        }
    }
}

/// An error as a subscription's users read it.
pub(super) fn about(host: &Host, channel: &str, error: &Error) -> String {
    format!("channel '{}' on {host}: {error}", channel.escape_debug())
}

impl Talk for Session {
    /// A connection is there: asks for every topic.
    fn connected(&mut self, again: bool) {
        self.connected = true;
        self.error = None;
        let keys: Vec<_> = self.topics.iter().map(|(key, _)| key).collect();
        keys.into_iter().for_each(|key| self.ask(key));
        if again {
            self.shared.tally.reconnects.fetch_add(1, Ordering::Relaxed);
        }
        self.shared.set_state(ClientState::Connected);
    }

    /// The connection is lost: what was on its way may or may not have arrived.
    fn disconnected(&mut self, lost: &Lost) {
        let error = &lost.error.clone().context("lost the connection");
        self.connected = false;
        self.numbers.clear();
        self.control.clear();
        self.retry.at(None);
        for (inbox, event) in self.stalled.drain(..) {
            inbox.force(event);
        }
        for (_, topic) in &mut self.topics {
            topic.disconnected();
        }
        let mut open: Vec<_> = self.open.drain().filter_map(|(_, open)| open.publish()).collect();
        if lost.is_too_big() {
            // Requests are judged one by one, so the largest without an answer is the one.
            open.sort_by_key(|request| std::cmp::Reverse(request.packet.len()));
            if !open.is_empty() {
                let error = Error::new(ErrorKind::TooLarge, error.to_string());
                open.remove(0).fail(error);
            }
        }
        let (mut again, once): (Vec<_>, Vec<_>) =
            open.into_iter().partition(|request| request.retries > 0);
        for request in once {
            request.fail(Error::new(
                ErrorKind::Connect,
                format!("{error}; the message may or may not have been published"),
            ));
        }
        again.iter_mut().for_each(|request| request.retries -= 1);
        again.sort_by_key(|request| request.id);
        for request in self.shared.put_back(again) {
            if request.promise.is_none() {
                let host = &self.shared.target.host;
                log::warn!(
                    target: "qyun::client", "client of {host}: {error}; a queued message is dropped"
                );
            }
            let text = format!("{error}; the message was not sent");
            request.fail(Error::new(ErrorKind::Connect, text));
        }
        self.failed(error);
    }

    /// An attempt to connect failed, or the connection did.
    fn failed(&mut self, error: &Error) {
        self.shared.failed(error);
        for (_, topic) in &self.topics {
            let text = about(&self.shared.target.host, &topic.name, error);
            for inbox in &topic.members {
                inbox.offer(inbox.notice(EventKind::Error, &text, Position::default()));
            }
        }
        self.error = Some(error.clone());
    }

    /// Takes in subscriptions that came and went; true when the handle is to be closed.
    fn poll_changes(&mut self, cx: &mut Context<'_>) -> bool {
        if self.shared.wake.poll(cx) {
            self.take_changes();
        }
        self.shared.is_closing()
    }

    fn poll_retry(&mut self, cx: &mut Context<'_>) {
        if self.retry.poll(cx) {
            self.ask_again();
        }
    }

    fn next_packet(&mut self) -> Option<Bytes> {
        if let Some(packet) = self.control.pop_front() {
            return Some(packet);
        }
        let request = self.shared.next_request()?;
        let packet = request.packet.clone();
        if request.promise.is_some() {
            if self.open.len() >= self.prune_at {
                self.open.retain(|_, open| match open {
                    Open::Publish(request) => !request.is_abandoned(),
                    Open::Subscribe(_) => true,
                });
                self.prune_at = (self.open.len() * 2).max(1024);
            }
            self.open.insert(request.id, Open::Publish(request));
        }
        Some(packet)
    }

    fn take_packet(&mut self, bytes: &Bytes) -> std::result::Result<(), Lost> {
        match decode_packet(bytes) {
            Some(Packet::Message { channel, offset, kind, .. }) => {
                self.message(channel, offset, kind, bytes.slice(MESSAGE_HEADER..));
            }
            Some(Packet::Reply(reply)) => self.reply(&reply),
            Some(Packet::Gone { channel }) => {
                if let Some(key) = self.numbers.remove(&channel) {
                    self.end_topic(key, "channel deleted");
                }
            }
            None => {
                let text = format!("{} bytes that are no packet of the protocol", bytes.len());
                return Err(Lost::refused(
                    close::PROTOCOL_ERROR,
                    Error::new(ErrorKind::Protocol, text),
                ));
            }
        }
        Ok(())
    }

    fn unstall(&mut self) -> bool {
        for (inbox, event) in std::mem::take(&mut self.stalled) {
            if let Offer::Full(event) = inbox.offer(event) {
                self.stalled.push_back((inbox, event));
            }
        }
        self.stalled.is_empty()
    }
}

impl Session {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            topics: Slab::new(),
            names: HashMap::new(),
            numbers: HashMap::new(),
            open: HashMap::new(),
            prune_at: 1024,
            control: VecDeque::new(),
            stalled: VecDeque::new(),
            connected: false,
            retry: Retry::default(),
            error: None,
        }
    }

    /// One hash look-up, and per subscription one push of shared bytes.
    fn message(&mut self, number: u64, offset: u64, kind: MessageKind, data: Bytes) {
        // A number that is not known belongs to a channel that was left a moment ago.
        let Some(topic) = self.numbers.get(&number).and_then(|key| self.topics.get_mut(*key))
        else {
            return;
        };
        let Some(position) = topic.advance(offset) else { return };
        self.shared.tally.received.fetch_add(1, Ordering::Relaxed);
        let event = Event {
            kind: EventKind::Message,
            channel: topic.name.clone(),
            data,
            message_kind: kind,
            position,
            recovered: None,
            attendee: None,
        };
        for inbox in &topic.members {
            if let Offer::Full(event) = inbox.offer(event.clone()) {
                self.stalled.push_back((inbox.clone(), event));
            }
        }
    }

    fn reply(&mut self, reply: &Reply<'_>) {
        match self.open.remove(&reply.id) {
            Some(Open::Publish(request)) if reply.status == 0 => {
                self.shared.tally.published.fetch_add(1, Ordering::Relaxed);
                let published = Published {
                    position: reply.position,
                    subscribers: reply.subscribers.unwrap_or_default(),
                    duplicate: reply.duplicate,
                };
                request.answer(Ok(Report { published, counts: reply.counts }));
            }
            Some(Open::Publish(request)) => request.fail(refusal(reply)),
            Some(Open::Subscribe(key)) => self.subscribed(key, reply),
            None if reply.status != 0 => {
                let error = refusal(reply).context("a message was not published");
                self.shared.failed(&error);
            }
            None => {}
        }
    }

    fn subscribed(&mut self, key: usize, reply: &Reply<'_>) {
        let error = (reply.status != 0).then(|| refusal(reply));
        let Some(topic) = self.topics.get_mut(key) else { return };
        topic.asked = false;
        if std::mem::take(&mut topic.starts_over) {
            // The answer is to a subscription that everybody has left; see `join`.
            if error.is_none() {
                let id = self.shared.new_id();
                self.control.push_back(packet(id, &topic.name, Op::Unsubscribe));
            }
            return self.ask(key);
        }
        let joining = std::mem::take(&mut topic.joining);
        if let Some(error) = error {
            for join in joining {
                join.promise.give(Err(error.clone()));
            }
            if topic.members.is_empty() {
                return self.remove_topic(key);
            }
            // Live once, gone after a reconnection: it may be created again.
            let text = about(&self.shared.target.host, &topic.name, &error);
            for inbox in &topic.members {
                inbox.offer(inbox.notice(EventKind::Error, &text, Position::default()));
            }
            topic.retry_at = Some(Instant::now() + self.shared.options.reconnect_max);
            self.arm_retry();
            return;
        }
        self.numbers.insert(reply.channel, key);
        topic.live(reply.channel, reply.position, reply.recovered);
        for join in joining {
            let recovered = join.since.map(|_| reply.recovered);
            topic.admit(join, recovered);
        }
        if topic.members.is_empty() {
            self.leave_topic(key);
        }
    }

    fn take_changes(&mut self) {
        let (joins, leaving) = self.shared.take_changes();
        for inbox in leaving {
            self.leave(&inbox);
        }
        for join in joins {
            self.join(join);
        }
    }

    fn join(&mut self, join: Join) {
        let name = join.inbox.channel().clone();
        let mut known = self.names.get(&name).copied();
        // A position of its own is no business of those who receive the channel already: the handle
        // sends such a subscription elsewhere. Those who are left here have been closed.
        if join.since.is_some()
            && let Some(key) = known
            && let Some(topic) = self.topics.get_mut(key)
        {
            if topic.asked {
                topic.starts_over = true;
                topic.position = join.since;
            } else {
                self.leave_topic(key);
                known = None;
            }
        }
        let key = known.unwrap_or_else(|| {
            let key = self.topics.insert(Topic::new(name.clone(), join.since));
            self.names.insert(name, key);
            key
        });
        let Some(topic) = self.topics.get_mut(key) else { return };
        if topic.number.is_some() {
            return topic.admit(join, None);
        }
        topic.joining.push(join);
        self.ask(key);
    }

    /// An inbox was closed. What waits for room in it is forgotten with it.
    fn leave(&mut self, inbox: &Arc<Inbox>) {
        inbox.end(super::inbox::CLOSED_BY_PROGRAM);
        self.stalled.retain(|(stalled, _)| !Arc::ptr_eq(stalled, inbox));
        let Some(&key) = self.names.get(inbox.channel()) else { return };
        let Some(topic) = self.topics.get_mut(key) else { return };
        topic.members.retain(|member| !Arc::ptr_eq(member, inbox));
        topic.joining.retain(|join| !Arc::ptr_eq(&join.inbox, inbox));
        // While a subscribe is under way its reply decides: see `subscribed`.
        if topic.members.is_empty() && topic.joining.is_empty() && !topic.asked {
            self.leave_topic(key);
        }
    }

    /// Asks the server for a topic, unless that is under way or there is no connection.
    fn ask(&mut self, key: usize) {
        let Some(topic) = self.topics.get_mut(key) else { return };
        if !self.connected || topic.asked || topic.number.is_some() {
            return;
        }
        topic.asked = true;
        topic.retry_at = None;
        let id = self.shared.new_id();
        self.open.insert(id, Open::Subscribe(key));
        let op = topic.position.map_or(Op::Subscribe, Op::Resume);
        self.control.push_back(packet(id, &topic.name, op));
    }

    fn leave_topic(&mut self, key: usize) {
        if let Some(topic) = self.topics.get(key)
            && topic.number.is_some()
            && self.connected
        {
            self.control.push_back(packet(0, &topic.name, Op::Unsubscribe));
        }
        self.remove_topic(key);
    }

    fn remove_topic(&mut self, key: usize) {
        if let Some(topic) = self.topics.try_remove(key) {
            self.names.remove(&topic.name);
            if let Some(number) = topic.number {
                self.numbers.remove(&number);
            }
        }
    }

    fn end_topic(&mut self, key: usize, reason: &str) {
        let Some(topic) = self.topics.get_mut(key) else { return };
        let members = std::mem::take(&mut topic.members);
        self.remove_topic(key);
        for inbox in members {
            // What waits for room in it comes first.
            self.stalled.retain(|(stalled, event)| {
                let other = !Arc::ptr_eq(stalled, &inbox);
                if !other {
                    stalled.force(event.clone());
                }
                other
            });
            inbox.end(reason);
        }
    }

    fn arm_retry(&mut self) {
        self.retry.at(self.topics.iter().filter_map(|(_, topic)| topic.retry_at).min());
    }

    fn ask_again(&mut self) {
        let now = Instant::now();
        let due = |topic: &Topic| topic.retry_at.is_some_and(|at| at <= now);
        let due: Vec<_> =
            self.topics.iter().filter(|(_, topic)| due(topic)).map(|(key, _)| key).collect();
        due.into_iter().for_each(|key| self.ask(key));
        self.arm_retry();
    }
}

pub(super) fn refusal(reply: &Reply<'_>) -> Error {
    let kind = match reply.status {
        404 => ErrorKind::ChannelNotFound,
        status => http::refused(status),
    };
    Error::new(kind, format!("the server answered {}: {}", reply.status, reply.error))
}

/// The end, also when the runtime drops the task: everybody who waits is told, every subscription
/// gets its `Closed`.
impl Drop for Session {
    fn drop(&mut self) {
        let requests = self.shared.drain();
        self.shared.set_state(ClientState::Closed);
        self.take_changes();
        let closing = self.shared.is_closing();
        let error = match self.error.take() {
            Some(error) if !closing => error,
            _ => Error::new(ErrorKind::Closed, "the client is closed"),
        };
        let open = self.open.drain().filter_map(|(_, open)| open.publish());
        for request in open.chain(requests) {
            request.fail(error.clone());
        }
        for (inbox, event) in self.stalled.drain(..) {
            inbox.force(event);
        }
        for topic in self.topics.drain() {
            let reason = match closing {
                true => super::inbox::CLOSED_BY_PROGRAM.to_owned(),
                false => about(&self.shared.target.host, &topic.name, &error),
            };
            for join in topic.joining {
                join.promise.give(Err(error.clone()));
            }
            topic.members.iter().for_each(|inbox| inbox.end(&reason));
        }
        self.shared.wake.forget();
    }
}
