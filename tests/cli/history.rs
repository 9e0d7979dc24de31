//! `qyun history`, and `qyun listen` from a position.

use serde_json::Value;

use crate::kit::Server;

/// A server whose channel keeps ten messages, and has got `count`: "1", "2" and so on.
fn keeping(count: u64) -> Server {
    let server = Server::with(&["--namespaces", "a: history_size=10", "--create", "a"]);
    for number in 1..=count {
        server.run(&["send", "a", &number.to_string()]).ends_with(0);
    }
    server
}

fn lines(range: impl Iterator<Item = u64>) -> String {
    range.map(|number| format!("{number}\n")).collect()
}

/// The position of a message, from what the channel tells.
fn position(server: &Server, offset: u64) -> String {
    let epoch = server.run(&["info", "a", "--json"]).json()["channel"]["epoch"].clone();
    format!("{epoch}-{offset}")
}

#[test]
fn history_is_printed_forward_and_backward() {
    let server = keeping(12);
    assert_eq!(server.run(&["history", "a"]).ends_with(0).text(), lines(3..=12));
    let ran = server.run(&["history", "a", "--reverse", "--limit", "3"]).ends_with(0);
    assert_eq!(ran.text(), lines((10..=12).rev()));
    let since = position(&server, 9);
    let ran = server.run(&["history", "a", "--since", &since, "--before", "12"]).ends_with(0);
    assert_eq!(ran.text(), lines(10..=11));
    let ran = server.run(&["history", "a", "--json", "--limit", "1"]).ends_with(0);
    let object: Value = serde_json::from_str(ran.text()).unwrap();
    assert_eq!((&object["data"], &object["offset"]), (&"3".into(), &3.into()));
    assert_eq!(format!("{}-9", object["epoch"]), since);
    assert!(object["time_ms"].as_u64().unwrap() > 1_500_000_000_000);
    server.run(&["history", "none such"]).ends_with(4);
    server.run(&["history", "a", "--since", "9"]).ends_with(2);
    server.run(&["history", "a", "--since", "1-9"]).ends_with(1);
}

#[test]
fn more_than_a_page_is_printed_whole() {
    let server = Server::with(&["--namespaces", "a: history_size=5000", "--create", "a"]);
    server.run_with_input(&["send", "a", "--lines"], lines(1..=2500).as_bytes()).ends_with(0);
    assert_eq!(server.run(&["history", "a"]).ends_with(0).text(), lines(1..=2500));
    let ran = server.run(&["history", "a", "--reverse", "--limit", "1500"]).ends_with(0);
    assert_eq!(ran.text(), lines((1001..=2500).rev()));
}

#[test]
fn listening_begins_where_it_is_told() {
    let server = keeping(12);
    let mut all = server.listen(&["a", "--all", "--count", "11"]);
    let since = position(&server, 11);
    let mut behind = server.listen(&["a", "--since", &since, "--meta", "--count", "2"]);
    server.run(&["send", "a", "13"]).ends_with(0);
    for number in 3..=13 {
        assert_eq!(all.line(), number.to_string());
    }
    for number in 12..=13 {
        assert_eq!(behind.line(), format!("{}\t{number}", position(&server, number)));
    }
    for listener in [all, behind] {
        assert_eq!(listener.end().0.code(), Some(0));
    }
    // What is not kept is told, and the exit code is not touched by it.
    let gone = position(&server, 1);
    let mut listener = server.listen(&["a", "--since", &gone, "--count", "1"]);
    server.run(&["send", "a", "14"]).ends_with(0);
    assert_eq!(listener.line(), "14");
    let (status, stderr) = listener.end();
    assert!(stderr.contains("messages were missed"), "{stderr}");
    assert_eq!(status.code(), Some(0));
    server.run(&["listen", "a", "b", "--since", &gone]).ends_with(2);
    server.run(&["listen", "a", "--since", &gone, "--all"]).ends_with(2);
}

#[test]
fn events_tell_of_connections_and_options_are_the_connections() {
    let server = keeping(1);
    let since = position(&server, 0);
    let mut listener = server.listen(&[
        "a",
        "--json",
        "--events",
        "--since",
        &since,
        "--option",
        "ping_interval_ms=1000",
    ]);
    let connected: Value = serde_json::from_str(&listener.line()).unwrap();
    assert_eq!((&connected["event"], &connected["offset"]), (&"connected".into(), &0.into()));
    assert_eq!(connected["recovered"], true);
    let message: Value = serde_json::from_str(&listener.line()).unwrap();
    assert_eq!((&message["data"], &message["event"]), (&"1".into(), &Value::Null));
    server.run(&["delete", "a"]).ends_with(0);
    let closed: Value = serde_json::from_str(&listener.line()).unwrap();
    assert_eq!(closed["event"], "closed");
    assert_eq!(listener.end().0.code(), Some(1));
    for bad in ["ping_interval_ms", "ping_interval_ms=soon", "no_such=1"] {
        let ran = server.run(&["listen", "a", "--option", bad]);
        assert!(!ran.text().contains("listening"), "{bad}");
        ran.ends_with(2);
    }
}
