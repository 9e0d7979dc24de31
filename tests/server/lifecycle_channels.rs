//! Channels by their namespaces: with which options they are created, whether they create
//! themselves, and when they go.

use qyun::server::{Server, ServerOptions};
use serde_json::{Value, json};

use crate::kit::{Frame, Raw, server, until};

fn request(server: &Server, method: &str, target: &str, body: &str) -> (u16, Value) {
    let mut raw = Raw::connect(server.local_addr());
    let length = body.len();
    raw.send(format!(
        "{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}"
    ));
    let answer = raw.answer_to(method);
    (answer.status, serde_json::from_str(&answer.body).unwrap())
}

fn options_of(server: &Server, name: &str) -> Value {
    let (status, body) = request(server, "GET", &format!("/channel/info/{name}"), "");
    assert_eq!(status, 200, "{body}");
    body["channel"]["options"].clone()
}

#[test]
fn a_channel_is_created_with_the_options_of_the_first_namespace_that_matches() {
    let namespaces = "news.sport: history_size=5; news.>: history_size=7, history_ttl_ms=1000";
    let server = server(&[("namespaces", namespaces), ("auto_create", "true")]);
    let mut raw = Raw::connect(server.local_addr());
    for (name, size) in [("news.sport", 5), ("news.a.b", 7), ("news", 0)] {
        assert_eq!(raw.get(&format!("/channel/send/{name}/x")).status, 200);
        assert_eq!(options_of(&server, name)["history_size"], size, "{name}");
    }
    assert_eq!(options_of(&server, "news.a.b")["history_ttl_ms"], 1000);
}

#[test]
fn a_reload_holds_for_channels_that_are_created_afterwards() {
    let server = server(&[("namespaces", "a.*: history_size=5")]);
    let service = server.service();
    service.create_channel("a.old").unwrap();
    let mut options = ServerOptions::clone(&service.options());
    options.set("namespaces", "a.*: history_size=6").unwrap();
    assert_eq!(server.reload(&options).unwrap().changed, ["namespaces"]);
    service.create_channel("a.new").unwrap();
    assert_eq!(options_of(&server, "a.old")["history_size"], 5);
    assert_eq!(options_of(&server, "a.new")["history_size"], 6);
    // Deleted and created again, it is a new one.
    service.delete_channel("a.old").unwrap();
    service.create_channel("a.old").unwrap();
    assert_eq!(options_of(&server, "a.old")["history_size"], 6);
}

#[test]
fn a_namespace_says_whether_its_channels_create_themselves() {
    for (server_does, namespaces) in [
        ("false", "open.>: auto_create=true"),
        ("true", "open.>: history_size=0; >: auto_create=false"),
    ] {
        let server = server(&[("auto_create", server_does), ("namespaces", namespaces)]);
        let mut raw = Raw::connect(server.local_addr());
        assert_eq!(raw.get("/channel/send/open.a/x").status, 200);
        assert_eq!(raw.get("/channel/send/closed/x").status, 404);
        let mut raw = Raw::connect(server.local_addr());
        assert_eq!(raw.upgrade("/channel/listen/closed", "").status, 403);
        Raw::websocket(server.local_addr(), "/channel/listen/open.b");
        // To create it is another thing.
        let mut raw = Raw::connect(server.local_addr());
        assert_eq!(raw.get("/channel/create/closed").status, 200);
        assert_eq!(raw.get("/channel/send/closed/x").status, 200);
    }
}

#[test]
fn the_admin_api_creates_channels_with_options() {
    let server = server(&[("namespaces", ">: history_size=9")]);
    for (method, name) in [("PUT", "a"), ("POST", "b")] {
        let target = format!("/api/v1/channels/{name}");
        let (status, body) = request(&server, method, &target, r#"{"empty_ttl_ms":60000}"#);
        assert_eq!(status, 200, "{body}");
        let options = options_of(&server, name);
        assert_eq!(options["empty_ttl_ms"], 60_000);
        // Its own options, in place of its namespace's.
        assert_eq!(options["history_size"], 0);
        assert_eq!(request(&server, method, &target, "{}").0, 400);
    }
    assert_eq!(request(&server, "PUT", "/api/v1/channels/c", "").0, 200);
    assert_eq!(options_of(&server, "c")["history_size"], 9);
    let (_, shown) = request(&server, "GET", "/api/v1/channels/c", "");
    assert_eq!(shown["channel"]["options"]["history_size"], 9);
    // Listings leave them out.
    let (_, listed) = request(&server, "GET", "/channels", "");
    assert_eq!(listed["channels"][0].get("options"), None);
    for (body, told) in [
        ("[]", "a JSON object"),
        (r#"{"colour":1}"#, "no option 'colour'"),
        (r#"{"history_size":"many"}"#, "cannot be 'many'"),
    ] {
        let (status, answer) = request(&server, "PUT", "/api/v1/channels/d", body);
        assert_eq!(status, 400, "{body}");
        assert!(answer["message"].as_str().unwrap().contains(told), "{answer}");
    }
    assert_eq!(request(&server, "GET", "/channel/info/d", "").0, 404);
}

#[test]
fn a_channel_goes_when_nobody_uses_it_and_stays_for_its_listeners() {
    let namespaces = "short.>: empty_ttl_ms=40, auto_create=true; long.>: empty_ttl_ms=80";
    let server = server(&[("namespaces", namespaces), ("shards", "2")]);
    let service = server.service();
    service.create_channel("long.kept").unwrap();
    let mut listener = Raw::websocket(server.local_addr(), "/channel/listen/long.kept");
    // Another channel's life, ten times, is the clock: far longer than the kept one's.
    for _ in 0..10 {
        service.create_channel("long.clock").unwrap();
        until("the channel goes", || service.channel("long.clock").is_err());
    }
    assert!(service.channel("long.kept").is_ok());
    service.publish("long.kept", qyun::wire::MessageKind::Text, b"still here").unwrap();
    assert_eq!(listener.message(), Frame::text("still here"));
    drop(listener);
    until("the channel goes without its listener", || service.channel("long.kept").is_err());
    // With auto-create, whoever comes after gets a new one.
    let mut raw = Raw::connect(server.local_addr());
    let mut epochs = Vec::new();
    for _ in 0..3 {
        let answer = raw.request("POST", "/channel/send/short.a", "", b"x");
        let answer: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(answer["offset"], 1, "{answer}");
        epochs.push(answer["epoch"].as_u64().unwrap());
        until("the channel goes", || service.channel("short.a").is_err());
    }
    assert!(epochs.is_sorted_by(|a, b| a < b), "{epochs:?}");
    assert_eq!(json!(service.counters())["channels"], 0);
}

/// The shard that looks after it sleeps with nothing to do: it is woken for a time that is short.
#[test]
fn an_idle_server_keeps_to_the_time() {
    let server = server(&[]);
    let mut config = qyun::hub::ChannelConfig::default();
    config.set("empty_ttl_ms", "3600000").unwrap();
    server.service().create_channel_with("hour", config.clone()).unwrap();
    config.set("empty_ttl_ms", "20").unwrap();
    server.service().create_channel_with("moment", config).unwrap();
    until("the channel goes", || server.service().channel("moment").is_err());
    assert!(server.service().channel("hour").is_ok());
}
