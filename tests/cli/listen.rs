//! `qyun listen` together with `qyun send`.

use std::io::Read;

use crate::kit::Server;

#[test]
fn messages_come_as_lines_in_order() {
    let server = Server::with(&["--create", "a"]);
    let mut listener = server.listen(&["a", "--count", "3"]);
    server.run(&["send", "a", "one"]).ends_with(0);
    server.run(&["send", "a", "/ ? # % 青云 😀"]).ends_with(0);
    server.run_with_input(&["send", "a"], b"from stdin").ends_with(0);
    assert_eq!(listener.line(), "one");
    assert_eq!(listener.line(), "/ ? # % 青云 😀");
    assert_eq!(listener.line(), "from stdin");
    assert_eq!(listener.end().0.code(), Some(0), "after three messages");
}

#[test]
fn each_line_of_stdin_is_a_message() {
    let server = Server::with(&["--create", "a"]);
    let mut listener = server.listen(&["a", "--count", "100"]);
    let lines: Vec<_> = (0..100).map(|n| format!("line {n}")).collect();
    let sent =
        server.run_with_input(&["send", "a", "--lines", "--json"], lines.join("\n").as_bytes());
    assert_eq!(sent.ends_with(0).json()["messages"], 100);
    for line in lines {
        assert_eq!(listener.line(), line);
    }
}

#[test]
fn json_tells_channel_place_and_kind() {
    let server = Server::with(&["--create", "a"]);
    let mut listener = server.listen(&["a", "--json", "--count", "2"]);
    server.run(&["send", "a", "two\nlines"]).ends_with(0);
    server.run_with_input(&["send", "a", "-", "--binary"], b"\x00\xff").ends_with(0);
    let text: serde_json::Value = serde_json::from_str(&listener.line()).unwrap();
    assert_eq!((&text["channel"], &text["data"]), (&"a".into(), &"two\nlines".into()));
    assert_eq!(text["offset"], 1);
    let binary: serde_json::Value = serde_json::from_str(&listener.line()).unwrap();
    assert_eq!(binary["data_base64"], "AP8=");
    assert_eq!((&binary["offset"], &binary["epoch"]), (&2.into(), &text["epoch"]));
}

#[test]
fn raw_is_the_bytes_and_nothing_else() {
    let server = Server::with(&["--create", "a"]);
    let mut listener = server.listen(&["a", "--raw", "--count", "2"]);
    server.run_with_input(&["send", "a", "--binary"], b"\x00\xff\n").ends_with(0);
    server.run(&["send", "a", "x"]).ends_with(0);
    let mut bytes = Vec::new();
    listener.stdout.take().unwrap().read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, b"\x00\xff\nx");
}

#[test]
fn several_channels_are_told_apart() {
    let server = Server::with(&["--create", "a", "--create", "b"]);
    let mut listener = server.listen(&["a", "b", "--count", "2"]);
    server.run(&["send", "b", "x"]).ends_with(0);
    assert_eq!(listener.line(), "b\tx");
    server.run(&["send", "a", "y"]).ends_with(0);
    assert_eq!(listener.line(), "a\ty");
}

#[test]
fn listening_to_no_channel_is_code_4() {
    let server = Server::start();
    server.run(&["listen", "none"]).ends_with(4);
}

#[test]
fn too_few_messages_in_time_is_code_6_and_time_alone_is_success() {
    let server = Server::with(&["--create", "a"]);
    server.run(&["listen", "a", "--for", "100ms", "--count", "1"]).ends_with(6);
    server.run(&["listen", "a", "--for", "100ms"]).ends_with(0);
}

#[test]
fn a_deleted_channel_ends_it_with_code_1() {
    let server = Server::with(&["--create", "a"]);
    let listener = server.listen(&["a"]);
    server.run(&["delete", "a"]).ends_with(0);
    let (status, stderr) = listener.end();
    assert_eq!(status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("channel 'a' closed"), "{stderr}");
}

#[test]
fn it_ends_quietly_when_its_reader_goes() {
    let server = Server::with(&["--create", "a"]);
    let mut listener = server.listen(&["a"]);
    server.run(&["send", "a", "x"]).ends_with(0);
    assert_eq!(listener.line(), "x");
    // Without another message to fail on.
    drop(listener.stdout.take());
    let (status, stderr) = listener.end();
    assert_eq!((status.code(), stderr.as_str()), (Some(0), ""));
}
