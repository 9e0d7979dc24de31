//! The contract's table: every method, what it takes and gives, and what it does.

use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::body::Incoming;
use tonic::body::Body;
use tonic::codegen::Service as Tower;
use tonic::codegen::http::{Request, Response};
use tonic::server::Grpc;

use super::schema::PACKAGE;
use super::wire::{Arguments, Protobuf, Reply};
use crate::hub::{Connection, Filter};
use crate::server::Service;
use crate::server::dialect::gateway;
use crate::wire::{MessageKind, close};

/// One row.
pub(super) struct Method {
    /// The method, and the service that it is the only one of.
    pub name: &'static str,
    /// The request's fields, all strings, numbered from 1.
    pub takes: &'static [&'static str],
    /// The reply's field 1.
    pub gives: &'static str,
    /// What it does with the request's fields; one that it does not take is of no account.
    pub run: Run,
}

/// What a method does, by what it gives.
#[derive(Clone, Copy)]
pub(super) enum Run {
    Flag(fn(&Service, &str, &str) -> bool),
    /// With a second field, `arrive`.
    Sent(fn(&Service, &str, &str) -> (bool, i32)),
    Count(fn(&Service, &str) -> i32),
    List(fn(&Service, &str) -> Vec<String>),
    Text(fn(&Service, &str) -> String),
}

/// The method at a path.
pub(super) fn find(path: &str) -> Option<&'static Method> {
    let path = path.strip_prefix('/')?.strip_prefix(PACKAGE)?.strip_prefix('.')?;
    let (service, name) = path.split_once('/')?;
    METHODS.iter().find(|method| method.name == name && name == service)
}

impl Method {
    /// Reads the request, executes it and gives the whole answer.
    pub(super) async fn call(
        &'static self,
        service: &Arc<Service>,
        request: Request<Incoming>,
    ) -> Response<Body> {
        // The names and the framing of a message that is as large as one may be.
        let limit = service.options().max_message_bytes.saturating_add(1024);
        let call = Call { method: self, service: Arc::clone(service) };
        Grpc::new(Protobuf).max_decoding_message_size(limit).unary(call, request).await
    }

    fn run(&self, service: &Service, Arguments { first, second }: &Arguments) -> Reply {
        let given = [first, second];
        if self.takes.iter().zip(given).any(|(_, value)| value.is_empty()) {
            return self.run.nothing();
        }
        // As a publisher must when a shard is behind. It makes the callers wait, and nobody else.
        service.hub().wait_for_room();
        match self.run {
            Run::Flag(run) => Reply::Flag(run(service, first, second)),
            Run::Sent(run) => {
                let (result, arrive) = run(service, first, second);
                Reply::Sent(result, arrive)
            }
            Run::Count(run) => Reply::Count(run(service, first)),
            Run::List(run) => Reply::List(run(service, first)),
            Run::Text(run) => Reply::Text(run(service, first)),
        }
    }
}

impl Run {
    /// What is given for a field that is empty.
    fn nothing(self) -> Reply {
        match self {
            Self::Flag(_) => Reply::Flag(false),
            Self::Sent(_) => Reply::Sent(false, 0),
            Self::Count(_) => Reply::Count(0),
            Self::List(_) => Reply::List(Vec::new()),
            Self::Text(_) => Reply::Text(String::new()),
        }
    }
}

/// A method as tonic calls it.
struct Call {
    method: &'static Method,
    service: Arc<Service>,
}

impl Tower<tonic::Request<Arguments>> for Call {
    type Response = tonic::Response<Reply>;
    type Error = tonic::Status;
    type Future = Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: tonic::Request<Arguments>) -> Self::Future {
        let reply = self.method.run(&self.service, request.get_ref());
        ready(Ok(tonic::Response::new(reply)))
    }
}

pub(super) const METHODS: &[Method] = &[
    Method {
        name: "BroadcastMessage",
        takes: &["message"],
        gives: "result",
        run: Run::Flag(|service, message, _| {
            let options = service.options();
            service
                .broadcast(Some(options.gateway_path.as_str()), kind(service), message.as_bytes())
                .is_ok()
        }),
    },
    Method {
        name: "SendMessageToClient",
        takes: &["clientid", "message"],
        gives: "result",
        run: Run::Flag(|service, client, message| {
            service.send_to(client, kind(service), message.as_bytes()).is_ok()
        }),
    },
    Method {
        name: "ClonseClient",
        takes: &["clientid"],
        gives: "result",
        run: Run::Flag(|service, client, _| {
            if let Ok(connection) = service.connection(client) {
                connection.close(close::NORMAL, "");
                // At once, and not when the client has answered: the caller may ask.
                service.forget(&connection);
            }
            true
        }),
    },
    Method {
        name: "GetAllOnlineClient",
        takes: &[],
        gives: "client",
        run: Run::List(|service, _| ids(&service.registry().select(&clients(service)))),
    },
    Method {
        name: "ClientIsOnline",
        takes: &["clientid"],
        gives: "isonline",
        run: Run::Flag(|service, client, _| service.connection(client).is_ok()),
    },
    Method {
        name: "CountOnlineClient",
        takes: &[],
        gives: "count",
        run: Run::Count(|service, _| count(service.connection_count(&clients(service)))),
    },
    Method {
        name: "UnGroup",
        takes: &["group"],
        gives: "result",
        run: Run::Flag(|service, group, _| service.dissolve(group).is_ok()),
    },
    Method {
        name: "SendMessageToGroup",
        takes: &["group", "message"],
        gives: "result",
        run: Run::Sent(|service, group, message| {
            let members = service.member_count(group);
            let is_sent =
                members > 0 && service.publish(group, kind(service), message.as_bytes()).is_ok();
            (is_sent, if is_sent { count(members) } else { 0 })
        }),
    },
    Method {
        name: "CountOnlineGroup",
        takes: &["group"],
        gives: "count",
        run: Run::Count(|service, group| count(service.member_count(group))),
    },
    Method {
        name: "CountGroup",
        takes: &[],
        gives: "count",
        run: Run::Count(|service, _| count(service.group_count())),
    },
    Method {
        name: "GetGroupOnlineClient",
        takes: &["group"],
        gives: "clientid",
        run: Run::List(|service, group| ids(&service.members(group).unwrap_or_default())),
    },
    Method {
        name: "LeaveGroup",
        takes: &["clientid", "group"],
        gives: "result",
        run: Run::Flag(|service, client, group| {
            service.member_count(group) > 0 && service.leave(client, group).is_ok()
        }),
    },
    Method {
        name: "JoinGroup",
        takes: &["clientid", "group"],
        gives: "result",
        run: Run::Flag(|service, client, group| service.join_group(client, group).is_ok()),
    },
    Method {
        name: "GetUidByClient",
        takes: &["uid"],
        gives: "clientid",
        run: Run::List(|service, uid| ids(&service.user_connections(uid))),
    },
    Method {
        name: "CountOnlineUid",
        takes: &[],
        gives: "count",
        run: Run::Count(|service, _| count(service.user_count())),
    },
    Method {
        name: "GetAllOnlineUid",
        takes: &[],
        gives: "uid",
        run: Run::List(|service, _| {
            let users = service.users(None, usize::MAX);
            users.iter().map(|(user, _)| user.to_string()).collect()
        }),
    },
    Method {
        name: "SendMessageToUid",
        takes: &["uid", "message"],
        gives: "result",
        run: Run::Flag(|service, uid, message| {
            service.send_to_user(uid, kind(service), message.as_bytes()).is_ok()
        }),
    },
    Method {
        name: "UidIsOnline",
        takes: &["uid"],
        gives: "result",
        run: Run::Flag(|service, uid, _| !service.user_connections(uid).is_empty()),
    },
    Method {
        name: "UnBindUid",
        takes: &["clientid"],
        gives: "result",
        run: Run::Flag(|service, client, _| service.unbind_user(client).is_ok()),
    },
    Method {
        name: "ClientBindUid",
        takes: &["clientid", "uid"],
        gives: "result",
        run: Run::Flag(|service, client, uid| service.bind_user(client, uid).is_ok()),
    },
    Method {
        name: "GetClientByUid",
        takes: &["clientid"],
        gives: "uid",
        run: Run::Text(|service, client| {
            let user = service.connection(client).ok().and_then(|connection| connection.user());
            user.map(|user| user.to_string()).unwrap_or_default()
        }),
    },
];

/// Which connections are meant by all clients: those of the gateway. What is named (a client, a
/// group, a uid) is found whatever its connections speak.
fn clients(service: &Service) -> Filter {
    Filter { path: Some(service.options().gateway_path.clone()), ..Filter::default() }
}

/// The kind of frame that the gateway's clients are configured to get.
fn kind(service: &Service) -> MessageKind {
    gateway::kind(&service.options())
}

fn ids(connections: &[Arc<Connection>]) -> Vec<String> {
    connections.iter().map(|connection| connection.id().to_string()).collect()
}

fn count(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}
