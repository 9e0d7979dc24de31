//! A disk that is full, breaks, or does not sync.

use super::*;

#[test]
fn a_full_disk_refuses_and_takes_again_without_a_hole() {
    let disk = Simulated::new();
    let id;
    {
        let store = open(&disk);
        id = create(&store, channel("x", Level::Fsync));
        append(&store, id, "one").unwrap();
        disk.limit(Some(30));
        for _ in 0..3 {
            let error = append(&store, id, "lost").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Io);
            assert!(error.text().contains(".log"), "{error}");
        }
        let done = wait(|done| {
            store.create(channel("y", Level::Fsync), done);
        });
        assert!(done.is_err());
        disk.limit(None);
        assert_eq!(append(&store, id, "two").unwrap(), 2);
        assert_eq!(store.failure().map(|error| error.to_string()), None);
    }
    let store = open(&disk);
    assert_eq!(all(&store, id), [(1, b"one".to_vec()), (2, b"two".to_vec())]);
    assert_eq!(store.channels().len(), 1);
    assert_eq!(store.channel(id).unwrap().channel.epoch, 1);
}

#[test]
fn after_a_failed_sync_nothing_is_acknowledged_any_more() {
    let disk = Simulated::new();
    let store = open(&disk);
    let id = create(&store, channel("x", Level::Fsync));
    append(&store, id, "one").unwrap();
    disk.fail_syncs(true);
    assert!(append(&store, id, "two").is_err());
    // The next fdatasync would succeed without having written what the failed one lost.
    disk.fail_syncs(false);
    for _ in 0..3 {
        let error = append(&store, id, "three").unwrap_err();
        assert!(error.text().contains("cannot be synced"), "{error}");
    }
    assert!(store.append_behind(id, record("x"), 9).is_err());
    assert!(store.failure().is_some());
    // What was acknowledged can be read, and nothing else.
    assert_eq!(all(&store, id), [(1, b"one".to_vec())]);
    store.wait_for_room();
}

#[test]
fn a_record_that_was_told_and_not_written_ends_the_epoch() {
    let disk = Simulated::new();
    let (memory, os);
    {
        let store = open(&disk);
        memory = create(&store, channel("memory", Level::Memory));
        os = create(&store, channel("os", Level::Os));
        store.append_behind(memory, record("one"), 1).unwrap();
        append(&store, os, "one").unwrap();
        disk.limit(Some(0));
        store.append_behind(memory, record("two"), 2).unwrap();
        wait(|done| store.sync(done)).unwrap();
        disk.limit(None);
    }
    let store = open(&disk);
    assert_ne!(store.channel(memory).unwrap().channel.epoch, 1);
    assert_eq!(store.channel(os).unwrap().channel.epoch, 1);
}

/// Whatever operation fails: what was acknowledged is there, and nothing that was not appended.
#[test]
fn a_disk_that_breaks_at_any_operation_loses_nothing_that_was_acknowledged() {
    for operations in 0..120 {
        let disk = Simulated::new();
        let mut acknowledged = Vec::new();
        let mut id = None;
        {
            let Ok(store) = open_with(&disk, SMALL) else { panic!("an unbroken disk opens") };
            disk.break_after(operations);
            let made = wait(|done| id = Some(store.create(channel("x", Level::Fsync), done)));
            for n in 0..40 {
                let payload = vec![n; 5000];
                if append(&store, id.unwrap(), payload.clone()).is_ok() {
                    acknowledged.push(payload);
                }
            }
            assert!(made.is_ok() || acknowledged.is_empty());
        }
        let disk = disk.after_kill();
        let store = open(&disk);
        if acknowledged.is_empty() && store.channels().is_empty() {
            continue;
        }
        let found: Vec<_> =
            all(&store, id.unwrap()).into_iter().map(|(_, payload)| payload).collect();
        assert!(found.starts_with(&acknowledged), "{operations}");
        assert!(found.len() <= acknowledged.len() + 1, "{operations}");
        assert_eq!(append(&store, id.unwrap(), "on").unwrap(), found.len() as u64 + 1);
    }
}
