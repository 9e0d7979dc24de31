//! Who is at the other end when proxies stand between.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::wire::http::RequestHead;
use crate::{Error, ErrorKind, Result};

/// Reads addresses and networks (`10.0.0.0/8`) that are separated by commas; `key` is the option
/// that the error names.
pub(super) fn networks(key: &str, text: &str) -> Result<Vec<IpNet>> {
    crate::options::list(text)
        .into_iter()
        .map(|part| {
            let network = part.parse::<IpNet>().ok();
            network.or_else(|| part.parse::<IpAddr>().ok().map(IpNet::from)).ok_or_else(|| {
                let text = format!(
                    "option '{key}' cannot be '{part}': it takes addresses and networks, as in \
                     127.0.0.1, 10.0.0.0/8"
                );
                Error::new(ErrorKind::InvalidOption, text)
            })
        })
        .collect()
}

/// Whether `address` is in one of `networks`. An IPv4 address in IPv6 clothes counts as itself.
pub(super) fn is_in(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&address.to_canonical()))
}

/// The client behind `peer`: when `peer` is trusted, the last address in `Forwarded` (RFC 7239) or
/// else in `X-Forwarded-For` that is not a trusted proxy itself. What stands left of it was
/// written by who knows whom. The port is 0 where the field has none.
pub(super) fn client(trusted: &[IpNet], peer: SocketAddr, request: &RequestHead) -> SocketAddr {
    if trusted.is_empty() || !is_in(trusted, peer.ip()) {
        return peer;
    }
    let mut hops = hops(request, "forwarded", forwarded_for);
    if hops.is_empty() {
        hops = self::hops(request, "x-forwarded-for", |hop| Some(hop));
    }
    let mut client = peer;
    for hop in hops.iter().rev() {
        let Some(address) = address(hop) else { break };
        client = address;
        if !is_in(trusted, address.ip()) {
            break;
        }
    }
    client
}

/// The hops that all fields of this name list, from the client to the nearest proxy.
fn hops(request: &RequestHead, field: &str, read: fn(&str) -> Option<&str>) -> Vec<String> {
    let mut hops = Vec::new();
    for (name, value) in request.headers() {
        if name.eq_ignore_ascii_case(field) {
            let value = String::from_utf8_lossy(value);
            // A hop that cannot be read stays as an empty one: nothing left of it is believed.
            hops.extend(
                value.split(',').map(|hop| read(hop.trim()).unwrap_or_default().trim().to_owned()),
            );
        }
    }
    hops
}

fn forwarded_for(element: &str) -> Option<&str> {
    element.split(';').find_map(|pair| {
        let (key, value) = pair.trim().split_once('=')?;
        key.trim().eq_ignore_ascii_case("for").then(|| value.trim().trim_matches('"'))
    })
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
fn address(text: &str) -> Option<SocketAddr> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(address);
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    Some(SocketAddr::new(bare.parse().ok()?, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client_of(trusted: &str, peer: &str, fields: &str) -> String {
        let trusted = networks("trusted_proxies", trusted).unwrap();
        let head = format!("GET / HTTP/1.1\r\n{fields}\r\n");
        let request = RequestHead::new(head.as_bytes());
        client(&trusted, peer.parse().unwrap(), &request).ip().to_string()
    }

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        let field = "X-Forwarded-For: 192.0.2.7\r\n";
        assert_eq!(client_of("", "10.0.0.1:1", field), "10.0.0.1");
        assert_eq!(client_of("10.0.0.2", "10.0.0.1:1", field), "10.0.0.1");
        assert_eq!(client_of("10.0.0.0/8", "10.0.0.1:1", field), "192.0.2.7");
        assert_eq!(client_of("10.0.0.0/8", "[::ffff:10.0.0.1]:1", field), "192.0.2.7");
    }

    #[test]
    fn what_stands_left_of_the_first_stranger_is_not_believed() {
        let field = "X-Forwarded-For: 1.1.1.1, 192.0.2.7, 10.0.0.3\r\n";
        assert_eq!(client_of("10.0.0.0/8", "10.0.0.1:1", field), "192.0.2.7");
        let fields = "X-Forwarded-For: 192.0.2.7\r\nx-forwarded-for: 10.0.0.3\r\n";
        assert_eq!(client_of("10.0.0.0/8", "10.0.0.1:1", fields), "192.0.2.7");
        let broken = "X-Forwarded-For: 192.0.2.7, nonsense, 10.0.0.3\r\n";
        assert_eq!(client_of("10.0.0.0/8", "10.0.0.1:1", broken), "10.0.0.3");
    }

    #[test]
    fn the_standard_field_goes_first_and_may_quote() {
        let fields =
            "Forwarded: for=\"[2001:db8::9]:4711\";proto=https\r\nX-Forwarded-For: 1.2.3.4\r\n";
        assert_eq!(client_of("::1", "[::1]:5", fields), "2001:db8::9");
        assert_eq!(client_of("::1", "[::1]:5", "Forwarded: for=_hidden\r\n"), "::1");
    }

    #[test]
    fn a_network_that_is_none_is_named() {
        let error = networks("trusted_proxies", "10.0.0.0/8, 10.0.0.0/99").unwrap_err();
        assert!(error.to_string().contains("'10.0.0.0/99'"), "{error}");
    }
}
