//! Ends without notice: the process is killed, or the power goes.

use std::collections::BTreeMap;
use std::sync::Mutex;

use proptest::prelude::*;

use super::*;

fn epochs(disk: &Simulated) -> Vec<u64> {
    open(disk).channels().iter().map(|state| state.channel.epoch).collect()
}

/// A store with a channel of each level and a record in each, which is not closed.
fn one_of_each() -> (Simulated, Store) {
    let disk = Simulated::new();
    let store = open(&disk);
    for (name, level) in [("m", Level::Memory), ("o", Level::Os), ("f", Level::Fsync)] {
        let id = create(&store, channel(name, level));
        append(&store, id, "x").unwrap();
    }
    (disk, store)
}

#[test]
fn epochs_go_on_as_far_as_the_level_promises() {
    let (disk, store) = one_of_each();
    let killed = epochs(&disk.after_kill());
    assert!(killed[0] != 1 && killed[1..] == [1, 1], "{killed:?}");
    let cut = epochs(&disk.after_power_cut(&mut fastrand::Rng::with_seed(1)));
    assert!(cut[0] != 1 && cut[1] != 1 && cut[2] == 1, "{cut:?}");
    drop(store);
    assert_eq!(epochs(&disk), [1, 1, 1]);
    // What was closed in peace was synced: a power cut afterwards changes nothing.
    assert_eq!(epochs(&disk.after_power_cut(&mut fastrand::Rng::with_seed(1))), [1, 1, 1]);
}

#[test]
fn a_new_epoch_is_kept() {
    let (disk, _store) = one_of_each();
    let disk = disk.after_kill();
    let first = epochs(&disk);
    assert_eq!(epochs(&disk), first);
}

#[test]
fn a_power_cut_leaves_no_hole_in_a_channel_that_was_trimmed() {
    for seed in 0..40 {
        let disk = Simulated::new();
        let store = open(&disk);
        let id = create(&store, channel("x", Level::Fsync));
        for n in 1..=10 {
            let level = if n <= 5 { Reached::Fsync } else { Reached::Os };
            wait(|done| store.append(id, record("x"), level, done)).unwrap();
        }
        wait(|done| store.trim(id, 3, done)).unwrap();
        let cut = disk.after_power_cut(&mut fastrand::Rng::with_seed(seed));
        let store = open(&cut);
        let next = append(&store, id, "next").unwrap();
        assert_eq!(offsets(&store, id), (3..=next).collect::<Vec<_>>());
    }
}

/// What is known of a channel from outside.
#[derive(Default, Clone)]
struct Known {
    /// All that was asked for, in order.
    asked: Vec<Vec<u8>>,
    /// Offset and payload of all that was acknowledged, and whether as synced.
    told: Vec<(u64, Vec<u8>, bool)>,
    /// Up to where it was asked to be trimmed: what failed may have been done all the same.
    trimmed: u64,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    /// Random work on several channels, ended at a random operation of the disk by a kill or a
    /// power cut, several times over, in one process or several: what was acknowledged is there as its level says, in order,
    /// and nothing is there that was not asked for.
    #[test]
    fn ends(seed: u64, lives in 1usize..5) {
        let mut chance = fastrand::Rng::with_seed(seed);
        let mut disk = Simulated::new();
        let known: Arc<Mutex<BTreeMap<u64, Known>>> = Arc::default();
        for _ in 0..lives {
            let mut store = open(&disk);
            for _ in 0..chance.usize(..3) {
                let id = create(&store, channel("x", Level::Fsync));
                lock(&known).insert(id, Known::default());
            }
            let ids: Vec<u64> = lock(&known).keys().copied().collect();
            let dies = chance.bool();
            if dies {
                disk.break_after(chance.u64(1..200));
            }
            for n in 0..chance.usize(..150) {
                let Some(id) = (!ids.is_empty()).then(|| ids[chance.usize(..ids.len())]) else { break };
                if chance.u8(..60) == 0 {
                    let last = lock(&known)[&id].told.last().map_or(0, |(offset, ..)| *offset);
                    if last > 0 {
                        let _ = wait(|done| store.trim(id, last, done));
                        lock(&known).get_mut(&id).unwrap().trimmed = last;
                    }
                }
                let payload = format!("{n} {}", "x".repeat(chance.usize(..3000))).into_bytes();
                lock(&known).get_mut(&id).unwrap().asked.push(payload.clone());
                let (sync, known) = (chance.bool(), Arc::clone(&known));
                let reached = if sync { Reached::Fsync } else { Reached::Os };
                let mine = payload.clone();
                let done = move |done: Result<Appended>| {
                    if let Ok(appended) = done {
                        let mut known = lock(&known);
                        known.get_mut(&id).unwrap().told.push((appended.offset, mine, sync));
                    }
                };
                store.append(id, record(payload), reached, Box::new(done));
                if chance.u8(..10) == 0 {
                    let _ = wait(|done| store.sync(done));
                }
                // One that has failed, or whose files cannot be read, stays where it is.
                if chance.u8(..30) == 0
                    && let Some(next) = handover::handed_over(&disk, &store)
                {
                    store = next;
                }
            }
            if dies {
                let _ = wait(|done| store.sync(done));
            }
            store.close();
            let power = chance.bool();
            disk = match power {
                true => disk.after_power_cut(&mut chance),
                false => disk.after_kill(),
            };
            let store = open(&disk);
            for (id, known) in lock(&known).iter_mut() {
                let found = all(&store, *id);
                let first = store.channel(*id).unwrap().first;
                prop_assert!(first <= known.trimmed.max(1), "first {first}, trimmed {}", known.trimmed);
                // What was synced has everything in front of it synced too.
                let synced = known.told.iter().rposition(|(.., sync)| *sync).map_or(0, |at| at + 1);
                let owed = if power && dies { &known.told[..synced] } else { &known.told[..] };
                let found_at: BTreeMap<u64, &Vec<u8>> =
                    found.iter().map(|(offset, payload)| (*offset, payload)).collect();
                for (offset, payload, _) in owed.iter().filter(|(offset, ..)| *offset >= first) {
                    prop_assert_eq!(found_at.get(offset), Some(&payload), "offset {}", offset);
                }
                // Consecutive, and nothing invented.
                for pair in found.windows(2) {
                    prop_assert_eq!(pair[0].0 + 1, pair[1].0);
                }
                for (_, payload) in &found {
                    prop_assert!(known.asked.contains(payload));
                }
                // From here on, what is there is what holds.
                known.told = found.into_iter().map(|(offset, payload)| (offset, payload, true)).collect();
            }
            drop(store);
        }
    }
}
