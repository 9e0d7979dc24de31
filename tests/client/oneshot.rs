//! `create_channel` and `send_message`.

use qyun::ErrorKind;
use qyun::client::{create_channel, send_message};

use crate::server::{Script, Server};

#[test]
fn calls_share_one_kept_connection_and_send_the_contract_s_paths() {
    let server = Server::start();
    let host = server.host();
    create_channel(&host, "news").unwrap();
    for number in 0..50 {
        send_message(&host, "news", &format!("message {number}")).unwrap();
    }
    let state = server.state();
    assert_eq!(state.accepted, 1);
    assert_eq!(state.seen[0].line, "GET /channel/create/news HTTP/1.1");
    assert_eq!(state.seen[50].line, "GET /channel/send/news/message%2049 HTTP/1.1");
}

#[test]
fn urls_and_prefixes_are_understood() {
    let server = Server::start();
    let url = format!("http://{}/prefix/", server.host());
    create_channel(&url, "c").unwrap();
    assert_eq!(server.state().seen[0].line, "GET /prefix/channel/create/c HTTP/1.1");
}

#[test]
fn every_character_arrives_as_it_was() {
    let server = Server::start();
    let name = "名/ ?#%+&=😀";
    create_channel(&server.host(), name).unwrap();
    assert!(server.state().channels.contains_key(name));
    for message in ["/", "?", "#", "%", "%2F", " ", "\n", "\0", "+", "青云 😀", "...", "a/../b"]
    {
        send_message(&server.host(), name, message).unwrap();
        let seen = server.state().seen.last().unwrap().clone();
        let segment = seen.line.split([' ', '/']).nth(5).unwrap().to_owned();
        assert_eq!(qyun::wire::percent::decode(&segment).unwrap(), message, "{}", seen.line);
    }
}

#[test]
fn what_a_path_cannot_carry_travels_as_a_body() {
    let server = Server::start();
    create_channel(&server.host(), "c").unwrap();
    let long = "青".repeat(2000);
    for message in ["", ".", "..", &long] {
        send_message(&server.host(), "c", message).unwrap();
        let seen = server.state().seen.last().unwrap().clone();
        assert_eq!(seen.line, "POST /channel/send/c HTTP/1.1");
        assert_eq!(seen.content_type.as_deref(), Some("text/plain; charset=utf-8"));
        assert_eq!(seen.body, message.as_bytes());
    }
    assert_eq!(server.state().accepted, 1);
}

#[test]
fn each_answer_has_its_error_which_names_host_and_channel() {
    let server = Server::start();
    let host = server.host();
    create_channel(&host, "there").unwrap();
    let exists = create_channel(&host, "there").unwrap_err();
    assert_eq!(exists.kind(), ErrorKind::ChannelExists);
    let missing = send_message(&host, "missing", "x").unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::ChannelNotFound);
    assert!(missing.to_string().contains("'missing'"), "{missing}");
    assert!(missing.to_string().contains(&host), "{missing}");
    assert!(missing.to_string().contains("Channel not found"), "{missing}");
    for (status, kind) in [
        (400, ErrorKind::Refused),
        (409, ErrorKind::Conflict),
        (413, ErrorKind::TooLarge),
        (414, ErrorKind::TooLarge),
        (302, ErrorKind::Refused),
        (403, ErrorKind::Refused),
        (500, ErrorKind::Refused),
        (503, ErrorKind::Refused),
    ] {
        server.script([Script::Answer(status, r#"{"status":"error","message":"because"}"#)]);
        let error = send_message(&host, "there", "x").unwrap_err();
        assert_eq!(error.kind(), kind, "{status}: {error}");
        assert!(error.to_string().contains("because"), "{error}");
    }
    server.script([Script::Answer(500, "plain text")]);
    let error = send_message(&host, "there", "x").unwrap_err();
    assert!(error.to_string().ends_with("answered 500: plain text"), "{error}");
    server.script([Script::Raw(b"SSH-2.0-x\r\n\r\n")]);
    let error = send_message(&host, "there", "x").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
}

#[test]
fn bad_names_and_hosts_are_refused_without_a_connection() {
    let server = Server::start();
    for name in ["", ".", "..", "a\n", &"x".repeat(256)] {
        let error = send_message(&server.host(), name, "x").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidName, "{name:?}");
        let error = create_channel(&server.host(), name).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidName, "{name:?}");
    }
    assert_eq!(send_message("a b", "c", "x").unwrap_err().kind(), ErrorKind::InvalidUrl);
    assert_eq!(server.state().accepted, 0);
}

#[test]
fn nobody_there_is_a_connect_error() {
    let address = Server::start().host();
    let error = send_message(&address, "c", "x").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
    assert!(error.to_string().contains(&address), "{error}");
}

#[test]
fn a_kept_connection_that_was_closed_is_replaced() {
    let server = Server::start();
    create_channel(&server.host(), "c").unwrap();
    for round in 1..=5 {
        server.script([Script::AnswerAndClose]);
        send_message(&server.host(), "c", "x").unwrap();
        server.wait(|state| (state.closed == round).then_some(()));
        send_message(&server.host(), "c", "y").unwrap();
    }
    let state = server.state();
    assert_eq!(state.accepted, 6);
    assert_eq!(state.channels["c"].offset, 10, "each message exactly once");
}

#[test]
fn a_request_that_left_is_not_sent_twice() {
    let server = Server::start();
    create_channel(&server.host(), "c").unwrap();
    server.script([Script::Close]);
    let error = send_message(&server.host(), "c", "x").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
    assert_eq!(server.state().seen.len(), 2);
    send_message(&server.host(), "c", "y").unwrap();
}

#[test]
fn many_threads_send_at_once() {
    let server = Server::start();
    create_channel(&server.host(), "c").unwrap();
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                for _ in 0..25 {
                    send_message(&server.host(), "c", "x").unwrap();
                }
            });
        }
    });
    let state = server.state();
    assert_eq!(state.channels["c"].offset, 400);
    assert!(state.accepted <= 17, "{} connections", state.accepted);
}
