//! Qyun's client and server, with what is between them cut.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use qyun::ErrorKind;
use qyun::client::{
    Client, ClientOptions, Delivery, Event, EventKind, History, Http, listen_channel,
    stop_listening,
};
use qyun::hub::Range;
use qyun::server::{Server, ServerOptions};
use qyun::wire::{MessageKind, Position};

use crate::events::fast;
use crate::relay::Relay;
use crate::server::LONG;

/// Follows a channel that keeps everything: each message is the next one, and says its number.
struct Follower {
    last: AtomicU64,
    reconnections: AtomicU64,
}

impl Follower {
    fn start() -> (Arc<Self>, Delivery) {
        let follower = Arc::new(Self { last: AtomicU64::new(0), reconnections: AtomicU64::new(0) });
        let told = follower.clone();
        (follower, Delivery::Thread(Box::new(move |event| told.take(event))))
    }

    fn take(&self, event: &Event) {
        let last = self.last.load(Ordering::Relaxed);
        match event.kind {
            EventKind::Message => {
                assert_eq!(event.position.offset, last + 1);
                assert_eq!(event.data, (last + 1).to_string());
                self.last.store(last + 1, Ordering::Release);
            }
            EventKind::Connected => {
                assert_ne!(event.recovered, Some(false), "{event:?}");
                if event.recovered == Some(true) {
                    assert_eq!(event.position.offset, last);
                    self.reconnections.fetch_add(1, Ordering::Release);
                }
            }
            EventKind::Join | EventKind::Leave => panic!("nobody asked for it"),
            EventKind::Error | EventKind::Closed => {}
        }
    }

    fn reconnections(&self) -> u64 {
        self.reconnections.load(Ordering::Acquire)
    }

    fn last(&self) -> u64 {
        self.last.load(Ordering::Acquire)
    }
}

struct Raise<'a>(&'a AtomicBool);

impl Drop for Raise<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A server that keeps so many publications of each channel.
fn server(history_size: &str) -> Server {
    let mut options = ServerOptions::default();
    options.set("listen", "127.0.0.1:0").unwrap();
    options.set("namespaces", &format!(">: history_size={history_size}")).unwrap();
    Server::start(options).unwrap()
}

/// Waits until `condition` holds, which some other thread will make true.
fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < LONG, "never came true: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn connections_cut_in_the_middle_of_messages_lose_and_double_nothing() {
    let server = server("1000000");
    let service = server.service().clone();
    service.create_channel("c").unwrap();
    let relay = Relay::to(server.local_addr());
    // A listener waits longer before it comes back, and longer each time.
    let listeners_relay = Relay::to(server.local_addr());
    let host = relay.address.to_string();
    let client = Client::open(&host, fast()).unwrap();
    let (handle, delivery) = Follower::start();
    let _subscription = client.subscribe("c", delivery).unwrap();
    let (listener, delivery) = Follower::start();
    let listened = listeners_relay.address.to_string();
    listen_channel(&listened, "c", delivery).unwrap();
    let epoch = service.channel("c").unwrap().epoch;
    let stop = AtomicBool::new(false);
    let published = std::thread::scope(|scope| {
        // Raised at the end, also at that of a test that fails.
        let raise = Raise(&stop);
        let publisher = scope.spawn(|| {
            let mut number = 0;
            while !stop.load(Ordering::Relaxed) {
                for _ in 0..20 {
                    number += 1;
                    service.publish("c", MessageKind::Text, number.to_string().as_bytes()).unwrap();
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            number
        });
        // Whoever starts in the middle of it all gets what was before, too.
        let mut late = Vec::new();
        for round in 0..20 {
            let (before, reconnections) = (handle.last(), handle.reconnections());
            until("messages come", || handle.last() > before);
            if round < 3 {
                let before = listener.last();
                until("a listener's, too", || listener.last() > before);
                listeners_relay.cut();
            }
            let (follower, delivery) = Follower::start();
            let since = Position { epoch, offset: 0 };
            late.push((client.subscribe_since("c", since, delivery).unwrap(), follower));
            assert!(relay.cut() >= 2);
            until("it comes back", || handle.reconnections() > reconnections);
        }
        drop(raise);
        let published = publisher.join().unwrap();
        for (subscription, follower) in &late {
            until("all of it", || follower.last() == published);
            subscription.close_wait(LONG).unwrap();
        }
        published
    });
    for (follower, reconnections) in [(&handle, 20), (&listener, 3)] {
        until("all of it", || follower.last() == published);
        assert!(follower.reconnections() >= reconnections);
    }
    stop_listening(&listened, "c").unwrap();
    client.close();
}

#[test]
fn a_client_reads_history_a_page_at_a_time() {
    let server = server("5");
    let service = server.service();
    service.create_channel("c").unwrap();
    for (kind, data) in [(MessageKind::Text, &b"\"\n"[..]), (MessageKind::Binary, b"\xff\0")] {
        service.publish("c", kind, data).unwrap();
    }
    let http = Http::new(&server.local_addr().to_string(), &ClientOptions::default()).unwrap();
    let all = Range { after: None, before: None, limit: 1000, backward: false };
    let page = http.history("c", &all).unwrap();
    assert_eq!(page, service.history("c", &all).unwrap().into());
    assert_eq!((page.first, page.more, page.publications.len()), (1, false, 2));
    assert_eq!(page.publications[1].data, &b"\xff\0"[..]);
    let newest = http.history("c", &Range { limit: 1, backward: true, ..all }).unwrap();
    assert_eq!((newest.more, newest.publications[0].offset), (true, 2));
    let older = Range { before: Some(2), backward: true, ..all };
    assert_eq!(http.history("c", &older).unwrap().publications[0].data, "\"\n");
    let error = http.history("c", &Range { limit: 0, ..all }).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    let error = http.history("missing", &all).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ChannelNotFound, "{error}");
}

#[test]
fn publications_that_are_sent_again_are_published_once_and_in_order() {
    let server = server("1000");
    let service = server.service().clone();
    service.create_channel("c").unwrap();
    let relay = Relay::to(server.local_addr());
    let options = ClientOptions { publish_retries: 1000, request_timeout: LONG, ..fast() };
    let client = Client::open(&relay.address.to_string(), options).unwrap();
    let published = AtomicU64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 1..=300_u64 {
                let text = number.to_string();
                let position = client.publish("c", MessageKind::Text, text.as_bytes()).unwrap();
                assert_eq!(position.offset, number);
                published.store(number, Ordering::Release);
            }
        });
        while published.load(Ordering::Acquire) < 300 {
            let before = published.load(Ordering::Acquire);
            relay.cut();
            until("it goes on", || published.load(Ordering::Acquire) > before);
        }
    });
    assert!(client.counters().reconnects >= 10);
    let all = Range { after: None, before: None, limit: 1000, backward: false };
    let page = History::from(service.history("c", &all).unwrap());
    let texts: Vec<_> = page.publications.iter().map(|row| row.data.clone()).collect();
    let expected: Vec<_> = (1..=300).map(|number| number.to_string()).collect();
    assert_eq!(texts, expected);
    client.close();
}
