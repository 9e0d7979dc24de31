//! Requests whose answers come later, from other threads or from this one's next round. An HTTP
//! connection waits for its answer, so that answers come in the order of the requests.

use std::sync::Arc;

use super::Shard;
use super::answers::Reply;
use super::conn::Lane;
use super::control::Phase;
use super::http::Next;
use crate::hub::{Late, Told};
use crate::server::answer::Answer;
use crate::server::call::{Call, Outcome};
use crate::server::promise::Promise;

/// An HTTP request that waits for its answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiting {
    ticket: u64,
    reply: Reply,
}

impl Shard {
    /// Executes a request whose body is whole. With an answer that comes later, the connection
    /// waits.
    pub(super) fn execute(&mut self, token: usize, call: Call, body: &[u8], reply: Reply) -> Next {
        let ticket = self.next_ticket + 1;
        let promise = || Promise::new(Arc::clone(&self.inbox), token as u32, ticket);
        match call.execute(&self.service, body, promise) {
            Outcome::Now(answer) => {
                self.answer(token, &answer, reply);
                self.after_request(token, reply)
            }
            Outcome::Later => {
                self.next_ticket = ticket;
                self.wait_for_answer(token, Waiting { ticket, reply })
            }
        }
    }

    fn wait_for_answer(&mut self, token: usize, waiting: Waiting) -> Next {
        let wait = self.options.request_timeout.as_millis() as u64;
        let Some(conn) = self.conns.get_mut(token) else { return Next::Nothing };
        let Lane::Http(state) = &mut conn.lane else { return Next::Nothing };
        state.get_or_insert_default().waiting = Some(waiting);
        conn.stalled = true;
        conn.deadline = self.now + wait;
        Next::Wait
    }

    /// The answers that came in while messages were delivered.
    pub(super) fn settle_late(&mut self) {
        for Late { token, ticket, answer } in std::mem::take(&mut self.late) {
            let token = token as usize;
            match answer {
                Told::Json(status, body) => {
                    self.settle_request(token, ticket, &Answer::of_json(status, body));
                }
                Told::Frame(frame) => match self.conns.get(token).map(|conn| &conn.lane) {
                    Some(Lane::Stream(streams)) if streams.ticket == ticket => {
                        self.answers.push_for(token, &frame);
                    }
                    _ => {}
                },
            }
        }
    }

    fn settle_request(&mut self, token: usize, ticket: u64, answer: &Answer) {
        // Another request's, or another connection's with this number, if it does not wait for it.
        let Some((waiting, mut carry)) = self.stop_waiting(token, Some(ticket)) else { return };
        let keep_alive = waiting.reply.keep_alive && !self.stopping;
        let reply = Reply { keep_alive, ..waiting.reply };
        self.answer(token, answer, reply);
        if let Next::Request = self.after_request(token, reply)
            && !carry.is_empty()
        {
            match self.control.phase() {
                // Each of these requests might wait, and others for all of them.
                Phase::Pausing => self.stall(token, &carry),
                _ => self.http_input(token, &mut carry),
            }
        }
        // What arrived while nothing was read.
        self.again.push(token);
    }

    /// Lets a request go whose answer has not come in time; false if none is waited for.
    pub(super) fn give_up(&mut self, token: usize) -> bool {
        let Some((waiting, _)) = self.stop_waiting(token, None) else { return false };
        let text = "It took too long: whether it was done is not known";
        let reply = Reply { keep_alive: false, ..waiting.reply };
        self.answer(token, &Answer::failure(504, text), reply);
        self.after_request(token, reply);
        self.write_answers_of(token);
        true
    }

    /// The request that waits, if it is the one with `ticket`, and what came behind it.
    fn stop_waiting(&mut self, token: usize, ticket: Option<u64>) -> Option<(Waiting, Vec<u8>)> {
        let conn = self.conns.get_mut(token)?;
        let Lane::Http(state) = &mut conn.lane else { return None };
        let waiting = state.as_ref()?.waiting?;
        if conn.dead || ticket.is_some_and(|ticket| ticket != waiting.ticket) {
            return None;
        }
        conn.stalled = false;
        Some((waiting, state.take()?.carry))
    }
}
