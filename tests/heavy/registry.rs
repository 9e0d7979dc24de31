//! Ten thousand connections with names come, are bound to users, enter groups, hear messages and go,
//! each in its own way; afterwards the registries are empty and nothing is kept.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use qyun::delivery::Mode;
use qyun::hub::{Connection, Filter};
use qyun::server::dialect::host::{EndedBy, Host, Program};
use qyun::server::dialect::{Closure, EndpointOptions, Request};
use qyun::server::{Server, Service};
use qyun::wire::MessageKind;

use crate::kit::{alone, open, until_deserted};
use crate::process;
use crate::raw::{PATIENCE, masked, server, until};

const USERS: usize = 50;
const GROUPS: usize = 20;

/// Binds everybody to a user, and lets everybody into two groups; speaks with all of them.
struct Meddler {
    service: OnceLock<Weak<Service>>,
    opened: AtomicUsize,
    ended: AtomicUsize,
}

impl Meddler {
    fn service(&self) -> Option<Arc<Service>> {
        self.service.get()?.upgrade()
    }
}

impl Program for Meddler {
    fn connect(&self, request: &Arc<Request>) {
        let n: usize = request.query().parse().unwrap_or(0);
        request.accept(None, Some(&format!("user {}", n % USERS))).unwrap();
    }

    fn open(&self, connection: &Arc<Connection>) {
        let n = self.opened.fetch_add(1, SeqCst);
        let Some(service) = self.service() else { return };
        // The client may be gone by now: every one of these may fail, and leave nothing.
        for group in [n, n * 7 + 1] {
            let _ = service.enter_group(connection, &format!("group {}", group % GROUPS));
        }
        connection.increment("n", 1).unwrap();
        let _ = service.send(connection, MessageKind::Text, b"welcome");
    }

    fn message(&self, connection: &Arc<Connection>, _: MessageKind, _: &[u8]) {
        let Some(service) = self.service() else { return };
        let n = self.opened.load(SeqCst);
        let _ = service.registry().bind(connection, &format!("user {}", (n + 1) % USERS));
        let _ = service.quit_channel(connection, &format!("group {}", n % GROUPS));
        let group = format!("group {}", (n + 1) % GROUPS);
        let _ = service.publish(&group, MessageKind::Text, b"to the group");
    }

    fn disconnect(&self, connection: &Arc<Connection>, _: &Closure, _: EndedBy) {
        assert!(connection.user().is_none() && connection.channels().is_empty());
        self.ended.fetch_add(1, SeqCst);
    }
}

/// One connection's life at one of the dialects.
fn visit(server: &Server, n: usize) {
    let target = match n % 5 {
        0 => format!("/ws?{n}"),
        // Some displace each other.
        1 => format!("/join?uid={}", n % 97),
        2 => "/".to_owned(),
        _ => format!("/host?{n}"),
    };
    let (mut stream, _) = open(server.local_addr(), &target);
    let subscribe =
        r#"{"id":1,"type":"request","action":"subscribe","payload":{"channel":"lasting"}}"#;
    let said = match n % 5 {
        0 => masked(0x81, subscribe.as_bytes()),
        1 => masked(0x82, b"\xfe\xef\x08\0\0\0\x01\0\0\0\0\0\0\0"),
        _ => masked(0x81, b"ping"),
    };
    // A displaced one may be closed already.
    let _ = stream.write_all(&said);
    leave(stream, n);
}

fn leave(mut stream: TcpStream, n: usize) {
    match n / 5 % 4 {
        0 => {
            let _ = stream.write_all(&masked(0x88, b"\x03\xe8"));
            read_to_end(&mut stream);
        }
        1 => {
            let _ = stream.shutdown(std::net::Shutdown::Write);
            read_to_end(&mut stream);
        }
        2 => socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap(),
        _ => {}
    }
}

fn read_to_end(stream: &mut TcpStream) {
    let mut buffer = [0; 16 << 10];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return,
            Err(error) => panic!("the server does not end the connection: {error}"),
        }
    }
}

/// Whoever operates the server: binds, sends, closes and lists while they come and go.
fn operate(service: &Service, over: &AtomicBool) {
    for n in 0.. {
        if over.load(SeqCst) {
            return;
        }
        let page = service.connections(&Filter::default(), None, 3);
        for (at, info) in page.iter().enumerate() {
            let _ = service.bind_user(&info.id, &format!("user {}", n % USERS));
            let _ = service.join_group(&info.id, &format!("group {}", (n + at) % GROUPS));
            if n % 16 == 0 {
                let _ = service.close_connection(&info.id, 4000, "out");
            }
        }
        let _ = service.send_to_user(&format!("user {}", n % USERS), MessageKind::Text, b"you");
        let _ = service.broadcast(None, MessageKind::Text, b"all");
        let _ = service.publish("lasting", MessageKind::Binary, &[0; 200]);
        std::thread::yield_now();
    }
}

fn crowd(server: &Server, visits: usize) {
    let (next, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| operate(server.service(), &over));
        let visitors: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    loop {
                        match next.fetch_add(1, SeqCst) {
                            n if n < visits => visit(server, n),
                            _ => return,
                        }
                    }
                })
            })
            .collect();
        let ends: Vec<_> = visitors.into_iter().map(|visitor| visitor.join()).collect();
        over.store(true, SeqCst);
        ends.into_iter().for_each(|end| end.unwrap());
    });
}

/// Nobody is there, under any name.
fn assert_empty(server: &Server, meddler: &Meddler) {
    let service = server.service();
    until("the program has heard of every end", || {
        meddler.ended.load(SeqCst) == meddler.opened.load(SeqCst)
    });
    assert_eq!(service.connection_count(&Filter::default()), 0);
    assert_eq!((service.user_count(), service.users(None, 9).len()), (0, 0));
    assert_eq!(service.group_count(), 0);
    let channels: Vec<_> = service.channels().into_iter().map(|info| info.name).collect();
    assert_eq!(channels, ["lasting"]);
    assert_eq!(service.channel("lasting").unwrap().subscribers, 0);
    for endpoint in service.endpoints() {
        assert_eq!(endpoint.everyone.info().subscribers, 0, "{}", endpoint.path);
        assert_eq!(service.registry().len_at(&endpoint.path), 0, "{}", endpoint.path);
    }
    assert_eq!(service.delivery().jobs(), 0);
}

#[test]
fn ten_thousand_names_leave_nothing() {
    let _alone = alone();
    let small = [("inbox_bytes", "262144"), ("queue_bytes", "65536")];
    let server = server(&[("shards", "2"), small[0], small[1]]);
    let service = server.service();
    service.create_channel("lasting").unwrap();
    for mode in [Mode::Thread, Mode::Inline] {
        let meddler = Arc::new(Meddler {
            service: OnceLock::from(Arc::downgrade(service)),
            opened: AtomicUsize::new(0),
            ended: AtomicUsize::new(0),
        });
        let before = service.counters().connections_total;
        let program: Arc<dyn Program> = meddler.clone();
        let host = Host::new(program, Arc::clone(service.delivery()), mode);
        service.add_endpoint("/host", EndpointOptions::default(), Arc::new(host)).unwrap();
        // The first ones fill the allocator's caches.
        crowd(&server, 1000);
        until_deserted(&server, before + 1000);
        assert_empty(&server, &meddler);
        let (descriptors, memory) = (process::descriptors(), process::memory());

        crowd(&server, 10_000);
        until_deserted(&server, before + 11_000);
        assert_empty(&server, &meddler);
        assert_eq!(meddler.opened.load(SeqCst), 4400);
        assert_eq!(process::descriptors(), descriptors);
        let grown = process::memory().saturating_sub(memory);
        assert!(grown < 8 << 20, "10000 connections left {grown} bytes");

        service.remove_endpoint("/host").unwrap();
        until("the program is let go", || Arc::strong_count(&meddler) == 1);
    }
    assert!(server.stop(PATIENCE));
}
