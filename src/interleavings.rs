//! The pieces that threads share, in many interleavings: shuttle chooses at every lock, atomic and
//! wait which thread goes on, and finds who waits for ever.
//!
//!     cargo test --lib --features shuttle interleavings

use std::time::Duration;

use bytes::Bytes;
use shuttle::thread;

use crate::delivery::Delivery;
use crate::hub::{Channel, ChannelConfig, Connection, Home, Hub, Inbox, Item, Origin, Resume};
use crate::requests::{Clock, Requests};
use crate::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use crate::sync::{Arc, Mutex, mpsc};
use crate::tally::{Counts, Tally};
use crate::wire::http::RequestHead;
use crate::wire::packet::Side;
use crate::wire::websocket::{Extras, Message};
use crate::wire::{Dialect, MessageKind, Position};
use crate::{Error, ErrorKind};

/// Runs `test` in `count` interleavings, half of them chosen at random and half so that few changes
/// of threads bring about what is rare.
fn explore(count: usize, test: fn()) {
    shuttle::check_random(test, count / 2);
    shuttle::check_pct(test, count / 2, 3);
}

fn text(text: &str) -> Message {
    Message::new(MessageKind::Text, text.as_bytes())
}

fn hub(shards: usize) -> (Arc<Hub>, Vec<Arc<Inbox>>) {
    let inbox = |_| Arc::new(Inbox::new(usize::MAX, Box::new(|| {})));
    let inboxes: Vec<_> = (0..shards).map(inbox).collect();
    (Arc::new(Hub::new(inboxes.clone(), 0)), inboxes)
}

fn connection(serial: u64, inbox: &Arc<Inbox>) -> Arc<Connection> {
    let origin = Origin {
        id: serial.to_string().into(),
        dialect: Dialect::Host,
        path: "/".into(),
        remote: ([127, 0, 0, 1], 1).into(),
        request: RequestHead::default(),
        deflates: false,
    };
    let home = Home { inbox: Arc::clone(inbox), shard: 0, token: serial as u32 };
    Arc::new(Connection::new(serial, origin, home))
}

fn take(inbox: &Inbox) -> Vec<Item> {
    let mut items = Vec::new();
    inbox.take(&mut items);
    items
}

fn offsets(items: Vec<Item>) -> Vec<u64> {
    let offset = |item| match item {
        Item::Publish { offset, .. } => Some(offset),
        _ => None,
    };
    items.into_iter().filter_map(offset).collect()
}

#[test]
fn no_wake_up_is_lost_between_publishers_and_a_reader_that_falls_asleep() {
    explore(4000, || {
        let (wake, woken) = mpsc::channel::<()>();
        let wake = Mutex::new(wake);
        let wake = move || wake.lock().unwrap().send(()).unwrap_or_default();
        let inbox = Arc::new(Inbox::new(usize::MAX, Box::new(wake)));
        let hub = Arc::new(Hub::new(vec![Arc::clone(&inbox)], 0));
        let channel = hub.create("c").unwrap();
        channel.subscribe(0, || {}).unwrap();
        let publishers: Vec<_> = (0..2)
            .map(|_| {
                let (hub, channel) = (Arc::clone(&hub), Arc::clone(&channel));
                thread::spawn(move || {
                    for _ in 0..2 {
                        channel.publish(&hub, text("x")).unwrap();
                    }
                })
            })
            .collect();
        let mut seen = 0;
        while seen < 4 {
            if inbox.prepare_sleep() {
                woken.recv().unwrap();
            }
            inbox.awake();
            seen += take(&inbox).len();
        }
        publishers.into_iter().for_each(|publisher| publisher.join().unwrap());
    });
}

#[test]
fn who_waits_for_room_is_woken_by_a_reader_that_takes_and_by_one_that_goes() {
    explore(4000, || {
        let inbox = Arc::new(Inbox::new(1, Box::new(|| {})));
        let hub = Arc::new(Hub::new(vec![Arc::clone(&inbox)], 0));
        let channel = hub.create("c").unwrap();
        channel.subscribe(0, || {}).unwrap();
        channel.publish(&hub, text("full")).unwrap();
        let writers: Vec<_> = (0..2)
            .map(|_| {
                let (hub, channel) = (Arc::clone(&hub), Arc::clone(&channel));
                thread::spawn(move || {
                    hub.wait_for_room();
                    channel.publish(&hub, text("x")).unwrap();
                })
            })
            .collect();
        take(&inbox);
        inbox.close();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        assert!(inbox.is_empty() && !inbox.is_full());
    });
}

#[test]
fn publishers_make_one_order_for_all_shards() {
    explore(2000, || {
        let (hub, inboxes) = hub(2);
        let channel = hub.create("c").unwrap();
        for shard in 0..2 {
            channel.subscribe(shard, || {}).unwrap();
        }
        let publishers: Vec<_> = (0..3)
            .map(|n| {
                let (hub, channel) = (Arc::clone(&hub), Arc::clone(&channel));
                thread::spawn(move || channel.publish(&hub, text(&n.to_string())).unwrap())
            })
            .collect();
        let mut placed: Vec<u64> =
            publishers.into_iter().map(|one| one.join().unwrap().position.offset).collect();
        placed.sort_unstable();
        assert_eq!(placed, [1, 2, 3]);
        let told = |inbox: &Inbox| -> Vec<(u64, Vec<u8>)> {
            let items = take(inbox).into_iter();
            let one = |item| match item {
                Item::Publish { offset, message, .. } => (offset, message.payload().to_vec()),
                other => panic!("{other:?}"),
            };
            items.map(one).collect()
        };
        let first = told(&inboxes[0]);
        assert_eq!(first.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(first, told(&inboxes[1]));
    });
}

#[test]
fn a_subscriber_that_resumes_gets_each_publication_once() {
    explore(3000, || {
        let (hub, inboxes) = hub(1);
        let mut config = ChannelConfig::default();
        config.set("history_size", "100").unwrap();
        let channel = hub.create_with("c", config).unwrap();
        let publisher = {
            let (hub, channel) = (Arc::clone(&hub), Arc::clone(&channel));
            thread::spawn(move || {
                for _ in 0..4 {
                    channel.publish(&hub, text("x")).unwrap();
                }
            })
        };
        let mut at = Position { epoch: channel.epoch(), offset: 0 };
        let mut got = Vec::new();
        loop {
            // One message a page.
            let flush = || assert_eq!(offsets(take(&inboxes[0])), [0; 0], "it is no subscriber");
            match channel.resume(0, at, 1, false, flush).unwrap() {
                Resume::Behind(page) => {
                    got.extend(page.iter().map(|(offset, _)| *offset));
                    at.offset = *got.last().unwrap();
                }
                Resume::Live(page) => {
                    got.extend(page.iter().map(|(offset, _)| *offset));
                    break;
                }
                Resume::Lost => panic!("nothing is let go"),
            }
        }
        publisher.join().unwrap();
        got.extend(offsets(take(&inboxes[0])));
        assert_eq!(got, [1, 2, 3, 4]);
    });
}

#[test]
fn members_come_and_go_while_a_channel_is_published_to_and_deleted() {
    explore(3000, || {
        let (hub, inboxes) = hub(1);
        let channel = hub.create("c").unwrap();
        let member = connection(1, &inboxes[0]);
        let publisher = {
            let (hub, channel) = (Arc::clone(&hub), Arc::clone(&channel));
            thread::spawn(move || {
                let first = channel.publish(&hub, text("x")).is_ok();
                hub.delete("c").unwrap();
                (first, channel.publish(&hub, text("x")).is_err())
            })
        };
        let guest = {
            let (member, channel) = (Arc::clone(&member), Arc::clone(&channel));
            thread::spawn(move || {
                let joined = member.join(&channel).is_ok();
                (joined, member.leave(&channel))
            })
        };
        let (published, refused) = publisher.join().unwrap();
        let (joined, left) = guest.join().unwrap();
        assert!(published && refused && (joined || !left));
        // As a shard sees it: the member is in the list between these.
        let (mut here, mut heard) = (0, Vec::new());
        for item in take(&inboxes[0]) {
            match item {
                Item::Join { .. } => {
                    channel.member_joined(0);
                    here += 1;
                }
                Item::Leave { .. } | Item::Deleted(_) if here == 1 => {
                    channel.unsubscribe(0, true);
                    here -= 1;
                }
                Item::Publish { offset, .. } if here == 1 => heard.push(offset),
                _ => {}
            }
        }
        assert!(heard.is_empty() || heard == [1]);
        assert_eq!(here, 0, "the shard is not told of the end");
        let info = channel.info();
        assert_eq!((info.subscribers, info.members, member.channels().len()), (0, 0, 0));
    });
}

#[test]
fn a_connection_that_closes_while_it_joins_is_in_no_channel() {
    explore(3000, || {
        let (hub, inboxes) = hub(1);
        let group = hub.group("g").unwrap();
        let member = connection(1, &inboxes[0]);
        let joins = {
            let (member, group) = (Arc::clone(&member), Arc::clone(&group));
            thread::spawn(move || member.join(&group).is_ok())
        };
        if let Some((channels, _)) = member.retire() {
            channels.iter().for_each(|channel| hub.reap(channel));
        }
        joins.join().unwrap();
        hub.reap(&group);
        assert_eq!((group.member_count(), member.channels().len(), hub.len()), (0, 0, 0));
    });
}

#[test]
fn a_key_that_is_repeated_at_once_publishes_once() {
    explore(2000, || {
        let (hub, inboxes) = hub(1);
        let channel = hub.create("c").unwrap();
        channel.subscribe(0, || {}).unwrap();
        let repeats: Vec<_> = (0..3)
            .map(|_| {
                let (hub, channel) = (Arc::clone(&hub), Arc::clone(&channel));
                thread::spawn(move || {
                    channel.publish_with(&hub, (&text("x"), Some(b"key"))).unwrap()
                })
            })
            .collect();
        let results: Vec<_> = repeats.into_iter().map(|one| one.join().unwrap()).collect();
        assert!(results.iter().all(|published| published.position.offset == 1));
        assert_eq!(results.iter().filter(|published| !published.duplicate).count(), 1);
        assert_eq!(offsets(take(&inboxes[0])), [1]);
    });
}

#[test]
fn a_tally_is_told_once_and_whole() {
    explore(2000, || {
        let told = Arc::new(Mutex::new(Vec::new()));
        let tell = Arc::clone(&told);
        let tally = Tally::new(move |counts| tell.lock().unwrap().push(counts));
        let message = text("x").sharing(Extras { tally: Some(tally), ..Extras::default() });
        let senders: Vec<_> = (0..3)
            .map(|_| {
                let message = message.clone();
                thread::spawn(move || {
                    let tally = message.tally().unwrap();
                    tally.add(Counts { reached: 1, ..Counts::default() });
                })
            })
            .collect();
        drop(message);
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        let told = told.lock().unwrap();
        assert_eq!(*told, [Counts { reached: 3, ..Counts::default() }]);
    });
}

#[test]
fn the_jobs_of_a_lane_come_in_order_and_stopping_runs_what_waits() {
    explore(1500, || {
        let delivery = Delivery::new("d", 2, usize::MAX);
        let done = Arc::new(Mutex::new(Vec::new()));
        let running = Arc::new(AtomicUsize::new(0));
        let (one, two) = (delivery.lane(), delivery.lane());
        let mut pushed = 0;
        for job in 0..3 {
            let (done, running) = (Arc::clone(&done), Arc::clone(&running));
            pushed += usize::from(one.push(1, move || {
                assert_eq!(running.fetch_add(1, SeqCst), 0, "two jobs of one lane");
                done.lock().unwrap().push(job);
                running.fetch_sub(1, SeqCst);
            }));
        }
        let other = {
            let done = Arc::clone(&done);
            thread::spawn(move || two.push(1, move || done.lock().unwrap().push(9)))
        };
        delivery.stop();
        pushed += usize::from(other.join().unwrap());
        // What came when it was stopped already is dropped, and its pusher told so.
        delivery.stop();
        let done = done.lock().unwrap();
        assert_eq!(done.len(), pushed);
        let of_one: Vec<_> = done.iter().copied().filter(|job| *job < 9).collect();
        assert_eq!(of_one, [0, 1, 2]);
        assert_eq!(delivery.jobs(), 0);
    });
}

#[test]
fn a_request_ends_once_whoever_ends_it() {
    explore(1500, || {
        let clock = Clock::new("c");
        let requests = Requests::new(Arc::clone(&clock), Side::Client);
        let ended = Arc::new(AtomicUsize::new(0));
        let answers = {
            let requests = Arc::clone(&requests);
            thread::spawn(move || {
                [2, 4]
                    .map(|sn| requests.answered(sn, 0, Bytes::new))
                    .into_iter()
                    .filter(|b| *b)
                    .count()
            })
        };
        let closes = {
            let requests = Arc::clone(&requests);
            thread::spawn(move || requests.close(Error::new(ErrorKind::Closed, "gone")))
        };
        let mut asked = 0;
        for _ in 0..2 {
            let ended = Arc::clone(&ended);
            let made = requests.request(
                0,
                Duration::from_secs(3600),
                |_| Ok(()),
                move |_| {
                    ended.fetch_add(1, SeqCst);
                },
            );
            asked += usize::from(made.is_ok());
        }
        let answered = answers.join().unwrap();
        closes.join().unwrap();
        assert!(answered <= asked);
        assert_eq!((ended.load(SeqCst), requests.in_flight()), (asked, 0));
        clock.stop();
    });
}

#[test]
fn names_are_created_and_deleted_once() {
    explore(1500, || {
        let (hub, _) = hub(1);
        let creators: Vec<_> = (0..2)
            .map(|_| {
                let hub = Arc::clone(&hub);
                thread::spawn(move || usize::from(hub.create("c").is_ok()))
            })
            .collect();
        let group: Arc<Channel> = hub.group("c").unwrap();
        let made: usize = creators.into_iter().map(|one| one.join().unwrap()).sum();
        assert!(made == usize::from(!group.is_ephemeral()));
        assert_eq!(hub.len(), 1);
        assert!(hub.delete("c").is_ok() && hub.is_empty());
    });
}
