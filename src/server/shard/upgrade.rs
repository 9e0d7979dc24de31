//! What an HTTP connection becomes: a listener, a sender, a stream, or server-sent events.

use super::answers::Reply;
use super::conn::{Lane, Sent, Streams};
use super::http::Next;
use super::{Shard, gauges_of};
use crate::hub::{Gauges, Start};
use crate::server::answer::{self, Answer, Wishes};
use crate::wire::http::Handshake;
use crate::wire::websocket::{Message, accept_key};
use crate::wire::{MessageKind, Position, events, meta, percent};
use crate::{Error, ErrorKind};

impl Shard {
    pub(super) fn upgrade(
        &mut self,
        token: usize,
        target: &answer::Target<'_>,
        handshake: &Handshake<'_>,
        reply: Reply,
    ) -> Next {
        let deflate = handshake.deflate.filter(|_| self.options.compression);
        if let Some(conn) = self.conns.get_mut(token) {
            conn.deflate = deflate.is_some();
        }
        let start = match self.enter(token, target) {
            Ok(start) => start,
            Err(error) => {
                if let Some(conn) = self.conns.get_mut(token) {
                    conn.deflate = false;
                }
                self.answer(token, &Answer::upgrade_error(&error), reply);
                return self.after_request(token, reply);
            }
        };
        let (wishes, name) = match target {
            answer::Target::Listen(name, wishes) => (*wishes, *name),
            _ => (Wishes::default(), ""),
        };
        let told = start.as_ref().filter(|_| wishes != Wishes::default());
        let accept = accept_key(handshake.key);
        let mut response = answer::switching_protocols(&accept, handshake.protocol, deflate, told);
        if let (true, Some(start), Ok(name)) = (wishes.metas, &start, percent::decode(name)) {
            let text = meta::subscribed(&name, start.position, start.recovered);
            Message::append(&mut response, MessageKind::Text, &[text.as_bytes()]);
        }
        let first_ping = self.first_ping();
        let Some(conn) = self.conns.get_mut(token) else { return Next::Nothing };
        // Nothing but frames may ever wait in a WebSocket's queue.
        if conn.queued() > 0 || conn.send_own(&response, 0) != Sent::All {
            self.kill(token);
            return Next::Nothing;
        }
        conn.deadline = first_ping;
        Gauges::add(&gauges_of(&self.service, self.id).bytes_out, response.len() as u64);
        Next::Frames
    }

    /// Turns the connection into a stream of server-sent events, which ends with the connection.
    pub(super) fn start_events(
        &mut self,
        token: usize,
        name: &str,
        since: Option<Position>,
        reply: Reply,
    ) -> Next {
        let found = percent::decode(name).and_then(|name| self.service.find(&name));
        self.write_answers_of(token);
        let subscribed = found.and_then(|channel| {
            self.subscribe_events(token, &channel, since)
                .ok_or_else(|| Error::new(ErrorKind::ChannelNotFound, "Channel not found"))
        });
        let start = match subscribed {
            Ok(start) => start,
            Err(error) => {
                self.answer(token, &Answer::error(&error), reply);
                return self.after_request(token, reply);
            }
        };
        let next_sign = self.first_ping();
        if let Some(conn) = self.conns.get_mut(token) {
            conn.deadline = next_sign;
        }
        let mut head = self.answers.events_head();
        events::append_start(&mut head, start.position, start.recovered);
        self.send_own(token, &head);
        Next::Nothing
    }

    /// Makes the connection what its upgrade asks for. A listener subscribes before it is told so:
    /// whatever is published after the client saw the answer reaches it. The answer is written
    /// before this thread delivers anything, so nothing can overtake it.
    pub(super) fn enter(
        &mut self,
        token: usize,
        target: &answer::Target<'_>,
    ) -> Result<Option<Start>, Error> {
        let channel = target.find(&self.service)?;
        self.write_answers_of(token);
        match (target, channel) {
            (answer::Target::Listen(_, Wishes { since, metas }), Some(channel)) => {
                let start = self.subscribe_listener(token, &channel, *since, *metas);
                return match start {
                    Some(start) => Ok(Some(start)),
                    None => Err(Error::new(ErrorKind::ChannelNotFound, "Channel not found")),
                };
            }
            (answer::Target::Send(_), Some(channel)) => self.become_sender(token, channel),
            _ => {
                self.next_ticket += 1;
                let streams = Streams { ticket: self.next_ticket, ..Streams::default() };
                if let Some(conn) = self.conns.get_mut(token) {
                    conn.lane = Lane::Stream(Box::new(streams));
                }
            }
        }
        Ok(None)
    }
}
