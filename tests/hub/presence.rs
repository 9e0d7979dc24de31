//! Who is in a channel, and what is told of it, beside a model that is too simple to be wrong.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use qyun::hub::{
    Attendance, Change, Channel, ChannelConfig, Connection, Connections, Home, Hub, Inbox, Item,
    Notices, Origin, PresenceEvent, Wish,
};
use qyun::wire::Dialect;
use qyun::wire::http::RequestHead;

use super::{hub, text};

fn connection(id: &str, serial: u64, inbox: &Arc<Inbox>) -> Arc<Connection> {
    let origin = Origin {
        id: id.into(),
        dialect: Dialect::Session,
        path: "/ws".into(),
        remote: ([127, 0, 0, 1], 1).into(),
        request: RequestHead::default(),
        deflates: false,
    };
    let home = Home { inbox: Arc::clone(inbox), shard: 0, token: serial as u32 };
    Arc::new(Connection::new(serial, origin, home))
}

fn create(hub: &Hub, name: &str) -> Arc<Channel> {
    let mut config = ChannelConfig::default();
    config.set("presence", "true").unwrap();
    hub.create_with(name, config).unwrap()
}

const WATCH: Wish = Wish { since: None, watch: Some(true), page: 1000 };

/// What a watcher knows: the users of those who are there, by id.
type Known = BTreeMap<String, Option<String>>;

fn known(attendance: &Attendance) -> Known {
    assert_eq!(attendance.members.len(), attendance.count);
    let members = attendance.members.iter();
    members.map(|one| (one.id.to_string(), one.user.as_deref().map(str::to_owned))).collect()
}

/// Applies an event; it must be one that can come now.
fn apply(known: &mut Known, event: &PresenceEvent) {
    let (id, user) = (event.id.to_string(), event.user.as_deref().map(str::to_owned));
    let same = |known: &Known| known.values().filter(|other| **other == user).count();
    match event.change {
        Change::Join => {
            assert!(!known.contains_key(&id), "joined twice: {event:?}");
            assert_eq!(event.edge, user.is_none() || same(known) == 0, "{event:?}");
            known.insert(id, user);
        }
        Change::Leave => {
            assert_eq!(known.remove(&id), Some(user.clone()), "{event:?}");
            assert_eq!(event.edge, user.is_none() || same(known) == 0, "{event:?}");
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// A connection with this id comes and displaces the one that had it.
    Connect(usize),
    /// A connection that may be displaced: of this id, the one so many before the last.
    Join(usize, usize),
    Leave(usize, usize),
    End(usize, usize),
    Bind(usize, usize),
    Unbind(usize),
    Publish,
}

fn step() -> impl Strategy<Value = Step> {
    let (id, back, user) = (0..4_usize, 0..2_usize, 0..3_usize);
    prop_oneof![
        3 => id.clone().prop_map(Step::Connect),
        5 => (id.clone(), back.clone()).prop_map(|(id, back)| Step::Join(id, back)),
        3 => (id.clone(), back.clone()).prop_map(|(id, back)| Step::Leave(id, back)),
        2 => (id.clone(), back).prop_map(|(id, back)| Step::End(id, back)),
        3 => (id.clone(), user).prop_map(|(id, user)| Step::Bind(id, user)),
        1 => id.prop_map(Step::Unbind),
        2 => Just(Step::Publish),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn one_leave_for_each_join_whatever_happens(
        steps in prop::collection::vec(step(), 1..80),
        watch_at in 0..40_usize,
    ) {
        let (hub, inboxes, _) = hub(1, usize::MAX);
        let seen = Arc::new(Mutex::new(Known::new()));
        let program = Arc::clone(&seen);
        hub.observe(Some(Arc::new(move |event: &Arc<PresenceEvent>| {
            apply(&mut program.lock().unwrap(), event);
        })));
        let registry = Connections::default();
        let channel = create(&hub, "c");
        let watcher = connection("watcher", registry.new_serial(), &inboxes[0]);
        let snapshot = Mutex::new(None);
        // What the watcher is told, from its snapshot on.
        let mut told: Option<Known> = None;
        let mut by_id: Vec<Vec<Arc<Connection>>> = vec![Vec::new(); 4];
        let find = |by_id: &[Vec<Arc<Connection>>], id: usize, back: usize| {
            let all: &Vec<_> = &by_id[id];
            all.len().checked_sub(back + 1).map(|at| Arc::clone(&all[at]))
        };
        for (at, step) in steps.into_iter().enumerate() {
            if at == watch_at {
                let done = watcher.join_watching(&channel, WATCH, |start, there| {
                    let there = there.unwrap();
                    assert_eq!(there.position, start.position);
                    *snapshot.lock().unwrap() = Some(known(there));
                    text("snapshot")
                });
                prop_assert!(done.unwrap());
            }
            match step {
                Step::Connect(id) => {
                    let one = connection(&format!("id-{id}"), registry.new_serial(), &inboxes[0]);
                    registry.insert(&one);
                    by_id[id].push(one);
                }
                Step::Join(id, back) => {
                    if let Some(one) = find(&by_id, id, back) {
                        let _ = one.join(&channel);
                    }
                }
                Step::Leave(id, back) => {
                    if let Some(one) = find(&by_id, id, back) {
                        one.leave(&channel);
                    }
                }
                Step::End(id, back) => {
                    if let Some(one) = find(&by_id, id, back) {
                        one.retire();
                        registry.remove(&one);
                    }
                }
                Step::Bind(id, user) => {
                    if let Some(one) = find(&by_id, id, 0) {
                        let _ = registry.bind(&one, &format!("user-{user}"));
                    }
                }
                Step::Unbind(id) => {
                    if let Some(one) = find(&by_id, id, 0) {
                        registry.unbind(&one);
                    }
                }
                Step::Publish => drop(channel.publish(&hub, text("x")).unwrap()),
            }
            let now = known(&channel.attendance(None, 1000).unwrap());
            prop_assert_eq!(&now, &*seen.lock().unwrap());
            // The connection that has an id now, if it is a member, is there with its user.
            for all in &by_id {
                let Some(last) = all.last().filter(|last| last.is_in(&channel)) else { continue };
                let user = last.user().as_deref().map(str::to_owned);
                prop_assert_eq!(now.get(&**last.id()), Some(&user));
            }
            let mut items = Vec::new();
            inboxes[0].take(&mut items);
            let mut offset = 0;
            for item in items {
                match item {
                    Item::Send { .. } => told = snapshot.lock().unwrap().take(),
                    Item::Publish { offset: at, .. } => offset = at,
                    Item::Presence { event, .. } => {
                        prop_assert!(event.position.offset >= offset);
                        apply(told.as_mut().expect("told before the snapshot"), &event);
                    }
                    Item::Join { channel, .. } => channel.member_joined(0),
                    Item::Leave { channel, .. } => channel.unsubscribe(0, false),
                    Item::Watch { .. } => {}
                    other => panic!("{other:?}"),
                }
            }
            if let Some(told) = &told {
                prop_assert_eq!(told, &now);
            }
        }
        hub.delete("c").unwrap();
        prop_assert!(seen.lock().unwrap().is_empty(), "the program is told of everyone's leave");
    }
}

#[test]
fn a_channel_without_the_option_keeps_and_tells_nothing() {
    let (hub, inboxes, _) = hub(1, usize::MAX);
    hub.observe(Some(Arc::new(|event: &Arc<PresenceEvent>| panic!("{event:?}"))));
    let channel = hub.create("c").unwrap();
    let one = connection("a", 1, &inboxes[0]);
    let told = one.join_watching(&channel, WATCH, |_, there| {
        assert_eq!(there, None);
        text("x")
    });
    assert!(told.unwrap());
    assert_eq!(channel.attendance(None, 10), None);
    one.retire();
    let mut items = Vec::new();
    inboxes[0].take(&mut items);
    assert!(matches!(items[..], [Item::Send { .. }, Item::Join { .. }, Item::Leave { .. }]));
}

#[test]
fn pages_go_on_behind_the_last_id() {
    let (hub, inboxes, _) = hub(1, usize::MAX);
    let channel = create(&hub, "c");
    for serial in 0..25 {
        connection(&format!("id-{serial:02}"), serial, &inboxes[0]).join(&channel).unwrap();
    }
    channel.subscribe(0, || {}).unwrap();
    let (mut after, mut ids) = (None, Vec::new());
    loop {
        let page = channel.attendance(after.as_deref(), 10).unwrap();
        assert_eq!((page.count, page.anonymous), (25, 1));
        ids.extend(page.members.iter().map(|one| one.id.to_string()));
        after = ids.last().cloned();
        if !page.more {
            break;
        }
    }
    assert_eq!(ids, (0..25).map(|serial| format!("id-{serial:02}")).collect::<Vec<_>>());
}

/// Who is there by a pattern alone listens, and is not there for others.
#[test]
fn patterns_bring_nobody_into_the_list() {
    let (hub, inboxes, _) = hub(1, usize::MAX);
    let one = connection("a", 1, &inboxes[0]);
    let pattern = qyun::hub::Pattern::parse(">").unwrap();
    let notices = Notices { beyond: |_| text("x"), entered: None };
    hub.subscribe_pattern(&one, &pattern, notices, |_| text("x")).unwrap();
    let channel = create(&hub, "c");
    let count = || channel.attendance(None, 10).unwrap().count;
    assert_eq!((channel.member_count(), count()), (1, 0));
    one.join(&channel).unwrap();
    assert_eq!(count(), 1);
    one.leave(&channel);
    assert_eq!((channel.member_count(), count()), (1, 0));
}
