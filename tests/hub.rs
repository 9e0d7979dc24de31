//! The core alone: channels, order, inboxes. No sockets.

#![allow(missing_docs)]

#[path = "hub/expiry.rs"]
mod expiry;
#[path = "hub/presence.rs"]
mod presence;
#[path = "hub/wildcards.rs"]
mod wildcards;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier, mpsc};
use std::time::Duration;

use proptest::prelude::*;
use qyun::ErrorKind;
use qyun::hub::{Channel, Hub, Inbox, Item};
use qyun::wire::MessageKind;
use qyun::wire::websocket::Message;

fn text(text: &str) -> Message {
    Message::new(MessageKind::Text, text.as_bytes())
}

/// A hub and its inboxes, which count how often they were woken.
fn hub(shards: usize, max_bytes: usize) -> (Hub, Vec<Arc<Inbox>>, Vec<Arc<AtomicUsize>>) {
    let wakes: Vec<_> = (0..shards).map(|_| Arc::new(AtomicUsize::new(0))).collect();
    let inboxes: Vec<_> = wakes
        .iter()
        .map(|count| {
            let count = Arc::clone(count);
            let wake = move || {
                count.fetch_add(1, SeqCst);
            };
            Arc::new(Inbox::new(max_bytes, Box::new(wake)))
        })
        .collect();
    (Hub::new(inboxes.clone(), 0), inboxes, wakes)
}

/// What a shard was told: channel number, offset, payload; a deletion has no offset.
fn take(inbox: &Inbox) -> Vec<(u64, Option<u64>, Vec<u8>)> {
    let mut items = Vec::new();
    inbox.take(&mut items);
    let told = items.into_iter().map(|item| match item {
        Item::Publish { channel, offset, message } => {
            (channel.id(), Some(offset), message.payload().to_vec())
        }
        Item::Deleted(channel) => (channel.id(), None, Vec::new()),
        other => panic!("{other:?}"),
    });
    told.collect()
}

#[test]
fn a_publication_reaches_exactly_the_shards_that_have_subscribers() {
    let (hub, inboxes, wakes) = hub(3, usize::MAX);
    let channel = hub.create("c").unwrap();
    channel.publish(&hub, text("nobody")).unwrap();
    channel.subscribe(0, || {}).unwrap();
    channel.subscribe(2, || {}).unwrap();
    let published = channel.publish(&hub, text("two")).unwrap();
    assert_eq!((published.position.offset, published.subscribers), (2, 2));
    assert_eq!(take(&inboxes[0]), [(channel.id(), Some(2), b"two".to_vec())]);
    assert!(inboxes[1].is_empty());
    assert_eq!(take(&inboxes[2]), [(channel.id(), Some(2), b"two".to_vec())]);
    channel.unsubscribe(2, true);
    channel.publish(&hub, text("one")).unwrap();
    assert_eq!((inboxes[0].len(), inboxes[2].len()), (1, 0));
    // Nobody announced that it sleeps, so nobody was woken.
    assert!(wakes.iter().all(|count| count.load(SeqCst) == 0));
}

#[test]
fn a_sleeper_is_woken_once_however_much_comes() {
    let (hub, inboxes, wakes) = hub(1, usize::MAX);
    let channel = hub.create("c").unwrap();
    channel.subscribe(0, || {}).unwrap();
    assert!(inboxes[0].prepare_sleep());
    for _ in 0..10 {
        channel.publish(&hub, text("x")).unwrap();
    }
    assert_eq!(wakes[0].load(SeqCst), 1);
    assert!(!inboxes[0].prepare_sleep(), "it must not sleep over what waits");
    channel.publish(&hub, text("x")).unwrap();
    assert_eq!(wakes[0].load(SeqCst), 1, "who is awake is not woken");
    take(&inboxes[0]);
    assert!(inboxes[0].prepare_sleep());
    inboxes[0].awake();
    channel.publish(&hub, text("x")).unwrap();
    assert_eq!(wakes[0].load(SeqCst), 1);
}

#[test]
fn no_wake_up_is_lost_between_a_publisher_and_a_reader_that_falls_asleep() {
    const MESSAGES: usize = 20_000;
    let (sender, woken) = mpsc::channel::<()>();
    let wake = move || sender.send(()).unwrap_or_default();
    let inbox = Arc::new(Inbox::new(usize::MAX, Box::new(wake)));
    let hub = Arc::new(Hub::new(vec![Arc::clone(&inbox)], 0));
    let channel = hub.create("c").unwrap();
    channel.subscribe(0, || {}).unwrap();
    let publisher = {
        let (hub, channel) = (Arc::clone(&hub), Arc::clone(&channel));
        std::thread::spawn(move || {
            for i in 0..MESSAGES {
                channel.publish(&hub, text("x")).unwrap();
                if i % 7 == 0 {
                    std::thread::yield_now();
                }
            }
        })
    };
    let mut seen = 0;
    while seen < MESSAGES {
        if inbox.prepare_sleep() {
            woken.recv_timeout(Duration::from_secs(20)).expect("the wake-up was lost");
        }
        inbox.awake();
        seen += take(&inbox).len();
    }
    publisher.join().unwrap();
}

#[test]
fn publishers_on_many_threads_make_one_order_for_all_shards() {
    let (hub, inboxes, _) = hub(3, usize::MAX);
    let channel = hub.create("c").unwrap();
    for shard in 0..3 {
        channel.subscribe(shard, || {}).unwrap();
    }
    let start = Barrier::new(8);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (hub, channel, start) = (&hub, &channel, &start);
            scope.spawn(move || {
                start.wait();
                for i in 0..500 {
                    channel.publish(hub, text(&format!("{thread}.{i}"))).unwrap();
                }
            });
        }
    });
    let told: Vec<_> = inboxes.iter().map(|inbox| take(inbox)).collect();
    assert_eq!(told[0].len(), 4000);
    assert!(told[0].iter().zip(1..).all(|((_, offset, _), n)| *offset == Some(n)), "holes");
    assert!(told.iter().all(|shard| *shard == told[0]), "two shards saw two orders");
}

#[test]
fn a_full_inbox_holds_a_publisher_until_it_is_taken_or_closed() {
    for end in [|inbox: &Inbox| drop(take(inbox)), |inbox: &Inbox| inbox.close()] {
        let (hub, inboxes, _) = hub(1, 100);
        let channel = hub.create("c").unwrap();
        channel.subscribe(0, || {}).unwrap();
        while !hub.is_congested() {
            channel.publish(&hub, text("0123456789")).unwrap();
        }
        let (said, heard) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                hub.wait_for_room();
                said.send(()).unwrap();
            });
            assert!(heard.recv_timeout(Duration::from_millis(50)).is_err(), "it did not wait");
            end(&inboxes[0]);
            heard.recv_timeout(Duration::from_secs(20)).expect("it waits for ever");
        });
        assert!(!hub.is_congested());
    }
}

#[test]
fn a_closed_inbox_keeps_nothing() {
    let (hub, inboxes, _) = hub(1, 100);
    let channel = hub.create("c").unwrap();
    channel.subscribe(0, || {}).unwrap();
    inboxes[0].close();
    for _ in 0..100 {
        channel.publish(&hub, text("0123456789")).unwrap();
    }
    assert!(inboxes[0].is_empty() && !inboxes[0].is_full());
    // The channel itself is held by the registry and this test only.
    assert_eq!(Arc::strong_count(&channel), 2);
}

#[test]
fn names_are_checked_and_the_number_of_channels_is_bounded() {
    let hub = Hub::new(Vec::new(), 2);
    let kind = |name: &str| hub.create(name).map(drop).map_err(|error| error.kind());
    assert_eq!(kind(""), Err(ErrorKind::InvalidName));
    assert_eq!(kind("a"), Ok(()));
    assert_eq!(kind("a"), Err(ErrorKind::ChannelExists));
    assert_eq!(kind("b"), Ok(()));
    assert_eq!(kind("c"), Err(ErrorKind::QueueFull));
    hub.delete("a").unwrap();
    assert_eq!(hub.delete("a").unwrap_err().kind(), ErrorKind::ChannelNotFound);
    assert_eq!(kind("c"), Ok(()));
    assert_eq!(hub.len(), 2);
}

#[test]
fn a_page_begins_behind_the_name_before() {
    let hub = Hub::new(Vec::new(), 0);
    for name in ["b", "a", "青", "c"] {
        hub.create(name).unwrap();
    }
    let page = |prefix: &str, after: Option<&str>, limit| -> Vec<String> {
        let page = hub.page_of(prefix, after, limit);
        page.iter().map(|channel| channel.name().to_string()).collect()
    };
    let names = |after, limit| page("", after, limit);
    assert_eq!(names(None, 9), ["a", "b", "c", "青"]);
    assert_eq!(names(None, 2), ["a", "b"]);
    assert_eq!(names(Some("b"), 2), ["c", "青"]);
    assert_eq!(names(Some("bb"), 1), ["c"]);
    assert!(names(Some("青"), 2).is_empty());

    for name in ["news", "news/a", "news/b", "newt", "ne"] {
        hub.create(name).unwrap();
    }
    assert_eq!(page("news", None, 9), ["news", "news/a", "news/b"]);
    assert_eq!(page("news", None, 2), ["news", "news/a"]);
    assert_eq!(page("news", Some("news/a"), 9), ["news/b"]);
    assert_eq!(page("news", Some("a"), 1), ["news"]);
    assert!(page("news", Some("newt"), 9).is_empty());
    assert!(page("x", None, 9).is_empty());
}

#[test]
fn incarnations_of_a_channel_have_different_epochs_and_numbers() {
    let hub = Hub::new(Vec::new(), 0);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..1000 {
        let channel = hub.create("c").unwrap();
        assert!(seen.insert((channel.info().epoch, channel.id())));
        hub.delete("c").unwrap();
        assert!(channel.publish(&hub, text("x")).is_err(), "a deleted channel takes nothing");
        assert!(channel.subscribe(0, || {}).is_err());
    }
    let epochs: std::collections::BTreeSet<_> = seen.iter().map(|(epoch, _)| epoch).collect();
    assert_eq!(epochs.len(), 1000);
}

/// Something that can be done to a hub with three shards and two names.
#[derive(Debug, Clone)]
enum Act {
    Create(usize),
    Delete(usize),
    Subscribe(usize, usize),
    Unsubscribe(usize, usize),
    Publish(usize),
    Take(usize),
}

const NAMES: [&str; 2] = ["one", "two"];

fn act() -> impl Strategy<Value = Act> {
    let (name, shard) = (0..NAMES.len(), 0..3usize);
    prop_oneof![
        2 => name.clone().prop_map(Act::Create),
        1 => name.clone().prop_map(Act::Delete),
        3 => (name.clone(), shard.clone()).prop_map(|(n, s)| Act::Subscribe(n, s)),
        2 => (name.clone(), shard.clone()).prop_map(|(n, s)| Act::Unsubscribe(n, s)),
        6 => name.prop_map(Act::Publish),
        2 => shard.prop_map(Act::Take),
    ]
}

/// What a channel should be: its offset, and its subscribers on each shard.
struct Model {
    channel: Arc<Channel>,
    offset: u64,
    subscribers: [u64; 3],
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn the_hub_does_what_a_simple_model_does(acts in prop::collection::vec(act(), 0..80)) {
        let (hub, inboxes, _) = hub(3, usize::MAX);
        let mut channels: BTreeMap<usize, Model> = BTreeMap::new();
        let mut told: [Vec<(u64, Option<u64>)>; 3] = Default::default();
        for act in acts {
            match act {
                Act::Create(n) => match hub.create(NAMES[n]) {
                    Ok(channel) => {
                        let fresh = Model { channel, offset: 0, subscribers: [0; 3] };
                        prop_assert!(channels.insert(n, fresh).is_none());
                    }
                    Err(error) => {
                        prop_assert!(channels.contains_key(&n));
                        prop_assert_eq!(error.kind(), ErrorKind::ChannelExists);
                    }
                },
                Act::Delete(n) => {
                    let removed = channels.remove(&n);
                    prop_assert_eq!(hub.delete(NAMES[n]).is_ok(), removed.is_some());
                    if let Some(model) = removed {
                        for shard in (0..3).filter(|&shard| model.subscribers[shard] > 0) {
                            told[shard].push((model.channel.id(), None));
                        }
                    }
                }
                Act::Subscribe(n, shard) => if let Some(model) = channels.get_mut(&n) {
                    let mut before = Vec::new();
                    let start = model.channel
                        .subscribe(shard, || before = take(&inboxes[shard]))
                        .unwrap();
                    let expected = std::mem::take(&mut told[shard]);
                    let before: Vec<_> = before.into_iter().map(|(c, o, _)| (c, o)).collect();
                    prop_assert_eq!(before, expected);
                    prop_assert_eq!(start.position.offset, model.offset);
                    model.subscribers[shard] += 1;
                },
                Act::Unsubscribe(n, shard) => if let Some(model) = channels.get_mut(&n)
                    && model.subscribers[shard] > 0
                {
                    model.subscribers[shard] -= 1;
                    model.channel.unsubscribe(shard, model.subscribers[shard] == 0);
                },
                Act::Publish(n) => {
                    let found = hub.get(NAMES[n]);
                    prop_assert_eq!(found.is_some(), channels.contains_key(&n));
                    let Some(model) = channels.get_mut(&n) else { continue };
                    let published = model.channel.publish(&hub, text("x")).unwrap();
                    model.offset += 1;
                    prop_assert_eq!(published.position.offset, model.offset);
                    let subscribers = model.subscribers.iter().sum::<u64>();
                    prop_assert_eq!(published.subscribers, subscribers);
                    for shard in (0..3).filter(|&shard| model.subscribers[shard] > 0) {
                        told[shard].push((model.channel.id(), Some(model.offset)));
                    }
                }
                Act::Take(shard) => {
                    let got: Vec<_> =
                        take(&inboxes[shard]).into_iter().map(|(c, o, _)| (c, o)).collect();
                    prop_assert_eq!(got, std::mem::take(&mut told[shard]));
                }
            }
        }
        for (n, model) in &channels {
            let info = hub.get(NAMES[*n]).unwrap().info();
            prop_assert_eq!(info.offset, model.offset);
            prop_assert_eq!(info.subscribers, model.subscribers.iter().sum::<u64>());
        }
    }
}

#[test]
fn a_run_stands_together_whoever_publishes_at_the_same_time() {
    const RUNS: usize = 200;
    const LENGTH: usize = 5;
    let (hub, inboxes, _) = hub(2, usize::MAX);
    let channel = hub.create("c").unwrap();
    for shard in 0..2 {
        channel.subscribe(shard, || {}).unwrap();
    }
    let start = Barrier::new(3);
    std::thread::scope(|scope| {
        for name in ["a", "b"] {
            let (hub, channel, start) = (&hub, &channel, &start);
            scope.spawn(move || {
                start.wait();
                for run in 0..RUNS {
                    let messages: Vec<_> =
                        (0..LENGTH).map(|at| text(&format!("{name}{run}.{at}"))).collect();
                    let run: Vec<_> = messages.iter().map(|message| (message, None)).collect();
                    let results = channel.publish_run(hub, &run);
                    let first = results[0].as_ref().unwrap().position.offset;
                    for (at, result) in results.iter().enumerate() {
                        assert_eq!(result.as_ref().unwrap().position.offset, first + at as u64);
                    }
                }
            });
        }
        scope.spawn(|| {
            start.wait();
            for _ in 0..RUNS {
                channel.publish(&hub, text("-")).unwrap();
            }
        });
    });
    let told = take(&inboxes[0]);
    assert_eq!(told.len(), RUNS * (2 * LENGTH + 1));
    assert_eq!(told, take(&inboxes[1]));
    assert!(told.iter().map(|(_, offset, _)| offset.unwrap()).eq(1..=told.len() as u64));
    let words: Vec<_> = told.iter().map(|(.., payload)| &payload[..]).collect();
    let firsts = words.iter().enumerate().filter(|(_, word)| word.ends_with(b".0"));
    let mut runs = 0;
    for (at, first) in firsts {
        let stem = &first[..first.len() - 1];
        let rest = (0..LENGTH).map(|n| [stem, n.to_string().as_bytes()].concat());
        assert!(rest.eq(words[at..at + LENGTH].iter().map(|word| word.to_vec())));
        runs += 1;
    }
    assert_eq!(runs, 2 * RUNS);
}

#[test]
fn a_run_publishes_each_key_once_and_goes_on_behind_a_failure() {
    let (hub, inboxes, _) = hub(1, usize::MAX);
    let channel = hub.create("c").unwrap();
    channel.subscribe(0, || {}).unwrap();
    let (one, two) = (text("one"), text("two"));
    let long = [b'k'; qyun::hub::MAX_KEY + 1];
    let key = |key: &'static [u8]| Some(key);
    let run = [
        (&one, key(b"k")),
        (&one, key(b"k")),
        (&two, key(b"k")),
        (&two, Some(&long[..])),
        (&two, Some(&b""[..])),
        (&two, key(b"l")),
        (&two, None),
    ];
    let results: Vec<_> = channel
        .publish_run(&hub, &run)
        .into_iter()
        .map(|result| match result {
            Ok(published) => Ok((published.position.offset, published.duplicate)),
            Err(error) => Err(error.kind()),
        })
        .collect();
    let invalid = Err(ErrorKind::InvalidArgument);
    let conflict = Err(ErrorKind::Conflict);
    let expected =
        [Ok((1, false)), Ok((1, true)), conflict, invalid, invalid, Ok((2, false)), Ok((3, false))];
    assert_eq!(results, expected);
    let told: Vec<_> = take(&inboxes[0]).into_iter().map(|(_, _, payload)| payload).collect();
    assert_eq!(told, [b"one", b"two", b"two"]);
    hub.delete("c").unwrap();
    let results = channel.publish_run(&hub, &run);
    assert!(results.iter().all(|r| r.as_ref().unwrap_err().kind() == ErrorKind::ChannelNotFound));
}
