//! The descriptor of a pull subscription, watched by epoll.

use std::os::fd::RawFd;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Interest, Poll, Token};
use qyun::ErrorKind;
use qyun::client::{Client, Delivery, EventKind};
use qyun::wire::MessageKind;

use crate::events::fast;
use crate::server::{LONG, Server};

/// Whether epoll says that `fd` is readable; a new epoll each time makes it level-triggered.
pub fn readable(fd: RawFd, timeout: Duration) -> bool {
    let mut poll = Poll::new().unwrap();
    poll.registry().register(&mut SourceFd(&fd), Token(0), Interest::READABLE).unwrap();
    let mut events = mio::Events::with_capacity(1);
    poll.poll(&mut events, Some(timeout)).unwrap();
    !events.is_empty()
}

#[test]
fn it_is_readable_exactly_while_something_waits() {
    let server = Server::start();
    server.create("c");
    let client = Client::open(&server.host(), fast()).unwrap();
    let subscription = client.subscribe("c", Delivery::Pull).unwrap();
    // What came before the descriptor was made counts.
    let fd = subscription.poll_fd().unwrap();
    assert_eq!(subscription.poll_fd().unwrap(), fd);
    assert!(readable(fd, LONG));
    assert!(readable(fd, Duration::ZERO), "level-triggered");
    assert_eq!(subscription.recv(LONG).unwrap().kind, EventKind::Connected);
    assert!(!readable(fd, Duration::ZERO));
    for _ in 0..3 {
        client.publish("c", MessageKind::Text, b"x").unwrap();
    }
    assert!(readable(fd, LONG));
    for left in (0..3).rev() {
        subscription.recv(LONG).unwrap();
        assert_eq!(readable(fd, Duration::ZERO), left > 0);
    }
    server.gone("c");
    assert!(readable(fd, LONG));
    assert_eq!(subscription.recv(LONG).unwrap().kind, EventKind::Closed);
    assert!(!readable(fd, Duration::ZERO), "the end was taken");
    assert_eq!(subscription.recv(LONG).unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn closing_makes_it_readable_until_the_end_is_told() {
    let server = Server::start();
    server.create("c");
    let client = Client::open(&server.host(), fast()).unwrap();
    let subscription = client.subscribe("c", Delivery::Pull).unwrap();
    subscription.recv(LONG).unwrap();
    let fd = subscription.poll_fd().unwrap();
    assert!(!readable(fd, Duration::ZERO));
    subscription.close();
    assert!(readable(fd, Duration::ZERO));
    assert_eq!(subscription.recv(Duration::ZERO).unwrap_err().kind(), ErrorKind::Closed);
    assert!(!readable(fd, Duration::ZERO));
}

#[test]
fn no_wake_up_is_lost_between_epoll_and_recv() {
    const COUNT: usize = 5000;
    let server = Server::start();
    server.create("c");
    let client = Client::open(&server.host(), fast()).unwrap();
    let subscription = client.subscribe("c", Delivery::Pull).unwrap();
    let fd = subscription.poll_fd().unwrap();
    let publisher = {
        let client = client.clone();
        std::thread::spawn(move || {
            for number in 0..COUNT {
                while client
                    .publish_nowait("c", MessageKind::Text, number.to_string().into())
                    .is_err()
                {
                    std::thread::yield_now();
                }
            }
        })
    };
    let mut received = 0;
    while received < COUNT {
        assert!(readable(fd, LONG), "asleep after {received} messages");
        let mut events = Vec::new();
        subscription.recv_many(&mut events, 7, Duration::ZERO).unwrap();
        received += events.iter().filter(|event| event.kind == EventKind::Message).count();
    }
    publisher.join().unwrap();
    assert_eq!(subscription.dropped(), 0);
}
