//! A store that goes from one process to the next.

use std::time::Duration;

use super::*;
use crate::wire::handover::{Reader, Writer};

const PATIENCE: Duration = Duration::from_secs(20);

/// What `parked` says, as the next process hears it.
fn heir(disk: &Simulated, parked: &Parked) -> Option<Result<Store>> {
    let mut heir = Heir::on(Arc::new(disk.clone()));
    for part in parked.logs() {
        heir.add(&mut Reader::new(&part))?;
    }
    let mut rest = Writer::default();
    parked.rest(&mut rest);
    let rest = rest.take();
    let mut rest = Reader::new(&rest);
    let store = heir.take(&mut rest, SMALL);
    assert!(rest.is_at_end());
    store
}

/// The store in the hands of the next process, unless that cannot have it.
pub(super) fn handed_over(disk: &Simulated, store: &Store) -> Option<Store> {
    let _calm = store.calm(PATIENCE).ok()?;
    let parked = store.park(PATIENCE).ok()?;
    let next = heir(disk, &parked).unwrap().ok()?;
    parked.leave();
    next.begin();
    Some(next)
}

/// All files and what is in them.
fn contents(disk: &Simulated) -> Vec<(String, Vec<u8>)> {
    disk.files("").into_iter().map(|name| (name.clone(), disk.bytes(&name))).collect()
}

fn levels(store: &Store) -> [u64; 3] {
    [Level::Memory, Level::Os, Level::Fsync].map(|level| create(store, channel("x", level)))
}

#[test]
fn the_next_process_goes_on_where_the_first_one_stopped() {
    let disk = Simulated::new();
    let mut store = open(&disk);
    let ids = levels(&store);
    let kept = create(
        &store,
        ChannelRecord {
            retention: Retention { records: 70, ..Retention::default() },
            ..channel("few", Level::Os)
        },
    );
    let gone = create(&store, channel("gone", Level::Fsync));
    append(&store, gone, "x").unwrap();
    wait(|done| store.delete(gone, done)).unwrap();
    let mut last = 0;
    for round in 0..5 {
        for n in 0..200 {
            let payload = vec![n; 500];
            for id in ids.iter().chain([&kept]) {
                last = append(&store, *id, payload.clone()).unwrap();
            }
        }
        let before = (store.channels(), all(&store, ids[0]), offsets(&store, kept));
        let next = handed_over(&disk, &store).unwrap();
        assert_eq!((next.channels(), all(&next, ids[0]), offsets(&next, kept)), before);
        // The one before neither writes nor says that all ended well.
        let written = contents(&disk);
        assert_eq!(append(&store, ids[0], "no").unwrap_err().kind(), ErrorKind::Closed);
        drop(store);
        assert_eq!(contents(&disk), written, "round {round}");
        store = next;
        assert_eq!(append(&store, ids[2], "on").unwrap(), last + 1);
        for id in [ids[0], ids[1], kept] {
            append(&store, id, "on").unwrap();
        }
    }
    let new = create(&store, channel("new", Level::Fsync));
    assert!(new > gone, "a number is given once");
    let before = (store.channels(), all(&store, ids[1]));
    drop(store);
    let store = open(&disk);
    assert_eq!((store.channels(), all(&store, ids[1])), before, "with the same epochs");
}

#[test]
fn an_end_without_notice_counts_as_if_there_had_been_one_process() {
    let epochs = |disk: &Simulated| {
        let store = open(disk);
        store.channels().iter().map(|state| state.channel.epoch == 1).collect::<Vec<_>>()
    };
    let disk = Simulated::new();
    let store = open(&disk);
    let ids = levels(&store);
    ids.iter().for_each(|id| assert_eq!(append(&store, *id, "x").unwrap(), 1));
    let next = handed_over(&disk, &store).unwrap();
    assert_eq!(epochs(&disk.after_kill()), [false, true, true]);
    let mut chance = fastrand::Rng::with_seed(1);
    assert_eq!(epochs(&disk.after_power_cut(&mut chance)), [false, false, true]);
    drop((store, next));
    assert_eq!(epochs(&disk), [true; 3]);
}

#[test]
fn a_record_that_was_told_and_not_written_is_not_forgotten_on_the_way() {
    let disk = Simulated::new();
    let store = open(&disk);
    let [id, ..] = levels(&store);
    store.append_behind(id, record("x"), 1).unwrap();
    wait(|done| store.sync(done)).unwrap();
    disk.limit(Some(0));
    store.append_behind(id, record("y"), 2).unwrap();
    wait(|done| store.sync(done)).unwrap();
    disk.limit(None);
    let next = handed_over(&disk, &store).unwrap();
    drop((store, next));
    assert_ne!(open(&disk).channel(id).unwrap().channel.epoch, 1);
}

#[test]
fn who_fails_to_take_it_leaves_it_as_it_was() {
    let disk = Simulated::new();
    let store = open(&disk);
    let ids = levels(&store);
    for n in 0..300 {
        append(&store, ids[n % 3], vec![0; 700]).unwrap();
    }
    for _ in 0..3 {
        let calm = store.calm(PATIENCE).unwrap();
        let parked = store.park(PATIENCE).unwrap();
        assert!(!store.is_idle());
        let written = contents(&disk);
        let next = heir(&disk, &parked).unwrap().unwrap();
        // It waits until the next one has the store, or has not.
        let waiting = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| append(&next, ids[0], "never"));
            let mine = scope.spawn(|| append(&store, ids[0], "mine"));
            next.close();
            assert_eq!(contents(&disk), written);
            drop((parked, calm));
            mine.join().unwrap().unwrap();
            waiting.join().unwrap()
        });
        assert_eq!(waiting.unwrap_err().kind(), ErrorKind::Closed);
    }
    let before = all(&store, ids[0]);
    assert_eq!(before.len(), 103);
    let next = handed_over(&disk, &store).unwrap();
    assert_eq!(all(&next, ids[0]), before);
}

#[test]
fn what_does_not_go_together_is_refused() {
    let disk = Simulated::new();
    let store = open(&disk);
    let [id, ..] = levels(&store);
    append(&store, id, "x").unwrap();
    let parked = store.park(PATIENCE).unwrap();
    // Another catalogue than the one that was written last.
    let catalogue = disk.bytes(catalogue::NAME);
    disk.set_bytes(catalogue::NAME, catalogue[..catalogue.len() - 1].to_vec());
    assert_eq!(heir(&disk, &parked).unwrap().unwrap_err().kind(), ErrorKind::Io);
    disk.set_bytes(catalogue::NAME, catalogue);
    // A segment that is not there.
    let name = disk.files(".log").remove(0);
    let segment = disk.bytes(&name);
    disk.set_bytes(&name, Vec::new());
    let error = heir(&disk, &parked).unwrap().unwrap_err();
    assert!(error.to_string().contains(&name), "{error}");
    disk.set_bytes(&name, segment);
    // Not all channels, and a part of a part.
    let mut rest = Writer::default();
    parked.rest(&mut rest);
    let rest = rest.take();
    let nothing = Heir::on(Arc::new(disk.clone()));
    assert!(nothing.take(&mut Reader::new(&rest), SMALL).is_none());
    let part = parked.logs().remove(0);
    for end in 1..part.len() {
        let mut heir = Heir::on(Arc::new(disk.clone()));
        let added = heir.add(&mut Reader::new(&part[..end]));
        assert!(added.is_none() || heir.take(&mut Reader::new(&rest), SMALL).is_none(), "{end}");
    }
}

#[test]
fn a_store_that_has_failed_does_not_change_hands() {
    let disk = Simulated::new();
    let store = open(&disk);
    let [.., id] = levels(&store);
    append(&store, id, "x").unwrap();
    disk.fail_syncs(true);
    append(&store, id, "x").unwrap_err();
    let failure = store.failure().unwrap();
    for error in [store.calm(PATIENCE).map(drop), store.park(PATIENCE).map(drop)] {
        assert_eq!(error.unwrap_err().to_string(), failure.to_string());
    }
    let closed = open(&Simulated::new());
    closed.close();
    assert_eq!(closed.calm(PATIENCE).map(drop).unwrap_err().kind(), ErrorKind::Closed);
}

/// Compacting goes on in the process before until it is calm, and in the next one from then on.
#[test]
fn nothing_is_compacted_on_the_way() {
    let disk = Simulated::new();
    let mut store = open(&disk);
    let few = create(&store, channel("few", Level::Fsync));
    let many = create(
        &store,
        ChannelRecord {
            retention: Retention { records: 10, ..Retention::default() },
            ..channel("many", Level::Fsync)
        },
    );
    let mut written = 0;
    for _ in 0..8 {
        append(&store, few, "x").unwrap();
        for _ in 0..300 {
            written = append(&store, many, vec![0; 700]).unwrap();
        }
        store = handed_over(&disk, &store).unwrap();
    }
    assert_eq!(offsets(&store, few), (1..=8).collect::<Vec<_>>());
    assert_eq!(offsets(&store, many), (written - 9..=written).collect::<Vec<_>>());
    drop(store);
    let store = open(&disk);
    assert_eq!(offsets(&store, few), (1..=8).collect::<Vec<_>>());
}
