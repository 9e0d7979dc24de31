//! Ten thousand connections come, do something and go, each in its own way, while messages flow.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use qyun::server::Server;
use qyun::wire::MessageKind;
use qyun::wire::stream::{Op, PATH};

use crate::kit::{alone, open, stream_packet, until_deserted, upgrade};
use crate::process;
use crate::raw::{PATIENCE, masked, server};

const CHANNELS: usize = 16;

/// One connection's life. `n` says what kind it is and how it ends.
fn visit(address: SocketAddr, n: usize) {
    let channel = format!("churn-{}", n % CHANNELS);
    let stream = match n % 5 {
        0 | 1 => open(address, &format!("/channel/listen/{channel}")).0,
        2 => {
            let (mut stream, _) = open(address, PATH);
            // One packet for each channel, and the end before all are answered.
            for other in 0..CHANNELS {
                let name = format!("churn-{other}");
                // It may be refused already: so be it, the connection ends either way.
                let _ = stream.write_all(&stream_packet(1, &name, Op::Subscribe));
            }
            stream
        }
        3 => {
            let (mut stream, _) = open(address, &format!("/channel/send/{channel}"));
            stream.write_all(&masked(0x81, b"from a sender")).unwrap();
            // Half a frame.
            stream.write_all(&masked(0x01, b"unfinished")[..7]).unwrap();
            stream
        }
        _ => {
            let mut stream = TcpStream::connect(address).unwrap();
            let request = upgrade(&format!("/channel/listen/{channel}"));
            let cut = n % (request.len() + 1);
            stream.write_all(&request[..cut]).unwrap();
            stream
        }
    };
    leave(stream, n);
}

fn leave(mut stream: TcpStream, n: usize) {
    match n / 5 % 4 {
        // The closing handshake, to its end.
        0 if n % 5 < 3 => {
            stream.write_all(&masked(0x88, b"\x03\xe8")).unwrap();
            read_to_end(&mut stream);
        }
        // The end of one side, to the other's.
        1 => {
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            read_to_end(&mut stream);
        }
        // A reset.
        2 => socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap(),
        // Both sides at once, with whatever is unread.
        _ => {}
    }
}

fn read_to_end(stream: &mut TcpStream) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut buffer = [0; 16 << 10];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return,
            Err(error) => panic!("the server does not end the connection: {error}"),
        }
    }
}

/// `visits` connections from four threads, with messages on every channel all the while.
fn crowd(server: &Server, visits: usize) {
    let (next, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let message = [b'm'; 200];
            for channel in (0..CHANNELS).cycle() {
                if over.load(SeqCst) {
                    return;
                }
                let name = format!("churn-{channel}");
                server.service().publish(&name, MessageKind::Text, &message).unwrap();
                std::thread::yield_now();
            }
        });
        let visitors: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    loop {
                        match next.fetch_add(1, SeqCst) {
                            n if n < visits => visit(server.local_addr(), n),
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

#[test]
fn ten_thousand_visits_leave_nothing() {
    let _alone = alone();
    // Small queues, so that what the allocator keeps of a busy moment does not hide a leak.
    let small = [("inbox_bytes", "262144"), ("queue_bytes", "65536")];
    let server = server(&[("shards", "2"), small[0], small[1]]);
    let service = server.service();
    for channel in 0..CHANNELS {
        service.create_channel(&format!("churn-{channel}")).unwrap();
    }
    let descriptors = process::descriptors();
    // The first ones fill the allocator's caches.
    crowd(&server, 1000);
    until_deserted(&server, 1000);
    let memory = process::memory();

    crowd(&server, 10_000);
    until_deserted(&server, 11_000);
    assert_eq!(process::descriptors(), descriptors);
    let grown = process::memory().saturating_sub(memory);
    assert!(grown < 8 << 20, "10000 connections left {grown} bytes");

    for info in service.channels() {
        assert_eq!(info.subscribers, 0, "{}", info.name);
        service.delete_channel(&info.name).unwrap();
    }
    assert_eq!(service.counters().channels, 0);
    assert!(server.stop(PATIENCE));
}
