//! Other options for a server that runs: in force when the call returns, for those who are
//! connected, too, and without a connection lost.

use qyun::ErrorKind;
use qyun::server::{OPTIONS, Reload, Server, ServerOptions};
use qyun::wire::MessageKind;

use crate::kit::{Frame, Raw, server};

/// The server's options with these besides.
fn with(server: &Server, options: &[(&str, &str)]) -> ServerOptions {
    let mut all = ServerOptions::clone(&server.service().options());
    for (key, value) in options {
        all.set(key, value).unwrap();
    }
    all
}

#[track_caller]
fn reload(server: &Server, options: &[(&str, &str)]) {
    let reloaded = server.reload(&with(server, options)).unwrap();
    let keys: Vec<_> = options.iter().map(|(key, _)| *key).collect();
    assert_eq!(reloaded.changed.len(), keys.len(), "{reloaded:?}");
    assert!(keys.iter().all(|key| reloaded.changed.contains(key)), "{reloaded:?}");
    assert!(reloaded.needs_restart.is_empty());
}

#[test]
fn the_largest_message_changes_for_everyone_who_is_connected() {
    let server = server(&[("shards", "4"), ("max_message_bytes", "100")]);
    let service = server.service();
    service.create_channel("test").unwrap();
    let address = server.local_addr();
    // On every shard, for the kernel spreads them.
    let mut senders: Vec<_> =
        (0..32).map(|_| Raw::websocket(address, "/channel/send/test")).collect();
    let mut listener = Raw::websocket(address, "/channel/listen/test");
    let mut posts = Raw::connect(address);
    assert_eq!(posts.request("POST", "/channel/send/test", "", &[b'x'; 200]).status, 413);
    let mut posts = Raw::connect(address);

    reload(&server, &[("max_message_bytes", "200")]);
    for sender in &mut senders {
        sender.send_frame(0x82, &[7; 200]);
    }
    for _ in 0..senders.len() {
        assert_eq!(listener.message(), Frame { opcode: 2, payload: vec![7; 200] });
    }
    assert_eq!(posts.request("POST", "/channel/send/test", "", &[b'x'; 200]).status, 200);
    service.publish("test", MessageKind::Text, &[b'x'; 200]).unwrap();

    reload(&server, &[("max_message_bytes", "150")]);
    for sender in &mut senders {
        sender.send_frame(0x82, &[7; 151]);
        assert_eq!(sender.message().close_code(), Some(1009));
    }
    assert_eq!(posts.request("POST", "/channel/send/test", "", &[b'x'; 151]).status, 413);
    let error = service.publish("test", MessageKind::Text, &[b'x'; 151]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert!(error.to_string().contains("the limit is 150"), "{error}");
}

#[test]
fn limits_of_channels_connections_heads_and_urls_change() {
    let server = server(&[("shards", "2")]);
    let address = server.local_addr();
    let mut raw = Raw::connect(address);
    assert_eq!(raw.get("/channel/create/a").status, 200);
    assert_eq!(raw.get("/channel/send/b/x").status, 404);
    reload(&server, &[("max_channels", "1")]);
    assert_eq!(raw.get("/channel/create/b").status, 507);
    reload(&server, &[("max_channels", "2"), ("auto_create", "true")]);
    assert_eq!(raw.get("/channel/send/b/x").status, 200);
    assert_eq!(raw.get("/channel/send/c/x").status, 507);
    reload(&server, &[("max_url_message_bytes", "3")]);
    assert_eq!(raw.get("/channel/send/a/xyz").status, 200);
    assert_eq!(raw.get("/channel/send/a/wxyz").status, 413);
    reload(&server, &[("max_header_bytes", "256")]);
    let field = format!("X: {}\r\n", "x".repeat(300));
    assert_eq!(Raw::connect(address).request("GET", "/health", &field, b"").status, 431);
    // Those who are there stay; who comes is refused.
    let mut other = Raw::connect(address);
    assert_eq!(other.get("/health").status, 200);
    reload(&server, &[("max_connections", "1")]);
    assert_eq!(other.get("/health").status, 200);
    assert_eq!(Raw::connect(address).answer().status, 503);
    reload(&server, &[("max_connections", "0")]);
    assert_eq!(Raw::connect(address).get("/health").status, 200);
}

#[test]
fn a_listener_that_was_never_to_be_pinged_is_pinged() {
    let server = server(&[("ping_interval_ms", "0"), ("shards", "1")]);
    server.service().create_channel("test").unwrap();
    let mut listener = Raw::websocket(server.local_addr(), "/channel/listen/test");
    let mut events = Raw::connect(server.local_addr());
    events
        .send("GET /channel/listen/test HTTP/1.1\r\nHost: t\r\nAccept: text/event-stream\r\n\r\n");
    assert!(events.head().starts_with("HTTP/1.1 200"));
    reload(&server, &[("ping_interval_ms", "20"), ("pong_wait_ms", "20")]);
    assert_eq!(listener.frame().opcode, 9);
    // And nobody answers: it is closed as the new wait says.
    assert_eq!(listener.message().close_code(), Some(3012));
    while events.event() != ":\n\n" {}
}

#[test]
fn the_dialects_that_are_built_in_follow() {
    let server = server(&[("ping_interval_ms", "0"), ("shards", "2")]);
    let address = server.local_addr();
    let open = |path: &str| Raw::websocket(address, path);
    let mut peers: Vec<Raw> = ["/ws", "/join?uid=1", "/"].into_iter().map(open).collect();
    let mut beating = open("/");
    let mut talking = open("/ws");
    reload(&server, &[("max_message_bytes", "100")]);
    talking.send_frame(0x81, &[b' '; 8192]);
    let last = std::iter::from_fn(|| Some(talking.message())).find(|frame| frame.opcode == 8);
    assert_eq!(last.and_then(|close| close.close_code()), Some(1009));
    // Whoever is there is pinged, and closed when it does not answer.
    reload(&server, &[("ping_interval_ms", "20"), ("pong_wait_ms", "20")]);
    for peer in &mut peers {
        let mut frames = std::iter::from_fn(|| Some(peer.frame()));
        assert!(frames.by_ref().any(|frame| frame.opcode == 9));
        let close = frames.find(|frame| frame.opcode == 8);
        assert_eq!(close.and_then(|close| close.close_code()), Some(3012));
    }
    // Without pings, only the heartbeat is left to close a client of the gateway.
    while beating.frame().opcode != 8 {}
    reload(&server, &[("ping_interval_ms", "0")]);
    let mut silent = open("/");
    reload(&server, &[("gateway_heartbeat_ms", "20")]);
    assert_eq!(silent.frame().opcode, 1, "its id");
    assert!(silent.frame().close_code().is_some());
}

#[test]
fn the_list_of_origins_changes() {
    let server = server(&[]);
    server.service().create_channel("test").unwrap();
    let upgrade = || {
        let fields = "Origin: https://evil.example\r\n";
        Raw::connect(server.local_addr()).upgrade("/channel/listen/test", fields).status
    };
    assert_eq!(upgrade(), 101);
    reload(&server, &[("origins", "https://good.example")]);
    assert_eq!(upgrade(), 403);
    reload(&server, &[("origins", "https://good.example,https://evil.example")]);
    assert_eq!(upgrade(), 101);
}

#[test]
fn what_needs_a_restart_is_named_and_stays() {
    let server = server(&[("shards", "1")]);
    let all = with(&server, &[("shards", "2"), ("listen", "127.0.0.1:1"), ("queue_bytes", "5000")]);
    let reloaded = server.reload(&all).unwrap();
    assert_eq!(
        reloaded,
        Reload { changed: vec!["queue_bytes"], needs_restart: vec!["listen", "shards"] }
    );
    let now = server.service().options();
    assert_eq!((now.shards, now.queue_bytes), (1, 5000));
    // Asked again, only what is not so yet is told.
    let reloaded = server.reload(&all).unwrap();
    assert_eq!(reloaded, Reload { changed: vec![], needs_restart: vec!["listen", "shards"] });
}

#[test]
fn a_value_out_of_range_changes_nothing() {
    let server = server(&[]);
    let before = format!("{:?}", server.service().options());
    let mut bad = with(&server, &[("max_channels", "5")]);
    bad.queue_bytes = 1;
    let error = server.reload(&bad).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidOption);
    assert!(error.to_string().contains("'queue_bytes' cannot be '1'"), "{error}");
    assert_eq!(format!("{:?}", server.service().options()), before);
}

#[test]
fn a_stopped_server_has_nothing_to_reload() {
    let server = server(&[]);
    let options = with(&server, &[("queue_bytes", "5000")]);
    server.stop(std::time::Duration::ZERO);
    assert_eq!(server.reload(&options).unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn reloads_from_many_threads_leave_one_of_them_in_force() {
    let server = server(&[("shards", "4")]);
    std::thread::scope(|scope| {
        for thread in 1..=4 {
            let server = &server;
            scope.spawn(move || {
                for n in 1..=50 {
                    let bytes = (2000 + 100 * thread + n).to_string();
                    server.reload(&with(server, &[("queue_bytes", &bytes)])).unwrap();
                }
            });
        }
    });
    reload(&server, &[("max_channels", "1")]);
    let mut raw = Raw::connect(server.local_addr());
    assert_eq!(raw.get("/channel/create/a").status, 200);
    assert_eq!(raw.get("/channel/create/b").status, 507);
}

#[test]
fn the_table_says_which_options_need_a_restart() {
    let fixed: Vec<_> = OPTIONS.iter().filter(|spec| !spec.live).map(|spec| spec.key).collect();
    for key in ["listen", "shards", "thread_name"] {
        assert!(fixed.contains(&key), "{key}");
    }
    for key in ["max_message_bytes", "max_connections", "ping_interval_ms", "trusted_proxies"] {
        assert!(!fixed.contains(&key), "{key}");
    }
}
