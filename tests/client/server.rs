//! A small server that speaks the contract (HTTP, listener and stream WebSockets), does what a
//! test tells it, and says what it saw. One thread per connection; every wait is for an event.

#![allow(dead_code)]

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use qyun::wire::stream::{self, Op, Packet, Publication, Reply};
use qyun::wire::{MessageKind, Position, percent};
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::frame::{CloseFrame, coding::CloseCode};
use tungstenite::protocol::{Role, WebSocket};
use tungstenite::{Bytes, Message};

/// More than any event takes; only a broken test waits that long.
pub const LONG: Duration = Duration::from_secs(20);

/// One HTTP request as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Which accepted connection carried it, from 0.
    pub connection: usize,
    pub line: String,
    pub content_type: Option<String>,
    pub body: Vec<u8>,
}

/// What to do with the next request, instead of what the contract says.
#[derive(Debug, Clone)]
pub enum Script {
    /// Answer this status and body.
    Answer(u16, &'static str),
    /// Answer as the contract says, then close the connection.
    AnswerAndClose,
    /// Close without an answer.
    Close,
    /// Send these bytes.
    Raw(&'static [u8]),
    /// Never answer.
    Silence,
}

#[derive(Default)]
pub struct State {
    pub accepted: usize,
    pub closed: usize,
    pub seen: Vec<Seen>,
    pub script: VecDeque<Script>,
    pub channels: HashMap<String, Channel>,
    pub sockets: Vec<Arc<Socket>>,
    /// Stream requests as they arrived: operation and channel.
    pub asked: Vec<(&'static str, String)>,
    /// Upgrades are refused with this status.
    pub refuse: Option<u16>,
    /// Stream publications are not answered.
    pub mute: bool,
    stopping: bool,
}

#[derive(Debug, Default, Clone)]
pub struct Channel {
    pub number: u64,
    pub epoch: u64,
    pub offset: u64,
    /// The newest publications as stream packets, the oldest first.
    pub history: VecDeque<Bytes>,
    /// How many of them are kept.
    pub keeps: usize,
}

impl Channel {
    fn position(&self) -> Position {
        Position { epoch: self.epoch, offset: self.offset }
    }

    /// What was published behind `since`, if all of it is kept.
    fn behind(&self, since: Position) -> Option<Vec<Bytes>> {
        let missed = usize::try_from(self.offset.checked_sub(since.offset)?).ok()?;
        let known = self.epoch == since.epoch && missed <= self.history.len();
        known.then(|| self.history.iter().skip(self.history.len() - missed).cloned().collect())
    }
}

/// An open WebSocket.
pub struct Socket {
    /// `None`: the stream protocol; otherwise the channel listened to.
    pub listens: Option<String>,
    tcp: TcpStream,
    writer: Mutex<WebSocket<TcpStream>>,
    topics: Mutex<Vec<u64>>,
}

impl Socket {
    pub fn send(&self, message: Message) {
        let _ = self.writer.lock().unwrap().send(message);
    }

    pub fn close(&self, code: u16, reason: &str) {
        let frame = CloseFrame { code: CloseCode::from(code), reason: reason.into() };
        self.send(Message::Close(Some(frame)));
    }

    pub fn kill(&self) {
        let _ = self.tcp.shutdown(Shutdown::Both);
    }
}

pub struct Server {
    pub address: SocketAddr,
    shared: Arc<(Mutex<State>, Condvar)>,
    acceptor: Option<JoinHandle<()>>,
}

impl Server {
    pub fn start() -> Self {
        Self::bind("127.0.0.1:0".parse().unwrap())
    }

    /// Starts again where a stopped server was.
    pub fn bind(address: SocketAddr) -> Self {
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.bind(&address.into()).unwrap();
        socket.listen(128).unwrap();
        let listener: TcpListener = socket.into();
        let address = listener.local_addr().unwrap();
        let shared: Arc<(Mutex<State>, Condvar)> = Arc::default();
        let acceptor = {
            let shared = shared.clone();
            std::thread::spawn(move || accept(&listener, &shared))
        };
        Self { address, shared, acceptor: Some(acceptor) }
    }

    pub fn host(&self) -> String {
        self.address.to_string()
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.shared.0.lock().unwrap()
    }

    /// Waits until `done`; the tests' only way to wait for the server.
    pub fn wait<T>(&self, mut done: impl FnMut(&mut State) -> Option<T>) -> T {
        let mut state = self.state();
        loop {
            if let Some(value) = done(&mut state) {
                return value;
            }
            let (next, timeout) = self.shared.1.wait_timeout(state, LONG).unwrap();
            assert!(!timeout.timed_out(), "the server waited in vain");
            state = next;
        }
    }

    pub fn create(&self, name: &str) {
        self.create_keeping(name, 7, 0);
    }

    /// Creates a channel with an epoch and a history of so many publications.
    pub fn create_keeping(&self, name: &str, epoch: u64, keeps: usize) {
        let mut state = self.state();
        let number = state.channels.len() as u64 + 100;
        let channel = Channel { number, epoch, keeps, ..Channel::default() };
        state.channels.insert(name.into(), channel);
    }

    pub fn script(&self, script: impl IntoIterator<Item = Script>) {
        self.state().script.extend(script);
    }

    pub fn publish(&self, channel: &str, kind: MessageKind, data: &[u8]) {
        publish(&mut self.state(), channel, kind, data).unwrap();
    }

    pub fn text(&self, channel: &str, text: &str) {
        self.publish(channel, MessageKind::Text, text.as_bytes());
    }

    /// Waits for `count` open WebSockets and gives them.
    pub fn sockets(&self, count: usize) -> Vec<Arc<Socket>> {
        self.wait(|state| (state.sockets.len() == count).then(|| state.sockets.clone()))
    }

    pub fn gone(&self, channel: &str) {
        let mut state = self.state();
        let number = state.channels.remove(channel).unwrap().number;
        for socket in &state.sockets {
            if socket.topics.lock().unwrap().contains(&number) {
                socket.send(Message::binary(stream::gone(number).to_vec()));
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut state = self.state();
        state.stopping = true;
        state.sockets.iter().for_each(|socket| socket.kill());
        drop(state);
        let _ = TcpStream::connect(self.address);
        self.acceptor.take().unwrap().join().unwrap();
    }
}

fn accept(listener: &TcpListener, shared: &Arc<(Mutex<State>, Condvar)>) {
    for tcp in listener.incoming() {
        let mut state = shared.0.lock().unwrap();
        if state.stopping {
            return;
        }
        let number = state.accepted;
        state.accepted += 1;
        drop(state);
        shared.1.notify_all();
        let shared = shared.clone();
        let tcp = tcp.unwrap();
        tcp.set_nodelay(true).unwrap();
        std::thread::spawn(move || {
            let _ = serve(tcp, number, &shared);
            shared.0.lock().unwrap().closed += 1;
            shared.1.notify_all();
        });
    }
}

fn serve(mut tcp: TcpStream, number: usize, shared: &(Mutex<State>, Condvar)) -> io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        let Some((head, body)) = request(&mut tcp, &mut buffer)? else { return Ok(()) };
        let line = head.lines().next().unwrap_or_default().to_owned();
        let header = |name: &str| {
            head.lines().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
            })
        };
        let mut state = shared.0.lock().unwrap();
        if let Some(key) = header("sec-websocket-key") {
            if state.stopping {
                return Ok(());
            }
            if let Some(status) = state.refuse {
                return tcp.write_all(answer(status, "{}").as_bytes());
            }
            let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
            let path = path.split('?').next().unwrap_or_default();
            let listens = path.strip_prefix("/channel/listen/").map(decode);
            if listens.as_ref().is_some_and(|name| !state.channels.contains_key(name)) {
                return tcp.write_all(answer(403, "{}").as_bytes());
            }
            let accept = derive_accept_key(key.as_bytes());
            tcp.write_all(
                format!(
                    "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\
                     connection: Upgrade\r\nsec-websocket-accept: {accept}\r\n\r\n"
                )
                .as_bytes(),
            )?;
            let writer = WebSocket::from_raw_socket(tcp.try_clone()?, Role::Server, None);
            let socket = Arc::new(Socket {
                listens,
                tcp: tcp.try_clone()?,
                writer: Mutex::new(writer),
                topics: Mutex::default(),
            });
            state.sockets.push(socket.clone());
            drop(state);
            shared.1.notify_all();
            let reader = WebSocket::from_raw_socket(tcp, Role::Server, None);
            converse(reader, &socket, shared);
            let mut state = shared.0.lock().unwrap();
            state.sockets.retain(|other| !Arc::ptr_eq(other, &socket));
            socket.kill();
            return Ok(());
        }
        let content_type = header("content-type");
        let seen = Seen { connection: number, line: line.clone(), content_type, body };
        state.seen.push(seen.clone());
        let script = state.script.pop_front();
        let usual = match script {
            None | Some(Script::AnswerAndClose) => Some(contract(&mut state, &seen)),
            _ => None,
        };
        drop(state);
        shared.1.notify_all();
        match script {
            None => tcp.write_all(usual.unwrap_or_default().as_bytes())?,
            Some(Script::AnswerAndClose) => {
                return tcp.write_all(usual.unwrap_or_default().as_bytes());
            }
            Some(Script::Answer(status, body)) => {
                tcp.write_all(answer(status, body).as_bytes())?;
            }
            Some(Script::Close) => return Ok(()),
            Some(Script::Raw(bytes)) => tcp.write_all(bytes)?,
            Some(Script::Silence) => {
                let _ = tcp.read(&mut [0; 1]);
                return Ok(());
            }
        }
    }
}

fn request(tcp: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<(String, Vec<u8>)>> {
    let mut chunk = [0; 65536];
    loop {
        if let Some(at) = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..at]).into_owned();
            let length = head
                .lines()
                .find_map(|line| {
                    line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok()
                })
                .unwrap_or(0);
            if buffer.len() >= at + 4 + length {
                let body = buffer[at + 4..at + 4 + length].to_vec();
                buffer.drain(..at + 4 + length);
                return Ok(Some((head, body)));
            }
        }
        match tcp.read(&mut chunk)? {
            0 => return Ok(None),
            count => buffer.extend_from_slice(&chunk[..count]),
        }
    }
}

fn answer(status: u16, body: &str) -> String {
    format!(
        "HTTP/1.1 {status} Status\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn decode(segment: &str) -> String {
    percent::decode(segment).unwrap().into_owned()
}

fn contract(state: &mut State, seen: &Seen) -> String {
    let mut words = seen.line.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let segments: Vec<_> = path.trim_start_matches("/prefix").split('/').skip(1).collect();
    match (method, &segments[..]) {
        ("GET", ["channel", "create", name]) => {
            let name = decode(name);
            if state.channels.contains_key(&name) {
                return answer(400, r#"{"status":"error","message":"Channel already exists"}"#);
            }
            let number = state.channels.len() as u64 + 100;
            state.channels.insert(name, Channel { number, epoch: 7, ..Channel::default() });
            answer(200, r#"{"status":"success","message":"created"}"#)
        }
        ("DELETE", ["channel", name]) => match state.channels.remove(&decode(name)) {
            Some(_) => answer(200, r#"{"status":"success","message":"deleted"}"#),
            None => answer(404, r#"{"status":"error","message":"Channel not found"}"#),
        },
        ("GET", ["channel", "send", name, message]) => {
            let message = decode(message);
            sent(publish(state, &decode(name), MessageKind::Text, message.as_bytes()))
        }
        ("POST", ["channel", "send", name]) => {
            let kind = match seen.content_type.as_deref() {
                Some("application/octet-stream") => MessageKind::Binary,
                _ => MessageKind::Text,
            };
            sent(publish(state, &decode(name), kind, &seen.body))
        }
        _ => answer(404, r#"{"status":"error","message":"Not found"}"#),
    }
}

fn sent(position: Option<Position>) -> String {
    match position {
        None => answer(404, r#"{"status":"error","message":"Channel not found"}"#),
        Some(Position { epoch, offset }) => answer(
            200,
            &format!(
                r#"{{"status":"success","message":"Message broadcasted","epoch":{epoch},"offset":{offset}}}"#
            ),
        ),
    }
}

fn publish(state: &mut State, name: &str, kind: MessageKind, data: &[u8]) -> Option<Position> {
    let channel = state.channels.get_mut(name)?;
    channel.offset += 1;
    let (number, position) = (channel.number, channel.position());
    let plain = match kind {
        MessageKind::Text => Message::text(String::from_utf8(data.to_vec()).unwrap()),
        MessageKind::Binary => Message::binary(data.to_vec()),
    };
    let mut packet = stream::message_header(number, position.offset, kind).to_vec();
    packet.extend_from_slice(data);
    let packet = Bytes::from(packet);
    channel.history.push_back(packet.clone());
    if channel.history.len() > channel.keeps {
        channel.history.pop_front();
    }
    let packet = Message::Binary(packet);
    for socket in &state.sockets {
        match &socket.listens {
            Some(channel) if channel == name => socket.send(plain.clone()),
            None if socket.topics.lock().unwrap().contains(&number) => socket.send(packet.clone()),
            _ => {}
        }
    }
    Some(position)
}

fn converse(
    mut reader: WebSocket<TcpStream>,
    socket: &Arc<Socket>,
    shared: &(Mutex<State>, Condvar),
) {
    while let Ok(message) = reader.read() {
        let Message::Binary(bytes) = message else { continue };
        if socket.listens.is_some() {
            continue;
        }
        let Some(request) = stream::decode_request(&bytes) else { return };
        let mut state = shared.0.lock().unwrap();
        let known = state.channels.get(request.channel).cloned();
        let mut reply = Reply { id: request.id, ..Reply::default() };
        let mut missed = Vec::new();
        let word = match request.op {
            Op::Subscribe | Op::Resume(_) => {
                if let Some(channel) = &known {
                    reply.channel = channel.number;
                    reply.position = channel.position();
                    if let Op::Resume(since) = request.op
                        && let Some(behind) = channel.behind(since)
                    {
                        (reply.recovered, reply.position, missed) = (true, since, behind);
                    }
                    socket.topics.lock().unwrap().push(channel.number);
                }
                if request.op == Op::Subscribe { "subscribe" } else { "resume" }
            }
            Op::Unsubscribe => {
                if let Some(channel) = &known {
                    socket.topics.lock().unwrap().retain(|number| *number != channel.number);
                }
                "unsubscribe"
            }
            Op::Publish(kind, data) | Op::PublishWith(Publication { kind, data, .. }) => {
                if !state.mute
                    && let Some(position) = publish(&mut state, request.channel, kind, data)
                {
                    reply.position = position;
                }
                "publish"
            }
        };
        if known.is_none() {
            (reply.status, reply.error) = (404, "Channel not found");
        }
        let muted = state.mute && word == "publish";
        if !muted && (request.id != 0 || reply.status != 0) {
            let mut bytes = Vec::new();
            stream::encode_reply(&mut bytes, &reply);
            debug_assert!(matches!(stream::decode_packet(&bytes), Some(Packet::Reply(_))));
            socket.send(Message::binary(bytes));
        }
        missed.into_iter().for_each(|packet| socket.send(Message::Binary(packet)));
        state.asked.push((word, request.channel.to_owned()));
        drop(state);
        shared.1.notify_all();
    }
}
