//! A thousand servers, one after another.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use qyun::server::{Server, ServerOptions};

use crate::kit::{alone, open};
use crate::process;
use crate::raw::{PATIENCE, masked, until};

/// The test binary's own threads are called otherwise.
const NAME: &str = "qy-heavy";

fn start() -> Server {
    let mut options = ServerOptions::default();
    let local = "127.0.0.1:0";
    for (key, value) in [("listen", local), ("shards", "2"), ("thread_name", NAME)] {
        options.set(key, value).unwrap();
    }
    #[cfg(feature = "grpc")]
    options.set("grpc_listen", local).unwrap();
    Server::start(options).unwrap()
}

/// One life of a server with a listener that goes when it is told, or does not.
fn live(clean: bool) {
    let server = start();
    server.service().create_channel("test").unwrap();
    let (mut listener, _) = open(server.local_addr(), "/channel/listen/test");
    if let Some(grpc) = server.grpc_addr() {
        let mut caller = TcpStream::connect(grpc).unwrap();
        // HTTP/2's preface, and SETTINGS without any.
        caller.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
        caller.read_exact(&mut [0; 9]).unwrap();
    }
    // A thread names itself.
    let threads = 2 + usize::from(server.grpc_addr().is_some());
    until("all threads have their names", || process::threads(NAME) == threads);
    if clean {
        let stopped = std::thread::scope(|scope| {
            let stopping = scope.spawn(|| server.stop(PATIENCE));
            let mut goodbye = [0; 4];
            listener.read_exact(&mut goodbye).unwrap();
            assert_eq!((goodbye[0], &goodbye[2..]), (0x88, &1012u16.to_be_bytes()[..]));
            listener.write_all(&masked(0x88, &goodbye[2..])).unwrap();
            stopping.join().unwrap()
        });
        assert!(stopped);
    } else {
        assert!(!server.stop(Duration::ZERO));
    }
    let counters = server.service().counters();
    assert_eq!((counters.connections, counters.subscribers), (0, 0));
}

#[test]
fn a_thousand_starts_and_stops_leave_nothing() {
    let _alone = alone();
    // The first ones fill the allocator's caches.
    (0..50).for_each(|n| live(n % 2 == 0));
    let (descriptors, memory) = (process::descriptors(), process::memory());
    for n in 0..1000 {
        live(n % 2 == 0);
        // The system lists a joined thread for a moment.
        until("the threads are gone", || process::threads(NAME) == 0);
        assert_eq!(process::descriptors(), descriptors);
    }
    let grown = process::memory().saturating_sub(memory);
    assert!(grown < 8 << 20, "1000 servers left {grown} bytes");
}
