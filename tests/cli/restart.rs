//! A server in the background that is restarted without an end for anybody.

use std::io::{Read, Write};
use std::net::TcpStream;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::kit::{Folder, Running, Server, exchange, qyun, run};

/// An open listener to `channel`.
fn listen(host: &str, channel: &str) -> TcpStream {
    let request = format!(
        "GET /channel/listen/{channel} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    let (stream, answer) = exchange(host, &request, "\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    stream
}

#[track_caller]
fn hears(stream: &mut TcpStream, text: &str) {
    let mut frame = vec![0; 2 + text.len()];
    stream.read_exact(&mut frame).unwrap();
    assert_eq!(frame, [&[0x81, text.len() as u8], text.as_bytes()].concat());
}

fn send(host: &str, text: &str) {
    run(&["send", "news", text, "--host", host]).ends_with(0);
}

#[test]
fn restart_keeps_address_channels_and_connections() {
    let folder = Folder::new();
    let pid_file = folder.path("qyun.pid");
    let place = ["--pid-file", &*pid_file];
    let args = ["start", "--listen", "127.0.0.1:0", "--create", "news", "--json"];
    let started = run(&[&args[..], &place].concat()).ends_with(0).json();
    let host = started["address"].as_str().unwrap().to_owned();
    let mut listener = listen(&host, "news");
    let mut before = started["pid"].clone();
    for round in 0..3 {
        send(&host, &format!("before {round}"));
        let told = run(&[&["restart", "--json"][..], &place].concat()).ends_with(0).json();
        assert_eq!((&told["from"], &told["ok"]), (&before, &true.into()));
        assert!(
            told["connections"].as_u64().unwrap() >= 1 && told["pause_ms"].as_f64().unwrap() > 0.0
        );
        assert_ne!(told["pid"], before);
        send(&host, &format!("after {round}"));
        hears(&mut listener, &format!("before {round}"));
        hears(&mut listener, &format!("after {round}"));
        // The pid file and the control socket are the new one's as soon as the old one has ended.
        let status = loop {
            let ran = run(&[&["status", "--json"][..], &place].concat());
            match ran.code {
                0 if ran.json()["pid"] == told["pid"] => break ran.json(),
                0 | 1 | 3 => {}
                _ => panic!("{ran:?}"),
            }
        };
        assert_eq!((&status["taken_over_from"], &status["subscribers"]), (&before, &1.into()));
        assert_eq!(folder.read("qyun.pid").trim(), told["pid"].to_string());
        before = told["pid"].clone();
    }
    run(&[&["stop"][..], &place].concat()).ends_with(0);
    assert!(!folder.has("qyun.pid") && !folder.has("qyun.sock"));
    let mut close = [0; 4];
    listener.read_exact(&mut close).unwrap();
    assert_eq!((close[0], &close[2..]), (0x88, &1012_u16.to_be_bytes()[..]));
}

#[test]
fn a_new_process_that_cannot_serve_leaves_the_old_one() {
    let folder = Folder::new();
    let file = folder.write("qyun.toml", "");
    let pid_file = folder.path("qyun.pid");
    let place = ["--pid-file", &*pid_file];
    let args =
        ["start", "--listen", "127.0.0.1:0", "--create", "news", "--json", "--config", &file];
    let started = run(&[&args[..], &place].concat()).ends_with(0).json();
    let host = started["address"].as_str().unwrap();
    let mut listener = listen(host, "news");
    folder.write("qyun.toml", "[limits]\nqueue_bytes = 1\n");
    let ran = run(&[&["restart"][..], &place].concat()).ends_with(1);
    assert!(
        ran.stderr.contains("ended before it had everything") || ran.stderr.contains("end"),
        "{}",
        ran.stderr
    );
    send(host, "still");
    hears(&mut listener, "still");
    let status = run(&[&["status", "--json"][..], &place].concat()).ends_with(0).json();
    assert_eq!((&status["pid"], &status["state"]), (&started["pid"], &"running".into()));
    // With the fault gone, it works.
    folder.write("qyun.toml", "[limits]\nmax_channels = 1\n");
    run(&[&["restart"][..], &place].concat()).ends_with(0);
    send(host, "on");
    hears(&mut listener, "on");
    run(&["create", "other", "--host", host]).ends_with(1);
    while run(&[&["stop"][..], &place].concat()).code != 0 {}
}

#[test]
fn serve_can_take_over_by_the_pid_file() {
    let folder = Folder::new();
    let pid_file = folder.path("qyun.pid");
    let args = ["--pid-file", &*pid_file, "--create", "news"];
    let old = Server::with(&[&args[..], &["--take-over"]].concat());
    let mut listener = listen(&old.host, "news");
    let again = ["serve", "--listen", "127.0.0.1:0", "--json", "--take-over"];
    let mut new = Running::start(&[&again[..], &args].concat());
    let told: Value = serde_json::from_str(&new.line()).unwrap();
    assert_eq!(told["address"], old.host.as_str());
    assert_eq!(told["taken_over"]["connections"], 1);
    let (status, _) = old.process.end();
    assert_eq!(status.code(), Some(0));
    send(told["address"].as_str().unwrap(), "x");
    hears(&mut listener, "x");
    // Without a pid file there is no way to the other one.
    let output = qyun(&["serve", "--take-over"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    new.signal(Signal::TERM);
    let mut close = [0; 4];
    listener.read_exact(&mut close).unwrap();
    assert_eq!(close[0], 0x88);
    listener.write_all(&[0x88, 0x82, 0, 0, 0, 0, 3, 0xe8]).unwrap();
    assert_eq!(new.end().0.code(), Some(0));
}

/// In the foreground, without a pid file: the next process is the server's child, and then nobody's.
#[test]
fn a_signal_restarts_too() {
    let mut server = Server::with(&["--create", "news"]);
    let mut listener = listen(&server.host, "news");
    server.process.signal(Signal::USR2);
    let told: Value = serde_json::from_str(&server.process.line()).unwrap();
    assert_eq!(told["address"], server.host.as_str());
    send(&server.host, "x");
    hears(&mut listener, "x");
    let next = Pid::from_raw(told["pid"].as_i64().unwrap() as i32).unwrap();
    kill_process(next, Signal::KILL).unwrap();
}

/// A store goes along, and only to a process that has it too.
#[test]
fn durable_channels_are_there_after_a_restart() {
    let folder = Folder::new();
    let with = format!(
        "[channels]\nstore = \"{}\"\n[namespaces.news]\ndurability = \"fsync\"\n",
        folder.path("store")
    );
    let file = folder.write("qyun.toml", &with);
    let pid_file = folder.path("qyun.pid");
    let place = ["--pid-file", &*pid_file];
    let args =
        ["start", "--listen", "127.0.0.1:0", "--create", "news", "--json", "--config", &file];
    let started = run(&[&args[..], &place].concat()).ends_with(0).json();
    let host = started["address"].as_str().unwrap();
    let mut listener = listen(host, "news");
    let mut sent = Vec::new();
    let mut send_and_hear = |text: &str, listener: &mut TcpStream| {
        send(host, text);
        hears(listener, text);
        sent.push(text.to_owned());
    };
    send_and_hear("before", &mut listener);
    folder.write("qyun.toml", "");
    let ran = run(&[&["restart"][..], &place].concat()).ends_with(1);
    assert!(ran.stderr.contains("stop that one and start this"), "{}", ran.stderr);
    send_and_hear("still", &mut listener);
    folder.write("qyun.toml", &with);
    run(&[&["restart"][..], &place].concat()).ends_with(0);
    send_and_hear("after", &mut listener);
    let history = run(&["history", "news", "--host", host]).ends_with(0);
    assert_eq!(history.text().lines().collect::<Vec<_>>(), sent);
    while run(&[&["stop"][..], &place].concat()).code != 0 {}
}
