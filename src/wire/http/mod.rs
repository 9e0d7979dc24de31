//! HTTP/1.1 (RFC 9112), the server's side, without I/O: strict reading of request heads and
//! bodies, and the channel dialect's paths.
//!
//! What smuggling lives on is refused, never guessed at: a line that ends in a bare LF, a
//! `Transfer-Encoding` that is not exactly `chunked`, a `Content-Length` that is repeated, not a
//! plain number, or in company of a `Transfer-Encoding`.

mod body;
mod head;
mod reader;
mod request;
mod route;

pub use body::{Body, BodyFault};
pub use head::{Framing, Handshake, Head, Parsed, Refusal, find_end, parse};
pub use reader::Reader;
pub use request::RequestHead;
pub use route::{Route, route};

/// The reason phrase of the status codes that Qyun answers with.
pub fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        413 => "Content Too Large",
        414 => "URI Too Long",
        417 => "Expectation Failed",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        _ => "Unknown",
    }
}
