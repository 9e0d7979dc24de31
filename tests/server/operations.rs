//! The admin API's operations on connections, users and memberships, against real WebSockets.

use std::sync::Arc;

use qyun::hub::{Connection, Decision};
use qyun::server::dialect::{Closure, EndpointOptions, Handler, Upgrade, Verdict};
use qyun::server::{Server, Service};
use qyun::wire::{Dialect, MessageKind};
use serde_json::{Value, json};

use crate::kit::{Answer, Frame, Raw, server, until};

/// Calls a connection what its query says, and does nothing else.
struct Named(Dialect);

impl Handler for Named {
    fn dialect(&self) -> Dialect {
        self.0
    }

    fn admit(&self, _: &Service, upgrade: &Upgrade<'_>) -> Verdict {
        Verdict::Now(Decision::Accept { id: Some(upgrade.query.into()), user: None })
    }

    fn opened(&self, _: &Arc<Service>, _: &Arc<Connection>, _: Option<Arc<Connection>>) {}

    fn message(&self, _: &Arc<Service>, _: &Arc<Connection>, _: MessageKind, _: &[u8]) {}

    fn closed(&self, _: &Arc<Service>, _: &Arc<Connection>, _: &Closure) {}
}

/// A server whose endpoints are `/bare` and `/json`.
fn serving() -> (Server, Raw) {
    let server = server(&[]);
    for endpoint in server.service().endpoints() {
        server.service().remove_endpoint(&endpoint.path).unwrap();
    }
    for (path, dialect) in [("/bare", Dialect::Host), ("/json", Dialect::Session)] {
        let options = EndpointOptions::default();
        server.service().add_endpoint(path, options, Arc::new(Named(dialect))).unwrap();
    }
    let raw = Raw::connect(server.local_addr());
    (server, raw)
}

/// A WebSocket that the server knows as `id`.
fn enter(server: &Server, path: &str, id: &str) -> Raw {
    let raw = Raw::websocket(server.local_addr(), &format!("{path}?{id}"));
    until("the connection is known", || server.service().connection(id).is_ok());
    raw
}

fn call(raw: &mut Raw, method: &str, target: &str, body: &str) -> Answer {
    let target = format!("/api/v1/{target}");
    let length = match body {
        "" => String::new(),
        body => format!("Content-Length: {}\r\n", body.len()),
    };
    raw.send(format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n{length}\r\n{body}"));
    raw.answer_to(method)
}

/// The JSON of a call that is answered so.
fn ask(raw: &mut Raw, status: u16, method: &str, target: &str, body: &str) -> Value {
    let answer = call(raw, method, target, body);
    assert_eq!(answer.status, status, "{method} {target}: {answer:?}");
    let json: Value = serde_json::from_str(&answer.body).unwrap();
    let outcome = if status < 400 { "success" } else { "error" };
    assert_eq!(json["status"], outcome, "{answer:?}");
    assert!(json["message"].is_string(), "{answer:?}");
    json
}

fn ids(listing: &Value) -> Vec<&str> {
    let page = listing["connections"].as_array().unwrap();
    page.iter().map(|one| one["id"].as_str().unwrap()).collect()
}

#[test]
fn connections_are_listed_in_pages_and_found() {
    let (server, mut raw) = serving();
    let _open: Vec<_> = [("/bare", "b"), ("/json", "d"), ("/bare", "a"), ("/json", "c")]
        .map(|(path, id)| enter(&server, path, id))
        .into();
    let all = ask(&mut raw, 200, "GET", "connections", "");
    assert_eq!(ids(&all), ["a", "b", "c", "d"]);
    assert_eq!(all["total"], 4);
    let page = ask(&mut raw, 200, "GET", "connections?limit=2&after=a", "");
    assert_eq!((ids(&page), &page["total"]), (vec!["b", "c"], &json!(4)));
    let json = ask(&mut raw, 200, "GET", "connections?dialect=session", "");
    assert_eq!((ids(&json), &json["total"]), (vec!["c", "d"], &json!(2)));
    assert_eq!(ids(&ask(&mut raw, 200, "GET", "connections?path=%2Fbare", "")), ["a", "b"]);
    assert!(ids(&ask(&mut raw, 200, "GET", "connections?user=nobody", "")).is_empty());
    assert!(ids(&ask(&mut raw, 200, "GET", "connections?channel=none", "")).is_empty());

    let found = ask(&mut raw, 200, "GET", "connections/a", "");
    let connection = &found["connection"];
    assert_eq!(connection["id"], "a");
    assert_eq!((&connection["dialect"], &connection["path"]), (&json!("host"), &json!("/bare")));
    assert!(connection["remote"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert_eq!(connection["user"], Value::Null);

    ask(&mut raw, 404, "GET", "connections/nobody", "");
    for bad in ["limit=0", "limit=1001", "limit=x", "dialect=morse"] {
        let refused = ask(&mut raw, 400, "GET", &format!("connections?{bad}"), "");
        let message = refused["message"].as_str().unwrap();
        assert!(message.contains(": it is "), "{message}");
    }
    let endpoints = ask(&mut raw, 200, "GET", "endpoints", "");
    let expected = json!([
        { "path": "/bare", "dialect": "host", "connections": 2 },
        { "path": "/json", "dialect": "session", "connections": 2 },
    ]);
    assert_eq!(endpoints["endpoints"], expected);
    let metrics = raw.get("/metrics").body;
    assert!(metrics.contains("qyun_endpoint_connections{path=\"/json\",dialect=\"session\"} 2\n"));
}

#[test]
fn a_connection_is_sent_to_and_closed() {
    let (server, mut raw) = serving();
    let mut bare = enter(&server, "/bare", "a%2Fb");
    ask(&mut raw, 200, "POST", "connections/a%252Fb/send", "hello 青云");
    assert_eq!(bare.message(), Frame::text("hello 青云"));
    raw.send(
        "POST /api/v1/connections/a%252Fb/send HTTP/1.1\r\nHost: localhost\r\n\
         Content-Type: application/octet-stream\r\nContent-Length: 2\r\n\r\n\0\x7f",
    );
    assert_eq!(raw.answer().status, 200);
    assert_eq!(bare.message(), Frame { opcode: 2, payload: vec![0, 0x7f] });
    ask(&mut raw, 404, "POST", "connections/nobody/send", "x");

    for bad in ["code=999", "code=1005", "code=x", "code=70000"] {
        ask(&mut raw, 400, "DELETE", &format!("connections/a%252Fb?{bad}"), "");
    }
    let target = "connections/a%252Fb?code=4001&reason=go%20away";
    ask(&mut raw, 200, "DELETE", target, "");
    let close = bare.message();
    assert_eq!(close.close_code(), Some(4001));
    assert_eq!(&close.payload[2..], b"go away");
    bare.send_frame(0x88, b"\x0f\xa1");
    until("it is gone", || server.service().registry().is_empty());
    ask(&mut raw, 404, "DELETE", "connections/a%252Fb", "");

    let mut other = enter(&server, "/json", "x");
    ask(&mut raw, 200, "DELETE", "connections/x", "");
    let close = other.message();
    assert_eq!(close.close_code(), Some(3500));
    assert_eq!(&close.payload[2..], b"closed by an administrator");
}

#[test]
fn users_are_bound_found_sent_to_and_unbound() {
    let (server, mut raw) = serving();
    let mut one = enter(&server, "/bare", "one");
    let mut two = enter(&server, "/json", "two");
    let _three = enter(&server, "/bare", "three");
    ask(&mut raw, 200, "PUT", "connections/one/user", "李雷");
    ask(&mut raw, 200, "PUT", "connections/two/user", "李雷");
    ask(&mut raw, 200, "PUT", "connections/three/user", "ann");
    ask(&mut raw, 400, "PUT", "connections/three/user", "");
    ask(&mut raw, 404, "PUT", "connections/nobody/user", "ann");

    let users = ask(&mut raw, 200, "GET", "users", "");
    let expected =
        json!([{ "user": "ann", "connections": 1 }, { "user": "李雷", "connections": 2 }]);
    assert_eq!((&users["users"], &users["total"]), (&expected, &json!(2)));
    let page = ask(&mut raw, 200, "GET", "users?after=ann&limit=1", "");
    assert_eq!(page["users"][0]["user"], "李雷");
    let user = "users/%E6%9D%8E%E9%9B%B7";
    let found = ask(&mut raw, 200, "GET", user, "");
    assert_eq!((ids(&found), &found["total"]), (vec!["one", "two"], &json!(2)));
    assert_eq!(found["connections"][0]["user"], "李雷");
    assert_eq!(ids(&ask(&mut raw, 200, "GET", &format!("{user}?limit=1&after=one"), "")), ["two"]);

    let sent = ask(&mut raw, 200, "POST", &format!("{user}/send"), "hi");
    assert_eq!(sent["connections"], 2);
    assert_eq!(one.message(), Frame::text("hi"));
    // A session gets what it is sent as a notification.
    let told = String::from_utf8(two.message().payload).unwrap();
    assert!(told.contains("notification") && told.contains("hi"), "{told}");
    ask(&mut raw, 404, "POST", "users/nobody/send", "hi");
    ask(&mut raw, 404, "GET", "users/nobody", "");

    let unbound = ask(&mut raw, 200, "DELETE", "connections/one/user", "");
    assert_eq!(unbound["changed"], true);
    let again = ask(&mut raw, 200, "DELETE", "connections/one/user", "");
    assert_eq!(again["changed"], false);
    assert_eq!(ids(&ask(&mut raw, 200, "GET", user, "")), ["two"]);
}

#[test]
fn memberships_and_channels() {
    let (server, mut raw) = serving();
    let mut one = enter(&server, "/bare", "one");
    let _two = enter(&server, "/bare", "two");
    ask(&mut raw, 200, "PUT", "channels/a%2Fb", "");
    ask(&mut raw, 400, "PUT", "channels/a%2Fb", "");
    for changed in [true, false] {
        let joined = ask(&mut raw, 200, "PUT", "channels/a%2Fb/members/one", "");
        assert_eq!(joined["changed"], changed);
    }
    ask(&mut raw, 200, "PUT", "channels/a%2Fb/members/two", "");
    ask(&mut raw, 404, "PUT", "channels/a%2Fb/members/nobody", "");
    ask(&mut raw, 404, "PUT", "channels/none/members/one", "");

    let members = ask(&mut raw, 200, "GET", "channels/a%2Fb/members", "");
    assert_eq!((ids(&members), &members["total"]), (vec!["one", "two"], &json!(2)));
    assert_eq!(members["connections"][0]["channels"], json!(["a/b"]));
    let page = ask(&mut raw, 200, "GET", "channels/a%2Fb/members?limit=1&after=one", "");
    assert_eq!(ids(&page), ["two"]);
    assert_eq!(ids(&ask(&mut raw, 200, "GET", "connections?channel=a%2Fb", "")), ["one", "two"]);
    ask(&mut raw, 404, "GET", "channels/none/members", "");

    let sent = ask(&mut raw, 200, "POST", "channels/a%2Fb/send", "to members");
    assert_eq!((&sent["offset"], &sent["subscribers"]), (&json!(1), &json!(2)));
    assert_eq!(one.message(), Frame::text("to members"));
    for changed in [true, false] {
        let left = ask(&mut raw, 200, "DELETE", "channels/a%2Fb/members/one", "");
        assert_eq!(left["changed"], changed);
    }
    let info = ask(&mut raw, 200, "GET", "channels/a%2Fb", "");
    assert_eq!(info["channel"]["members"], 1);
    let listed = ask(&mut raw, 200, "GET", "channels?prefix=a", "");
    assert_eq!(listed["channels"][0]["name"], "a/b");
    ask(&mut raw, 200, "DELETE", "channels/a%2Fb", "");
    ask(&mut raw, 404, "DELETE", "channels/a%2Fb", "");
}

#[test]
fn a_broadcast_reaches_everyone_or_one_endpoint() {
    let (server, mut raw) = serving();
    let mut bare = enter(&server, "/bare", "bare");
    let mut json = enter(&server, "/json", "json");
    assert_eq!(ask(&mut raw, 200, "POST", "broadcast", "all")["connections"], 2);
    assert_eq!(ask(&mut raw, 200, "POST", "broadcast?path=%2Fbare", "some")["connections"], 1);
    ask(&mut raw, 404, "POST", "broadcast?path=%2Fnone", "x");
    assert_eq!(bare.message(), Frame::text("all"));
    assert_eq!(bare.message(), Frame::text("some"));
    assert!(String::from_utf8(json.message().payload).unwrap().contains("all"));
}

#[test]
fn every_path_names_its_methods_and_checks_its_names() {
    let (_server, mut raw) = serving();
    for (target, allow) in [
        ("endpoints", "GET, HEAD"),
        ("connections", "GET, HEAD"),
        ("connections/x", "GET, HEAD, DELETE"),
        ("connections/x/send", "POST"),
        ("connections/x/user", "PUT, DELETE"),
        ("users", "GET, HEAD"),
        ("users/x", "GET, HEAD"),
        ("users/x/send", "POST"),
        ("channels", "GET, HEAD"),
        ("channels/x", "GET, HEAD, PUT, POST, DELETE"),
        ("channels/x/send", "POST"),
        ("channels/x/members", "GET, HEAD"),
        ("channels/x/members/y", "PUT, DELETE"),
        ("broadcast", "POST"),
    ] {
        let answer = call(&mut raw, "PATCH", target, "body");
        assert_eq!((answer.status, answer.field("allow")), (405, Some(allow)), "{target}");
    }
    for target in ["connections/x/more", "users/x/y", "channels/x/members/y/z", "stats/", ""] {
        ask(&mut raw, 404, "GET", target, "");
    }
    for target in ["connections/%", "connections/%ff", "users/%zz", "channels/%e9/members"] {
        ask(&mut raw, 400, "GET", target, "");
    }
    ask(&mut raw, 400, "PUT", "channels/", "");
    assert_eq!(call(&mut raw, "HEAD", "connections", "").body, "");
}

#[test]
fn what_is_refused_is_refused_before_anything_happens() {
    let (server, mut raw) = serving();
    let mut one = enter(&server, "/bare", "one");
    for (method, target) in
        [("DELETE", "connections/one"), ("POST", "broadcast"), ("PUT", "connections/one/user")]
    {
        raw.send(format!(
            "{method} /api/v1/{target} HTTP/1.1\r\nHost: localhost\r\n\
             Origin: http://evil.example\r\nContent-Length: 1\r\n\r\nx"
        ));
        assert_eq!(raw.answer().status, 403, "{method} {target}");
    }
    // A body over the limit is refused, and what was bound is not.
    let long = "x".repeat(server.service().options().max_message_bytes + 1);
    assert_eq!(call(&mut raw, "POST", "broadcast", &long).status, 413);
    assert!(server.service().connection("one").unwrap().user().is_none());
    server.service().send_to("one", MessageKind::Text, b"first").unwrap();
    assert_eq!(one.message(), Frame::text("first"));
}
