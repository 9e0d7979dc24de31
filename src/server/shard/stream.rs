//! Requests of the stream protocol. Their replies come in the order of the requests, but for those
//! that tell whom a message reached, which come when that is known.

use std::sync::Arc;

use bytes::Bytes;

use super::Shard;
use super::conn::{Conn, Lane};
use crate::hub::{Gauges, Inbox, Item, Late, MAX_KEY, Told};
use crate::server::answer::status;
use crate::server::service::{Done, PublishOptions, Report};
use crate::wire::stream::{self, Op, Publication, Reply, Request};
use crate::wire::websocket::{Limits, Message};
use crate::wire::{MessageKind, Position};
use crate::{Error, ErrorKind};

/// What a request is answered; its id comes to it.
type Answered = Result<Reply<'static>, Error>;

impl Shard {
    pub(super) fn on_stream_message(&mut self, token: usize, kind: MessageKind, data: &[u8]) {
        match stream::decode_request(data) {
            Some(request) if kind == MessageKind::Binary => self.on_request(token, &request),
            _ => self.on_no_request(token),
        }
    }

    /// Answers a message that is over the connection's rate.
    pub(super) fn refuse_stream_message(
        &mut self,
        token: usize,
        kind: MessageKind,
        data: &[u8],
        text: &str,
    ) {
        match stream::decode_request(data) {
            Some(request) if kind == MessageKind::Binary => {
                let refusal =
                    Reply { id: request.id, status: 429, error: text, ..Reply::default() };
                self.reply(token, &refusal);
            }
            _ => self.on_no_request(token),
        }
    }

    /// A publication over the limit on a stream: refused like any other request, because other
    /// channels of the connection have nothing to do with it. Its payload was not kept.
    pub(super) fn on_too_large(
        &mut self,
        token: usize,
        kind: MessageKind,
        head: &[u8],
        size: usize,
    ) {
        if self.ledger.is_metered() && !self.counts(token) {
            self.refuse_message(token, kind, head);
            return;
        }
        let Some(request) = stream::decode_request(head) else { return self.on_no_request(token) };
        let extra = match request.op {
            Op::Publish(..) => 0,
            Op::PublishWith(Publication { key, conflate, .. }) => {
                key.map_or(0, |key| key.len() + 1) + conflate.map_or(0, |text| text.len() + 1)
            }
            _ => return self.on_no_request(token),
        };
        if kind != MessageKind::Binary {
            return self.on_no_request(token);
        }
        Gauges::add(&self.gauges().rejected, 1);
        let payload = size.saturating_sub(stream::REQUEST_HEADER + request.channel.len() + extra);
        let refusal = Err(self.service.too_large(payload));
        self.answer_request(token, &request, &refusal);
    }

    fn on_request(&mut self, token: usize, request: &Request<'_>) {
        let answer = match request.op {
            Op::Subscribe => self.stream_subscribe(token, request.channel, None),
            Op::Resume(since) => self.stream_subscribe(token, request.channel, Some(since)),
            Op::Unsubscribe => self.stream_unsubscribe(token, request.channel),
            Op::Publish(kind, data) => match self.stream_publish(token, request, (kind, data)) {
                Some(answer) => answer,
                None => return,
            },
            Op::PublishWith(publication) => {
                match self.stream_publish_with(token, request, &publication) {
                    Some(answer) => answer,
                    None => return,
                }
            }
        };
        self.answer_request(token, request, &answer);
    }

    fn answer_request(&mut self, token: usize, request: &Request<'_>, answer: &Answered) {
        let id = request.id;
        match answer {
            Ok(_) if id == 0 => {}
            Ok(reply) => {
                let reply = Reply { id, ..*reply };
                match request.op {
                    // It follows its message's delivery; the others precede what they begin.
                    Op::Publish(..) | Op::PublishWith(_) => {
                        self.answers.push_for(token, &reply_frame(&reply));
                    }
                    _ => self.reply(token, &reply),
                }
            }
            Err(error) => self.reply(token, &failure(id, error, &error.to_string())),
        }
    }

    /// Writes a reply behind those before it.
    fn reply(&mut self, token: usize, reply: &Reply<'_>) {
        self.write_answers_of(token);
        // The request may have delivered what waited, and the connection not taken it.
        if self.conns.get(token).is_some_and(Conn::is_open_websocket) {
            self.send_own(token, &reply_frame(reply));
        }
    }

    fn stream_subscribe(&mut self, token: usize, name: &str, since: Option<Position>) -> Answered {
        let channel = self.service.find(name)?;
        if let Some(Lane::Stream(streams)) = self.conns.get(token).map(|conn| &conn.lane)
            && !streams.places.contains_key(&channel.id())
        {
            let count = streams.places.len() + self.catching_count(token);
            self.service.check_subscriptions(count)?;
        }
        let start = self.subscribe_stream(token, &channel, since).ok_or_else(not_found)?;
        Ok(Reply {
            channel: channel.id(),
            position: start.position,
            recovered: since == Some(start.position),
            ..Reply::default()
        })
    }

    fn stream_unsubscribe(&mut self, token: usize, name: &str) -> Answered {
        let channel = self.service.hub().get(name).ok_or_else(not_found)?;
        // What was published before is still delivered.
        self.deliver();
        match self.unsubscribe_stream(token, channel.id()) {
            true => Ok(Reply { channel: channel.id(), ..Reply::default() }),
            false => Err(Error::new(ErrorKind::NotFound, "Not subscribed")),
        }
    }

    /// `None`: the reply comes later.
    fn stream_publish(
        &mut self,
        token: usize,
        request: &Request<'_>,
        (kind, data): (MessageKind, &[u8]),
    ) -> Option<Answered> {
        let found =
            self.service.check(kind, data).and_then(|()| self.service.find(request.channel));
        let channel = match found {
            Ok(channel) => channel,
            Err(error) => return Some(Err(error)),
        };
        if channel.hold().is_some() || channel.commits() {
            return self.stream_publish_with(token, request, &Publication::new(kind, data));
        }
        let published = self.service.publish_to(&channel, Message::new(kind, data));
        Some(published.map(|published| {
            let position = published.position;
            Reply { channel: channel.id(), position, ..Reply::default() }
        }))
    }

    /// `None`: the reply comes later.
    fn stream_publish_with(
        &mut self,
        token: usize,
        request: &Request<'_>,
        publication: &Publication<'_>,
    ) -> Option<Answered> {
        let Publication { kind, data, key, conflate, counts, subscribers } = *publication;
        let found =
            self.service.check(kind, data).and_then(|()| self.service.find(request.channel));
        let channel = match found {
            Ok(channel) => channel,
            Err(error) => return Some(Err(error)),
        };
        let ticket = match self.conns.get(token).map(|conn| &conn.lane) {
            Some(Lane::Stream(streams)) => streams.ticket,
            _ => return None,
        };
        // Without a reply nobody is told.
        let counts = counts && request.id != 0;
        let options = PublishOptions { key, conflate, counts };
        let number = channel.id();
        let later = || -> Done {
            let mut teller = Teller {
                inbox: Arc::clone(&self.inbox),
                token: token as u32,
                ticket,
                id: request.id,
                subscribers,
                told: false,
            };
            Box::new(move |report| teller.tell(number, report))
        };
        let message = Message::new(kind, data);
        let report = self.service.publish_asking(&channel, &message, options, later)?;
        Some(report.map(|report| reply_of(number, &report, subscribers)))
    }
}

/// The duty to answer one request later. One that is dropped answers 503.
struct Teller {
    inbox: Arc<Inbox>,
    token: u32,
    ticket: u64,
    id: u32,
    /// Whether the reply tells how many subscribers there were.
    subscribers: bool,
    told: bool,
}

impl Teller {
    fn tell(&mut self, channel: u64, report: crate::Result<Report>) {
        match report {
            // Nobody asked for a reply.
            Ok(_) if self.id == 0 => self.told = true,
            Ok(report) => self.send(&reply_of(channel, &report, self.subscribers)),
            Err(error) => self.send(&failure(self.id, &error, &error.to_string())),
        }
    }

    fn send(&mut self, reply: &Reply<'_>) {
        self.told = true;
        let frame = Bytes::from(reply_frame(&Reply { id: self.id, ..*reply }));
        let (token, ticket, answer) = (self.token, self.ticket, Told::Frame(frame));
        self.inbox.push(Item::Answer(Box::new(Late { token, ticket, answer })));
        self.inbox.notify();
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        if !self.told {
            let error = "The server stopped before the answer was known";
            self.send(&Reply { status: 503, error, ..Reply::default() });
        }
    }
}

/// A request's payload may have `max_message` bytes. Up to sixteen times as much is read to its end
/// and refused by a reply; beyond that the connection is closed, for the bandwidth's sake.
pub(super) fn limits(max_message: usize) -> Limits {
    let name = stream::REQUEST_HEADER + crate::wire::name::MAX_LEN;
    let head = name + 2 * (1 + MAX_KEY);
    let (max, skip) = (max_message + head, max_message.saturating_mul(16) + name);
    Limits { skip, head, ..Limits::keep(max) }
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

fn failure<'a>(id: u32, error: &Error, text: &'a str) -> Reply<'a> {
    Reply { id, status: status(error.kind()), error: text, ..Reply::default() }
}

fn reply_frame(reply: &Reply<'_>) -> Vec<u8> {
    let mut packet = Vec::new();
    stream::encode_reply(&mut packet, reply);
    let mut frame = Vec::with_capacity(packet.len() + 10);
    Message::append(&mut frame, MessageKind::Binary, &[&packet]);
    frame
}

fn not_found() -> Error {
    Error::new(ErrorKind::ChannelNotFound, "Channel not found")
}
