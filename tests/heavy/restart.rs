//! `qyun restart` in the middle of things: the connections and the messages of thousands go from one
//! process to the next. `QYUN_RESTART_LISTENERS` and `QYUN_RESTART_RATE` (messages a second, each to
//! a hundredth of the listeners) set how many; 5000 and 400 are 20,000 deliveries a second.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::kit::{alone, open};
use crate::raw::{PATIENCE, Raw};
use crate::swarm::{Sink, Swarm};

const CHANNELS: usize = 100;
const TICK: Duration = Duration::from_millis(10);
const SECONDS: usize = 5;
const RESTARTS: usize = 4;

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// `qyun serve` and whoever comes after it, each the child of the one before.
struct Server {
    first: Child,
    pid: u64,
    address: SocketAddr,
    folder: PathBuf,
}

impl Server {
    fn start() -> Self {
        let folder = std::env::temp_dir().join(format!("qyun-restart-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut first = Self::command(&folder, "serve")
            .args(["--listen", "127.0.0.1:0", "--shards", "2", "--log", "warn"])
            // Without pings, silence means that nothing is coming.
            .args(["--ping-interval-ms", "0"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(first.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let told: Value = serde_json::from_str(&line).unwrap();
        let address = told["address"].as_str().unwrap().parse().unwrap();
        Self { pid: told["pid"].as_u64().unwrap(), first, address, folder }
    }

    fn command(folder: &std::path::Path, name: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_qyun"));
        command.arg(name).arg("--json").arg("--pid-file").arg(folder.join("qyun.pid"));
        command
    }

    fn ask(&self, question: &str) -> Value {
        // While a process has just come in place of another, its control socket may not be there.
        let start = Instant::now();
        loop {
            let output = Self::command(&self.folder, question).output().unwrap();
            if output.status.success() {
                return serde_json::from_slice(&output.stdout).unwrap();
            }
            assert!(start.elapsed() < PATIENCE, "{question}: {output:?}");
        }
    }

    fn restart(&mut self, connections: usize) -> f64 {
        let told = self.ask("restart");
        assert_eq!(told["from"], self.pid, "each comes in place of the one before");
        assert!(told["connections"].as_u64().unwrap() as usize >= connections, "{told}");
        self.pid = told["pid"].as_u64().unwrap();
        told["pause_ms"].as_f64().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_raw(self.pid as i32).unwrap(), Signal::KILL);
        let _ = self.first.kill();
        let _ = self.first.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
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
fn publish(mut stream: TcpStream, total: usize, milestones: &Sender<()>) {
    let start = Instant::now();
    let ticks = SECONDS * 1000 / TICK.as_millis() as usize;
    for tick in 0..ticks {
        let due = start + TICK * tick as u32;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let mut requests = String::new();
        for number in total * tick / ticks..total * (tick + 1) / ticks {
            let channel = number % CHANNELS;
            requests +=
                &format!("GET /channel/send/c{channel}/{number} HTTP/1.1\r\nHost: t\r\n\r\n");
            if number % (total / (RESTARTS + 1)) == 0 && number > 0 {
                // After the last restart nobody listens.
                let _ = milestones.send(());
            }
        }
        stream.write_all(requests.as_bytes()).unwrap();
    }
}

/// Reads the answers to them: all 200, each once.
fn count_answers(mut stream: TcpStream, total: usize) {
    const OK: &[u8] = b"HTTP/1.1 200 OK\r\n";
    let (mut seen, mut ahead, mut buffer) = (0, Vec::new(), vec![0; 64 << 10]);
    while seen < total {
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
    assert!(ahead.is_empty(), "one answer too many");
}

/// Restarts at each milestone, and connects meanwhile.
fn restart_often(server: &mut Server, connections: usize, milestones: &Receiver<()>) {
    for _ in 0..RESTARTS {
        milestones.recv_timeout(PATIENCE).unwrap();
        let pause = server.restart(connections);
        println!("{connections} connections changed hands, after a pause of {pause:.1} ms");
        assert_eq!(Raw::connect(server.address).get("/health").status, 200);
    }
}

#[test]
fn restarting_under_load_closes_nobody_and_loses_doubles_or_reorders_nothing() {
    let _alone = alone();
    let listeners = setting("QYUN_RESTART_LISTENERS", 500);
    let rate = setting("QYUN_RESTART_RATE", 400);
    let total = rate * SECONDS;
    let mut server = Server::start();
    let address = server.address;
    let mut raw = Raw::connect(address);
    for channel in 0..CHANNELS {
        assert_eq!(raw.get(&format!("/channel/create/c{channel}")).status, 200);
    }
    let mut swarm = Swarm::new();
    for n in 0..listeners {
        let next = n % CHANNELS;
        swarm.join(open(address, &format!("/channel/listen/c{next}")), Numbers { next });
    }
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let answers = stream.try_clone().unwrap();
    let (send, milestones) = channel();
    let restarted = &mut server;
    std::thread::scope(|scope| {
        let others = [
            scope.spawn(move || publish(stream, total, &send)),
            scope.spawn(move || count_answers(answers, total)),
            scope.spawn(move || restart_often(restarted, listeners, &milestones)),
        ];
        swarm.until("all is sent, and all restarts are done", |_| {
            others.iter().all(|other| other.is_finished())
        });
        others.into_iter().for_each(|other| other.join().unwrap());
    });
    swarm.until("everybody has everything", |all| all.iter().all(|one| one.sink.next >= total));
    // Whatever else had come would have failed in the sink.
    assert!(swarm.members.iter().all(|one| !one.ended && one.close_code.is_none()));
    // The connection from before all restarts is still one.
    assert_eq!(raw.get("/health").status, 200);
    assert_eq!(server.ask("status")["subscribers"], listeners);
}
