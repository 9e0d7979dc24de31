//! `kill -9` at random moments of a durable channel at full publish rate: nothing that was
//! acknowledged is missing, nothing is twice, and all is in order.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use qyun::wire::MessageKind;
use qyun::wire::stream::{Op, Packet, decode_packet};
use serde_json::Value;

use crate::kit::{alone, stream_packet, try_open};

const PUBLISHERS: u64 = 3;
/// Publications of one publisher that wait for their acknowledgement.
const WINDOW: u64 = 64;
/// More than are published in one round.
const NAMESPACES: &str = "log: durability=fsync, auto_create=true, history_size=300000, \
                          history_bytes=1000000000";

/// The command, killed when dropped.
struct Life {
    child: Child,
    address: SocketAddr,
}

fn spawn(store: &str) -> Child {
    let binary = std::env::var("QYUN_KILL_BIN");
    let binary = binary.unwrap_or_else(|_| env!("CARGO_BIN_EXE_qyun").into());
    let set = [format!("store={store}"), format!("namespaces={NAMESPACES}")];
    let mut command = Command::new(binary);
    command.args(["serve", "--listen", "127.0.0.1:0", "--shards", "1", "--json"]);
    command.args(set.iter().flat_map(|set| ["--set", set]));
    command.env("RUST_LOG", "error");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap()
}

fn kill(child: &mut Child) {
    // SIGKILL.
    child.kill().unwrap();
    child.wait().unwrap();
}

impl Life {
    fn begin(store: &str) -> Self {
        let mut child = spawn(store);
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let told: Value = serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("{error}: {line:?}, {:?}", child.wait()));
        let address = told["address"].as_str().unwrap().parse().unwrap();
        Self { child, address }
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Takes the payload of a whole frame off the front.
fn frame(bytes: &mut Vec<u8>) -> Option<Vec<u8>> {
    let (start, len) = match *bytes.get(1)? {
        126 => (4, usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]))),
        len => (2, usize::from(len)),
    };
    if bytes.len() < start + len {
        return None;
    }
    let rest = bytes.split_off(start + len);
    Some(std::mem::replace(bytes, rest).split_off(start))
}

/// Publishes as fast as it is answered, until the server is dead. Gives what was acknowledged:
/// offsets and messages.
fn publish(address: SocketAddr, round: u64, publisher: u64) -> BTreeMap<u64, String> {
    let text = |n: u64| format!("{round} {publisher} {n}");
    let mut acknowledged = BTreeMap::new();
    // The server may be dead before it answers the upgrade.
    let Ok((mut stream, mut bytes)) = try_open(address, "/channel/stream") else {
        return acknowledged;
    };
    let send = |stream: &mut TcpStream, n: u64| {
        let text = text(n);
        let op = Op::Publish(MessageKind::Text, text.as_bytes());
        stream.write_all(&stream_packet(n as u32, "log", op)).is_ok()
    };
    let mut next = 1;
    while next <= WINDOW && send(&mut stream, next) {
        next += 1;
    }
    let mut buffer = [0; 1 << 16];
    loop {
        while let Some(payload) = frame(&mut bytes) {
            match decode_packet(&payload) {
                Some(Packet::Reply(reply)) if reply.status == 0 => {
                    let n = u64::from(reply.id);
                    assert!(acknowledged.insert(reply.position.offset, text(n)).is_none());
                    // What the system had already is read to its end, after the server's death too.
                    if send(&mut stream, next) {
                        next += 1;
                    }
                }
                Some(Packet::Reply(reply)) => panic!("refused: {reply:?}"),
                _ => {}
            }
        }
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return acknowledged,
            Ok(n) => bytes.extend_from_slice(&buffer[..n]),
        }
    }
}

/// Everything behind an offset, and the epoch.
fn history(address: SocketAddr, mut after: u64) -> (Vec<(u64, String)>, u64) {
    let mut all = Vec::new();
    let mut stream = BufReader::new(TcpStream::connect(address).unwrap());
    loop {
        let target = format!("/channel/history/log?after={after}&limit=1000");
        let request = format!("GET {target} HTTP/1.1\r\nHost: t\r\n\r\n");
        stream.get_mut().write_all(request.as_bytes()).unwrap();
        let (mut line, mut size) = (String::new(), 0);
        while line != "\r\n" {
            line.clear();
            stream.read_line(&mut line).unwrap();
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                size = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; size];
        stream.read_exact(&mut body).unwrap();
        let page: Value = serde_json::from_slice(&body).unwrap();
        if page["status"] != "success" {
            return (all, 0);
        }
        for one in page["publications"].as_array().unwrap() {
            after = one["offset"].as_u64().unwrap();
            all.push((after, one["message"].as_str().unwrap().to_owned()));
        }
        if page["more"] == false {
            return (all, page["epoch"].as_u64().unwrap());
        }
    }
}

/// What is on the disk has all that was acknowledged, consecutive offsets, and of every publisher
/// a beginning of what it published, each once.
fn check(found: &[(u64, String)], acknowledged: &BTreeMap<u64, String>, behind: u64, round: u64) {
    let mut counts = BTreeMap::new();
    for (at, (offset, message)) in found.iter().enumerate() {
        assert_eq!(*offset, behind + 1 + at as u64, "round {round}: offsets have no hole");
        let mut parts = message.split(' ').map(|part| part.parse::<u64>().unwrap());
        assert_eq!(parts.next(), Some(round), "nothing of another round");
        let (publisher, n) = (parts.next().unwrap(), parts.next().unwrap());
        let count = counts.entry(publisher).or_insert(0);
        *count += 1;
        assert_eq!(n, *count, "round {round}: publisher {publisher} in order, each once");
    }
    for (offset, message) in acknowledged {
        let at = usize::try_from(offset - behind - 1).unwrap();
        let there = found.get(at).map(|(_, message)| message);
        assert_eq!(there, Some(message), "round {round}: offset {offset} was acknowledged");
    }
}

#[test]
fn nothing_that_was_acknowledged_is_missing_after_kill_9() {
    let _alone = alone();
    let rounds = std::env::var("QYUN_KILL_ROUNDS").map_or(20, |text| text.parse().unwrap());
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("kill");
    let _ = std::fs::remove_dir_all(&folder);
    let store = folder.to_str().unwrap();
    let mut chance = fastrand::Rng::with_seed(0x51);
    let (mut behind, mut epoch, mut total, mut extra) = (0, 0, 0, 0);
    for round in 1..=rounds {
        if chance.u8(..4) == 0 {
            // While it opens the store, or has just done so.
            let mut child = spawn(store);
            std::thread::sleep(Duration::from_micros(chance.u64(..60_000)));
            kill(&mut child);
        }
        let mut life = Life::begin(store);
        let address = life.address;
        let publishers: Vec<_> = (0..PUBLISHERS)
            .map(|publisher| std::thread::spawn(move || publish(address, round, publisher)))
            .collect();
        std::thread::sleep(Duration::from_micros(chance.u64(..200_000)));
        kill(&mut life.child);
        let acknowledged: BTreeMap<u64, String> =
            publishers.into_iter().flat_map(|publisher| publisher.join().unwrap()).collect();

        let life = Life::begin(store);
        let (found, epoch_now) = history(life.address, behind);
        check(&found, &acknowledged, behind, round);
        if epoch != 0 {
            assert_eq!(epoch_now, epoch, "at fsync the epoch goes on");
        }
        epoch = epoch_now;
        total += acknowledged.len();
        extra += found.len() - acknowledged.len();
        behind = found.last().map_or(behind, |(offset, _)| *offset);
    }
    println!("{rounds} kills: {total} acknowledged and there, {extra} there besides");
    assert!(total > 0);
    std::fs::remove_dir_all(&folder).unwrap();
}
