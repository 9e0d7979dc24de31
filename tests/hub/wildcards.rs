//! Subscriptions to patterns, beside a model that is too simple to be wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use qyun::ErrorKind;
use qyun::hub::{
    Channel, Connection, Home, Hub, Inbox, Item, MAX_SEGMENTS, Notices, Origin, Pattern,
};
use qyun::wire::http::RequestHead;
use qyun::wire::websocket::Message;
use qyun::wire::{Dialect, MessageKind};

use super::{hub, text};

const NAMES: [&str; 7] = ["a", "a.b", "a.c", "a.b.c", "x", "x.b", "x.b.c"];
const PATTERNS: [&str; 7] = ["a.*", "a.>", "*.b", ">", "*", "a.b.c", "*.*.c"];

/// A connection whose socket is at this inbox.
pub fn connection(serial: u64, inbox: &Arc<Inbox>) -> Arc<Connection> {
    let origin = Origin {
        id: format!("id-{serial}").into(),
        dialect: Dialect::Session,
        path: "/ws".into(),
        remote: ([127, 0, 0, 1], 1).into(),
        request: RequestHead::default(),
        deflates: false,
    };
    let home = Home { inbox: Arc::clone(inbox), shard: 0, token: serial as u32 };
    Arc::new(Connection::new(serial, origin, home))
}

fn pattern(text: &str) -> Pattern {
    Pattern::parse(text).unwrap()
}

fn beyond(name: &str) -> Message {
    text(&format!("beyond {name}"))
}

fn subscribe(hub: &Hub, who: &Arc<Connection>, to: &str) -> qyun::Result<()> {
    let notices = Notices { beyond, entered: None };
    hub.subscribe_pattern(who, &pattern(to), notices, |count| text(&count.to_string()))
}

fn serials(channel: &Channel) -> Vec<u64> {
    channel.members().iter().map(|member| member.serial()).collect()
}

#[derive(Debug, Clone)]
enum Step {
    Create(usize),
    Delete(usize),
    Join(u64, usize),
    Leave(u64, usize),
    Subscribe(u64, usize),
    Unsubscribe(u64, usize),
    End(u64),
    Publish(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let (name, pattern, who) = (0..NAMES.len(), 0..PATTERNS.len(), 0..3_u64);
    prop_oneof![
        4 => name.clone().prop_map(Step::Create),
        2 => name.clone().prop_map(Step::Delete),
        3 => (who.clone(), name.clone()).prop_map(|(who, name)| Step::Join(who, name)),
        3 => (who.clone(), name.clone()).prop_map(|(who, name)| Step::Leave(who, name)),
        3 => (who.clone(), pattern.clone()).prop_map(|(who, at)| Step::Subscribe(who, at)),
        3 => (who.clone(), pattern).prop_map(|(who, at)| Step::Unsubscribe(who, at)),
        1 => who.prop_map(Step::End),
        3 => name.prop_map(Step::Publish),
    ]
}

/// What a client subscribed to: channels that exist, and patterns.
#[derive(Default)]
struct Client {
    named: BTreeSet<usize>,
    patterns: BTreeSet<usize>,
    ended: bool,
}

impl Client {
    fn hears(&self, name: usize) -> bool {
        let matches = |at: &usize| pattern(PATTERNS[*at]).matches(NAMES[name]);
        !self.ended && (self.named.contains(&name) || self.patterns.iter().any(matches))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_connection_is_in_what_it_named_and_what_its_patterns_match_once(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let (hub, inboxes, _) = hub(1, usize::MAX);
        let who: Vec<_> = (0..3).map(|serial| connection(serial, &inboxes[0])).collect();
        let mut clients: Vec<Client> = (0..3).map(|_| Client::default()).collect();
        let mut channels: BTreeMap<usize, Arc<Channel>> = BTreeMap::new();
        // What the shard makes of what it is told: who is in which channel, by the channel's number.
        let mut told: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Create(name) => {
                    let created = hub.create(NAMES[name]);
                    prop_assert_eq!(created.is_ok(), !channels.contains_key(&name));
                    if let Ok(channel) = created {
                        channels.insert(name, channel);
                    }
                }
                Step::Delete(name) => {
                    let there = channels.remove(&name).is_some();
                    prop_assert_eq!(hub.delete(NAMES[name]).is_ok(), there);
                    for client in &mut clients {
                        client.named.remove(&name);
                    }
                }
                Step::Join(at, name) => {
                    let Some(channel) = channels.get(&name) else { continue };
                    let client = &mut clients[at as usize];
                    match who[at as usize].join(channel) {
                        Ok(new) => prop_assert_eq!(new, client.named.insert(name)),
                        Err(error) => {
                            prop_assert!(client.ended);
                            prop_assert_eq!(error.kind(), ErrorKind::Closed);
                        }
                    }
                }
                Step::Leave(at, name) => {
                    let Some(channel) = channels.get(&name) else { continue };
                    let left = who[at as usize].leave(channel);
                    prop_assert_eq!(left, clients[at as usize].named.remove(&name));
                }
                Step::Subscribe(at, to) => {
                    let client = &mut clients[at as usize];
                    let done = subscribe(&hub, &who[at as usize], PATTERNS[to]);
                    prop_assert_eq!(done.is_ok(), !client.ended);
                    if done.is_ok() {
                        client.patterns.insert(to);
                    }
                }
                Step::Unsubscribe(at, to) => {
                    let done = hub.unsubscribe_pattern(&who[at as usize], &pattern(PATTERNS[to]));
                    prop_assert_eq!(done, clients[at as usize].patterns.remove(&to));
                }
                Step::End(at) => {
                    let ended = who[at as usize].retire();
                    prop_assert_eq!(ended.is_some(), !clients[at as usize].ended);
                    if let Some((_, patterns)) = ended {
                        hub.forget_patterns(&who[at as usize], &patterns);
                    }
                    clients[at as usize] = Client { ended: true, ..Client::default() };
                }
                Step::Publish(name) => {
                    if let Some(channel) = channels.get(&name) {
                        channel.publish(&hub, text("x")).unwrap();
                    }
                }
            }
            for (name, channel) in &channels {
                let expected: Vec<u64> =
                    (0..3).filter(|at| clients[*at as usize].hears(*name)).collect();
                prop_assert_eq!(serials(channel), expected, "{}", NAMES[*name]);
            }
            let mut items = Vec::new();
            inboxes[0].take(&mut items);
            for item in items {
                match item {
                    Item::Join { connection, channel, .. } => {
                        prop_assert!(
                            told.entry(channel.id()).or_default().insert(connection.serial())
                        );
                        channel.member_joined(0);
                    }
                    Item::Leave { connection, channel } => {
                        let members = told.get_mut(&channel.id()).unwrap();
                        prop_assert!(members.remove(&connection.serial()));
                        channel.unsubscribe(0, members.is_empty());
                    }
                    Item::Deleted(channel) => drop(told.remove(&channel.id())),
                    Item::Publish { channel, .. } => {
                        prop_assert!(!told[&channel.id()].is_empty(), "told for nobody");
                    }
                    Item::Send { .. } => {}
                    other => panic!("{other:?}"),
                }
            }
            for channel in channels.values() {
                let members = told.get(&channel.id()).into_iter().flatten().copied();
                prop_assert_eq!(serials(channel), members.collect::<Vec<u64>>());
            }
        }
        for (at, client) in clients.iter().enumerate() {
            let count = channels.keys().filter(|name| client.hears(**name)).count();
            prop_assert_eq!(who[at].subscription_count(), count + client.patterns.len());
        }
    }
}

/// The message to a new channel's first subscriber by a pattern is the channel's first message,
/// whoever creates and publishes, and however soon.
#[test]
fn no_message_of_a_new_channel_is_missed() {
    const CHANNELS: usize = 2000;
    let (hub, inboxes, _) = hub(1, usize::MAX);
    let hub = Arc::new(hub);
    let one = connection(1, &inboxes[0]);
    subscribe(&hub, &one, "t.*").unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let hub = &hub;
            scope.spawn(move || {
                for i in 0..CHANNELS {
                    // All of them want to create it; one does, and each publishes.
                    let name = format!("t.{i}");
                    let channel = match hub.create(&name) {
                        Ok(channel) => channel,
                        Err(_) => hub.get(&name).unwrap(),
                    };
                    channel.publish(hub, text(&format!("{thread}"))).unwrap();
                }
            });
        }
    });
    let mut items = Vec::new();
    inboxes[0].take(&mut items);
    let mut last: BTreeMap<u64, u64> = BTreeMap::new();
    for item in items {
        match item {
            Item::Join { channel, .. } => assert_eq!(last.insert(channel.id(), 0), None),
            Item::Publish { channel, offset, .. } => {
                let before = last.insert(channel.id(), offset).expect("joined before");
                assert_eq!(offset, before + 1);
            }
            Item::Send { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(last.len(), CHANNELS);
    assert!(last.values().all(|offset| *offset == 4));
}

/// Channels that are created while a subscription begins are in it: by the look at what there is,
/// or by their creation.
#[test]
fn nothing_falls_between_a_subscription_and_a_creation() {
    for round in 0..50 {
        let (hub, inboxes, _) = hub(1, usize::MAX);
        let one = connection(1, &inboxes[0]);
        std::thread::scope(|scope| {
            let hub = &hub;
            scope.spawn(move || {
                for i in 0..200 {
                    hub.create(&format!("t.{i}")).unwrap();
                }
            });
            (0..round * 20).for_each(|_| std::hint::spin_loop());
            subscribe(hub, &one, "t.>").unwrap();
        });
        assert_eq!(one.channels().len(), 200);
    }
}

#[test]
fn a_channel_that_only_patterns_hold_goes_when_it_is_empty() {
    let (hub, inboxes, _) = hub(1, usize::MAX);
    let (watcher, member) = (connection(1, &inboxes[0]), connection(2, &inboxes[0]));
    subscribe(&hub, &watcher, ">").unwrap();
    let group = hub.group("g").unwrap();
    assert_eq!(serials(&group), [1]);
    member.join(&group).unwrap();
    hub.reap(&group);
    assert!(hub.get("g").is_some());
    member.leave(&group);
    hub.reap(&group);
    assert!(hub.get("g").is_none());
    assert!(watcher.channels().is_empty());
    // Asked for by name, it is held.
    let group = hub.group("g").unwrap();
    watcher.join(&group).unwrap();
    assert!(watcher.leave(&group), "the pattern keeps it");
    assert!(!watcher.leave(&group));
    assert!(watcher.is_in(&group));
    watcher.join(&group).unwrap();
    hub.reap(&group);
    assert!(hub.get("g").is_some());
}

#[test]
fn limits_of_patterns() {
    let (hub, inboxes, _) = hub(1, usize::MAX);
    hub.set_max_memberships(3);
    let one = connection(1, &inboxes[0]);
    for name in ["a.1", "a.2", "a.3", "b.1"] {
        hub.create(name).unwrap();
    }
    let refused = subscribe(&hub, &one, "a.*").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::QueueFull);
    assert!(refused.to_string().contains("'a.*' matches 3 channels"), "{refused}");
    assert_eq!(one.subscription_count(), 0);
    subscribe(&hub, &one, "b.*").unwrap();
    hub.create("b.2").unwrap();
    assert_eq!(one.subscription_count(), 3);
    let mut items = Vec::new();
    inboxes[0].take(&mut items);
    hub.create("b.3").unwrap();
    items.clear();
    inboxes[0].take(&mut items);
    let told = items.into_iter().map(|item| match item {
        Item::Send { message, .. } => {
            assert_eq!(message.kind(), MessageKind::Text);
            String::from_utf8(message.payload().to_vec()).unwrap()
        }
        other => panic!("{other:?}"),
    });
    assert_eq!(told.collect::<Vec<_>>(), ["beyond b.3"]);
    // The same pattern again changes nothing and is no fault, full as it is.
    assert_eq!(subscribe(&hub, &one, "b.*").unwrap_err().kind(), ErrorKind::QueueFull);
    hub.delete("b.3").unwrap();
    subscribe(&hub, &one, "b.*").unwrap();
    let long = vec!["*"; MAX_SEGMENTS + 1].join(".");
    assert_eq!(subscribe(&hub, &one, &long).unwrap_err().kind(), ErrorKind::InvalidName);
}
