//! The session dialect: JSON requests and notifications at one path.
//!
//! Every request is answered by one message on the shard that read it, in the order of the requests,
//! except calls of the program, which are answered when the program answers, and publications that ask
//! whom they reached, which are answered when that is known. Answers and channel messages go through
//! the shard's inbox, so that what a request does and what its answer says come in one order.

mod listing;
pub(in crate::server) mod presence;
mod rpc;
mod subscribe;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Closure, Endpoint, Handler};
use crate::hub::{Connection, Range};
use crate::server::batch::{self, Batch};
use crate::server::rpc::Calls;
use crate::server::{BatchDone, Done, PublishOptions, Service, history};
use crate::wire::session::{
    self, Encoding, History, Named, Publish, PublishBatch, Request, Say, code, read,
};
use crate::wire::websocket::Message;
use crate::wire::{Dialect, MessageKind};
use crate::{Error, ErrorKind};

/// Why a request fails: a code and a text.
type Fault = (&'static str, String);
/// The answer to a request; `None` is one that is sent already, or later.
type Answer = Result<Option<Message>, Fault>;

/// The session dialect.
#[derive(Debug)]
pub(super) struct Session;

/// One request and what it needs.
#[derive(Clone, Copy)]
struct Asked<'a> {
    service: &'a Arc<Service>,
    connection: &'a Arc<Connection>,
    request: &'a Request<'a>,
}

impl Handler for Session {
    fn dialect(&self) -> Dialect {
        Dialect::Session
    }

    fn greeting(&self, connection: &Connection) -> Option<Message> {
        Some(session::connected(connection.id()))
    }

    fn opened(&self, _: &Arc<Service>, _: &Arc<Connection>, _: Option<Arc<Connection>>) {}

    fn message(
        &self,
        service: &Arc<Service>,
        connection: &Arc<Connection>,
        kind: MessageKind,
        data: &[u8],
    ) {
        let answer = match kind {
            MessageKind::Binary => {
                let text = "a request is a text message, and this one is binary";
                Some(session::error(None, code::UNSUPPORTED, text))
            }
            MessageKind::Text => match session::parse(data) {
                Ok(request) => {
                    let answer = Asked { service, connection, request: &request }.answer();
                    answer.unwrap_or_else(|(code, text)| {
                        Some(session::error(request.id, code, &text))
                    })
                }
                Err(fault) => Some(session::error(fault.id, fault.code, &fault.message)),
            },
        };
        if let Some(answer) = answer {
            // It fails only when the connection is closed, which it was not a moment ago.
            let _ = connection.send(&answer);
        }
    }

    fn over_rate(&self, connection: &Arc<Connection>, data: &[u8], text: &str) -> bool {
        let request = session::parse(data);
        let id = request.as_ref().map_or_else(|fault| fault.id, |request| request.id);
        connection.send(&session::error(id, code::TOO_FAST, text)).is_ok()
    }

    fn closed(&self, _: &Arc<Service>, connection: &Arc<Connection>, _: &Closure) {
        if let Some(calls) = connection.attachment::<Calls>() {
            calls.close();
        }
    }
}

impl Asked<'_> {
    fn answer(&self) -> Answer {
        match &*self.request.action {
            "echo" => self.echo(),
            "broadcast" => self.broadcast(),
            "get_connections" => self.count(),
            "ping" => self.respond("{}"),
            "subscribe" => self.subscribe(),
            "unsubscribe" => self.unsubscribe(),
            "publish" => self.publish(),
            "publish_batch" => self.publish_batch(),
            "create" => self.create(),
            "delete" => self.delete(),
            "history" => self.history(),
            "presence" => self.presence(),
            "connections" => self.connections(),
            "rpc" => self.call(),
            other => {
                let text =
                    format!("there is no action '{}'; there are: {ACTIONS}", other.escape_debug());
                Err((code::UNKNOWN_ACTION, text))
            }
        }
    }
}

/// Publications in one page of a history, unless asked for.
const HISTORY: usize = 100;

const ACTIONS: &str = "broadcast, connections, create, delete, echo, get_connections, history, ping, presence, \
                       publish, publish_batch, rpc, subscribe, unsubscribe";

fn invalid(text: String) -> Fault {
    (code::INVALID_PAYLOAD, text)
}

fn failed(error: Error) -> Fault {
    (session::code_of(error.kind()), error.to_string())
}

impl<'a> Asked<'a> {
    fn read<T: serde::Deserialize<'a>>(&self) -> Result<T, Fault> {
        read(self.request.payload).map_err(invalid)
    }

    fn respond(&self, data: &str) -> Answer {
        Ok(Some(session::response(self.request.id, [data, "", ""])))
    }

    fn respond_about(&self, channel: &str) -> Answer {
        let name = session::quoted(channel);
        Ok(Some(session::response(self.request.id, [r#"{"channel":"#, &name, "}"])))
    }

    fn echo(&self) -> Answer {
        let say: Say<'_> = self.read()?;
        Ok(Some(session::response(self.request.id, [r#"{"echo":"#, say.message.get(), "}"])))
    }

    fn endpoint(&self) -> Result<Arc<Endpoint>, Fault> {
        let endpoint = self.service.endpoint(self.connection.path());
        endpoint.ok_or_else(|| failed(Error::new(ErrorKind::Closed, "the endpoint is gone")))
    }

    /// One frame for everybody. The sender's notification precedes its response.
    fn broadcast(&self) -> Answer {
        let say: Say<'_> = self.read()?;
        let message = session::broadcast(self.connection.id(), say.message.get());
        let everyone = &self.endpoint()?.everyone;
        let reached = self.service.broadcast_frame(everyone, &message).map_err(failed)?;
        self.respond(&format!(r#"{{"recipients":{reached}}}"#))
    }

    fn count(&self) -> Answer {
        let count = self.service.registry().len_at(self.connection.path());
        self.respond(&format!(r#"{{"count":{count}}}"#))
    }

    fn history(&self) -> Answer {
        let asked: History<'_> = self.read()?;
        let range = Range {
            after: asked.after,
            before: asked.before,
            limit: asked.limit.unwrap_or(HISTORY),
            backward: asked.reverse,
        };
        self.connection.end_turn();
        let extract = self.service.history(&asked.channel, &range).map_err(failed)?;
        let name = session::quoted(&asked.channel);
        let members = format!(",{}}}", history::members(&extract));
        Ok(Some(session::response(self.request.id, [r#"{"channel":"#, &name, &members])))
    }

    fn publish(&self) -> Answer {
        let Publish { channel, message, encoding, key, conflate, result } = self.read()?;
        let (kind, bytes);
        let payload = match encoding {
            Encoding::Text => {
                kind = MessageKind::Text;
                message.as_bytes()
            }
            Encoding::Base64 => {
                kind = MessageKind::Binary;
                bytes = STANDARD
                    .decode(message.as_bytes())
                    .map_err(|error| invalid(format!("'message' is not base64: {error}")))?;
                &bytes
            }
        };
        // As a shard must, without waiting for room: it is a shard that makes room.
        let found = self.service.check(kind, payload).and_then(|()| self.service.find(&channel));
        let channel = found.map_err(failed)?;
        let key = key.as_ref().map(|key| key.as_bytes());
        let options = PublishOptions { key, conflate: conflate.as_deref(), counts: result };
        let message = Message::new(kind, payload);
        let report = self.service.publish_asking(&channel, &message, options, || self.later());
        match report {
            Some(report) => {
                let data = report.map_err(failed)?.members();
                self.respond(&format!("{{{data}}}"))
            }
            None => Ok(None),
        }
    }

    fn publish_batch(&self) -> Answer {
        let PublishBatch { messages, result } = self.read()?;
        let batch = Batch::of(messages, self.service.max_batch()).map_err(failed)?;
        let later = || -> BatchDone {
            let connection = Arc::clone(self.connection);
            let id = self.request.id.map(str::to_owned);
            Box::new(move |reports| {
                let data = batch::data(&reports);
                let _ = connection.send(&session::response(id.as_deref(), [&data, "", ""]));
            })
        };
        match self.service.publish_batch_asking(&batch.messages(result), later) {
            Some(reports) => self.respond(&batch::data(&reports)),
            None => Ok(None),
        }
    }

    /// Who responds to a publication later, if the client is still there.
    fn later(&self) -> Done {
        let connection = Arc::clone(self.connection);
        let id = self.request.id.map(str::to_owned);
        Box::new(move |report| {
            let id = id.as_deref();
            let message = match report {
                Ok(report) => session::response(id, ["{", &report.members(), "}"]),
                Err(error) => {
                    let (code, text) = failed(error);
                    session::error(id, code, &text)
                }
            };
            let _ = connection.send(&message);
        })
    }

    fn create(&self) -> Answer {
        let named: Named<'_> = self.read()?;
        self.service.create_channel(&named.channel).map_err(failed)?;
        self.respond_about(&named.channel)
    }

    fn delete(&self) -> Answer {
        let named: Named<'_> = self.read()?;
        self.service.delete_channel(&named.channel).map_err(failed)?;
        self.respond_about(&named.channel)
    }
}
