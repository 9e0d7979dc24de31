//! The admin API's operations: each a call of the service and an answer in JSON.

use serde_json::json;

use crate::hub::{ChannelConfig, ConnectionInfo, Filter};
use crate::server::Service;
use crate::server::answer::Answer;
use crate::wire::MessageKind;
use crate::{Error, ErrorKind, Result};

/// What is to be done once the body, if there is one, is read.
#[derive(Debug)]
pub(in crate::server) enum Operation {
    Stats,
    Endpoints,
    Connections { filter: Filter, after: Option<String>, limit: usize },
    Connection(String),
    Close { id: String, code: u16, reason: String },
    Send { id: String, kind: MessageKind },
    Bind { id: String },
    Unbind { id: String },
    Users { after: Option<String>, limit: usize },
    User { user: String, after: Option<String>, limit: usize },
    SendToUser { user: String, kind: MessageKind },
    Create(String),
    Members { channel: String, after: Option<String>, limit: usize },
    Join { channel: String, id: String },
    Leave { channel: String, id: String },
    Broadcast { path: Option<String>, kind: MessageKind },
}

impl Operation {
    /// Does it; `body` is a message, the user to bind to, or a channel's options.
    pub(in crate::server) fn execute(self, service: &Service, body: &[u8]) -> Result<Answer> {
        match self {
            Self::Stats => Ok(Answer::fresh("Statistics", json!(service.stats()))),
            Self::Endpoints => Ok(endpoints(service)),
            Self::Connections { filter, after, limit } => {
                let page = service.connections(&filter, after.as_deref(), limit);
                Ok(connections(&page, service.connection_count(&filter)))
            }
            Self::Connection(id) => {
                let info = service.connection(&id)?.info();
                Ok(Answer::fresh("Connection found", json!({ "connection": info })))
            }
            Self::Close { id, code, reason } => {
                service.close_connection(&id, code, &reason)?;
                Ok(done("Connection is closing"))
            }
            Self::Send { id, kind } => {
                service.send_to(&id, kind, body)?;
                Ok(done("Message sent"))
            }
            Self::Bind { id } => {
                service.bind_user(&id, text(body)?)?;
                Ok(done("Connection bound"))
            }
            Self::Unbind { id } => Ok(changed("Connection unbound", service.unbind_user(&id)?)),
            Self::Users { after, limit } => {
                let users: Vec<_> = service
                    .users(after.as_deref(), limit)
                    .into_iter()
                    .map(|(user, connections)| json!({ "user": user, "connections": connections }))
                    .collect();
                let message = format!("{} users", users.len());
                let total = service.user_count();
                Ok(Answer::fresh(&message, json!({ "users": users, "total": total })))
            }
            Self::User { user, after, limit } => {
                let filter = Filter { user: Some(user), ..Filter::default() };
                let total = service.connection_count(&filter);
                if total == 0 {
                    let text = "The user has no connection";
                    return Err(Error::new(ErrorKind::NotFound, text));
                }
                Ok(connections(&service.connections(&filter, after.as_deref(), limit), total))
            }
            Self::SendToUser { user, kind } => {
                Ok(reached(service.send_to_user(&user, kind, body)? as u64))
            }
            Self::Create(name) => {
                match body.trim_ascii() {
                    b"" => service.create_channel(&name)?,
                    json => service.create_channel_with(&name, ChannelConfig::from_json(json)?)?,
                }
                Ok(done(&format!("Channel '{name}' created")))
            }
            Self::Members { channel, after, limit } => {
                let total = service.channel(&channel)?.members;
                let filter = Filter { channel: Some(channel), ..Filter::default() };
                let page = service.connections(&filter, after.as_deref(), limit);
                Ok(connections(&page, total as usize))
            }
            Self::Join { channel, id } => {
                Ok(changed("Connection joined", service.join(&id, &channel)?))
            }
            Self::Leave { channel, id } => {
                Ok(changed("Connection left", service.leave(&id, &channel)?))
            }
            Self::Broadcast { path, kind } => {
                Ok(reached(service.broadcast(path.as_deref(), kind, body)?))
            }
        }
    }
}

fn done(message: &str) -> Answer {
    Answer::success(message, json!(null))
}

/// `changed` is false when it was so before.
fn changed(message: &str, changed: bool) -> Answer {
    Answer::success(message, json!({ "changed": changed }))
}

/// How many connections a message was sent to.
fn reached(connections: u64) -> Answer {
    Answer::success("Message sent", json!({ "connections": connections }))
}

fn connections(page: &[ConnectionInfo], total: usize) -> Answer {
    let message = format!("{} connections", page.len());
    Answer::fresh(&message, json!({ "connections": page, "total": total }))
}

fn endpoints(service: &Service) -> Answer {
    let endpoints: Vec<_> = service
        .endpoints()
        .iter()
        .map(|endpoint| {
            json!({
                "path": endpoint.path,
                "dialect": endpoint.handler.dialect(),
                "connections": service.registry().len_at(&endpoint.path),
            })
        })
        .collect();
    let message = format!("{} endpoints", endpoints.len());
    Answer::fresh(&message, json!({ "endpoints": endpoints }))
}

fn text(body: &[u8]) -> Result<&str> {
    std::str::from_utf8(body).map_err(|error| {
        let text = format!("The body is not UTF-8 at byte {}", error.valid_up_to());
        Error::new(ErrorKind::InvalidUtf8, text)
    })
}
