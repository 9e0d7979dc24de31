//! A thousand servers, one after another.

use std::io::{Read, Write};
use std::time::Duration;

use qyun::server::{Server, ServerOptions};

use crate::kit::{alone, open};
use crate::process;
use crate::raw::{PATIENCE, masked, until};

/// The test binary's own threads are called otherwise.
const NAME: &str = "qy-heavy";

fn start() -> Server {
    let mut options = ServerOptions::default();
    for (key, value) in [("listen", "127.0.0.1:0"), ("shards", "2"), ("thread_name", NAME)] {
        options.set(key, value).unwrap();
    }
    Server::start(options).unwrap()
}

/// One life of a server with a listener that goes when it is told, or does not.
fn live(clean: bool) {
    let server = start();
    server.service().create_channel("test").unwrap();
    let (mut listener, _) = open(server.local_addr(), "/channel/listen/test");
    // A thread names itself.
    until("both shards have their names", || process::threads(NAME) == 2);
    if clean {
        let stopped = std::thread::scope(|scope| {
            let stopping = scope.spawn(|| server.stop(PATIENCE));
            let mut goodbye = [0; 4];
            listener.read_exact(&mut goodbye).unwrap();
            assert_eq!((goodbye[0], &goodbye[2..]), (0x88, &1001u16.to_be_bytes()[..]));
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
