//! The JSON admin API below `/api/v1/`: which operation a request asks for. The operations
//! themselves are the service's, the same as everywhere.

mod access;

use std::net::SocketAddr;

use super::Service;
use super::answer::Answer;
use super::call::Call;
use crate::wire::http::{Head, Route, route};

/// What a request below `/api/v1/` from `peer` asks for.
pub(super) fn call(service: &Service, head: &Head<'_>, peer: Option<SocketAddr>) -> Call {
    let Route::Admin(rest) = route(head.path) else {
        return Call::Refuse(Answer::failure(404, "Not found"));
    };
    match access::check(service.options(), head, peer) {
        Ok(()) => find(head, rest).unwrap_or_else(Call::Refuse),
        Err(answer) => Call::Refuse(answer),
    }
}

fn find(head: &Head<'_>, rest: &str) -> Result<Call, Answer> {
    match (head.method, rest) {
        ("GET" | "HEAD", "stats") => Ok(Call::Stats),
        (_, "stats") => Err(Answer::method_not_allowed("allow: GET, HEAD\r\n")),
        _ => Err(Answer::failure(404, "Not found")),
    }
}
