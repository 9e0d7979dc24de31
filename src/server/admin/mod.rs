//! The JSON admin API below `/api/v1/`: which operation a request asks for. The operations
//! themselves are the service's, the same as everywhere.

mod access;
mod operation;

use std::net::SocketAddr;

pub(super) use operation::Operation;

use super::Service;
use super::answer::Answer;
use super::call::{Asked, Call, kind_of};
use super::query::{Query, refusal};
use crate::hub::{Filter, Rank};
use crate::wire::http::{Head, Route, route};
use crate::wire::{Dialect, percent};

/// What a connection that is closed is told, unless the request says something else. The code asks
/// it not to come back by itself.
const CLOSE_CODE: u16 = 3500;
const CLOSE_REASON: &str = "closed by an administrator";

/// Connections or users in one page of a listing, unless asked for.
const PAGE: usize = 100;
const MAX_PAGE: usize = 1000;
/// Connections in a ranking, unless asked for.
const TOP: usize = 20;

/// What a request below `/api/v1/` from `peer` asks for.
pub(super) fn call(service: &Service, head: &Head<'_>, peer: Option<SocketAddr>) -> Call {
    let Route::Admin(rest) = route(head.path) else {
        return Call::Refuse(Answer::failure(404, "Not found"));
    };
    match access::check(&service.options(), head, peer).and_then(|()| find(head, rest)) {
        Ok(call) => call,
        Err(answer) => Call::Refuse(answer),
    }
}

fn find(head: &Head<'_>, rest: &str) -> Result<Call, Answer> {
    let segments: Result<Vec<String>, _> =
        rest.split('/').map(|segment| percent::decode(segment).map(|text| text.into())).collect();
    let segments = segments.map_err(|error| Answer::error(&error))?;
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let query = Query(head.query);
    let operation = match (method(head), &*segments) {
        ("GET", ["stats"]) => Operation::Stats,
        ("GET", ["endpoints"]) => Operation::Endpoints,
        ("GET", ["top"]) => {
            let rank = match query.text("by") {
                None => Rank::Queued,
                Some(by) => Rank::from_name(&by).ok_or_else(|| refusal("by", &by, Rank::NAMES))?,
            };
            return Ok(Call::Top(rank, query.limit(TOP, MAX_PAGE)?));
        }
        ("GET", ["connections"]) => Operation::Connections {
            filter: filter(query)?,
            after: query.text("after"),
            limit: query.limit(PAGE, MAX_PAGE)?,
        },
        ("GET", ["connections", id]) => Operation::Connection((*id).into()),
        ("DELETE", ["connections", id]) => Operation::Close {
            id: (*id).into(),
            code: query.parsed("code", "a WebSocket close code")?.unwrap_or(CLOSE_CODE),
            reason: query.text("reason").unwrap_or_else(|| CLOSE_REASON.into()),
        },
        ("POST", ["connections", id, "send"]) => {
            Operation::Send { id: (*id).into(), kind: kind_of(head) }
        }
        ("PUT", ["connections", id, "user"]) => Operation::Bind { id: (*id).into() },
        ("DELETE", ["connections", id, "user"]) => Operation::Unbind { id: (*id).into() },
        ("GET", ["users"]) => {
            Operation::Users { after: query.text("after"), limit: query.limit(PAGE, MAX_PAGE)? }
        }
        ("GET", ["users", user]) => Operation::User {
            user: (*user).into(),
            after: query.text("after"),
            limit: query.limit(PAGE, MAX_PAGE)?,
        },
        ("POST", ["users", user, "send"]) => {
            Operation::SendToUser { user: (*user).into(), kind: kind_of(head) }
        }
        ("PUT" | "POST", ["channels", name]) => Operation::Create((*name).into()),
        ("GET", ["channels", name, "members"]) => Operation::Members {
            channel: (*name).into(),
            after: query.text("after"),
            limit: query.limit(PAGE, MAX_PAGE)?,
        },
        ("PUT", ["channels", name, "members", id]) => {
            Operation::Join { channel: (*name).into(), id: (*id).into() }
        }
        ("DELETE", ["channels", name, "members", id]) => {
            Operation::Leave { channel: (*name).into(), id: (*id).into() }
        }
        ("POST", ["broadcast"]) => {
            Operation::Broadcast { path: query.text("path"), kind: kind_of(head) }
        }
        // The channel dialect's own calls.
        ("GET", ["channels"]) => return Call::list(head.query),
        ("GET", ["channels", name]) => return Ok(Call::Info((*name).into())),
        ("DELETE", ["channels", name]) => return Ok(Call::Delete((*name).into())),
        ("POST", ["channels", name, "send"]) => {
            return Ok(Call::Publish((*name).into(), kind_of(head), Asked::of(head)?));
        }
        (_, segments) => return Err(refuse(segments)),
    };
    Ok(Call::Admin(operation))
}

/// HEAD is GET whose answer's body stays here.
fn method<'a>(head: &Head<'a>) -> &'a str {
    match head.method {
        "HEAD" => "GET",
        method => method,
    }
}

/// The answer to a method that a path does not have, or to a path that is none.
fn refuse(segments: &[&str]) -> Answer {
    let allow = match segments {
        ["stats" | "endpoints" | "top" | "connections" | "users" | "channels"]
        | ["users", _]
        | ["channels", _, "members"] => "allow: GET, HEAD\r\n",
        ["connections", _] => "allow: GET, HEAD, DELETE\r\n",
        ["channels", _] => "allow: GET, HEAD, PUT, POST, DELETE\r\n",
        ["connections", _, "user"] | ["channels", _, "members", _] => "allow: PUT, DELETE\r\n",
        ["broadcast"] | ["connections" | "users" | "channels", _, "send"] => "allow: POST\r\n",
        _ => return Answer::failure(404, "Not found"),
    };
    Answer::method_not_allowed(allow)
}

/// Which connections a query means.
fn filter(query: Query<'_>) -> Result<Filter, Answer> {
    let dialect = match query.text("dialect") {
        None => None,
        Some(name) => Some(Dialect::from_name(&name).ok_or_else(|| {
            let names = Dialect::ALL.map(Dialect::name).join(", ");
            refusal("dialect", &name, &format!("one of {names}"))
        })?),
    };
    Ok(Filter {
        dialect,
        path: query.text("path"),
        user: query.text("user"),
        channel: query.text("channel"),
    })
}
