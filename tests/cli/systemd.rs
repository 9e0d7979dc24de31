//! A service of systemd, whose part the tests play: a datagram socket that it is told on, and
//! sockets that were opened for it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::kit::{Folder, exchange, qyun};

const PATIENCE: Duration = Duration::from_secs(20);
const HEALTH: &str = "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

/// Where systemd is told.
struct Manager {
    socket: UnixDatagram,
}

impl Manager {
    fn at(address: &SocketAddr) -> Self {
        let socket = UnixDatagram::bind_addr(address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket }
    }

    /// The next thing that it is told, as `NAME=VALUE` lines.
    #[track_caller]
    fn told(&self) -> Vec<String> {
        let mut buffer = [0; 4096];
        let n = self.socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..n].to_vec()).unwrap().lines().map(String::from).collect()
    }

    /// Waits for it, past signs of life.
    #[track_caller]
    fn told_but_alive(&self) -> Vec<String> {
        loop {
            let told = self.told();
            if told != ["WATCHDOG=1"] {
                return told;
            }
        }
    }
}

struct Service {
    process: Child,
}

impl Service {
    fn spawn(mut command: Command) -> Self {
        Self { process: command.spawn().unwrap() }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    /// The first line of stdout.
    fn listening(&mut self) -> Value {
        let mut line = Vec::new();
        let mut byte = [0; 1];
        let stdout = self.process.stdout.as_mut().unwrap();
        while stdout.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
            line.push(byte[0]);
        }
        serde_json::from_slice(&line).unwrap()
    }

    fn ends(mut self) {
        assert_eq!(self.process.wait().unwrap().code(), Some(0));
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn serve(args: &[&str]) -> Command {
    qyun(&[&["serve", "--listen", "127.0.0.1:0", "--json", "--shards", "2"], args].concat())
}

#[test]
fn it_tells_when_it_is_ready_reloads_and_stops() {
    let folder = Folder::new();
    let file = folder.write("qyun.toml", "[limits]\nmax_channels = 1\n");
    let path = folder.path("notify");
    let manager = Manager::at(&SocketAddr::from_pathname(&path).unwrap());
    let mut command = serve(&["--config", &file]);
    command.env("NOTIFY_SOCKET", &path);
    let mut service = Service::spawn(command);
    let told = manager.told();
    let address = service.listening()["address"].as_str().unwrap().to_owned();
    assert_eq!(told, ["READY=1".into(), format!("STATUS=listening on http://{address}")]);
    // Whoever is told that it is ready can connect.
    assert!(exchange(&address, HEALTH, "never").1.starts_with("HTTP/1.1 200"));
    for toml in ["[limits]\nmax_channels = 2\n", "[limits]\nmax_channels = -2\n"] {
        folder.write("qyun.toml", toml);
        service.signal(Signal::HUP);
        let told = manager.told();
        assert_eq!(told[0], "RELOADING=1");
        let at: u64 = told[1].strip_prefix("MONOTONIC_USEC=").unwrap().parse().unwrap();
        assert!(at > 0);
        assert_eq!(manager.told()[0], "READY=1", "with a fault in the file, too: it serves");
    }
    service.signal(Signal::TERM);
    assert_eq!(manager.told()[0], "STOPPING=1");
    service.ends();
}

#[test]
fn an_abstract_socket_and_a_watchdog() {
    let name = format!("qyun-test-{}", std::process::id());
    let manager = Manager::at(&SocketAddr::from_abstract_name(&name).unwrap());
    let mut command = serve(&[]);
    command.env("NOTIFY_SOCKET", format!("@{name}")).env("WATCHDOG_USEC", "200000");
    let service = Service::spawn(command);
    assert_eq!(manager.told_but_alive()[0], "READY=1");
    for _ in 0..3 {
        assert_eq!(manager.told(), ["WATCHDOG=1"]);
    }
    service.signal(Signal::TERM);
    assert_eq!(manager.told_but_alive()[0], "STOPPING=1");
    service.ends();
}

#[test]
fn a_watchdog_that_is_for_another_process_is_not_heard() {
    let folder = Folder::new();
    let path = folder.path("notify");
    let manager = Manager::at(&SocketAddr::from_pathname(&path).unwrap());
    let mut command = serve(&[]);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "20000").env("WATCHDOG_PID", "1");
    let service = Service::spawn(command);
    assert_eq!(manager.told()[0], "READY=1");
    service.signal(Signal::TERM);
    assert_eq!(manager.told()[0], "STOPPING=1");
    service.ends();
}

/// Starts it as systemd does: with `sockets` from descriptor 3 on, and its own number.
fn activate(sockets: [TcpListener; 2], names: &str, args: &[&str]) -> Service {
    let [first, second] = sockets.map(|socket| Stdio::from(OwnedFd::from(socket)));
    let mut command = Command::new("/bin/sh");
    let script = "exec 3<&0 4<&2 0</dev/null 2>/dev/null; LISTEN_PID=$$ LISTEN_FDS=2 exec \"$@\"";
    command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_qyun"), "serve", "--json"]);
    command.args(args).env("LISTEN_FDNAMES", names);
    Service::spawn({
        command.stdin(first).stderr(second).stdout(Stdio::piped());
        command
    })
}

fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

#[test]
fn what_waits_at_the_sockets_that_were_opened_for_it_is_served() {
    for shards in ["1", "3"] {
        let ((one, first), (two, second)) = (listen(), listen());
        // Before there is a server.
        let early: Vec<TcpStream> = [&first, &second]
            .map(|address| {
                let mut stream = TcpStream::connect(address.as_str()).unwrap();
                stream.write_all(HEALTH.as_bytes()).unwrap();
                stream
            })
            .into();
        let mut service = activate([one, two], "http:http", &["--shards", shards]);
        assert_eq!(service.listening()["address"], first.as_str());
        for mut stream in early {
            let mut answer = String::new();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
        for address in [&first, &second] {
            assert!(exchange(address, HEALTH, "never").1.starts_with("HTTP/1.1 200"));
        }
        service.signal(Signal::TERM);
        service.ends();
    }
}

/// As long as systemd holds the socket, a restart refuses nobody.
#[test]
fn a_connect_between_two_services_waits_for_the_second() {
    let ((one, first), (two, _second)) = (listen(), listen());
    let held = [one.try_clone().unwrap(), two.try_clone().unwrap()];
    let mut before = activate([one, two], "http:http", &[]);
    before.listening();
    before.signal(Signal::TERM);
    before.ends();
    let mut waits = TcpStream::connect(&first).unwrap();
    waits.write_all(HEALTH.as_bytes()).unwrap();
    let mut after = activate(held, "http:http", &[]);
    after.listening();
    let mut answer = String::new();
    waits.set_read_timeout(Some(PATIENCE)).unwrap();
    waits.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn the_socket_called_grpc_is_of_grpc() {
    let ((one, first), (two, second)) = (listen(), listen());
    let mut service = activate([one, two], "grpc:web", &[]);
    let told = service.listening();
    assert_eq!((told["grpc"].as_str(), told["address"].as_str()), (Some(&*first), Some(&*second)));
    assert!(exchange(&second, HEALTH, "never").1.starts_with("HTTP/1.1 200"));
}

#[test]
fn sockets_of_another_process_are_left_alone() {
    let mut command = serve(&[]);
    command.env("LISTEN_PID", "1").env("LISTEN_FDS", "1");
    let mut service = Service::spawn(command);
    service.listening();
    // And what is no socket is a fault that is named.
    let script = "exec 3</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\"";
    let output = Command::new("/bin/sh")
        .args(["-c", script, "sh", env!("CARGO_BIN_EXE_qyun"), "serve"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("socket 0 ('') of LISTEN_FDS") && told.contains("TCP"), "{told}");
}
