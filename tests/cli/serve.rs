//! `qyun serve`: what it tells, how it stops.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::kit::{Running, Server, exchange, run};

const HEALTH: &str = "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

#[test]
fn it_serves_where_it_says_once_it_says_so() {
    let mut process = Running::start(&["serve", "--listen", "127.0.0.1:0", "--shards", "2"]);
    let line = process.line();
    let address =
        line.strip_prefix(concat!("Qyun ", env!("CARGO_PKG_VERSION"), " listening on http://"));
    let address = address.and_then(|rest| rest.strip_suffix(" (2 shards)"));
    let address = address.unwrap_or_else(|| panic!("{line}"));
    assert!(exchange(address, HEALTH, "never").1.starts_with("HTTP/1.1 200"));
}

#[test]
fn json_tells_the_address_in_parts() {
    let mut process = Running::start(&["serve", "--listen", "127.0.0.1:0", "--json"]);
    let told: serde_json::Value = serde_json::from_str(&process.line()).unwrap();
    assert_eq!(told["event"], "listening");
    assert_eq!(told["address"], format!("127.0.0.1:{}", told["port"]));
    assert!(told["shards"].as_u64().unwrap() >= 1);
}

#[test]
fn either_signal_stops_it_gracefully() {
    for signal in [Signal::TERM, Signal::INT] {
        let server = Server::start();
        server.process.signal(signal);
        let (status, stderr) = server.process.end();
        assert_eq!(status.code(), Some(0), "{stderr}");
    }
}

#[test]
fn a_second_signal_does_not_wait_for_clients() {
    let mut server = Server::with(&["--create", "a"]);
    let upgrade = "GET /channel/listen/a HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n\
                   Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    // A client that will not answer the server's Close.
    let (_client, answer) = exchange(&server.host, upgrade, "\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    let start = Instant::now();
    server.process.signal(Signal::TERM);
    server.process.says("stopping");
    server.process.signal(Signal::TERM);
    let (status, stderr) = server.process.end();
    assert_eq!(status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("second signal"), "{stderr}");
    assert!(start.elapsed() < Duration::from_secs(25), "it waited for the drain's 30 s");
}

#[test]
fn the_drain_has_a_deadline() {
    let server = Server::with(&["--create", "a", "--drain", "100ms"]);
    let upgrade = "GET /channel/listen/a HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n\
                   Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let (_client, _) = exchange(&server.host, upgrade, "\r\n\r\n");
    server.process.signal(Signal::TERM);
    let (status, stderr) = server.process.end();
    assert_eq!(status.code(), Some(0), "{stderr}");
    assert!(stderr.contains("cut off"), "{stderr}");
}

#[test]
fn an_occupied_address_is_code_3_and_named() {
    let server = Server::start();
    let ran = run(&["serve", "--listen", &server.host]).ends_with(3);
    assert!(ran.stderr.contains(&server.host), "{}", ran.stderr);
    assert!(ran.stdout.is_empty());
}

#[test]
fn an_address_that_is_none_is_named() {
    for listen in ["nonsense", "127.0.0.1", "127.0.0.1:70000"] {
        let ran = run(&["serve", "--listen", listen]);
        assert!((1..=3).contains(&ran.code), "{ran:?}");
        assert!(ran.stderr.contains(listen), "{}", ran.stderr);
    }
}

#[test]
fn channels_can_exist_from_the_start_or_come_by_themselves() {
    let server = Server::with(&["--create", "a", "--create", "青云"]);
    server.run(&["info", "a"]).ends_with(0);
    server.run(&["info", "青云"]).ends_with(0);
    server.run(&["send", "b", "x"]).ends_with(4);
    let server = Server::with(&["--auto-create"]);
    server.run(&["send", "b", "x"]).ends_with(0);
}

#[test]
fn what_is_logged_can_be_chosen() {
    let server = Server::with(&["--log", "off"]);
    server.process.signal(Signal::TERM);
    let (status, stderr) = server.process.end();
    assert_eq!((status.code(), stderr.as_str()), (Some(0), ""));
}
