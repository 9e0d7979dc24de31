//! `qyun reload` in the middle of things: a thousand listeners, ten thousand messages a second.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::kit::{alone, open};
use crate::raw::{PATIENCE, Raw};
use crate::swarm::{Sink, Swarm};

const LISTENERS: usize = 1000;
const CHANNELS: usize = 100;
const RATE: usize = 10_000;
const TICK: Duration = Duration::from_millis(10);
const SECONDS: usize = 4;
const TOTAL: usize = RATE * SECONDS;
const RELOADS: usize = 8;

/// `qyun serve` with a configuration file; killed when dropped.
struct Server {
    process: Child,
    address: SocketAddr,
    folder: PathBuf,
}

impl Server {
    fn start(limits: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("qyun-reload-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("qyun.toml"), limits).unwrap();
        let mut process = Self::command(&folder, "serve")
            .args(["--listen", "127.0.0.1:0", "--shards", "2", "--json"])
            .args(["--log", "warn", "--config"])
            .arg(folder.join("qyun.toml"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let told: Value = serde_json::from_str(&line).unwrap();
        let address = told["address"].as_str().unwrap().parse().unwrap();
        Self { process, address, folder }
    }

    fn command(folder: &std::path::Path, name: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_qyun"));
        command.arg(name).arg("--pid-file").arg(folder.join("qyun.pid"));
        command
    }

    fn run(&self, name: &str) -> Output {
        Self::command(&self.folder, name).arg("--json").output().unwrap()
    }

    /// Writes the file anew and has it read.
    fn reload(&self, limits: &str) -> Output {
        std::fs::write(self.folder.join("qyun.toml"), limits).unwrap();
        self.run("reload")
    }

    /// The status of a message of 2,000 bytes.
    fn post(&self) -> u16 {
        Raw::connect(self.address).request("POST", "/channel/send/probe", "", &[b'x'; 2000]).status
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn limits(max_message_bytes: usize) -> String {
    // Without pings, silence means that nothing is coming.
    format!("[limits]\nmax_message_bytes = {max_message_bytes}\n[timeouts]\nping_interval_ms = 0\n")
}

/// What a listener must get: every hundredth number, each once, in order.
struct Numbers {
    next: usize,
}

impl Sink for Numbers {
    fn message(&mut self, _: u8, payload: &[u8]) {
        let number: usize = std::str::from_utf8(payload).unwrap().parse().unwrap();
        assert_eq!(number, self.next);
        self.next += CHANNELS;
    }
}

/// Sends all numbers at their pace, pipelined over one connection; tells when a further part of
/// them is sent.
fn publish(mut stream: TcpStream, milestones: &Sender<()>) {
    let start = Instant::now();
    let per_tick = RATE * TICK.as_millis() as usize / 1000;
    for tick in 0..TOTAL / per_tick {
        let due = start + TICK * tick as u32;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let mut requests = String::new();
        for number in tick * per_tick..(tick + 1) * per_tick {
            let channel = number % CHANNELS;
            requests +=
                &format!("GET /channel/send/c{channel}/{number} HTTP/1.1\r\nHost: t\r\n\r\n");
            if number % (TOTAL / (RELOADS + 1)) == 0 && number > 0 {
                // After the last reload nobody listens.
                let _ = milestones.send(());
            }
        }
        stream.write_all(requests.as_bytes()).unwrap();
    }
    println!("{TOTAL} messages sent in {:?}", start.elapsed());
}

/// Reads the answers to them: all 200.
fn count_answers(mut stream: TcpStream) {
    const OK: &[u8] = b"HTTP/1.1 200 OK\r\n";
    let (mut seen, mut ahead, mut buffer) = (0, Vec::new(), vec![0; 64 << 10]);
    while seen < TOTAL {
        let n = stream.read(&mut buffer).unwrap();
        assert!(n > 0, "closed after {seen} answers");
        ahead.extend_from_slice(&buffer[..n]);
        // An answer is whole with the brace that ends its body.
        while let Some(end) = ahead.iter().position(|byte| *byte == b'}') {
            assert!(ahead.starts_with(OK), "{}", String::from_utf8_lossy(&ahead[..end]));
            ahead.drain(..=end);
            seen += 1;
        }
    }
}

/// Has the server reload at each milestone, and looks whether the new limit is in force.
fn reload_often(server: &Server, milestones: &Receiver<()>) {
    for round in 0..RELOADS {
        milestones.recv_timeout(PATIENCE).unwrap();
        let (limit, status) = if round % 2 == 0 { (1000, 413) } else { (3000, 200) };
        let output = server.reload(&limits(limit));
        assert!(output.status.success(), "{output:?}");
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(told["changed"], serde_json::json!(["max_message_bytes"]));
        assert_eq!(server.post(), status, "with max_message_bytes = {limit}");
    }
    let output = server.reload(&limits(0));
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot be '0'"), "{output:?}");
    assert_eq!(server.post(), 200, "a bad file changes nothing");
}

#[test]
fn reloading_under_load_drops_nobody_and_loses_nothing() {
    let _alone = alone();
    let server = Server::start(&limits(3000));
    let mut raw = Raw::connect(server.address);
    for channel in 0..CHANNELS {
        assert_eq!(raw.get(&format!("/channel/create/c{channel}")).status, 200);
    }
    assert_eq!(raw.get("/channel/create/probe").status, 200);
    let mut swarm = Swarm::new();
    for n in 0..LISTENERS {
        let next = n % CHANNELS;
        let socket = open(server.address, &format!("/channel/listen/c{next}"));
        swarm.join(socket, Numbers { next });
    }
    let stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let answers = stream.try_clone().unwrap();
    let (send, milestones) = channel();
    let server = &server;
    std::thread::scope(|scope| {
        let others = [
            scope.spawn(move || publish(stream, &send)),
            scope.spawn(move || count_answers(answers)),
            scope.spawn(move || reload_often(server, &milestones)),
        ];
        swarm.until("all is sent, and all reloads are done", |_| {
            others.iter().all(|other| other.is_finished())
        });
        others.into_iter().for_each(|other| other.join().unwrap());
    });
    swarm.until("everybody has everything", |all| all.iter().all(|one| one.sink.next >= TOTAL));
    // Whatever else had come would have failed in the sink.
    assert!(swarm.members.iter().all(|one| !one.ended && one.close_code.is_none()));
    let status: Value = serde_json::from_slice(&server.run("status").stdout).unwrap();
    assert_eq!(status["subscribers"], LISTENERS);
}
