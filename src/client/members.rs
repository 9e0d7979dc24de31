//! A handle's connection with a name, and what only such a one can have: subscriptions to patterns,
//! and to channels with who comes and goes.
//!
//! The handle makes it with the first of them, besides its other connection, and both end with it.
//! Only the connection's task owns a [`Members`]. What it knows of its subscriptions outlives
//! connections; the server's numbers and the open requests do not.

mod incoming;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Context;

use bytes::Bytes;
use slab::Slab;
use tokio::time::Instant;

use super::connection::{Retry, Talk};
use super::handle::{Join, Shared};
use super::inbox::{CLOSED_BY_PROGRAM, Inbox};
use super::link::Lost;
use super::queue::Offer;
use super::roster::{Change, Page, Roster};
use super::session::{about, refusal};
use super::{ClientState, Event, EventKind};
use crate::hub::Pattern;
use crate::wire::members::{Call, Notice, Presence, decode_notice, encode_call};
use crate::wire::stream::{MESSAGE_HEADER, Op, Packet, Reply, Request, decode_packet};
use crate::wire::{MessageKind, Position, close};
use crate::{Error, ErrorKind};

/// Those who are there and are asked for at a time.
const PAGE: u16 = 1000;

/// What a subscription of such a connection asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// A channel's messages: any connection's affair.
    Messages,
    /// The messages of all channels that a pattern matches.
    Pattern,
    /// A channel's messages, and who comes and goes.
    Presence,
}

/// See the module's documentation.
pub(crate) struct Members {
    shared: Arc<Shared>,
    topics: Slab<Topic>,
    /// The channels of this connection by the server's numbers.
    channels: HashMap<u64, Known>,
    /// Requests that await their reply on this connection.
    open: HashMap<u32, Open>,
    control: VecDeque<Bytes>,
    /// Events whose subscription is full and blocks the connection: nothing is read meanwhile.
    stalled: VecDeque<(Arc<Inbox>, Event)>,
    connected: bool,
    retry: Retry,
    /// Why it ends.
    error: Option<Error>,
}

/// A pattern or a channel, and everybody in the handle who receives it.
struct Topic {
    text: Arc<str>,
    /// `None`: it is a channel.
    pattern: Option<Pattern>,
    inboxes: Vec<Arc<Inbox>>,
    joining: Vec<Join>,
    live: bool,
    asked: bool,
    retry_at: Option<Instant>,
    /// Of a channel: the last message that was received, or where the subscription began.
    position: Option<Position>,
    /// Of a channel: who is there.
    roster: Roster,
}

/// A channel of this connection.
struct Known {
    name: Arc<str>,
    position: Position,
    /// The topics that receive it.
    topics: Vec<usize>,
}

#[derive(Clone, Copy)]
enum Open {
    Subscribe(usize),
    Attendance(usize),
}

impl Talk for Members {
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

    fn disconnected(&mut self, lost: &Lost) {
        self.connected = false;
        self.channels.clear();
        self.open.clear();
        self.control.clear();
        self.retry.at(None);
        for (inbox, event) in self.stalled.drain(..) {
            inbox.force(event);
        }
        for (_, topic) in &mut self.topics {
            (topic.live, topic.asked, topic.retry_at) = (false, false, None);
        }
        self.failed(&lost.error.clone().context("lost the connection"));
    }

    fn failed(&mut self, error: &Error) {
        self.shared.failed(error);
        for (_, topic) in &self.topics {
            topic.tell_error(&self.shared, error);
        }
        self.error = Some(error.clone());
    }

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
        self.control.pop_front()
    }

    fn take_packet(&mut self, bytes: &Bytes) -> std::result::Result<(), Lost> {
        self.incoming(bytes)
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

impl Members {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            topics: Slab::new(),
            channels: HashMap::new(),
            open: HashMap::new(),
            control: VecDeque::new(),
            stalled: VecDeque::new(),
            connected: false,
            retry: Retry::default(),
            error: None,
        }
    }

    /// Forgets what waits for room in an inbox, or hands it over.
    fn let_go(&mut self, inbox: &Arc<Inbox>, hand_over: bool) {
        self.stalled.retain(|(stalled, event)| {
            let other = !Arc::ptr_eq(stalled, inbox);
            if !other && hand_over {
                stalled.force(event.clone());
            }
            other
        });
    }

    fn take_changes(&mut self) {
        let (joins, leaving) = self.shared.take_changes();
        leaving.iter().for_each(|inbox| self.leave(inbox));
        joins.into_iter().for_each(|join| self.join(join));
    }

    fn join(&mut self, join: Join) {
        let text = join.inbox.channel().clone();
        let pattern = match join.wish {
            Wish::Pattern => match Pattern::parse(&text) {
                Ok(pattern) => Some(pattern),
                Err(error) => {
                    join.promise.give(Err(error));
                    return;
                }
            },
            _ => None,
        };
        let same =
            |topic: &Topic| topic.text == text && topic.pattern.is_some() == pattern.is_some();
        let found = self.topics.iter().find(|(_, topic)| same(topic)).map(|(key, _)| key);
        let key = found.unwrap_or_else(|| {
            self.topics.insert(Topic {
                text,
                pattern,
                inboxes: Vec::new(),
                joining: Vec::new(),
                live: false,
                asked: false,
                retry_at: None,
                position: None,
                roster: Roster::default(),
            })
        });
        let Some(topic) = self.topics.get_mut(key) else { return };
        if topic.live {
            return topic.admit(join, &mut self.stalled);
        }
        topic.joining.push(join);
        self.ask(key);
    }

    /// An inbox was closed.
    fn leave(&mut self, inbox: &Arc<Inbox>) {
        inbox.end(CLOSED_BY_PROGRAM);
        self.let_go(inbox, false);
        let mut left = None;
        for (key, topic) in &mut self.topics {
            let before = topic.inboxes.len() + topic.joining.len();
            topic.inboxes.retain(|one| !Arc::ptr_eq(one, inbox));
            topic.joining.retain(|join| !Arc::ptr_eq(&join.inbox, inbox));
            let after = topic.inboxes.len() + topic.joining.len();
            if after < before {
                left = Some((key, after == 0 && !topic.asked));
                break;
            }
        }
        // While a request is under way its reply decides: see `subscribed`.
        if let Some((key, true)) = left {
            self.leave_topic(key);
        }
    }

    /// Asks the server for a topic, unless that is under way or there is no connection.
    fn ask(&mut self, key: usize) {
        let Some(topic) = self.topics.get_mut(key) else { return };
        if !self.connected || topic.asked || topic.live {
            return;
        }
        topic.asked = true;
        topic.retry_at = None;
        let id = self.shared.new_id();
        self.open.insert(id, Open::Subscribe(key));
        self.control.push_back(packet(&match &topic.pattern {
            Some(_) => Call::Pattern { id, pattern: &topic.text },
            None => Call::Watch { id, channel: &topic.text, since: topic.position },
        }));
    }

    fn leave_topic(&mut self, key: usize) {
        let Some(topic) = self.topics.try_remove(key) else { return };
        if topic.live && self.connected {
            let channel: &str = &topic.text;
            self.control.push_back(packet(&match &topic.pattern {
                Some(_) => Call::NoPattern { id: 0, pattern: channel },
                None => Call::Plain(Request { id: 0, channel, op: Op::Unsubscribe }),
            }));
        }
        self.open.retain(|_, open| {
            let (Open::Subscribe(other) | Open::Attendance(other)) = *open;
            other != key
        });
        self.channels.retain(|_, known| {
            known.topics.retain(|other| *other != key);
            !known.topics.is_empty()
        });
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

impl Topic {
    fn offer(&self, event: &Event, stalled: &mut VecDeque<(Arc<Inbox>, Event)>) {
        for inbox in &self.inboxes {
            if let Offer::Full(event) = inbox.offer(event.clone()) {
                stalled.push_back((inbox.clone(), event));
            }
        }
    }

    /// Makes a subscription live, unless its caller gave up, and tells it who is there.
    fn admit(&mut self, join: Join, stalled: &mut VecDeque<(Arc<Inbox>, Event)>) {
        if !join.promise.give(Ok(())) {
            return;
        }
        let inbox = join.inbox;
        let position = self.position.unwrap_or_default();
        inbox.offer(inbox.connected(position, None));
        for change in self.roster.all() {
            let event = change.event(&self.text, position);
            if let Offer::Full(event) = inbox.offer(event) {
                stalled.push_back((inbox.clone(), event));
            }
        }
        self.inboxes.push(inbox);
    }

    fn tell_error(&self, shared: &Shared, error: &Error) {
        let text = about(&shared.target.host, &self.text, error);
        for inbox in &self.inboxes {
            inbox.offer(inbox.notice(EventKind::Error, &text, Position::default()));
        }
    }
}

impl Change {
    fn event(self, channel: &Arc<str>, position: Position) -> Event {
        Event {
            kind: if self.went { EventKind::Leave } else { EventKind::Join },
            channel: channel.clone(),
            data: Bytes::copy_from_slice(self.attendee.id.as_bytes()),
            message_kind: MessageKind::Text,
            position,
            recovered: None,
            attendee: Some(self.attendee),
        }
    }
}

fn packet(call: &Call<'_>) -> Bytes {
    let mut bytes = Vec::new();
    encode_call(&mut bytes, call);
    bytes.into()
}

fn violation(text: String) -> Lost {
    Lost::refused(close::PROTOCOL_ERROR, Error::new(ErrorKind::Protocol, text))
}

/// The end, also when the runtime drops the task: everybody who waits is told, every subscription
/// gets its `Closed`.
impl Drop for Members {
    fn drop(&mut self) {
        let requests = self.shared.drain();
        self.shared.set_state(ClientState::Closed);
        self.take_changes();
        let closing = self.shared.is_closing();
        let error = match self.error.take() {
            Some(error) if !closing => error,
            _ => Error::new(ErrorKind::Closed, "the client is closed"),
        };
        requests.into_iter().for_each(|request| request.fail(error.clone()));
        for (inbox, event) in self.stalled.drain(..) {
            inbox.force(event);
        }
        for topic in self.topics.drain() {
            let reason = match closing {
                true => CLOSED_BY_PROGRAM.to_owned(),
                false => about(&self.shared.target.host, &topic.text, &error),
            };
            for join in topic.joining {
                join.promise.give(Err(error.clone()));
            }
            topic.inboxes.iter().for_each(|inbox| inbox.end(&reason));
        }
        self.shared.wake.forget();
    }
}
