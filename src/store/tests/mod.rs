//! The store on a disk that can be broken.

mod basics;
mod damage;
mod ends;
mod faults;
mod handover;
mod upkeep;

use std::sync::{Arc, mpsc};

use bytes::Bytes;

use super::simulated::Simulated;
use super::*;
use crate::wire::MessageKind;

const SMALL: Options = Options { segment_bytes: 64 << 10, queue_bytes: 1 << 20 };

fn open_with(disk: &Simulated, options: Options) -> Result<Store> {
    Store::open_on(Arc::new(disk.clone()), options)
}

fn open(disk: &Simulated) -> Store {
    open_with(disk, SMALL).unwrap()
}

fn record(payload: impl Into<Vec<u8>>) -> Record {
    Record {
        kind: MessageKind::Text,
        payload: Bytes::from(payload.into()),
        key: Bytes::new(),
        idempotency: Bytes::new(),
        time_ms: writer::now_ms(),
    }
}

fn channel(name: &str, level: Level) -> ChannelRecord {
    ChannelRecord {
        id: 0,
        name: name.into(),
        epoch: 1,
        level,
        retention: Retention::default(),
        created_ms: 7,
        text: format!("about {name}"),
    }
}

/// What a call with a callback answers.
fn wait<T: Send + 'static>(call: impl FnOnce(Done<T>)) -> Result<T> {
    let (tell, told) = mpsc::channel();
    call(Box::new(move |result| {
        let _ = tell.send(result);
    }));
    told.recv().expect("every call is answered")
}

fn create(store: &Store, channel: ChannelRecord) -> u64 {
    let (tell, told) = mpsc::channel();
    let id = store.create(channel, Box::new(move |done| tell.send(done).unwrap()));
    told.recv().unwrap().unwrap();
    id
}

fn append(store: &Store, channel: u64, payload: impl Into<Vec<u8>>) -> Result<u64> {
    let record = record(payload);
    wait(|done| store.append(channel, record, Reached::Fsync, done)).map(|done| done.offset)
}

/// Everything that a channel keeps, as offsets and payloads.
fn all(store: &Store, channel: u64) -> Vec<(u64, Vec<u8>)> {
    let mut found: Vec<(u64, Vec<u8>)> = Vec::new();
    loop {
        let after = found.last().map(|(offset, _)| *offset);
        let query = Query { after, max_bytes: 4096, ..Query::default() };
        let page = store.read(channel, &query).unwrap().records;
        if page.is_empty() {
            return found;
        }
        found.extend(page.into_iter().map(|one| (one.offset, one.record.payload.to_vec())));
    }
}

fn offsets(store: &Store, channel: u64) -> Vec<u64> {
    all(store, channel).into_iter().map(|(offset, _)| offset).collect()
}
