//! The hub against a simple model: any interleaving of what clients and publishers do, on several
//! shards that fall behind as they please. The model knows one thread and one list per channel, and
//! says exactly what each subscriber gets.

#![allow(missing_docs)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use proptest::prelude::*;
use qyun::hub::{
    Channel, ChannelConfig, Connection, Home, Hub, Inbox, Item, Origin, Range, Resume, Start,
};
use qyun::wire::http::RequestHead;
use qyun::wire::websocket::Message;
use qyun::wire::{Dialect, MessageKind, Position};

const SHARDS: usize = 3;
const NAMES: [&str; 2] = ["one", "two"];
const CLIENTS: usize = 5;
/// About how many bytes a page of history has here: a few messages.
const PAGE_BYTES: usize = 64;

/// What can be done. Clients and channels are numbers; who has nothing to do it with does nothing.
#[derive(Debug, Clone)]
enum Act {
    Create(usize, usize),
    Delete(usize),
    Publish(usize, usize),
    /// A connection with a name becomes a member; it got all but so many of the last publications.
    Join(usize, usize, Option<u64>),
    Leave(usize, usize),
    Close(usize),
    /// A nameless subscriber of a shard comes, likewise.
    Listen(usize, usize, Option<u64>),
    /// The n-th nameless subscriber goes.
    Unlisten(usize),
    /// A shard handles what waits for it.
    Round(usize),
    /// A shard gives everyone who is catching up a page.
    Feed(usize),
    /// A part of the history is read.
    Read(usize, Option<u64>, Option<u64>, usize, bool),
}

fn act() -> impl Strategy<Value = Act> {
    let (name, client, shard) = (0..NAMES.len(), 0..CLIENTS, 0..SHARDS);
    let missed = prop_oneof![2 => Just(None), 3 => (0..9u64).prop_map(Some)];
    let offset = || prop::option::of(0..12u64);
    prop_oneof![
        2 => (name.clone(), prop::sample::select(vec![0usize, 3, 100]))
            .prop_map(|(n, size)| Act::Create(n, size)),
        1 => name.clone().prop_map(Act::Delete),
        9 => (name.clone(), 0..40usize).prop_map(|(n, size)| Act::Publish(n, size)),
        4 => (client.clone(), name.clone(), missed.clone())
            .prop_map(|(c, n, missed)| Act::Join(c, n, missed)),
        2 => (client.clone(), name.clone()).prop_map(|(c, n)| Act::Leave(c, n)),
        1 => client.prop_map(Act::Close),
        4 => (shard.clone(), name.clone(), missed).prop_map(|(s, n, missed)| Act::Listen(s, n, missed)),
        2 => (0..8usize).prop_map(Act::Unlisten),
        4 => shard.clone().prop_map(Act::Round),
        3 => shard.prop_map(Act::Feed),
        2 => (name, offset(), offset(), 0..6usize, any::<bool>())
            .prop_map(|(n, after, before, limit, back)| Act::Read(n, after, before, limit, back)),
    ]
}

/// What a subscription is to get: publications of one incarnation.
#[derive(Debug)]
struct Expected {
    channel: u64,
    /// Behind this offset.
    after: u64,
    /// Up to this one, once it has ended in order.
    until: Option<u64>,
    /// It may have got less: its connection ended, or it was overtaken or left while it was behind.
    cut: bool,
    got: Vec<(u64, Vec<u8>)>,
}

/// One incarnation of a channel, as the model knows it.
struct Known {
    channel: Arc<Channel>,
    published: Vec<Vec<u8>>,
    size: usize,
    deleted: bool,
    /// Who is subscribed, whether the shard has heard of it or not.
    subscribers: u64,
}

impl Known {
    fn offset(&self) -> u64 {
        self.published.len() as u64
    }

    fn kept(&self) -> u64 {
        self.offset().min(self.size as u64)
    }
}

/// Somebody on a shard: a subscription, by the number of what it expects, and whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Who {
    expected: usize,
    /// The serial of a member; the nameless have none.
    member: Option<u64>,
}

struct CatchUp {
    channel: Arc<Channel>,
    who: Who,
    after: Position,
}

/// What a shard has in its lists.
#[derive(Default)]
struct Shard {
    lists: BTreeMap<u64, BTreeSet<Who>>,
    catching: Vec<CatchUp>,
    /// A channel that somebody is about to come into the list of: the shard does not desert it.
    entering: Option<u64>,
}

impl Shard {
    fn is_deserted(&self, id: u64) -> bool {
        self.entering != Some(id) && self.lists.get(&id).is_none_or(BTreeSet::is_empty)
    }
}

struct World {
    hub: Hub,
    inboxes: Vec<Arc<Inbox>>,
    shards: Vec<Shard>,
    /// By the channel's number; those that are gone stay.
    known: BTreeMap<u64, Known>,
    names: BTreeMap<usize, u64>,
    clients: Vec<Arc<Connection>>,
    expected: Vec<Expected>,
    /// What a member expects of a channel, by serial and channel.
    members: BTreeMap<(u64, u64), usize>,
    /// What those expect whose shard has not heard of them yet, in order.
    joining: BTreeMap<(u64, u64), VecDeque<usize>>,
    /// The nameless, their shard and channel.
    nameless: Vec<(usize, usize, u64)>,
}

impl World {
    fn new() -> Self {
        let inbox = || Arc::new(Inbox::new(usize::MAX, Box::new(|| {})));
        let inboxes: Vec<_> = (0..SHARDS).map(|_| inbox()).collect();
        let clients = (0..CLIENTS).map(|n| client(n, n % SHARDS, &inboxes)).collect();
        Self {
            hub: Hub::new(inboxes.clone(), 0),
            inboxes,
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            known: BTreeMap::new(),
            names: BTreeMap::new(),
            clients,
            expected: Vec::new(),
            members: BTreeMap::new(),
            joining: BTreeMap::new(),
            nameless: Vec::new(),
        }
    }

    fn named(&self, name: usize) -> Option<(u64, Arc<Channel>)> {
        let id = *self.names.get(&name)?;
        Some((id, Arc::clone(&self.known[&id].channel)))
    }

    /// Where a subscriber stands that missed so many publications, and where it is to start.
    fn since(&self, id: u64, missed: Option<u64>) -> (Option<Position>, Start) {
        let known = &self.known[&id];
        let present = Position { epoch: known.channel.epoch(), offset: known.offset() };
        let Some(missed) = missed else {
            return (None, Start { position: present, recovered: None });
        };
        // Of another incarnation, if it says to have got more than there is.
        let since = match known.offset().checked_sub(missed) {
            Some(offset) => Position { offset, ..present },
            None => Position { epoch: present.epoch + 1, offset: 0 },
        };
        let recovered = since.epoch == present.epoch && missed <= known.kept();
        let position = if recovered { since } else { present };
        (Some(since), Start { position, recovered: Some(recovered) })
    }

    fn expect(&mut self, channel: u64, after: u64) -> usize {
        self.expected.push(Expected { channel, after, until: None, cut: false, got: Vec::new() });
        self.expected.len() - 1
    }

    fn act(&mut self, act: &Act) {
        match *act {
            Act::Create(name, size) => {
                let mut config = ChannelConfig::default();
                config.set("history_size", &size.to_string()).unwrap();
                let made = self.hub.create_with(NAMES[name], config);
                assert_eq!(made.is_err(), self.names.contains_key(&name));
                if let Ok(channel) = made {
                    let id = channel.id();
                    self.names.insert(name, id);
                    let known = Known {
                        channel,
                        published: Vec::new(),
                        size,
                        deleted: false,
                        subscribers: 0,
                    };
                    self.known.insert(id, known);
                }
            }
            Act::Delete(name) => {
                let removed = self.names.remove(&name);
                assert_eq!(self.hub.delete(NAMES[name]).is_ok(), removed.is_some());
                if let Some(id) = removed {
                    self.known.get_mut(&id).unwrap().deleted = true;
                    self.members.retain(|(_, channel), _| *channel != id);
                }
            }
            Act::Publish(name, size) => {
                assert_eq!(self.hub.get(NAMES[name]).is_some(), self.names.contains_key(&name));
                let Some((id, channel)) = self.named(name) else { return };
                let known = self.known.get_mut(&id).unwrap();
                let payload = vec![b'a' + known.published.len() as u8 % 26; size];
                let message = Message::new(MessageKind::Text, &payload);
                let published = channel.publish(&self.hub, &message).unwrap();
                known.published.push(payload);
                let position = Position { epoch: channel.epoch(), offset: known.offset() };
                assert_eq!(published.position, position);
                assert_eq!(published.subscribers, known.subscribers);
            }
            Act::Join(client, name, missed) => self.join(client, name, missed),
            Act::Leave(client, name) => {
                let Some((id, channel)) = self.named(name) else { return };
                let client = &self.clients[client];
                let expected = self.members.remove(&(client.serial(), id));
                assert_eq!(client.leave(&channel), expected.is_some());
                if let Some(expected) = expected {
                    self.expected[expected].until = Some(self.known[&id].offset());
                }
            }
            Act::Close(client) => self.close(client),
            Act::Listen(shard, name, missed) => self.listen(shard, name, missed),
            Act::Unlisten(n) => {
                if self.nameless.is_empty() {
                    return;
                }
                let (expected, shard, id) = self.nameless.remove(n % self.nameless.len());
                // A socket that ended hears nothing more.
                self.expected[expected].cut = true;
                self.take_out(shard, id, |who| who.expected == expected);
            }
            Act::Round(shard) => self.round(shard),
            Act::Feed(shard) => self.feed(shard),
            Act::Read(name, after, before, limit, backward) => {
                let Some((id, channel)) = self.named(name) else { return };
                let range = Range { after, before, limit, backward };
                self.read(id, &channel, &range);
            }
        }
    }

    fn join(&mut self, client: usize, name: usize, missed: Option<u64>) {
        let Some((id, channel)) = self.named(name) else { return };
        let connection = Arc::clone(&self.clients[client]);
        let key = (connection.serial(), id);
        let (since, start) = self.since(id, missed);
        let mut told = None;
        let tell = |start: &Start| {
            told = Some(*start);
            Message::new(MessageKind::Text, b"")
        };
        let joined = connection.join_telling(&channel, since, tell).unwrap();
        assert_eq!(joined, !self.members.contains_key(&key));
        if joined {
            assert_eq!(told, Some(start));
            let expected = self.expect(id, start.position.offset);
            self.members.insert(key, expected);
            self.joining.entry(key).or_default().push_back(expected);
            self.known.get_mut(&id).unwrap().subscribers += 1;
        } else {
            // A member stays where it is, and is told the present.
            let present = Position { epoch: channel.epoch(), offset: self.known[&id].offset() };
            let recovered = since.map(|since| since == present);
            assert_eq!(told, Some(Start { position: present, recovered }));
        }
    }

    /// A socket ended: its shard sees to it at once.
    fn close(&mut self, client: usize) {
        let connection = Arc::clone(&self.clients[client]);
        let (serial, shard) = (connection.serial(), connection.home().shard);
        let (left, _) = connection.retire().expect("a client is closed once");
        assert_eq!(left.len(), self.members.keys().filter(|(member, _)| *member == serial).count());
        self.members.retain(|(member, _), _| *member != serial);
        let state = &self.shards[shard];
        let ids: BTreeSet<u64> = state.lists.keys().copied().collect();
        let behind = state.catching.iter().map(|catch_up| catch_up.channel.id());
        for id in ids.into_iter().chain(behind.collect::<Vec<_>>()) {
            while let Some(who) = self.take_out(shard, id, |who| who.member == Some(serial)) {
                self.expected[who.expected].cut = true;
            }
        }
        for ((member, _), waiting) in &self.joining {
            for expected in waiting.iter().filter(|_| *member == serial) {
                self.expected[*expected].cut = true;
            }
        }
        // Another comes in its place.
        let next = serial as usize + CLIENTS;
        self.clients[client] = self::client(next, next % SHARDS, &self.inboxes);
    }

    /// As a shard does: who can be given what it missed is not in the list until it has it.
    fn listen(&mut self, shard: usize, name: usize, missed: Option<u64>) {
        let Some((id, channel)) = self.named(name) else { return };
        let (since, start) = self.since(id, missed);
        let expected = self.expect(id, start.position.offset);
        let who = Who { expected, member: None };
        self.nameless.push((expected, shard, id));
        if let Some(since) = since {
            assert_eq!(channel.start_behind(since), start);
            if start.recovered == Some(true) {
                self.shards[shard].catching.push(CatchUp { channel, who, after: since });
                return;
            }
        }
        let mut before = Vec::new();
        let take = || {
            self.inboxes[shard].take(&mut before);
        };
        let told = channel.subscribe(shard, take).unwrap();
        assert_eq!(told.position, start.position);
        self.known.get_mut(&id).unwrap().subscribers += 1;
        self.enter_behind(shard, id, who, before);
    }

    fn read(&self, id: u64, channel: &Channel, range: &Range) {
        let known = &self.known[&id];
        let extract = channel.history(range).unwrap();
        let first = known.offset() - known.kept() + 1;
        assert_eq!((extract.first, extract.position.offset), (first, known.offset()));
        let mut wanted: Vec<u64> = (first..=known.offset())
            .filter(|offset| range.after.is_none_or(|after| *offset > after))
            .filter(|offset| range.before.is_none_or(|before| *offset < before))
            .collect();
        if range.backward {
            wanted.reverse();
        }
        let got: Vec<u64> = extract.publications.iter().map(|kept| kept.offset).collect();
        assert_eq!(got, wanted[..range.limit.min(wanted.len())]);
        assert_eq!(extract.more, wanted.len() > range.limit);
        for kept in &extract.publications {
            assert_eq!(kept.message.payload(), known.published[kept.offset as usize - 1]);
        }
    }

    /// What waited goes to those who were there before.
    fn enter_behind(&mut self, shard: usize, id: u64, who: Who, before: Vec<Item>) {
        self.shards[shard].entering = Some(id);
        self.handle(shard, before);
        self.shards[shard].entering = None;
        self.enter(shard, id, who);
    }

    fn enter(&mut self, shard: usize, id: u64, who: Who) {
        assert!(self.shards[shard].lists.entry(id).or_default().insert(who));
    }

    fn round(&mut self, shard: usize) {
        let mut items = Vec::new();
        self.inboxes[shard].take(&mut items);
        self.handle(shard, items);
    }

    fn handle(&mut self, shard: usize, items: Vec<Item>) {
        for item in items {
            match item {
                Item::Publish { channel, offset, message } => {
                    let list = self.shards[shard].lists.get(&channel.id()).cloned();
                    for who in list.unwrap_or_default() {
                        self.give(who, offset, &message);
                    }
                }
                Item::Deleted(channel) => {
                    let list = self.shards[shard].lists.remove(&channel.id()).unwrap_or_default();
                    let mut left = list.len();
                    for _ in list {
                        left -= 1;
                        channel.unsubscribe(shard, left == 0);
                        self.known.get_mut(&channel.id()).unwrap().subscribers -= 1;
                    }
                }
                Item::Join { connection, channel, since } => {
                    let key = (connection.serial(), channel.id());
                    let waiting = self.joining.get_mut(&key).and_then(VecDeque::pop_front);
                    let who = Who { expected: waiting.unwrap(), member: Some(key.0) };
                    match (connection.is_closed(), since) {
                        (true, _) => self.miss(shard, &channel),
                        (false, Some(offset)) => {
                            let after = Position { epoch: channel.epoch(), offset };
                            self.shards[shard].catching.push(CatchUp { channel, who, after });
                        }
                        (false, None) => {
                            channel.member_joined(shard);
                            self.enter(shard, channel.id(), who);
                        }
                    }
                }
                Item::Leave { connection, channel } => {
                    // Of one whose socket is gone nothing is left.
                    if !connection.is_closed() {
                        let serial = Some(connection.serial());
                        self.take_out(shard, channel.id(), |who| who.member == serial);
                    }
                }
                Item::Send { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// A subscriber goes, wherever it stands.
    fn take_out(&mut self, shard: usize, id: u64, is: impl Fn(&Who) -> bool) -> Option<Who> {
        let state = &mut self.shards[shard];
        let behind = |catch_up: &CatchUp| catch_up.channel.id() == id && is(&catch_up.who);
        if let Some(at) = state.catching.iter().position(behind) {
            let CatchUp { channel, who, .. } = state.catching.remove(at);
            self.expected[who.expected].cut = true;
            if who.member.is_some() {
                self.miss(shard, &channel);
            }
            return Some(who);
        }
        let list = state.lists.get_mut(&id)?;
        let who = *list.iter().find(|who| is(who))?;
        list.remove(&who);
        let last = state.is_deserted(id);
        let known = self.known.get_mut(&id).unwrap();
        known.channel.unsubscribe(shard, last);
        known.subscribers -= 1;
        Some(who)
    }

    /// A member goes that never came into a list.
    fn miss(&mut self, shard: usize, channel: &Channel) {
        channel.member_missed(shard, self.shards[shard].is_deserted(channel.id()));
        self.known.get_mut(&channel.id()).unwrap().subscribers -= 1;
    }

    fn feed(&mut self, shard: usize) {
        // Those who are still behind go to the end; some may leave before it is their turn.
        for _ in 0..self.shards[shard].catching.len() {
            if self.shards[shard].catching.is_empty() {
                break;
            }
            let mut catch_up = self.shards[shard].catching.remove(0);
            let (channel, who) = (Arc::clone(&catch_up.channel), catch_up.who);
            let mut before = Vec::new();
            let resumed =
                channel.resume(shard, catch_up.after, PAGE_BYTES, who.member.is_some(), || {
                    self.inboxes[shard].take(&mut before);
                });
            let known = self.known.get_mut(&channel.id()).unwrap();
            let missing = known.offset() - catch_up.after.offset;
            // That it left may be among what waits.
            if resumed.is_ok() && who.member.is_some_and(|serial| leaves(&before, serial, &channel))
            {
                self.expected[who.expected].cut = true;
                self.miss(shard, &channel);
                self.handle(shard, before);
                continue;
            }
            match resumed {
                Ok(Resume::Behind(page)) => {
                    assert!(!page.is_empty() && (page.len() as u64) < missing);
                    for (offset, message) in &page {
                        self.give(who, *offset, message);
                        catch_up.after.offset = *offset;
                    }
                    self.shards[shard].catching.push(catch_up);
                    self.handle(shard, before);
                }
                Ok(Resume::Live(page)) => {
                    assert_eq!(page.len() as u64, missing);
                    if who.member.is_none() {
                        known.subscribers += 1;
                    }
                    self.enter_behind(shard, channel.id(), who, before);
                    if who.member.is_some() {
                        channel.member_joined(shard);
                    }
                    for (offset, message) in &page {
                        self.give(who, *offset, message);
                    }
                }
                Ok(Resume::Lost) => {
                    assert!(missing > known.kept(), "what is kept is called lost");
                    self.end(shard, &channel, who);
                    self.handle(shard, before);
                }
                Err(_) => {
                    assert!(known.deleted);
                    self.end(shard, &channel, who);
                }
            }
        }
    }

    /// Somebody who was catching up does not get there.
    fn end(&mut self, shard: usize, channel: &Arc<Channel>, who: Who) {
        self.expected[who.expected].cut = true;
        let Some(serial) = who.member else {
            return self.nameless.retain(|(expected, ..)| *expected != who.expected);
        };
        self.miss(shard, channel);
        // One that was overtaken is closed by its shard; here it just leaves.
        let key = (serial, channel.id());
        if self.members.get(&key) == Some(&who.expected)
            && let Some(client) = self.clients.iter().find(|client| client.serial() == serial)
        {
            client.leave(channel);
            self.members.remove(&key);
        }
    }

    fn give(&mut self, who: Who, offset: u64, message: &Message) {
        self.expected[who.expected].got.push((offset, message.payload().to_vec()));
    }

    /// Everything that waits is handled, and everyone gets what it has to get.
    fn settle(&mut self) {
        let waits = |world: &Self| {
            world.inboxes.iter().any(|inbox| !inbox.is_empty())
                || world.shards.iter().any(|shard| !shard.catching.is_empty())
        };
        while waits(self) {
            for shard in 0..SHARDS {
                self.round(shard);
                self.feed(shard);
            }
        }
    }

    fn check(&self) {
        for expected in &self.expected {
            let known = &self.known[&expected.channel];
            let until = expected.until.unwrap_or(known.offset());
            let whole: Vec<(u64, Vec<u8>)> = (expected.after + 1..=until)
                .map(|offset| (offset, known.published[offset as usize - 1].clone()))
                .collect();
            match expected.cut {
                true => assert!(whole.starts_with(&expected.got), "{expected:?}"),
                false => assert_eq!(expected.got, whole),
            }
        }
        for (name, id) in &self.names {
            let known = &self.known[id];
            let info = self.hub.get(NAMES[*name]).unwrap().info();
            assert_eq!((info.offset, info.subscribers), (known.offset(), known.subscribers));
            let members = self.members.keys().filter(|(_, channel)| channel == id).count();
            let nameless = self.nameless.iter().filter(|(_, _, channel)| channel == id).count();
            assert_eq!(info.members, members as u64);
            assert_eq!(known.subscribers, (members + nameless) as u64);
        }
    }
}

fn leaves(items: &[Item], serial: u64, of: &Arc<Channel>) -> bool {
    items.iter().any(|item| match item {
        Item::Leave { connection, channel } => {
            connection.serial() == serial && Arc::ptr_eq(channel, of)
        }
        _ => false,
    })
}

fn client(n: usize, shard: usize, inboxes: &[Arc<Inbox>]) -> Arc<Connection> {
    let origin = Origin {
        id: format!("client-{n}").into(),
        dialect: Dialect::Host,
        path: "/".into(),
        remote: "127.0.0.1:1".parse().unwrap(),
        request: RequestHead::default(),
        deflates: false,
    };
    let home = Home { inbox: Arc::clone(&inboxes[shard]), shard, token: n as u32 };
    Arc::new(Connection::new(n as u64, origin, home))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]
    #[test]
    fn every_subscriber_gets_exactly_what_the_model_says(
        acts in prop::collection::vec(act(), 0..120),
    ) {
        let mut world = World::new();
        for act in &acts {
            world.act(act);
        }
        world.settle();
        world.check();
    }
}
