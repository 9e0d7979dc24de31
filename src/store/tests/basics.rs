//! Appending, reading, and what is there again.

use super::*;

#[test]
fn what_was_appended_is_read_in_order_and_after_reopening() {
    let disk = Simulated::new();
    let (one, two);
    {
        let store = open(&disk);
        one = create(&store, channel("one", Level::Fsync));
        two = create(&store, channel("two", Level::Fsync));
        for n in 1..=500 {
            assert_eq!(append(&store, one, format!("one {n}")).unwrap(), n);
            if n % 5 == 0 {
                assert_eq!(append(&store, two, format!("two {n}")).unwrap(), n / 5);
            }
        }
    }
    let expected: Vec<_> = (1..=500).map(|n| (n, format!("one {n}").into_bytes())).collect();
    for _ in 0..2 {
        let store = open(&disk);
        assert_eq!(all(&store, one), expected);
        assert_eq!(offsets(&store, two), (1..=100).collect::<Vec<_>>());
        let states = store.channels();
        let told: Vec<_> =
            states.iter().map(|s| (&*s.channel.name, s.channel.epoch, s.first, s.last)).collect();
        assert_eq!(told, [("one", 1, 1, 500), ("two", 1, 1, 100)]);
        assert_eq!(states[0].channel.text, "about one");
    }
    let store = open(&disk);
    assert_eq!(append(&store, one, "more").unwrap(), 501);
}

#[test]
fn all_of_a_record_comes_back() {
    let disk = Simulated::new();
    let whole = Record {
        kind: MessageKind::Binary,
        payload: Bytes::from_static(&[0, 255, 3]),
        key: Bytes::from_static(b"key"),
        idempotency: Bytes::from_static(b"once"),
        time_ms: u64::MAX,
    };
    let id;
    {
        let store = open(&disk);
        id = create(&store, channel("x", Level::Os));
        let appended = wait(|done| store.append(id, whole.clone(), Reached::Os, done)).unwrap();
        assert_eq!(appended, Appended { offset: 1, time_ms: u64::MAX });
        // Time does not go back.
        let later = record("later");
        let appended = wait(|done| store.append(id, later, Reached::Os, done)).unwrap();
        assert_eq!(appended, Appended { offset: 2, time_ms: u64::MAX });
    }
    let store = open(&disk);
    let page = store.read(id, &Query::default()).unwrap();
    assert_eq!(page.records[0], Stored { offset: 1, record: whole });
}

#[test]
fn pages_go_forward_and_backward_within_their_limits() {
    let disk = Simulated::new();
    let store = open(&disk);
    let id = create(&store, channel("x", Level::Fsync));
    let other = create(&store, channel("y", Level::Fsync));
    let total = 1000;
    for n in 1..=total {
        append(&store, id, vec![b'x'; 100 + n % 300]).unwrap();
        append(&store, other, "between").unwrap();
    }
    assert!(disk.files(".log").len() > 3, "several segments");
    let read = |query: Query| {
        let page = store.read(id, &query).unwrap();
        assert_eq!((page.first, page.last), (1, total as u64));
        page.records.into_iter().map(|stored| stored.offset).collect::<Vec<_>>()
    };
    let mut chance = fastrand::Rng::with_seed(1);
    for _ in 0..500 {
        let after = chance.bool().then(|| chance.u64(..total as u64 + 10));
        let before = chance.bool().then(|| chance.u64(..total as u64 + 10));
        let (limit, backward) = (chance.usize(..200), chance.bool());
        let in_range = |n: &u64| {
            after.is_none_or(|after| *n > after) && before.is_none_or(|before| *n < before)
        };
        let range = (1..=total as u64).filter(in_range);
        let expected: Vec<u64> = match backward {
            false => range.take(limit).collect(),
            true => range.rev().take(limit).collect(),
        };
        let max_bytes = usize::MAX;
        assert_eq!(read(Query { after, before, limit, max_bytes, backward }), expected);
    }
    // By bytes: as many as fit, one at least.
    for max_bytes in [0, 1, 400, 4000, 100_000] {
        let page = store.read(id, &Query { max_bytes, ..Query::default() }).unwrap();
        let sizes = page.records.iter().map(|stored| record::size(&stored.record));
        let size = sizes.sum::<usize>();
        assert!(page.records.len() == 1 || size <= max_bytes, "{size} of {max_bytes}");
        assert!(size + 500 > max_bytes, "{size} of {max_bytes}");
    }
    assert!(read(Query { limit: 0, ..Query::default() }).is_empty());
}

#[test]
fn records_may_be_larger_than_a_segment() {
    let disk = Simulated::new();
    let id;
    {
        let store = open(&disk);
        id = create(&store, channel("x", Level::Fsync));
        for size in [10, 300_000, 10, 70_000, 200_000, 5] {
            append(&store, id, vec![b'x'; size]).unwrap();
        }
    }
    let store = open(&disk);
    let sizes: Vec<_> = all(&store, id).into_iter().map(|(_, payload)| payload.len()).collect();
    assert_eq!(sizes, [10, 300_000, 10, 70_000, 200_000, 5]);
}

#[test]
fn callbacks_come_in_the_order_of_a_channel_whatever_each_waits_for() {
    let disk = Simulated::new();
    let store = open(&disk);
    let ids = [0, 1, 2].map(|n| create(&store, channel(&n.to_string(), Level::Fsync)));
    let (tell, told) = mpsc::channel();
    let mut chance = fastrand::Rng::with_seed(2);
    for n in 0..3000 {
        let id = ids[chance.usize(..3)];
        let reached = if chance.bool() { Reached::Os } else { Reached::Fsync };
        let tell = tell.clone();
        let done = Box::new(move |done: Result<Appended>| tell.send((id, done.unwrap())).unwrap());
        store.append(id, record(n.to_string()), reached, done);
    }
    drop(tell);
    let mut lasts = std::collections::HashMap::new();
    for (id, appended) in told {
        let last = lasts.insert(id, appended.offset).unwrap_or(0);
        assert_eq!(appended.offset, last + 1);
    }
    assert_eq!(lasts.values().sum::<u64>(), 3000);
}

#[test]
fn offsets_may_be_given_and_must_grow() {
    let disk = Simulated::new();
    let store = open(&disk);
    let id = create(&store, channel("x", Level::Memory));
    for offset in [1, 2, 5, 6] {
        store.append_behind(id, record(offset.to_string()), offset).unwrap();
    }
    wait(|done| store.sync(done)).unwrap();
    assert_eq!(offsets(&store, id), [1, 2, 5, 6]);
    // A page ends in front of a hole.
    let page = store.read(id, &Query::default()).unwrap();
    assert_eq!(page.records.len(), 2);
    let backward = Query { backward: true, ..Query::default() };
    let page = store.read(id, &backward).unwrap();
    assert_eq!(page.records.iter().map(|one| one.offset).collect::<Vec<_>>(), [6, 5]);
}

#[test]
fn what_does_not_exist_or_is_too_large_is_refused() {
    let disk = Simulated::new();
    let store = open(&disk);
    let kind = |error: Error| error.kind();
    assert_eq!(append(&store, 7, "x").map_err(kind), Err(ErrorKind::ChannelNotFound));
    assert_eq!(store.read(7, &Query::default()).map_err(kind), Err(ErrorKind::ChannelNotFound));
    assert_eq!(wait(|done| store.delete(7, done)).map_err(kind), Err(ErrorKind::ChannelNotFound));
    assert_eq!(wait(|done| store.trim(7, 1, done)).map_err(kind), Err(ErrorKind::ChannelNotFound));
    let id = create(&store, channel("x", Level::Fsync));
    let long = Record { key: Bytes::from(vec![0; 65_536]), ..record("x") };
    let refused = wait(|done| store.append(id, long, Reached::Os, done));
    assert_eq!(refused.map_err(kind), Err(ErrorKind::TooLarge));
    store.close();
    assert_eq!(append(&store, id, "x").map_err(kind), Err(ErrorKind::Closed));
}

#[test]
fn a_folder_is_open_once() {
    let folder = std::env::temp_dir().join(format!("qyun-store-{}", std::process::id()));
    let store = Store::open(&folder, Options::default()).unwrap();
    let id = create(&store, channel("x", Level::Fsync));
    append(&store, id, "kept").unwrap();
    let again = Store::open(&folder, Options::default()).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Exists);
    assert!(again.text().contains("another process has this store open"), "{again}");
    assert_eq!(check(&folder).unwrap_err().kind(), ErrorKind::Exists);
    drop(store);
    let report = check(&folder).unwrap();
    assert_eq!((report.channels, report.records, report.damage.len()), (1, 1, 0));
    let store = Store::open(&folder, Options::default()).unwrap();
    assert_eq!(all(&store, id), [(1, b"kept".to_vec())]);
    drop(store);
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(check(&folder).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn publishers_can_wait_for_room() {
    let disk = Simulated::new();
    let store = open_with(&disk, Options { queue_bytes: 1000, ..SMALL }).unwrap();
    let id = create(&store, channel("x", Level::Os));
    // The thread stands still in a callback while others append.
    let (go, wait_for_it) = mpsc::channel::<()>();
    let hold = Box::new(move |_| {
        let _ = wait_for_it.recv();
    });
    store.append(id, record("first"), Reached::Os, hold);
    for _ in 0..10 {
        store.append(
            id,
            record(vec![b'x'; 200]),
            Reached::Os,
            Box::new(|done| assert!(done.is_ok())),
        );
    }
    assert!(store.is_full());
    std::thread::scope(|scope| {
        scope.spawn(|| store.wait_for_room());
        go.send(()).unwrap();
    });
    assert!(!store.is_full());
}

#[test]
fn what_is_done_is_counted() {
    let disk = Simulated::new();
    let store = open(&disk);
    let id = create(&store, channel("x", Level::Fsync));
    for _ in 0..100 {
        append(&store, id, vec![b'x'; 952]).unwrap();
    }
    let stats = store.stats();
    assert_eq!((stats.records, stats.bytes, stats.queued_bytes), (100, 100_000, 0));
    assert_eq!((stats.writes, stats.segments), (100, 2));
    // One for each, and one where a segment ends and gives back what its file was given ahead.
    assert_eq!(stats.syncs, 101);
    assert_eq!(stats.segment_bytes, 100_000 + 2 * segment::START);
}
