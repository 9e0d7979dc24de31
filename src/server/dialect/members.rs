//! The stream protocol for connections with a name: members of their channels, who may subscribe to
//! patterns and be told who comes and goes.
//!
//! Every request is answered through the shard's inbox, so that what it does and what its reply says
//! come in one order; a reply that tells whom a message reached comes when that is known.

use std::sync::Arc;

use super::presence::There;
use super::{Closure, Handler};
use crate::hub::{Attendance, Change, Connection, Notices, Pattern, PresenceEvent, Start, Wish};
use crate::server::answer::status;
use crate::server::{Done, PublishOptions, Report, Service};
use crate::wire::members::{self, Call, Notice, Presence};
use crate::wire::stream::{self, Op, Publication, Reply, Request};
use crate::wire::websocket::Message;
use crate::wire::{Dialect, MessageKind, Position, close};
use crate::{Error, ErrorKind};

/// Of how many members a watcher is told at once, and at most.
const SNAPSHOT: usize = 1000;

/// Why a request fails: an HTTP status and a text.
type Fault = (u16, String);
/// The reply to a request, but for its id; `None` is one that is sent already, or later.
type Answer = Result<Option<Reply<'static>>, Fault>;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Members;

/// What the connections are told of their patterns.
pub(super) const NOTICES: Notices = Notices {
    beyond: |name| notice(&Notice::Beyond(name)),
    entered: Some(|channel, name, position| notice(&Notice::Entered { channel, position, name })),
};

/// The notice of somebody who came to the channel of this number, or went.
pub(in crate::server) fn presence(channel: u64, event: &PresenceEvent) -> Message {
    notice(&Notice::Presence(Presence {
        channel,
        offset: event.position.offset,
        time_ms: event.time_ms,
        went: event.change == Change::Leave,
        edge: event.edge,
        id: &event.id,
        user: event.user.as_deref(),
    }))
}

fn notice(notice: &Notice<'_>) -> Message {
    let mut packet = Vec::new();
    members::encode_notice(&mut packet, notice);
    Message::new(MessageKind::Binary, &packet)
}

fn message(reply: &Reply<'_>) -> Message {
    let mut packet = Vec::new();
    stream::encode_reply(&mut packet, reply);
    Message::new(MessageKind::Binary, &packet)
}

fn refusal(id: u32, (status, text): &Fault) -> Message {
    message(&Reply { id, status: *status, error: text, ..Reply::default() })
}

fn failed(error: Error) -> Fault {
    (status(error.kind()), error.to_string())
}

fn not_found() -> Fault {
    failed(Error::new(ErrorKind::ChannelNotFound, "Channel not found"))
}

/// One request and what it needs.
#[derive(Clone, Copy)]
struct Asked<'a> {
    service: &'a Arc<Service>,
    connection: &'a Arc<Connection>,
    id: u32,
}

impl Handler for Members {
    fn dialect(&self) -> Dialect {
        Dialect::Stream
    }

    fn greeting(&self, connection: &Connection) -> Option<Message> {
        Some(notice(&Notice::Welcome(connection.id())))
    }

    fn opened(&self, _: &Arc<Service>, _: &Arc<Connection>, _: Option<Arc<Connection>>) {}

    fn message(
        &self,
        service: &Arc<Service>,
        connection: &Arc<Connection>,
        kind: MessageKind,
        data: &[u8],
    ) {
        let call = members::decode_call(data).filter(|_| kind == MessageKind::Binary);
        let Some(call) = call else {
            return connection.close(close::PROTOCOL_ERROR, "not a request packet");
        };
        let asked = Asked { service, connection, id: call.id() };
        let reply = match asked.answer(&call) {
            // Nobody asked for a reply.
            Ok(Some(_)) if asked.id == 0 => return,
            Ok(Some(reply)) => message(&Reply { id: asked.id, ..reply }),
            Ok(None) => return,
            Err(fault) => refusal(asked.id, &fault),
        };
        // It fails only when the connection is closed, which it was not a moment ago.
        let _ = connection.send(&reply);
    }

    fn over_rate(&self, connection: &Arc<Connection>, data: &[u8], text: &str) -> bool {
        let Some(call) = members::decode_call(data) else { return false };
        connection.send(&refusal(call.id(), &(429, text.into()))).is_ok()
    }

    fn closed(&self, _: &Arc<Service>, _: &Arc<Connection>, _: &Closure) {}
}

impl Asked<'_> {
    fn answer(&self, call: &Call<'_>) -> Answer {
        match *call {
            Call::Plain(Request { channel, op, .. }) => match op {
                Op::Subscribe => self.subscribe(channel, None, false),
                Op::Resume(since) => self.subscribe(channel, Some(since), false),
                Op::Unsubscribe => self.unsubscribe(channel),
                Op::Publish(kind, data) => self.publish(channel, &Publication::new(kind, data)),
                Op::PublishWith(publication) => self.publish(channel, &publication),
            },
            Call::Watch { channel, since, .. } => self.subscribe(channel, since, true),
            Call::Pattern { pattern, .. } => self.subscribe_pattern(pattern),
            Call::NoPattern { pattern, .. } => self.unsubscribe_pattern(pattern),
            Call::Attendance { channel, limit, after, .. } => {
                self.attendance(channel, limit, after)
            }
        }
    }

    /// The reply is sent under the channel's lock: it precedes the first message and, with `watch`,
    /// whoever comes or goes next.
    fn subscribe(&self, name: &str, since: Option<Position>, watch: bool) -> Answer {
        let channel = self.service.find(name).map_err(failed)?;
        self.service.check_room(self.connection, &channel).map_err(failed)?;
        if watch && !channel.config().presence {
            return Err(no_presence(name));
        }
        if self.service.is_presence_behind(&channel) && !self.connection.is_in(&channel) {
            return Err((503, "The program is busy; ask again".into()));
        }
        let tell = |start: &Start, there: Option<&Attendance>| {
            let there = there.map(|there| There::of(there).json());
            message(&Reply {
                id: self.id,
                channel: channel.id(),
                position: start.position,
                recovered: start.recovered == Some(true),
                there: there.as_deref(),
                ..Reply::default()
            })
        };
        let wish = Wish { since, watch: watch.then_some(true), page: SNAPSHOT };
        self.connection.join_watching(&channel, wish, tell).map_err(failed)?;
        Ok(None)
    }

    fn unsubscribe(&self, name: &str) -> Answer {
        let channel = self.service.hub().get(name).ok_or_else(not_found)?;
        match self.service.leave_channel(self.connection, &channel) {
            true => Ok(Some(Reply { channel: channel.id(), ..Reply::default() })),
            false => Err((404, "Not subscribed".into())),
        }
    }

    /// The reply precedes the channels and their messages.
    fn subscribe_pattern(&self, text: &str) -> Answer {
        if !self.service.options().session_patterns {
            return Err((403, "This server takes no patterns".into()));
        }
        let pattern = Pattern::parse(text).map_err(failed)?;
        // It may look at very many channels.
        self.connection.end_turn();
        let tell = |channels: usize| {
            let position = Position { epoch: 0, offset: channels as u64 };
            message(&Reply { id: self.id, position, ..Reply::default() })
        };
        self.service.subscribe_pattern(self.connection, &pattern, tell).map_err(failed)?;
        Ok(None)
    }

    fn unsubscribe_pattern(&self, text: &str) -> Answer {
        let pattern = Pattern::parse(text).map_err(failed)?;
        match self.service.hub().unsubscribe_pattern(self.connection, &pattern) {
            true => Ok(Some(Reply::default())),
            false => Err((404, "Not subscribed".into())),
        }
    }

    /// It stands at one place among the events.
    fn attendance(&self, name: &str, limit: u16, after: Option<&str>) -> Answer {
        let limit = usize::from(limit);
        if !(1..=SNAPSHOT).contains(&limit) {
            return Err((400, format!("limit cannot be {limit}: it is 1 to {SNAPSHOT}")));
        }
        let channel = self.service.hub().get(name).ok_or_else(not_found)?;
        if self.service.hub().is_congested() {
            return Err((503, "The server is busy; ask again".into()));
        }
        let tell = |there: &Attendance| {
            message(&Reply {
                id: self.id,
                channel: channel.id(),
                position: there.position,
                there: Some(&There::of(there).json()),
                ..Reply::default()
            })
        };
        match channel.tell_attendance(self.connection, after, limit, tell) {
            true => Ok(None),
            false => Err(no_presence(name)),
        }
    }

    fn publish(&self, name: &str, publication: &Publication<'_>) -> Answer {
        let &Publication { kind, data, key, conflate, counts, subscribers } = publication;
        // As a shard must, without waiting for room: it is a shard that makes room.
        let found = self.service.check(kind, data).and_then(|()| self.service.find(name));
        let channel = found.map_err(failed)?;
        // Without a reply nobody is told.
        let counts = counts && self.id != 0;
        let options = PublishOptions { key, conflate, counts };
        let number = channel.id();
        let outgoing = Message::new(kind, data);
        let later = || self.later(number, subscribers);
        match self.service.publish_asking(&channel, &outgoing, options, later) {
            Some(report) => Ok(Some(reply_of(number, &report.map_err(failed)?, subscribers))),
            None => Ok(None),
        }
    }

    /// Who replies to a publication later, if the client is still there.
    fn later(&self, channel: u64, subscribers: bool) -> Done {
        let (connection, id) = (Arc::clone(self.connection), self.id);
        Box::new(move |report| {
            let reply = match report {
                // Nobody asked for a reply.
                Ok(_) if id == 0 => return,
                Ok(report) => message(&Reply { id, ..reply_of(channel, &report, subscribers) }),
                Err(error) => refusal(id, &failed(error)),
            };
            let _ = connection.send(&reply);
        })
    }
}

fn reply_of(channel: u64, report: &Report, subscribers: bool) -> Reply<'static> {
    Reply {
        channel,
        position: report.published.position,
        duplicate: report.published.duplicate,
        subscribers: subscribers.then_some(report.published.subscribers),
        counts: report.counts,
        ..Reply::default()
    }
}

fn no_presence(name: &str) -> Fault {
    let name = name.escape_debug();
    (404, format!("Channel '{name}' tells no presence: its option 'presence' is false"))
}
