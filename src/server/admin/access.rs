//! Who may use the admin API.
//!
//! Without a token: programs on this machine, and the page that this server serves to it. A web
//! page of somebody else, open in a browser here, must not get in by way of that browser. So the
//! peer must be on the loopback; the request must not have come through a proxy, whose peer may be
//! anywhere; `Host` must name the loopback, because the name of somebody's own can be made to lead
//! here; and what a browser says of where the request comes from must be this server.
//!
//! With a token: whoever has it, from anywhere. A page of somebody else cannot send it along.

use std::net::{IpAddr, SocketAddr};

use subtle::ConstantTimeEq;

use crate::server::ServerOptions;
use crate::server::answer::Answer;
use crate::wire::http::Head;

/// Fields that tell of a proxy on the way.
const PROXIED: [&str; 4] = ["forwarded", "x-forwarded-for", "x-real-ip", "via"];

/// Refuses a request that may not use the admin API.
pub(super) fn check(
    options: &ServerOptions,
    head: &Head<'_>,
    peer: Option<SocketAddr>,
) -> Result<(), Answer> {
    if !options.admin {
        return Err(Answer::failure(404, "The admin API is off: option 'admin' is false"));
    }
    match options.admin_token.0.as_str() {
        "" => check_local(head, peer),
        token => check_token(head, token),
    }
}

fn check_token(head: &Head<'_>, token: &str) -> Result<(), Answer> {
    let mut given = head.fields("authorization");
    let bearer = match (given.next(), given.next()) {
        (Some(value), None) => value.split_at_checked(7),
        _ => None,
    };
    match bearer {
        // How long the token is may show in the time that this takes; what it is does not.
        Some((scheme, given))
            if scheme.eq_ignore_ascii_case(b"bearer ")
                && bool::from(given.trim_ascii().ct_eq(token.as_bytes())) =>
        {
            Ok(())
        }
        _ => Err(Answer::unauthorized()),
    }
}

fn check_local(head: &Head<'_>, peer: Option<SocketAddr>) -> Result<(), Answer> {
    let refuse = |why: &str| {
        let text =
            format!("{why}: without option 'admin_token', the admin API is for this machine");
        Err(Answer::failure(403, &text))
    };
    if !peer.is_some_and(|peer| peer.ip().to_canonical().is_loopback()) {
        return refuse("The request comes from elsewhere");
    }
    if PROXIED.iter().any(|name| head.fields(name).next().is_some()) {
        return refuse("The request came through a proxy");
    }
    let host = head.fields("host").next().unwrap_or_default();
    if !is_loopback(host) {
        return refuse("Host does not name the loopback");
    }
    let is_here = |origin: &[u8]| {
        let rest = origin.strip_prefix(b"http://").or(origin.strip_prefix(b"https://"));
        rest.is_some_and(|rest| rest.eq_ignore_ascii_case(host))
    };
    if !head.fields("origin").all(is_here) {
        return refuse("Origin is not this server");
    }
    let is_own = |site: &[u8]| site == b"same-origin" || site == b"none";
    if !head.fields("sec-fetch-site").all(is_own) {
        return refuse("Sec-Fetch-Site is not this server");
    }
    Ok(())
}

/// Whether a `Host` names the loopback, by address or as "localhost".
fn is_loopback(host: &[u8]) -> bool {
    let Ok(host) = std::str::from_utf8(host) else { return false };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost")
        || address.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_by_its_names() {
        for host in
            ["localhost", "LocalHost:8000", "127.0.0.1", "127.9.9.9:1", "[::1]:8000", "[::1]"]
        {
            assert!(is_loopback(host.as_bytes()), "{host}");
        }
        for host in
            ["", "example.com", "127.0.0.1.example.com", "localhost.evil:8000", "10.0.0.1:80"]
        {
            assert!(!is_loopback(host.as_bytes()), "{host}");
        }
        assert!(!is_loopback(b"\xff"));
    }
}
