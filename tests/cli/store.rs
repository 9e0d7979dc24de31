//! `qyun store check` and `repair`, on folders that a store left.

use std::path::Path;
use std::sync::mpsc;

use qyun::store::{ChannelRecord, Level, Options, Query, Reached, Record, Retention, Store};
use qyun::wire::MessageKind;

use crate::kit::{Folder, run};

/// Makes a store with ten records; gives the path and the name of its segment.
fn ten(folder: &Folder) -> (String, String) {
    let path = folder.path("store");
    let store = Store::open(Path::new(&path), Options::default()).unwrap();
    let id = store.create(
        ChannelRecord {
            id: 0,
            name: "news".into(),
            epoch: 1,
            level: Level::Fsync,
            retention: Retention::default(),
            created_ms: 1,
            text: String::new(),
        },
        Box::new(|done| done.unwrap()),
    );
    for n in 0..10 {
        let (tell, told) = mpsc::channel();
        let record = Record {
            kind: MessageKind::Text,
            payload: format!("message {n}").into(),
            key: "".into(),
            idempotency: "".into(),
            time_ms: 1,
        };
        let done = Box::new(move |done| tell.send(done).unwrap());
        store.append(id, record, Reached::Fsync, done);
        told.recv().unwrap().unwrap();
    }
    drop(store);
    let mut names = std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name());
    let segment = names.find(|name| name.to_string_lossy().ends_with(".log")).unwrap();
    (path, segment.into_string().unwrap())
}

#[test]
fn a_sound_store_is_told_to_be_one() {
    let folder = Folder::new();
    let (path, _) = ten(&folder);
    let ran = run(&["store", "check", &path]).ends_with(0);
    assert_eq!(ran.text(), "1 channels, 1 segments, 10 good records of 570 bytes\n");
    let told = run(&["store", "check", "--json", &path]).ends_with(0).json();
    assert_eq!((&told["records"], told["damage"].as_array().unwrap().len()), (&10.into(), 0));
}

#[test]
fn damage_is_told_with_file_and_byte_and_can_be_taken_out() {
    let folder = Folder::new();
    let (path, segment) = ten(&folder);
    let file = Path::new(&path).join(&segment);
    let mut bytes = std::fs::read(&file).unwrap();
    // The fourth record's payload.
    let at = 32 + 3 * 57;
    bytes[at + 50] ^= 1;
    std::fs::write(&file, &bytes).unwrap();

    let ran = run(&["store", "check", &path]).ends_with(1);
    let line = format!("damaged: {segment} at byte {at}, 57 bytes: a record's checksum is wrong");
    assert!(ran.text().contains(&line), "{ran:?}");
    assert!(ran.stderr.contains("'qyun store repair'"), "{ran:?}");
    let told = run(&["store", "check", "--json", &path]).ends_with(1).json();
    assert_eq!((&told["damage"][0]["at"], &told["damage"][0]["bytes"]), (&at.into(), &57.into()));

    assert!(run(&["store", "repair", &path]).ends_with(0).text().contains("taken out"));
    assert!(Path::new(&path).join(format!("{segment}.bad")).exists());
    run(&["store", "check", &path]).ends_with(0);
    let store = Store::open(Path::new(&path), Options::default()).unwrap();
    let channel = store.channels().remove(0).channel;
    assert_ne!(channel.epoch, 1);
    let after = store.read(channel.id, &Query { after: Some(4), ..Query::default() }).unwrap();
    assert_eq!(after.records.len(), 6);
}

#[test]
fn a_store_in_use_and_one_that_is_not_there_are_refused() {
    let folder = Folder::new();
    let (path, _) = ten(&folder);
    let store = Store::open(Path::new(&path), Options::default()).unwrap();
    for command in ["check", "repair"] {
        let ran = run(&["store", command, &path]).ends_with(1);
        assert!(ran.stderr.contains("another process has this store open"), "{ran:?}");
        let none = folder.path("none");
        let ran = run(&["store", command, &none]).ends_with(4);
        assert!(ran.stderr.contains("there is no store"), "{ran:?}");
        assert!(!Path::new(&none).exists());
    }
    drop(store);
}
