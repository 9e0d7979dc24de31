//! Torn ends and changed bytes: cut off or refused, never served.

use super::check::{Found, repair_on};
use super::disk::Disk;
use super::*;

/// A store with 20 records, closed in peace or killed.
fn twenty(peace: bool) -> (Simulated, u64, Vec<(u64, Vec<u8>)>) {
    let disk = Simulated::new();
    let store = open(&disk);
    let id = create(&store, channel("x", Level::Fsync));
    for n in 0..20 {
        append(&store, id, format!("record {n}")).unwrap();
    }
    let (kept, killed) = (all(&store, id), disk.after_kill());
    drop(store);
    (if peace { disk } else { killed }, id, kept)
}

/// The last segment's file, without the zeros that it was given ahead, and the number of those.
fn segment(disk: &Simulated) -> (String, Vec<u8>, usize) {
    let name = disk.files(".log").pop().unwrap();
    let mut bytes = disk.bytes(&name);
    let len = bytes.len();
    bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1);
    let ahead = len - bytes.len();
    (name, bytes, ahead)
}

fn look(disk: &Simulated) -> Report {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    Found::look(&disk).unwrap().report
}

fn repair(disk: &Simulated) -> Report {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    repair_on(&disk).unwrap()
}

#[test]
fn a_last_record_that_is_torn_anywhere_is_cut_off() {
    let (disk, id, kept) = twenty(false);
    let (name, bytes, ahead) = segment(&disk);
    assert!(ahead > 0, "the file grows ahead");
    let size = record::HEADER + "record 19".len();
    for (torn, ahead) in (1..=size).flat_map(|torn| [(torn, 0), (torn, ahead)]) {
        let disk = disk.after_kill();
        let mut whole = bytes[..bytes.len() - torn].to_vec();
        // Zeros at the end of what is left cannot be told from what the file was given ahead.
        let zeros = whole.iter().rev().take_while(|byte| **byte == 0).count().min(size - torn);
        whole.resize(whole.len() + ahead, 0);
        disk.set_bytes(&name, whole);
        let report = look(&disk);
        assert_eq!((report.damage.len(), report.torn), (0, (size - torn - zeros) as u64), "{torn}");
        let store = open(&disk);
        assert_eq!(all(&store, id), kept[..19], "{torn}");
        assert_eq!(append(&store, id, "on").unwrap(), 20);
        drop(store);
        assert_eq!(all(&open(&disk), id)[19], (20, b"on".to_vec()));
    }
}

#[test]
fn a_torn_end_after_an_end_in_peace_is_damage() {
    let (disk, id, kept) = twenty(true);
    let (name, bytes, _) = segment(&disk);
    disk.set_bytes(&name, bytes[..bytes.len() - 1].to_vec());
    let error = open_with(&disk, SMALL).unwrap_err();
    assert!(error.text().contains(&name) && error.text().contains("at byte"), "{error}");
    // So is one that ends between two records.
    let size = record::HEADER + "record 19".len();
    disk.set_bytes(&name, bytes[..bytes.len() - size].to_vec());
    let error = open_with(&disk, SMALL).unwrap_err();
    assert!(error.text().contains("when it was closed"), "{error}");
    assert_eq!(look(&disk).damage.len(), 1);
    assert_eq!(repair(&disk).damage.len(), 1);
    let store = open(&disk);
    assert_eq!(all(&store, id), kept[..19]);
    assert_ne!(store.channel(id).unwrap().channel.epoch, 1);
}

/// Any one bit of the log: the store does not open, or what it serves is a true beginning.
#[test]
fn a_changed_bit_is_never_served() {
    for peace in [true, false] {
        let (disk, id, kept) = twenty(peace);
        let (name, bytes, ahead) = segment(&disk);
        assert_eq!(ahead == 0, peace, "an end in peace takes away what is ahead");
        for bit in 0..bytes.len() * 8 {
            let disk = disk.after_kill();
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            disk.set_bytes(&name, changed);
            match open_with(&disk, SMALL) {
                Ok(store) => {
                    let found = all(&store, id);
                    assert!(!peace && found == kept[..19], "bit {bit}: {}", found.len());
                }
                Err(error) => assert!(error.text().contains(&name), "bit {bit}: {error}"),
            }
        }
    }
}

#[test]
fn a_changed_bit_of_the_catalogue_is_noticed() {
    for peace in [true, false] {
        let (disk, id, kept) = twenty(peace);
        let bytes = disk.bytes("catalogue");
        for bit in 0..bytes.len() * 8 {
            let disk = disk.after_kill();
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            disk.set_bytes("catalogue", changed);
            match open_with(&disk, SMALL) {
                // The note of the end in peace was the last entry.
                Ok(store) => assert_eq!(all(&store, id), kept),
                Err(error) => {
                    assert!(error.text().contains("catalogue is damaged"), "bit {bit}: {error}");
                    repair(&disk);
                    let store = open(&disk);
                    assert_eq!(all(&store, id), kept, "bit {bit}");
                    assert_ne!(store.channel(id).unwrap().channel.epoch, 1, "bit {bit}");
                }
            }
        }
    }
}

#[test]
fn damage_behind_the_opening_is_met_by_reading() {
    let disk = Simulated::new();
    let id;
    {
        let store = open(&disk);
        id = create(&store, channel("x", Level::Fsync));
        for n in 0..100 {
            append(&store, id, vec![n; 2000]).unwrap();
        }
    }
    // A whole segment is taken by its index, and not read.
    let name = disk.files(".log").swap_remove(0);
    let mut bytes = disk.bytes(&name);
    bytes[10_000] ^= 1;
    disk.set_bytes(&name, bytes);
    let store = open(&disk);
    let error = store.read(id, &Query::default()).unwrap_err();
    assert!(error.text().contains(&name), "{error}");
    let newer = store.read(id, &Query { after: Some(50), ..Query::default() }).unwrap();
    assert_eq!(newer.records[0].offset, 51);
    drop(store);

    let report = look(&disk);
    assert_eq!(report.damage.len(), 1, "{report:?}");
    let damage = &report.damage[0];
    assert!(damage.file == name && (damage.at..damage.at + damage.bytes).contains(&10_000));
    assert_eq!(repair(&disk), report);
    assert_eq!(disk.bytes(&format!("{name}.bad")).len() as u64, damage.bytes);
    assert!(look(&disk).damage.is_empty());
    let store = open(&disk);
    let lost = 1 + (10_000 - 32) / 2048;
    let expected: Vec<u64> = (1..=100).filter(|offset| *offset != lost).collect();
    assert_eq!(offsets(&store, id), expected);
    assert_ne!(store.channel(id).unwrap().channel.epoch, 1);
}

#[test]
fn a_missing_segment_is_told_and_the_rest_can_be_kept() {
    let disk = Simulated::new();
    let id;
    {
        let store = open(&disk);
        id = create(&store, channel("x", Level::Fsync));
        for n in 0..100 {
            append(&store, id, vec![n; 2000]).unwrap();
        }
    }
    let name = disk.files(".log").swap_remove(1);
    disk.remove(&name).unwrap();
    let error = open_with(&disk, SMALL).unwrap_err();
    assert!(error.text().contains(&name) && error.text().contains("missing"), "{error}");
    assert_eq!(repair(&disk).damage.len(), 1);
    let found = offsets(&open(&disk), id);
    assert!(found.contains(&1) && found.contains(&100) && found.len() < 100, "{found:?}");
}

#[test]
fn channels_are_found_again_without_their_catalogue() {
    let (disk, id, kept) = twenty(true);
    disk.remove("catalogue").unwrap();
    let error = open_with(&disk, SMALL).unwrap_err();
    assert!(error.text().contains("catalogue") && error.text().contains("missing"), "{error}");
    assert_eq!(repair(&disk).damage.len(), 1);
    let store = open(&disk);
    assert_eq!(store.channel(id).unwrap().channel.name, format!("recovered.{id}"));
    assert_eq!(all(&store, id), kept);
    assert_eq!(create(&store, channel("new", Level::Fsync)), id + 1);
}
