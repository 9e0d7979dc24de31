//! The host dialect: a program behind the connections of a path.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};

use qyun::delivery::Mode;
use qyun::hub::Connection;
use qyun::server::Server;
use qyun::server::dialect::host::{EndedBy, Host, Program};
use qyun::server::dialect::{Closure, EndpointOptions, Request};
use qyun::wire::MessageKind;
use qyun::{Error, ErrorKind};

use crate::kit::{Frame, KEY, PATIENCE, Raw, masked, server, until};

/// What a program was called for.
#[derive(Debug, PartialEq, Eq)]
enum Called {
    Connect(String),
    Open(String),
    Message(MessageKind, Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    Error(ErrorKind),
    Disconnect { code: u16, by: EndedBy, user: Option<String>, channels: Vec<String> },
    Dropped,
}

type Decide = dyn Fn(&Arc<Request>) + Send + Sync;

/// Tells of every call, and echoes. A message "wait" waits for the gate.
struct Recorder {
    calls: mpsc::Sender<Called>,
    decide: Box<Decide>,
    gate: Mutex<mpsc::Receiver<()>>,
}

impl Recorder {
    fn tell(&self, called: Called) {
        let _ = self.calls.send(called);
    }
}

impl Program for Recorder {
    fn connect(&self, request: &Arc<Request>) {
        (self.decide)(request);
        self.tell(Called::Connect(request.query().into()));
    }

    fn open(&self, connection: &Arc<Connection>) {
        self.tell(Called::Open(connection.id().to_string()));
    }

    fn message(&self, connection: &Arc<Connection>, kind: MessageKind, data: &[u8]) {
        self.tell(Called::Message(kind, data.to_vec()));
        match data {
            b"wait" => self.gate.lock().unwrap().recv_timeout(PATIENCE).unwrap(),
            b"dismiss" => connection.dismiss(4000, "go"),
            _ => drop(connection.send(&qyun::wire::websocket::Message::new(kind, data))),
        }
    }

    fn hears_pings(&self) -> bool {
        true
    }

    fn ping(&self, _: &Arc<Connection>, data: &[u8]) {
        self.tell(Called::Ping(data.to_vec()));
    }

    fn pong(&self, _: &Arc<Connection>) {
        self.tell(Called::Pong);
    }

    fn error(&self, _: &Arc<Connection>, error: &Error) {
        self.tell(Called::Error(error.kind()));
    }

    fn disconnect(&self, connection: &Arc<Connection>, closure: &Closure, by: EndedBy) {
        assert!(connection.user().is_none() && connection.channels().is_empty());
        let user = connection.last_user().map(|user| user.to_string());
        let channels = connection.last_channels();
        self.tell(Called::Disconnect { code: closure.code, by, user, channels });
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.tell(Called::Dropped);
    }
}

struct Hosted {
    calls: mpsc::Receiver<Called>,
    gate: mpsc::Sender<()>,
}

impl Hosted {
    fn next(&self) -> Called {
        self.calls.recv_timeout(PATIENCE).unwrap()
    }

    fn opened(&self) -> String {
        assert!(matches!(self.next(), Called::Connect(_)));
        match self.next() {
            Called::Open(id) => id,
            other => panic!("{other:?}"),
        }
    }

    fn disconnected(&self) -> (u16, EndedBy) {
        match self.next() {
            Called::Disconnect { code, by, .. } => (code, by),
            other => panic!("{other:?}"),
        }
    }
}

fn hosted(
    server: &Server,
    mode: Mode,
    options: &[(&str, &str)],
    decide: impl Fn(&Arc<Request>) + Send + Sync + 'static,
) -> Hosted {
    let (calls, receiver) = mpsc::channel();
    let (open, gate) = mpsc::channel();
    let program = Recorder { calls, decide: Box::new(decide), gate: Mutex::new(gate) };
    let mut limits = EndpointOptions::default();
    for (key, value) in options {
        limits.set(key, value).unwrap();
    }
    let service = server.service();
    let host = Host::new(Arc::new(program), Arc::clone(service.delivery()), mode);
    service.add_endpoint("/h", limits, Arc::new(host)).unwrap();
    Hosted { calls: receiver, gate: open }
}

const MODES: [Mode; 2] = [Mode::Thread, Mode::Inline];

fn text(data: &str) -> Called {
    Called::Message(MessageKind::Text, data.into())
}

#[test]
fn a_program_hears_everything_in_order() {
    for mode in MODES {
        let server = server(&[]);
        let host = hosted(&server, mode, &[], |request| {
            request.accept(Some("me"), Some("ann")).unwrap();
            assert_eq!(request.refuse(403, "").unwrap_err().kind(), ErrorKind::Closed);
        });
        let mut raw = Raw::connect(server.local_addr());
        assert_eq!(raw.upgrade("/h?a=1", "").status, 101);
        assert_eq!(host.next(), Called::Connect("a=1".into()));
        assert_eq!(host.next(), Called::Open("me".into()));
        for n in 0..200 {
            raw.send_frame(0x81, n.to_string().as_bytes());
        }
        for n in 0..200 {
            assert_eq!(host.next(), text(&n.to_string()));
            assert_eq!(raw.message(), Frame::text(&n.to_string()));
        }
        raw.send_frame(0x89, b"hey");
        raw.send_frame(0x8a, b"");
        assert_eq!(host.next(), Called::Ping(b"hey".to_vec()));
        assert_eq!(host.next(), Called::Pong);
        server.service().join_group("me", "room").unwrap();
        assert_eq!(raw.message(), Frame { opcode: 10, payload: b"hey".to_vec() });
        raw.send_frame(0x88, &1000u16.to_be_bytes());
        let (user, channels) = (Some("ann".into()), vec!["room".into()]);
        let by = EndedBy::Client;
        assert_eq!(host.next(), Called::Disconnect { code: 1000, by, user, channels });
        assert_eq!(server.service().connection_count(&Default::default()), 0);
        server.stop(PATIENCE);
        assert_eq!(host.next(), Called::Dropped);
    }
}

#[test]
fn every_way_to_decide() {
    for mode in MODES {
        let server = server(&[]);
        let kept: Arc<Mutex<Vec<Arc<Request>>>> = Arc::default();
        let keep = Arc::clone(&kept);
        let host = hosted(&server, mode, &[], move |request| match request.query() {
            "refuse" => {
                for wrong in [200, 399, 600] {
                    let error = request.refuse(wrong, "").unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
                }
                request.refuse(402, "Pay first").unwrap();
            }
            "ids" => {
                for wrong in ["", "a\nb", &"x".repeat(256)] {
                    let error = request.accept(Some(wrong), None).unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
                }
                let error = request.accept(None, Some("")).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            }
            "keep" => keep.lock().unwrap().push(request.keep()),
            _ => {}
        });
        let address = server.local_addr();
        let refused = Raw::connect(address).upgrade("/h?refuse", "");
        assert_eq!((refused.status, refused.body.contains("Pay first")), (402, true));
        assert_eq!(host.next(), Called::Connect("refuse".into()));
        // What decides nothing admits.
        let mut raw = Raw::connect(address);
        assert_eq!(raw.upgrade("/h?ids", "").status, 101);
        assert_eq!(host.opened().len(), 36);

        let ask = |target: &str| {
            let mut raw = Raw::connect(address);
            raw.send(format!(
                "GET {target} HTTP/1.1\r\nHost: t\r\nOrigin: o\r\nConnection: Upgrade\r\n\
                 Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
            ));
            assert_eq!(host.next(), Called::Connect("keep".into()));
            (raw, kept.lock().unwrap().pop().unwrap())
        };
        let (mut raw, request) = ask("/h?keep");
        assert_eq!((request.path(), request.origin().as_str()), ("/h", "o"));
        assert_eq!(request.remote(), raw.stream.local_addr().unwrap());
        request.accept(Some("later"), None).unwrap();
        assert_eq!(raw.answer().status, 101);
        assert_eq!(host.next(), Called::Open("later".into()));
        let (mut raw, request) = ask("/h?keep");
        request.refuse(429, "Not now").unwrap();
        assert_eq!(raw.answer().status, 429);
        // Nobody can decide any more.
        let (mut raw, request) = ask("/h?keep");
        drop(request);
        assert_eq!(raw.answer().status, 503);
    }
}

#[test]
fn what_goes_wrong_is_an_error_before_the_end() {
    for mode in MODES {
        let server = server(&[]);
        let host = hosted(&server, mode, &[("max_message_bytes", "100")], |_| {});
        let open = || {
            let raw = Raw::websocket(server.local_addr(), "/h");
            host.opened();
            raw
        };
        let mut raw = open();
        raw.send_frame(0x83, b"no such opcode");
        assert_eq!(raw.message().close_code(), Some(1002));
        assert_eq!(host.next(), Called::Error(ErrorKind::Protocol));
        assert_eq!(host.disconnected(), (1002, EndedBy::Server));
        let mut raw = open();
        raw.send_frame(0x82, &[0; 101]);
        assert_eq!(raw.message().close_code(), Some(1009));
        assert_eq!(host.next(), Called::Error(ErrorKind::TooLarge));
        assert_eq!(host.disconnected(), (1009, EndedBy::Server));
        drop(open());
        assert_eq!(host.next(), Called::Error(ErrorKind::Connect));
        assert_eq!(host.disconnected(), (1006, EndedBy::Client));
        // The program's own doing is no fault.
        let mut raw = open();
        raw.send_frame(0x81, b"dismiss");
        assert_eq!(raw.message().close_code(), Some(4000));
        assert_eq!(host.next(), text("dismiss"));
        assert_eq!(host.disconnected(), (4000, EndedBy::Program));
    }
}

#[test]
fn a_client_that_is_silent_or_takes_nothing_is_an_error() {
    let server = server(&[("queue_bytes", "100000000")]);
    let limits = [("ping_interval_ms", "50"), ("pong_wait_ms", "100"), ("write_wait_ms", "60000")];
    let host = hosted(&server, Mode::Thread, &limits, |_| {});
    let mut raw = Raw::websocket(server.local_addr(), "/h");
    host.opened();
    assert_eq!(raw.frame().opcode, 9);
    assert_eq!(raw.message().close_code(), Some(3012));
    assert_eq!(host.next(), Called::Error(ErrorKind::Timeout));
    assert_eq!(host.disconnected(), (3012, EndedBy::Server));

    server.service().remove_endpoint("/h").unwrap();
    let limits = [("ping_interval_ms", "0"), ("write_wait_ms", "100")];
    let host = hosted(&server, Mode::Thread, &limits, |_| {});
    let _raw = Raw::websocket(server.local_addr(), "/h");
    let id = host.opened();
    for _ in 0..32 {
        let _ = server.service().send_to(&id, MessageKind::Binary, &[0; 1 << 20]);
    }
    assert_eq!(host.next(), Called::Error(ErrorKind::Timeout));
    assert_eq!(host.disconnected(), (1006, EndedBy::Server));
}

#[test]
fn removing_the_endpoint_ends_all_and_drops_the_program() {
    for mode in MODES {
        let server = server(&[("shards", "2")]);
        let kept: Arc<Mutex<Vec<Arc<Request>>>> = Arc::default();
        let keep = Arc::clone(&kept);
        let host = hosted(&server, mode, &[], move |request| {
            if request.query() == "keep" {
                keep.lock().unwrap().push(request.keep());
            }
        });
        let mut open = Raw::websocket(server.local_addr(), "/h");
        host.opened();
        let mut waiting = Raw::connect(server.local_addr());
        waiting.send(format!(
            "GET /h?keep HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
        ));
        assert_eq!(host.next(), Called::Connect("keep".into()));
        server.service().remove_endpoint("/h").unwrap();
        assert_eq!(waiting.answer().status, 404);
        assert_eq!(open.message().close_code(), Some(1001));
        assert_eq!(host.disconnected(), (1001, EndedBy::Server));
        assert_eq!(host.next(), Called::Dropped);
        let request = kept.lock().unwrap().pop().unwrap();
        assert_eq!(request.accept(None, None).unwrap_err().kind(), ErrorKind::Closed);
        // The path is free again.
        let host = hosted(&server, mode, &[], |_| {});
        Raw::websocket(server.local_addr(), "/h");
        host.opened();
    }
}

#[test]
fn endpoints_that_come_and_go_leave_no_connection_behind() {
    let server = server(&[("shards", "2")]);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(SeqCst) {
                    let mut raw = Raw::connect(server.local_addr());
                    if raw.upgrade("/h", "").status == 101 {
                        // The end of its endpoint.
                        assert_eq!(raw.message().close_code(), Some(1001));
                    }
                }
            });
        }
        for round in 0..200 {
            let host = hosted(&server, MODES[round % 2], &[], |_| {});
            // In some rounds somebody is there when it goes, in others perhaps just coming.
            if round % 3 == 0 {
                while !matches!(host.next(), Called::Open(_)) {}
            }
            server.service().remove_endpoint("/h").unwrap();
            while host.next() != Called::Dropped {}
        }
        stop.store(true, SeqCst);
    });
    until("nobody is left", || server.service().connection_count(&Default::default()) == 0);
}

#[test]
fn stopping_says_1000_and_drops_the_program_when_it_has_heard() {
    for mode in MODES {
        let server = server(&[]);
        let host = hosted(&server, mode, &[], |_| {});
        let mut raw = Raw::websocket(server.local_addr(), "/h");
        host.opened();
        std::thread::scope(|scope| {
            let stopping = scope.spawn(|| server.stop(PATIENCE));
            assert_eq!(raw.message().close_code(), Some(1000));
            raw.send_frame(0x88, &1000u16.to_be_bytes());
            assert!(stopping.join().unwrap());
        });
        assert_eq!(host.disconnected(), (1000, EndedBy::Server));
        assert_eq!(host.next(), Called::Dropped);
        let error = server.service().add_endpoint(
            "/h",
            EndpointOptions::default(),
            Arc::new(Host::new(
                Arc::new(Silent),
                Arc::clone(server.service().delivery()),
                Mode::Inline,
            )),
        );
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Closed);
    }
}

struct Silent;

impl Program for Silent {}

#[test]
fn a_slow_program_slows_its_clients_and_loses_nothing() {
    const MESSAGES: usize = 4000;
    let server = server(&[("delivery_bytes", "65536"), ("delivery_threads", "1")]);
    let host = hosted(&server, Mode::Thread, &[], |_| {});
    let mut raw = Raw::websocket(server.local_addr(), "/h");
    host.opened();
    raw.send_frame(0x81, b"wait");
    assert_eq!(host.next(), text("wait"));
    let delivery = Arc::clone(server.service().delivery());
    let mut sender = raw.stream.try_clone().unwrap();
    let sending = std::thread::spawn(move || {
        use std::io::Write;
        for n in 0..MESSAGES {
            let mut data = vec![b'x'; 1000];
            data[..4].copy_from_slice(&(n as u32).to_be_bytes());
            sender.write_all(&masked(0x82, &data)).unwrap();
        }
    });
    until("as much waits as may", || delivery.is_busy());
    // It was not read further: a turn's input may be over the bound, not all.
    assert!(delivery.jobs() < MESSAGES / 2, "{} wait", delivery.jobs());
    host.gate.send(()).unwrap();
    for n in 0..MESSAGES {
        let frame = raw.message();
        assert_eq!(frame.payload[..4], (n as u32).to_be_bytes());
    }
    sending.join().unwrap();
}

#[test]
fn a_busy_client_is_read_a_little_at_a_time() {
    // What both sent before the shard reads again: the one's message does not wait for all of the
    // other's.
    let server = server(&[("shards", "1")]);
    let host = hosted(&server, Mode::Inline, &[("read_buffer_bytes", "64")], |_| {});
    let open = || {
        let raw = Raw::websocket(server.local_addr(), "/h");
        host.opened();
        raw
    };
    let (mut gate, mut busy, mut other) = (open(), open(), open());
    gate.send_frame(0x81, b"wait");
    assert_eq!(host.next(), text("wait"));
    for _ in 0..200 {
        busy.send_frame(0x81, b"one of two hundred messages of a busy client");
    }
    other.send_frame(0x81, b"the other's");
    host.gate.send(()).unwrap();
    let before = std::iter::from_fn(|| Some(host.next())).take_while(|c| *c != text("the other's"));
    assert!(before.count() < 20);
}

#[test]
fn joined_writes_keep_the_order_whatever_their_sizes() {
    let server = server(&[]);
    let host = hosted(&server, Mode::Thread, &[("write_buffer_bytes", "64")], |_| {});
    let mut raw = Raw::websocket(server.local_addr(), "/h");
    let id = host.opened();
    let sizes = [0, 1, 30, 31, 60, 61, 62, 63, 64, 65, 200, 5, 20_000, 7];
    for round in 0..20 {
        for size in sizes {
            let payload = vec![round; size];
            server.service().send_to(&id, MessageKind::Binary, &payload).unwrap();
        }
    }
    for round in 0..20 {
        for size in sizes {
            assert_eq!(raw.message(), Frame { opcode: 2, payload: vec![round; size] });
        }
    }
}
