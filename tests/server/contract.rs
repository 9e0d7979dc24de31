//! The channel dialect's HTTP calls, to the letter.

use crate::kit::{Raw, server};

#[test]
fn create_and_send_answer_as_the_contract_says() {
    let server = server(&[]);
    let mut raw = Raw::connect(server.local_addr());

    let answer = raw.get("/channel/create/test");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body, r#"{"status":"success","message":"Channel 'test' created"}"#);
    assert_eq!(answer.field("content-type"), Some("application/json"));

    let answer = raw.get("/channel/create/test");
    assert_eq!(answer.status, 400);
    assert_eq!(answer.body, r#"{"status":"error","message":"Channel already exists"}"#);

    let answer = raw.get("/channel/send/test/hello");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body, r#"{"status":"success","message":"Message broadcasted"}"#);

    let answer = raw.get("/channel/send/nowhere/hello");
    assert_eq!(answer.status, 404);
    assert_eq!(answer.body, r#"{"status":"error","message":"Channel not found"}"#);
}

#[test]
fn a_listener_gets_each_message_as_one_text_frame_unchanged() {
    let server = server(&[]);
    let mut raw = Raw::connect(server.local_addr());
    raw.get("/channel/create/a%2F%E9%9D%92");
    let mut listener = Raw::websocket(server.local_addr(), "/channel/listen/a%2F%E9%9D%92");
    let long = "x".repeat(60_000);
    let messages = [
        "plain",
        "a/b?c#d%e f",
        "line\nline\r\n",
        "nul\0nul",
        "青云 😀",
        "%2F",
        "+",
        "..",
        "",
        &long,
    ];
    for message in messages {
        let encoded: String = message.bytes().map(|b| format!("%{b:02x}")).collect();
        let answer = raw.get(&format!("/channel/send/a%2F%E9%9D%92/{encoded}"));
        assert_eq!(answer.status, 200, "{message:?}");
        let frame = listener.message();
        assert_eq!(frame.opcode, 1);
        assert_eq!(String::from_utf8(frame.payload).unwrap(), message);
    }
    // Sent without encoding, as curl does with what its user types.
    raw.get("/channel/send/a%2f青/你好+!$&'()*,;=:@");
    assert_eq!(String::from_utf8(listener.message().payload).unwrap(), "你好+!$&'()*,;=:@");
    // A query is not part of the message.
    raw.get("/channel/send/a%2f青/x?y=z");
    assert_eq!(listener.message().payload, b"x");
}

#[test]
fn names_and_messages_that_cannot_be_are_400_and_nothing_is_sent() {
    let server = server(&[]);
    let mut raw = Raw::connect(server.local_addr());
    raw.get("/channel/create/test");
    let mut listener = Raw::websocket(server.local_addr(), "/channel/listen/test");
    let long = "x".repeat(256);
    for target in [
        "/channel/create/",
        "/channel/create/a%0Ab",
        "/channel/create/%00",
        "/channel/create/%C2%85",
        "/channel/create/%ff",
        "/channel/create/%zz",
        "/channel/create/%",
        &format!("/channel/create/{long}"),
        "/channel/send/test/%ff",
        "/channel/send/test/%e9%9d",
        "/channel/send/test/%4",
        "/channel/send/test/%g0",
        "/channel/send/%ff/x",
        "/channel/send//x",
    ] {
        let answer = raw.get(target);
        assert_eq!(answer.status, 400, "{target}");
        assert!(answer.body.starts_with(r#"{"status":"error","message":""#), "{}", answer.body);
    }
    assert_eq!(raw.get(&format!("/channel/create/{}", "x".repeat(255))).status, 200);
    raw.get("/channel/send/test/only");
    assert_eq!(listener.message().payload, b"only");
    assert_eq!(server.service().counters().published, 1);
}

#[test]
fn an_unknown_path_is_404_and_a_wrong_method_405() {
    let server = server(&[]);
    let mut raw = Raw::connect(server.local_addr());
    for target in ["/channel", "/api/v1", "/channel/send/a/b/c", "/nowhere"] {
        assert_eq!(raw.get(target).status, 404, "{target}");
    }
    for (method, target, allow) in [
        ("DELETE", "/channel/create/a", "GET, POST"),
        ("POST", "/channel/send/a/b", "GET"),
        ("PUT", "/channel/send/a", "GET, POST"),
        ("GET", "/channel/a", "DELETE"),
        ("POST", "/channel/listen/a", "GET"),
        ("POST", "/health", "GET, HEAD"),
    ] {
        let answer = raw.request(method, target, "", b"");
        assert_eq!((answer.status, answer.field("allow")), (405, Some(allow)), "{method} {target}");
    }
    for target in ["/channel/listen/a", "/channel/send/a", "/channel/stream"] {
        let answer = raw.get(target);
        assert_eq!(answer.status, 426, "{target}");
        assert_eq!(answer.field("upgrade"), Some("websocket"));
        assert_eq!(answer.field("connection"), Some("upgrade"));
        assert_eq!(answer.field("sec-websocket-version"), Some("13"));
    }
}

#[test]
fn post_sends_text_or_binary_and_tells_the_position() {
    let server = server(&[]);
    let mut raw = Raw::connect(server.local_addr());
    assert_eq!(raw.request("POST", "/channel/create/test", "", b"").status, 200);
    let mut listener = Raw::websocket(server.local_addr(), "/channel/listen/test");

    let answer = raw.request("POST", "/channel/send/test", "", "你好\n".as_bytes());
    assert_eq!(answer.status, 200);
    let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(body["status"], "success");
    assert_eq!((body["offset"].as_u64(), body["subscribers"].as_u64()), (Some(1), Some(1)));
    let frame = listener.message();
    assert_eq!((frame.opcode, &*frame.payload), (1, "你好\n".as_bytes()));

    let binary = "Content-Type: Application/Octet-Stream; x=y\r\n";
    let answer = raw.request("POST", "/channel/send/test", binary, b"\x00\xff");
    assert_eq!(answer.status, 200);
    let frame = listener.message();
    assert_eq!((frame.opcode, &*frame.payload), (2, &b"\x00\xff"[..]));

    let answer = raw.request("POST", "/channel/send/test", "", b"\xff");
    assert_eq!(answer.status, 400);
    assert_eq!(raw.request("POST", "/channel/send/nowhere", "", b"x").status, 404);

    // Empty messages are messages.
    assert_eq!(raw.request("POST", "/channel/send/test", "", b"").status, 200);
    assert_eq!(listener.message().payload, b"");
}

#[test]
fn post_takes_up_to_the_configured_maximum_in_either_coding() {
    let server = server(&[("max_message_bytes", "200000")]);
    let mut raw = Raw::connect(server.local_addr());
    raw.get("/channel/create/test");
    let mut listener = Raw::websocket(server.local_addr(), "/channel/listen/test");
    let largest = vec![b'x'; 200_000];
    assert_eq!(raw.request("POST", "/channel/send/test", "", &largest).status, 200);
    assert_eq!(listener.message().payload, largest);

    raw.send("POST /channel/send/test HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n");
    for chunk in largest.chunks(7777) {
        raw.send(format!("{:X}\r\n", chunk.len()));
        raw.send(chunk);
        raw.send("\r\n");
    }
    raw.send("0\r\nTrailer: x\r\n\r\nGET /health HTTP/1.1\r\nHost: t\r\n\r\n");
    assert_eq!(raw.answer().status, 200);
    assert_eq!(listener.message().payload, largest);
    assert!(raw.answer().body.contains("Serving"), "the connection goes on behind the body");

    raw.send("POST /channel/send/test HTTP/1.1\r\nHost: t\r\nContent-Length: 200001\r\n\r\n");
    assert_eq!(raw.answer().status, 413);
    assert!(raw.is_closed());
}

#[test]
fn a_client_that_expects_100_continue_gets_it() {
    let server = server(&[]);
    let mut raw = Raw::connect(server.local_addr());
    raw.get("/channel/create/test");
    raw.send("POST /channel/send/test HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(raw.answer().status, 100);
    raw.send("hi");
    assert_eq!(raw.answer().status, 200);
}

#[test]
fn list_info_and_delete() {
    let server = server(&[]);
    let mut raw = Raw::connect(server.local_addr());
    for name in ["b", "a", "c%20d"] {
        raw.get(&format!("/channel/create/{name}"));
    }
    let _listener = Raw::websocket(server.local_addr(), "/channel/listen/b");
    raw.get("/channel/send/b/x");
    let json = |body: &str| serde_json::from_str::<serde_json::Value>(body).unwrap();

    let list = json(&raw.get("/channels").body);
    let names: Vec<_> = list["channels"].as_array().unwrap().iter().map(|c| &c["name"]).collect();
    assert_eq!(names, ["a", "b", "c d"]);
    assert_eq!(list["total"], 3);
    let page = json(&raw.get("/channels?limit=1&after=b").body);
    assert_eq!(page["channels"][0]["name"], "c d");
    assert_eq!(page["channels"].as_array().unwrap().len(), 1);
    assert_eq!(raw.get("/channels?limit=0").status, 400);

    let info = json(&raw.get("/channel/info/b").body);
    assert_eq!(
        (&info["channel"]["subscribers"], &info["channel"]["offset"]),
        (&1.into(), &1.into())
    );
    assert_eq!(raw.get("/channel/info/x").status, 404);

    let answer = raw.request("DELETE", "/channel/c%20d", "", b"");
    assert_eq!(answer.body, r#"{"status":"success","message":"Channel 'c d' deleted"}"#);
    assert_eq!(raw.request("DELETE", "/channel/c%20d", "", b"").status, 404);
    assert_eq!(raw.get("/channel/send/c%20d/x").status, 404);
}

#[test]
fn a_channel_may_bear_the_name_of_a_path() {
    let server = server(&[]);
    let mut raw = Raw::connect(server.local_addr());
    for name in ["stream", "create", "send", "info", "%2e%2e"] {
        assert_eq!(raw.get(&format!("/channel/create/{name}")).status, 200, "{name}");
        assert_eq!(raw.get(&format!("/channel/send/{name}/x")).status, 200, "{name}");
        assert_eq!(
            raw.request("DELETE", &format!("/channel/{name}"), "", b"").status,
            200,
            "{name}"
        );
    }
}

#[test]
fn a_deleted_channel_made_again_is_another_channel() {
    let server = server(&[("shards", "1")]);
    let mut raw = Raw::connect(server.local_addr());
    raw.get("/channel/create/test");
    raw.get("/channel/send/test/warm"); // the shard remembers the channel now
    let before = server.service().channel("test").unwrap();
    raw.request("DELETE", "/channel/test", "", b"");
    assert_eq!(raw.get("/channel/send/test/x").status, 404);
    raw.get("/channel/create/test");
    let mut listener = Raw::websocket(server.local_addr(), "/channel/listen/test");
    assert_eq!(raw.get("/channel/send/test/new").status, 200);
    assert_eq!(listener.message().payload, b"new");
    let after = server.service().channel("test").unwrap();
    assert_ne!(before.epoch, after.epoch);
    assert_eq!(after.offset, 1);
}

#[test]
fn head_answers_without_a_body_and_health_is_200() {
    let server = server(&[]);
    let mut raw = Raw::connect(server.local_addr());
    let head = raw.request("HEAD", "/health", "", b"");
    let get = raw.get("/health");
    assert_eq!((head.status, get.status), (200, 200));
    assert_eq!(head.field("content-length"), get.field("content-length"));
}

#[test]
fn with_auto_create_a_channel_is_there_when_it_is_used() {
    let server = server(&[("auto_create", "true")]);
    let mut listener = Raw::websocket(server.local_addr(), "/channel/listen/fresh");
    let mut raw = Raw::connect(server.local_addr());
    assert_eq!(raw.get("/channel/send/fresh/x").status, 200);
    assert_eq!(listener.message().payload, b"x");
    assert_eq!(raw.get("/channel/send/%0A/x").status, 400);
}

#[test]
fn pipelined_requests_are_answered_in_order_however_they_are_cut() {
    let server = server(&[]);
    let mut raw = Raw::connect(server.local_addr());
    raw.get("/channel/create/test");
    let mut listener = Raw::websocket(server.local_addr(), "/channel/listen/test");
    let mut requests = String::new();
    for i in 0..50 {
        requests += &format!("GET /channel/send/test/get{i} HTTP/1.1\r\nHost: t\r\n\r\n");
        requests += &format!(
            "POST /channel/send/test HTTP/1.1\r\nHost: t\r\nContent-Length: {}\r\n\r\npost{i}",
            format!("post{i}").len()
        );
        requests += "GET /nowhere HTTP/1.1\r\nHost: t\r\n\r\n";
    }
    for cut in [1, 13, 100, 1000, usize::MAX] {
        for piece in requests.as_bytes().chunks(cut) {
            raw.send(piece);
        }
        for i in 0..50 {
            for expected in [200, 200, 404] {
                assert_eq!(raw.answer().status, expected);
            }
            assert_eq!(listener.message().payload, format!("get{i}").as_bytes());
            assert_eq!(listener.message().payload, format!("post{i}").as_bytes());
        }
    }
}

#[test]
fn answers_that_are_not_read_hold_back_the_requests_not_the_memory() {
    let server = server(&[("shards", "1")]);
    for i in 0..1000 {
        server.service().create_channel(&format!("{i:0200}")).unwrap();
    }
    let mut raw = Raw::connect(server.local_addr());
    // Some 300 MB of answers are asked for.
    let mut writer = raw.stream.try_clone().unwrap();
    const REQUESTS: usize = 1000;
    let asking = std::thread::spawn(move || {
        use std::io::Write;
        for _ in 0..REQUESTS {
            writer.write_all(b"GET /channels HTTP/1.1\r\nHost: t\r\n\r\n").unwrap();
        }
    });
    let mut most = 0;
    for _ in 0..REQUESTS {
        most = most.max(server.service().counters().queued_bytes);
        assert_eq!(raw.answer().status, 200);
    }
    asking.join().unwrap();
    // One answer has 330 KB; one more is begun while less than 256 KB wait.
    assert!(most < 1_000_000, "{most} bytes waited");
}
