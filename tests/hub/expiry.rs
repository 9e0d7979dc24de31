//! Channels that go when nobody uses them. The time is the test's.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use qyun::hub::{ChannelConfig, Hub};

use super::{hub, text};

const TTL: Duration = Duration::from_millis(8000);

fn config(ttl: Duration) -> ChannelConfig {
    let mut config = ChannelConfig::default();
    config.set("empty_ttl_ms", &ttl.as_millis().to_string()).unwrap();
    config
}

/// Lets time pass from one moment to another, and looks every ms.
struct Time {
    start: Instant,
    at: u64,
}

impl Time {
    fn pass(&mut self, hub: &Hub, ms: u64) {
        for _ in 0..ms {
            self.at += 1;
            hub.expire(self.start + Duration::from_millis(self.at), 100);
        }
    }
}

#[test]
fn an_unused_channel_goes_when_its_time_is_over_and_not_before() {
    let (hub, ..) = hub(2, usize::MAX);
    assert_eq!(hub.next_expiry(Instant::now), None);
    let mut time = Time { start: Instant::now(), at: 0 };
    hub.create_with("c", config(TTL)).unwrap();
    hub.create("stays").unwrap();
    // The channel's time began a little later than the test's.
    assert!(
        hub.next_expiry(Instant::now)
            .is_some_and(|left| left <= TTL / 4 + Duration::from_millis(1))
    );
    time.pass(&hub, 8000);
    assert!(hub.get("c").is_some());
    time.pass(&hub, 2000);
    assert!(hub.get("c").is_none());
    assert!(hub.get("stays").is_some());
    assert_eq!((hub.len(), hub.expired()), (1, 1));
    assert_eq!(hub.next_expiry(Instant::now), None);
}

#[test]
fn publications_and_subscribers_keep_it() {
    let (hub, ..) = hub(2, usize::MAX);
    let mut time = Time { start: Instant::now(), at: 0 };
    let channel = hub.create_with("c", config(TTL)).unwrap();
    time.pass(&hub, 7000);
    channel.publish(&hub, text("x")).unwrap();
    time.pass(&hub, 8000);
    assert!(hub.get("c").is_some());
    // A subscriber that comes and goes between two looks.
    channel.subscribe(0, || {}).unwrap();
    channel.unsubscribe(0, true);
    time.pass(&hub, 8000);
    assert!(hub.get("c").is_some());
    channel.subscribe(1, || {}).unwrap();
    time.pass(&hub, 100_000);
    assert!(hub.get("c").is_some());
    channel.unsubscribe(1, true);
    time.pass(&hub, 8000);
    assert!(hub.get("c").is_some());
    time.pass(&hub, 4100);
    assert!(hub.get("c").is_none());
    assert!(channel.publish(&hub, text("x")).is_err());
    assert!(channel.subscribe(0, || {}).is_err());
}

#[test]
fn one_that_was_deleted_takes_nothing_of_its_successor() {
    let (hub, ..) = hub(1, usize::MAX);
    let mut time = Time { start: Instant::now(), at: 0 };
    hub.create_with("c", config(TTL)).unwrap();
    hub.delete("c").unwrap();
    let next = hub.create("c").unwrap();
    time.pass(&hub, 20_000);
    assert!(Arc::ptr_eq(&hub.get("c").unwrap(), &next));
    assert_eq!(hub.expired(), 0);
}

/// What was published and not refused was published before the channel went: the next one of the
/// name begins at offset 1 and a later epoch, and nobody ever publishes into a channel that is gone.
#[test]
fn whoever_races_with_the_end_comes_before_it_or_is_told() {
    let (hub, ..) = hub(1, usize::MAX);
    let hub = Arc::new(hub);
    let ttl = Duration::from_millis(1);
    let (stop, published) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // A clock that runs away: whatever is not used at this very moment is too old.
            let mut now = Instant::now();
            while !stop.load(SeqCst) {
                now += ttl;
                hub.expire(now, 100);
            }
        });
        let (mut last, mut channel) = ((0, 0), None);
        while hub.expired() < 200 || published.load(SeqCst) < 20_000 {
            let used = channel.get_or_insert_with(|| hub.create_with("c", config(ttl)).unwrap());
            match used.publish(&hub, text("x")) {
                Ok(done) => {
                    let (epoch, offset) = (done.position.epoch, done.position.offset);
                    let expected = if epoch == last.0 { last.1 + 1 } else { 1 };
                    assert!(epoch >= last.0);
                    assert_eq!(offset, expected);
                    last = (epoch, offset);
                    published.fetch_add(1, SeqCst);
                    // Now and then it is left alone.
                    if offset % 100 == 0 {
                        std::thread::yield_now();
                        std::thread::sleep(Duration::from_micros(50));
                    }
                }
                // It is gone from the registry at the same moment.
                Err(_) => {
                    assert!(hub.get("c").is_none());
                    channel = None;
                }
            }
        }
        stop.store(true, SeqCst);
    });
}
