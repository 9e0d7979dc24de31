//! `qyun create`, `delete`, `send`, `channels`, `info`.

use crate::kit::{Server, refusing, run, silent};

#[test]
fn a_channel_is_created_once_and_deleted_once() {
    let server = Server::start();
    let created = server.run(&["create", "a/b 青云"]).ends_with(0);
    assert_eq!(created.text(), "Channel 'a/b 青云' created\n");
    let again = server.run(&["create", "a/b 青云"]).ends_with(5);
    assert!(again.stderr.contains("Channel already exists"), "{}", again.stderr);
    server.run(&["delete", "a/b 青云"]).ends_with(0);
    server.run(&["delete", "a/b 青云"]).ends_with(4);
}

#[test]
fn answers_are_json_when_asked() {
    let server = Server::start();
    let created = server.run(&["create", "a", "--json"]).ends_with(0).json();
    assert_eq!(created["status"], "success");
    let sent = server.run(&["send", "a", "x", "--json"]).ends_with(0).json();
    assert_eq!((&sent["channel"], &sent["messages"]), (&"a".into(), &1.into()));
    let failed = server.run(&["create", "a", "--json"]).ends_with(5);
    let failed: serde_json::Value = serde_json::from_str(&failed.stderr).unwrap();
    assert_eq!(failed["error"], "exists");
}

#[test]
fn sending_to_no_channel_is_code_4() {
    let server = Server::start();
    let ran = server.run(&["send", "none", "x"]).ends_with(4);
    assert!(ran.stderr.contains("Channel not found"), "{}", ran.stderr);
    server.run(&["info", "none"]).ends_with(4);
}

#[test]
fn channels_and_info_tell_what_was_sent() {
    let server = Server::with(&["--create", "one", "--create", "two"]);
    for _ in 0..3 {
        server.run(&["send", "two", "x"]).ends_with(0);
    }
    let table = server.run(&["channels"]).ends_with(0);
    let rows: Vec<Vec<_>> =
        table.text().lines().skip(1).map(|row| row.split_whitespace().collect()).collect();
    assert_eq!(rows, [["one", "0", "0"], ["two", "0", "3"]]);
    let info = server.run(&["info", "two"]).ends_with(0);
    assert!(info.text().lines().any(|line| line.split_whitespace().eq(["offset", "3"])));
    let json = server.run(&["info", "two", "--json"]).ends_with(0).text().to_owned();
    assert!(json.contains("\"offset\":3"), "{json}");
}

#[test]
fn a_message_over_the_servers_limit_is_refused() {
    let server = Server::with(&["--create", "a", "--set", "max_message_bytes=5000"]);
    server.run_with_input(&["send", "a"], &[b'x'; 5000]).ends_with(0);
    server.run_with_input(&["send", "a"], &[b'x'; 5001]).ends_with(1);
}

#[test]
fn text_that_is_not_utf8_needs_binary() {
    let server = Server::with(&["--create", "a"]);
    let ran = server.run_with_input(&["send", "a"], b"\xff").ends_with(2);
    assert!(ran.stderr.contains("--binary"), "{}", ran.stderr);
    server.run_with_input(&["send", "a", "--binary"], b"\xff").ends_with(0);
}

#[test]
fn a_message_is_sent_once_under_its_key() {
    let server = Server::with(&["--create", "a"]);
    let send = ["send", "a", "x", "--key", "k &1", "--json"];
    let first = server.run(&send).ends_with(0).json();
    assert_eq!((&first["offset"], &first["duplicate"]), (&1.into(), &false.into()));
    assert_eq!(first["messages"], 1);
    let again = server.run(&send).ends_with(0).json();
    assert_eq!((&again["offset"], &again["duplicate"]), (&1.into(), &true.into()));
    assert_eq!(again["epoch"], first["epoch"]);
    let other = server.run(&["send", "a", "y", "--key", "k &1"]).ends_with(1);
    assert!(other.stderr.contains("409"), "{}", other.stderr);
    assert_eq!(server.run(&["send", "a", "x", "--key", "k &1"]).ends_with(0).text(), "");
    let told = server.run(&["send", "a", "z", "--result", "--conflate", "price"]).ends_with(0);
    assert_eq!(told.text(), "offset 2: reached 0, queued 0, dropped 0\n");
    let told = server.run(&["send", "a", "x", "--key", "k &1", "--result"]).ends_with(0);
    assert_eq!(told.text(), "offset 1, published before: reached 0, queued 0, dropped 0\n");
    server.run(&["send", "a", "x", "--key", ""]).ends_with(2);
    server.run(&["send", "a", "--lines", "--key", "k"]).ends_with(2);
    server.run(&["send"]).ends_with(2);
}

#[test]
fn a_batch_is_sent_at_once_and_tells_of_each_message() {
    let server = Server::with(&["--create", "a", "--create", "b"]);
    let good = concat!(
        r#"{"channel":"a","message":"1"}"#,
        "\n",
        r#"{"channel":"b","message":"/w==","encoding":"base64","key":"k"}"#,
        "\n"
    );
    let sent = server.run_with_input(&["send", "--batch", "-"], good.as_bytes()).ends_with(0);
    assert_eq!(sent.text(), "");
    let told = server.run_with_input(&["send", "--batch", "-", "--result"], good.as_bytes());
    let lines: Vec<_> = told.text().lines().collect();
    assert_eq!(
        lines,
        [
            "offset 2: reached 0, queued 0, dropped 0",
            "offset 1, published before: reached 0, queued 0, dropped 0"
        ]
    );
    let file = std::env::temp_dir().join(format!("qyun-batch-{}", std::process::id()));
    std::fs::write(
        &file,
        r#"[{"channel":"a","message":"3"},{"channel":"none","message":"x"},{"channel":"a","message":"4"}]"#,
    )
    .unwrap();
    let path = file.to_str().unwrap();
    let ran = server.run(&["send", "--batch", path, "--json"]).ends_with(4);
    let json = ran.json();
    assert_eq!((&json["messages"], &json["failed"]), (&3.into(), &1.into()));
    assert_eq!(json["results"][0]["offset"], 3);
    assert!(json["results"][1]["error"].as_str().unwrap().contains("Channel not found"));
    assert_eq!(json["results"][2]["offset"], 4);
    let ran = server.run(&["send", "--batch", path]).ends_with(4);
    assert!(ran.stderr.contains("1 of 3 messages failed; message 2"), "{}", ran.stderr);
    std::fs::remove_file(&file).unwrap();
    let ran = server.run(&["send", "--batch", path]).ends_with(1);
    assert!(ran.stderr.contains(path), "{}", ran.stderr);
    let ran = server.run_with_input(&["send", "--batch", "-"], b"{\"channel\"").ends_with(1);
    assert!(ran.stderr.contains("cannot be read"), "{}", ran.stderr);
    server.run(&["send", "a", "--batch", "-"]).ends_with(2);
}

#[test]
fn no_server_is_code_3_and_a_silent_one_is_code_6() {
    let host = refusing();
    for args in [&["create", "a"][..], &["send", "a", "x"], &["listen", "a"], &["channels"]] {
        let mut args = args.to_vec();
        args.extend(["--host", &host, "--timeout", "2s"]);
        let ran = run(&args).ends_with(3);
        assert!(ran.stderr.contains(&host), "{}", ran.stderr);
    }
    let (_listener, host) = silent();
    for args in [&["create", "a"][..], &["send", "a", "x"], &["info", "a"]] {
        let mut args = args.to_vec();
        args.extend(["--host", &host, "--timeout", "200ms"]);
        run(&args).ends_with(6);
    }
}

#[test]
fn top_tells_the_slowest_connections_once() {
    let server = Server::with(&["--create", "a"]);
    let table = server.run(&["top", "--once"]).ends_with(0);
    assert!(table.text().starts_with("queued bytes"), "{}", table.text());
    assert_eq!(table.text().lines().count(), 1);
    let json = server.run(&["top", "--once", "--json", "--by", "dropped"]).ends_with(0);
    assert!(json.text().contains("\"connections\":[]"), "{}", json.text());
    server.run(&["top", "--once", "--by", "colour"]).ends_with(2);
}
