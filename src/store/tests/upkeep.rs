//! What is let go of: by limits, by wish, with its channel.

use super::*;

fn limited(retention: Retention) -> ChannelRecord {
    ChannelRecord { retention, ..channel("x", Level::Fsync) }
}

#[test]
fn a_channel_keeps_its_newest_by_count() {
    let disk = Simulated::new();
    let id;
    {
        let store = open(&disk);
        id = create(&store, limited(Retention { records: 100, ..Retention::default() }));
        for n in 1..=1000u64 {
            append(&store, id, vec![b'x'; 500]).unwrap();
            let state = store.channel(id).unwrap();
            assert_eq!((state.first, state.records), (n.saturating_sub(99).max(1), n.min(100)));
        }
        assert_eq!(offsets(&store, id), (901..=1000).collect::<Vec<_>>());
    }
    assert!(disk.files(".log").len() <= 4, "{:?}", disk.files(".log"));
    let store = open(&disk);
    assert_eq!(offsets(&store, id), (901..=1000).collect::<Vec<_>>());
}

#[test]
fn a_channel_keeps_its_newest_by_bytes() {
    let disk = Simulated::new();
    let store = open(&disk);
    let id = create(&store, limited(Retention { bytes: 200_000, ..Retention::default() }));
    for n in 1..=2000 {
        append(&store, id, vec![b'x'; 452]).unwrap();
        let kept = offsets(&store, id).len() * 500;
        assert!(kept <= 200_000 && (n < 400 || kept >= 200_000 - 64 * 500), "{kept}");
    }
}

#[test]
fn what_is_too_old_is_not_read_to_the_record() {
    let disk = Simulated::new();
    let store = open(&disk);
    let id = create(&store, limited(Retention { age_ms: 3_600_000, ..Retention::default() }));
    let now = writer::now_ms();
    for n in 0..150 {
        let time_ms = if n < 97 { now - 3_600_000 } else { now };
        let record = Record { time_ms, ..record("x") };
        wait(|done| store.append(id, record, Reached::Fsync, done)).unwrap();
    }
    assert_eq!(offsets(&store, id), (98..=150).collect::<Vec<_>>());
    let page = store.read(id, &Query { limit: 5, ..Query::default() }).unwrap();
    assert_eq!((page.first, page.records.len()), (98, 5));
}

#[test]
fn a_smaller_limit_holds_at_once() {
    let disk = Simulated::new();
    let store = open(&disk);
    let id = create(&store, limited(Retention::default()));
    for _ in 0..100 {
        append(&store, id, "x").unwrap();
    }
    let retention = Retention { records: 10, ..Retention::default() };
    let smaller = ChannelRecord { id, retention, epoch: 5, ..limited(retention) };
    wait(|done| store.change(smaller, done)).unwrap();
    assert_eq!(offsets(&store, id), (91..=100).collect::<Vec<_>>());
    drop(store);
    let state = open(&disk).channel(id).unwrap();
    assert_eq!((state.channel.epoch, state.channel.retention, state.first), (5, retention, 91));
}

#[test]
fn offsets_go_on_when_nothing_is_kept() {
    let disk = Simulated::new();
    let id;
    {
        let store = open(&disk);
        id = create(&store, limited(Retention::default()));
        for _ in 0..300 {
            append(&store, id, vec![b'x'; 1000]).unwrap();
        }
        wait(|done| store.trim(id, u64::MAX, done)).unwrap();
        assert!(all(&store, id).is_empty());
    }
    for last in 300..310 {
        let store = open(&disk);
        let state = store.channel(id).unwrap();
        assert_eq!((state.first, state.last), (last + 1, last));
        assert!(all(&store, id).is_empty());
        assert_eq!(append(&store, id, "x").unwrap(), last + 1);
        wait(|done| store.trim(id, u64::MAX, done)).unwrap();
    }
    assert!(disk.files(".log").len() <= 1);
}

#[test]
fn a_deleted_channel_leaves_nothing() {
    let disk = Simulated::new();
    let kept;
    {
        let store = open(&disk);
        let id = create(&store, channel("gone", Level::Fsync));
        kept = create(&store, channel("kept", Level::Fsync));
        for n in 0..1000 {
            append(&store, id, vec![b'x'; 1000]).unwrap();
            if n % 100 == 0 {
                append(&store, kept, "kept").unwrap();
            }
        }
        wait(|done| store.delete(id, done)).unwrap();
        assert!(store.channel(id).is_none() && store.read(id, &Query::default()).is_err());
        assert_eq!(
            create(&store, channel("gone", Level::Fsync)),
            kept + 1,
            "numbers are not used again"
        );
    }
    let store = open(&disk);
    assert_eq!(store.channels().len(), 2);
    assert_eq!(offsets(&store, kept), (1..=10).collect::<Vec<_>>());
    assert!(all(&store, kept + 1).is_empty());
}

/// Waits until the segments take no more than this.
fn until_small(store: &Store, disk: &Simulated, bytes: usize) {
    for _ in 0..60_000 {
        wait(|done| store.sync(done)).unwrap();
        let sizes = disk.files(".log");
        if sizes.iter().map(|name| disk.bytes(name).len()).sum::<usize>() <= bytes {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    panic!("{:?}", disk.files(".log"));
}

#[test]
fn a_quiet_channel_does_not_keep_what_a_busy_one_wrote() {
    let disk = Simulated::new();
    let (busy, quiet);
    {
        let store = open(&disk);
        busy = create(&store, limited(Retention { records: 10, ..Retention::default() }));
        quiet = create(&store, channel("quiet", Level::Fsync));
        for n in 1..=3000u64 {
            append(&store, busy, vec![b'x'; 1000]).unwrap();
            if n % 50 == 0 {
                append(&store, quiet, format!("quiet {n}")).unwrap();
            }
        }
        // 3 MB were written; 10 records of 1 KB and 60 small ones are kept.
        until_small(&store, &disk, 150_000);
        assert_eq!(offsets(&store, quiet), (1..=60).collect::<Vec<_>>());
        assert_eq!(offsets(&store, busy), (2991..=3000).collect::<Vec<_>>());
    }
    let store = open(&disk);
    let expected: Vec<_> =
        (1..=60).map(|n| (n, format!("quiet {}", n * 50).into_bytes())).collect();
    assert_eq!(all(&store, quiet), expected);
    assert_eq!(offsets(&store, busy), (2991..=3000).collect::<Vec<_>>());
}
