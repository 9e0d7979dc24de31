//! A whole server without sockets: what clients of the dialects and of HTTP can make it do.

use std::cell::RefCell;

use qyun::hub::Item;
use qyun::server::ServerOptions;
use qyun::server::fuzzing::{Desk, Guest};
use qyun::wire::MessageKind;
use serde::de::IgnoredAny;

use crate::cuts::steered;

/// A server whose limits are near.
fn desk() -> Desk {
    let mut options = ServerOptions::default();
    for (key, value) in [
        ("auto_create", "true"),
        ("max_channels", "8"),
        ("max_message_bytes", "2048"),
        ("max_subscriptions", "4"),
        ("gateway_path", "/gateway"),
        ("session_path", "/session"),
        ("delivery_threads", "1"),
    ] {
        options.set(key, value).unwrap();
    }
    let desk = Desk::new(options).unwrap();
    desk.service().create_channel("news").unwrap();
    desk
}

/// Everything is as before the first client came: nobody is counted who is gone.
fn is_empty(desk: &Desk) {
    desk.told();
    let service = desk.service();
    assert_eq!((service.registry().len(), service.user_count(), service.group_count()), (0, 0, 0));
    for channel in service.channels() {
        assert_eq!((channel.subscribers, channel.members), (0, 0), "{}", channel.name);
    }
}

/// Clients of three dialects in turn; a line of input is a message, its first byte says whose.
/// Whatever they send, the session's answers are JSON, and nothing is left of them in the end.
pub fn session(input: &[u8]) {
    let desk = desk();
    let guests: Vec<Guest> = [
        ("/session", ""),
        ("/session", ""),
        ("/gateway", ""),
        ("/join", "uid=1"),
        ("/join", "uid=1"),
    ]
    .into_iter()
    .filter_map(|(path, query)| desk.connect(path, query))
    .collect();
    assert_eq!(guests.len(), 5);
    let mut here = [true; 5];
    for line in input.split(|&b| b == b'\n') {
        let Some((steer, data)) = steered(line) else { continue };
        let who = usize::from(steer) % guests.len();
        if !here[who] {
            continue;
        }
        match steer & 0xe0 {
            0x80 => {
                desk.disconnect(&guests[who]);
                here[who] = false;
            }
            0xa0 => check(desk.told()),
            0xc0 => desk.message(&guests[who], MessageKind::Binary, data),
            _ if std::str::from_utf8(data).is_ok() => {
                desk.message(&guests[who], MessageKind::Text, data);
            }
            _ => {}
        }
    }
    for (guest, here) in guests.iter().zip(here) {
        assert_eq!(guest.connection.is_closed(), !here);
        if here {
            desk.disconnect(guest);
        }
    }
    is_empty(&desk);
}

/// What a session is sent is JSON.
fn check(items: Vec<Item>) {
    for item in items {
        if let Item::Send { to, message } = item
            && to.dialect() == qyun::wire::Dialect::Session
        {
            assert!(serde_json::from_slice::<IgnoredAny>(message.payload()).is_ok());
        }
    }
}

thread_local! {
    /// Of many requests; what they made is part of what is fuzzed.
    static DESK: RefCell<Desk> = RefCell::new(desk());
}

/// One request: whatever it asks for, the answer is a whole one, and JSON where it says so.
pub fn http_calls(input: &[u8]) {
    DESK.with_borrow(|desk| {
        let Some(answer) = desk.request(input) else { return };
        desk.told();
        let end = answer.windows(4).position(|w| w == b"\r\n\r\n").expect("no head") + 4;
        let (head, body) = answer.split_at(end);
        let head = std::str::from_utf8(head).unwrap();
        let status: u16 = head["HTTP/1.1 ".len()..][..3].parse().unwrap();
        assert!((200..600).contains(&status) && status != 500, "{head}");
        let field = |name: &str| {
            head.lines()
                .filter_map(|line| line.split_once(": "))
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value)
                .unwrap_or_default()
        };
        let length: usize = field("content-length").parse().unwrap();
        assert!(body.len() == length || body.is_empty());
        if field("content-type") == "application/json" && !body.is_empty() {
            let answer: serde_json::Value = serde_json::from_slice(body).unwrap();
            let outcome = if status < 400 { "success" } else { "error" };
            assert_eq!(answer["status"], outcome);
        }
    });
}
