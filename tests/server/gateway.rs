//! The gateway dialect: clients on `/`, and what a back end does with them over gRPC.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use qyun::hub::Filter;
use qyun::server::{Server, ServerOptions};
use qyun::wire::{MessageKind, close};

use crate::caller::{Caller, Field};
use crate::kit::{Frame, PATIENCE, Raw, server, until};

const GRPC: (&str, &str) = ("grpc_listen", "127.0.0.1:0");

/// A server, and a back end that is connected to it.
fn gateway(options: &[(&str, &str)]) -> (Server, Caller) {
    let server = server(&[&[GRPC], options].concat());
    let caller = Caller::connect(server.grpc_addr().unwrap());
    (server, caller)
}

/// A client, and the id that it was told.
fn client(server: &Server) -> (Raw, String) {
    let mut raw = Raw::websocket(server.local_addr(), "/");
    let first = raw.message();
    assert_eq!(first.opcode, 1);
    (raw, String::from_utf8(first.payload).unwrap())
}

fn set<const N: usize>(items: [&str; N]) -> BTreeSet<String> {
    items.map(str::to_owned).into()
}

impl Caller {
    fn set(&mut self, name: &str, fields: &[&str]) -> BTreeSet<String> {
        let list = self.list(name, fields);
        let set: BTreeSet<_> = list.iter().cloned().collect();
        assert_eq!(set.len(), list.len(), "{name}{fields:?} gives nothing twice");
        set
    }

    /// SendMessageToGroup: its result, and how many clients it was sent to.
    fn send_to_group(&mut self, group: &str, message: &str) -> (bool, u64) {
        match &*self.gateway("SendMessageToGroup", &[group, message]) {
            [] => (false, 0),
            [(1, Field::Number(1)), (2, Field::Number(arrive))] => (true, *arrive),
            other => panic!("SendMessageToGroup gave {other:?}"),
        }
    }

    /// The uid of a client, or nothing.
    fn uid(&mut self, client: &str) -> String {
        self.list("GetClientByUid", &[client]).concat()
    }
}

/// Closes a client's side and waits until the server has forgotten it.
fn leave(server: &Server, mut raw: Raw, id: &str) {
    raw.send_frame(0x88, b"\x03\xe8");
    assert_eq!(raw.message().close_code(), Some(1000));
    until("the client is forgotten", || server.service().connection(id).is_err());
}

#[test]
fn the_first_frame_is_a_uuid_and_each_client_has_its_own() {
    let (server, mut caller) = gateway(&[]);
    let (_one, first) = client(&server);
    let (_two, second) = client(&server);
    assert_ne!(first, second);
    for id in [&first, &second] {
        let parts: Vec<_> = id.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12], "{id}");
        assert!(id.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit()), "{id}");
        assert_eq!(&id[14..15], "4", "version 4: {id}");
        assert!(caller.flag("ClientIsOnline", &[id]));
    }
}

#[test]
fn ping_gets_pong_and_nothing_else_gets_an_answer() {
    let (server, _caller) = gateway(&[]);
    let (mut raw, _) = client(&server);
    for ignored in [&b"hello"[..], b"", b"PING", b"ping ", b"{}"] {
        raw.send_frame(0x81, ignored);
    }
    raw.send_frame(0x82, b"\0\xff");
    raw.send_frame(0x81, b"ping");
    assert_eq!(raw.message(), Frame::text("pong"));
    raw.send_frame(0x82, b"ping");
    assert_eq!(raw.message(), Frame::text("pong"));
}

#[test]
fn with_the_binary_format_every_frame_is_binary() {
    let (server, mut caller) = gateway(&[("gateway_format", "binary")]);
    let mut raw = Raw::websocket(server.local_addr(), "/");
    let first = raw.message();
    assert_eq!(first.opcode, 2);
    let id = String::from_utf8(first.payload).unwrap();
    let binary = |text: &str| Frame { opcode: 2, payload: text.into() };
    raw.send_frame(0x82, b"ping");
    assert_eq!(raw.message(), binary("pong"));
    assert!(caller.flag("JoinGroup", &[&id, "g"]));
    assert!(caller.flag("ClientBindUid", &[&id, "u"]));
    assert!(caller.flag("SendMessageToClient", &[&id, "one"]));
    assert!(caller.flag("BroadcastMessage", &["two"]));
    assert_eq!(caller.send_to_group("g", "three"), (true, 1));
    assert!(caller.flag("SendMessageToUid", &["u", "four"]));
    for text in ["one", "two", "three", "four"] {
        assert_eq!(raw.message(), binary(text));
    }
}

#[test]
fn a_client_that_does_not_ping_is_disconnected_unbound_and_out_of_its_groups() {
    let (server, mut caller) = gateway(&[("gateway_heartbeat_ms", "1000")]);
    let (mut silent, id) = client(&server);
    let (mut alive, other) = client(&server);
    for group in ["g", "h"] {
        assert!(caller.flag("JoinGroup", &[&id, group]));
    }
    assert!(caller.flag("ClientBindUid", &[&id, "u"]));
    // What is no ping does not count as one.
    silent.send_frame(0x81, b"hello");
    while caller.flag("ClientIsOnline", &[&id]) {
        alive.send_frame(0x81, b"ping");
        assert_eq!(alive.message(), Frame::text("pong"));
    }
    assert_eq!(silent.message().close_code(), Some(close::NO_HEARTBEAT));
    assert_eq!(caller.count("CountGroup", &[]), 0);
    assert!(!caller.flag("UidIsOnline", &["u"]));
    assert_eq!(caller.set("GetAllOnlineClient", &[]), set([&other]));
}

#[test]
fn a_shorter_heartbeat_holds_for_those_who_are_there() {
    let (server, _caller) = gateway(&[]);
    let (mut raw, _) = client(&server);
    let mut options = ServerOptions::clone(&server.service().options());
    options.set("gateway_heartbeat_ms", "200").unwrap();
    assert_eq!(server.reload(&options).unwrap().changed, ["gateway_heartbeat_ms"]);
    assert_eq!(raw.message().close_code(), Some(close::NO_HEARTBEAT));
}

#[test]
fn a_message_goes_to_one_client_or_to_all() {
    let (server, mut caller) = gateway(&[]);
    let (mut one, first) = client(&server);
    let (mut two, second) = client(&server);
    assert!(caller.flag("SendMessageToClient", &[&first, "你好"]));
    assert!(caller.flag("SendMessageToClient", &[&second, "two"]));
    assert!(!caller.flag("SendMessageToClient", &["nobody", "x"]));
    assert!(!caller.flag("SendMessageToClient", &[&first, ""]));
    assert!(!caller.flag("SendMessageToClient", &["", "x"]));
    assert!(caller.flag("BroadcastMessage", &["all"]));
    assert!(!caller.flag("BroadcastMessage", &[""]));
    assert_eq!([one.message(), one.message()], [Frame::text("你好"), Frame::text("all")]);
    assert_eq!([two.message(), two.message()], [Frame::text("two"), Frame::text("all")]);
}

#[test]
fn clients_are_listed_counted_and_found_while_they_are_connected() {
    let (server, mut caller) = gateway(&[]);
    assert_eq!(caller.count("CountOnlineClient", &[]), 0);
    assert_eq!(caller.set("GetAllOnlineClient", &[]), set([]));
    let (one, first) = client(&server);
    let (_two, second) = client(&server);
    assert_eq!(caller.count("CountOnlineClient", &[]), 2);
    assert_eq!(caller.set("GetAllOnlineClient", &[]), set([&first, &second]));
    leave(&server, one, &first);
    assert_eq!(caller.count("CountOnlineClient", &[]), 1);
    assert_eq!(caller.set("GetAllOnlineClient", &[]), set([&second]));
    assert!(!caller.flag("ClientIsOnline", &[&first]));
    assert!(!caller.flag("ClientIsOnline", &[""]));
    assert!(!caller.flag("ClientIsOnline", &["nobody"]));
}

#[test]
fn a_client_that_is_closed_is_gone_at_once() {
    let (server, mut caller) = gateway(&[]);
    let (mut raw, id) = client(&server);
    assert!(caller.flag("JoinGroup", &[&id, "g"]));
    assert!(caller.flag("ClientBindUid", &[&id, "u"]));
    assert!(caller.flag("SendMessageToClient", &[&id, "last"]));
    assert!(caller.flag("ClonseClient", &[&id]));
    assert!(!caller.flag("ClientIsOnline", &[&id]));
    assert_eq!(caller.count("CountOnlineClient", &[]), 0);
    assert_eq!(caller.count("CountGroup", &[]), 0);
    assert!(!caller.flag("UidIsOnline", &["u"]));
    assert_eq!(raw.message(), Frame::text("last"), "what was sent before arrives");
    assert_eq!(raw.message().close_code(), Some(1000));
    assert!(caller.flag("ClonseClient", &[&id]), "again is true");
    assert!(caller.flag("ClonseClient", &["nobody"]));
    assert!(!caller.flag("ClonseClient", &[""]));
    raw.send_frame(0x88, b"\x03\xe8");
    assert!(raw.is_closed());
    until("the socket is gone", || server.service().counters().connections == 0);
}

#[test]
fn a_group_is_there_while_it_has_clients() {
    let (server, mut caller) = gateway(&[]);
    let (mut one, first) = client(&server);
    let (mut two, second) = client(&server);
    for (client, group) in [(&first, "群/g"), (&second, "群/g"), (&second, "h")] {
        assert!(caller.flag("JoinGroup", &[client, group]));
        assert!(caller.flag("JoinGroup", &[client, group]), "again is true");
    }
    assert_eq!(caller.count("CountGroup", &[]), 2);
    assert_eq!(caller.count("CountOnlineGroup", &["群/g"]), 2);
    assert_eq!(caller.set("GetGroupOnlineClient", &["群/g"]), set([&first, &second]));
    assert_eq!(caller.set("GetGroupOnlineClient", &["h"]), set([&second]));

    assert_eq!(caller.send_to_group("群/g", "to both"), (true, 2));
    assert_eq!(caller.send_to_group("h", "to one"), (true, 1));
    assert!(caller.flag("LeaveGroup", &[&first, "群/g"]));
    assert!(caller.flag("LeaveGroup", &[&first, "群/g"]), "not in it is true");
    assert_eq!(caller.send_to_group("群/g", "to the other"), (true, 1));
    assert_eq!(one.message(), Frame::text("to both"));
    // Each group has an order of its own; between two of them there is none.
    let mut texts = [(); 3].map(|()| String::from_utf8(two.message().payload).unwrap());
    texts.sort_by_key(|text| text != "to one");
    assert_eq!(texts, ["to one", "to both", "to the other"]);

    assert!(caller.flag("LeaveGroup", &[&second, "群/g"]));
    assert_eq!(caller.count("CountGroup", &[]), 1);
    assert_eq!(caller.count("CountOnlineGroup", &["群/g"]), 0);
    assert_eq!(caller.send_to_group("群/g", "to nobody"), (false, 0));
    assert!(!caller.flag("LeaveGroup", &[&second, "群/g"]), "it does not exist");
    leave(&server, two, &second);
    assert_eq!(caller.count("CountGroup", &[]), 0);
    assert!(server.service().channels().is_empty());
    // Nothing more came to the one who left the group before.
    one.send_frame(0x81, b"ping");
    assert_eq!(one.message(), Frame::text("pong"));
}

#[test]
fn a_group_that_is_dissolved_is_gone_and_its_clients_stay() {
    let (server, mut caller) = gateway(&[]);
    let (mut one, first) = client(&server);
    let (_two, second) = client(&server);
    for client in [&first, &second] {
        assert!(caller.flag("JoinGroup", &[client, "g"]));
    }
    assert!(caller.flag("UnGroup", &["g"]));
    assert!(!caller.flag("UnGroup", &["g"]), "it does not exist");
    assert!(!caller.flag("UnGroup", &[""]));
    assert_eq!(caller.count("CountGroup", &[]), 0);
    assert_eq!(caller.send_to_group("g", "x"), (false, 0));
    assert_eq!(caller.count("CountOnlineClient", &[]), 2);
    assert!(caller.flag("JoinGroup", &[&first, "g"]), "it can come again");
    assert_eq!(caller.send_to_group("g", "again"), (true, 1));
    assert_eq!(one.message(), Frame::text("again"));
}

#[test]
fn what_a_group_call_names_and_is_not_there_is_false_or_nothing() {
    let (server, mut caller) = gateway(&[]);
    let (_raw, id) = client(&server);
    assert!(caller.flag("JoinGroup", &[&id, "g"]));
    let long = "x".repeat(256);
    for fields in [["nobody", "g"], ["", "g"], [&id, ""], [&id, &long], [&id, "a\nb"]] {
        assert!(!caller.flag("JoinGroup", &fields), "{fields:?}");
        assert!(!caller.flag("LeaveGroup", &fields), "{fields:?}");
    }
    assert!(!caller.flag("LeaveGroup", &[&id, "h"]));
    for group in ["", "h", &long] {
        assert_eq!(caller.send_to_group(group, "x"), (false, 0));
        assert_eq!(caller.count("CountOnlineGroup", &[group]), 0);
        assert!(caller.list("GetGroupOnlineClient", &[group]).is_empty());
        assert!(!caller.flag("UnGroup", &[group]));
    }
    assert_eq!(caller.send_to_group("g", ""), (false, 0));
    assert_eq!(caller.count("CountGroup", &[]), 1, "no failure left a group");
}

#[test]
fn a_uid_has_clients_and_a_client_has_one_uid() {
    let (server, mut caller) = gateway(&[]);
    let (mut one, first) = client(&server);
    let (mut two, second) = client(&server);
    let (mut three, third) = client(&server);
    for (client, uid) in [(&first, "甲"), (&second, "甲"), (&third, "乙")] {
        assert!(caller.flag("ClientBindUid", &[client, uid]));
    }
    assert_eq!(caller.count("CountOnlineUid", &[]), 2);
    assert_eq!(caller.set("GetAllOnlineUid", &[]), set(["甲", "乙"]));
    assert_eq!(caller.set("GetUidByClient", &["甲"]), set([&first, &second]));
    assert_eq!(caller.uid(&second), "甲");
    assert!(caller.flag("SendMessageToUid", &["甲", "both"]));

    // One that is bound is moved.
    assert!(caller.flag("ClientBindUid", &[&second, "乙"]));
    assert_eq!(caller.uid(&second), "乙");
    assert_eq!(caller.set("GetUidByClient", &["甲"]), set([&first]));
    assert_eq!(caller.set("GetUidByClient", &["乙"]), set([&second, &third]));
    assert!(caller.flag("SendMessageToUid", &["乙", "moved"]));

    // The last one of a uid takes it along.
    assert!(caller.flag("UnBindUid", &[&first]));
    assert!(caller.flag("UnBindUid", &[&first]), "not bound is true");
    assert_eq!(caller.uid(&first), "");
    assert!(!caller.flag("UidIsOnline", &["甲"]));
    assert!(!caller.flag("SendMessageToUid", &["甲", "x"]));
    assert!(caller.flag("UidIsOnline", &["乙"]));
    assert_eq!(caller.count("CountOnlineUid", &[]), 1);

    assert_eq!(one.message(), Frame::text("both"));
    assert_eq!([two.message(), two.message()], [Frame::text("both"), Frame::text("moved")]);
    assert_eq!(three.message(), Frame::text("moved"));
    leave(&server, two, &second);
    assert_eq!(caller.set("GetUidByClient", &["乙"]), set([&third]));
    leave(&server, three, &third);
    assert_eq!(caller.count("CountOnlineUid", &[]), 0);
}

#[test]
fn what_a_uid_call_names_and_is_not_there_is_false_or_nothing() {
    let (server, mut caller) = gateway(&[]);
    let (_raw, id) = client(&server);
    for fields in [["nobody", "u"], ["", "u"], [&id, ""]] {
        assert!(!caller.flag("ClientBindUid", &fields), "{fields:?}");
    }
    for client in ["", "nobody"] {
        assert!(!caller.flag("UnBindUid", &[client]));
        assert_eq!(caller.uid(client), "");
    }
    for uid in ["", "u"] {
        assert!(!caller.flag("UidIsOnline", &[uid]));
        assert!(!caller.flag("SendMessageToUid", &[uid, "x"]));
        assert!(caller.list("GetUidByClient", &[uid]).is_empty());
    }
    assert!(caller.list("GetAllOnlineUid", &[]).is_empty());
}

#[test]
fn a_group_is_a_channel() {
    let (server, mut caller) = gateway(&[]);
    let (mut raw, id) = client(&server);
    server.service().create_channel("news").unwrap();
    let mut listener = Raw::websocket(server.local_addr(), "/channel/listen/news");
    assert_eq!(caller.count("CountGroup", &[]), 0, "no client is in it");
    assert_eq!(caller.send_to_group("news", "x"), (false, 0));
    assert!(caller.flag("JoinGroup", &[&id, "news"]));
    assert_eq!(caller.send_to_group("news", "from the back end"), (true, 1));
    server.service().publish("news", MessageKind::Text, b"from a publisher").unwrap();
    for text in ["from the back end", "from a publisher"] {
        assert_eq!(raw.message(), Frame::text(text));
        assert_eq!(listener.message(), Frame::text(text));
    }
    // What was created as a channel stays one.
    assert!(caller.flag("UnGroup", &["news"]));
    assert_eq!(caller.count("CountGroup", &[]), 0);
    assert!(server.service().channel("news").is_ok());
}

/// Whatever else is sent meanwhile.
#[test]
fn nothing_comes_before_the_id() {
    let (server, mut caller) = gateway(&[("shards", "2")]);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(SeqCst) {
                caller.flag("BroadcastMessage", &["noise"]);
                for id in caller.list("GetAllOnlineClient", &[]) {
                    caller.flag("SendMessageToClient", &[&id, "noise"]);
                }
            }
        });
        for _ in 0..200 {
            let (_raw, id) = client(&server);
            assert_ne!(id, "noise");
        }
        done.store(true, SeqCst);
    });
}

#[test]
fn a_thousand_clients_that_came_and_went_leave_nothing() {
    // The one that stays answers no pings.
    let (server, mut caller) = gateway(&[("ping_interval_ms", "0")]);
    let (_stays, stays) = client(&server);
    for round in 0..1000 {
        let (raw, id) = client(&server);
        let (group, uid) = (format!("g{}", round % 7), format!("u{}", round % 5));
        assert!(caller.flag("JoinGroup", &[&id, &group]));
        assert!(caller.flag("JoinGroup", &[&id, "everybody"]));
        assert!(caller.flag("ClientBindUid", &[&id, &uid]));
        match round % 3 {
            0 => drop(raw),
            1 => assert!(caller.flag("ClonseClient", &[&id])),
            _ => drop(raw.stream.shutdown(std::net::Shutdown::Both)),
        }
    }
    until("all others are forgotten", || caller.count("CountOnlineClient", &[]) == 1);
    assert_eq!(caller.set("GetAllOnlineClient", &[]), set([&stays]));
    assert_eq!(caller.count("CountGroup", &[]), 0);
    assert_eq!(caller.count("CountOnlineUid", &[]), 0);
    assert!(server.service().channels().is_empty());
    assert_eq!(server.service().connection_count(&Filter::default()), 1);
    until("their sockets are gone", || server.service().counters().connections == 1);
}

#[test]
fn stopping_says_goodbye_to_clients() {
    let (server, _caller) = gateway(&[]);
    let (mut raw, _) = client(&server);
    std::thread::scope(|scope| {
        let stopping = scope.spawn(|| server.stop(PATIENCE));
        assert_eq!(raw.message().close_code(), Some(1012));
        raw.send_frame(0x88, b"\x03\xe9");
        assert!(stopping.join().unwrap(), "all went by themselves");
    });
}

#[test]
fn without_a_path_there_is_no_gateway() {
    let (server, mut caller) = gateway(&[("gateway_path", "")]);
    let mut raw = Raw::connect(server.local_addr());
    assert_ne!(raw.upgrade("/", "").status, 101);
    assert!(!caller.flag("BroadcastMessage", &["x"]));
    assert_eq!(caller.count("CountOnlineClient", &[]), 0);
}
