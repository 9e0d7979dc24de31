//! Qyun's log, as a durable channel appends to it.

use std::path::Path;
use std::sync::mpsc;

use bytes::Bytes;
use qyun::store::{ChannelRecord, Done, Level, Options, Reached, Record, Retention, Store};
use qyun::wire::MessageKind;

use crate::ways::Way;

pub struct Qyun {
    store: Store,
    channel: u64,
}

impl Qyun {
    pub fn open(place: &Path) -> Self {
        let store = Store::open(&place.join("qyun"), Options::default()).expect("a store");
        let channel = ChannelRecord {
            id: 0,
            name: "bench".into(),
            epoch: 1,
            level: Level::Fsync,
            retention: Retention::default(),
            created_ms: 0,
            text: String::new(),
        };
        let channel = store.create(channel, Box::new(|done| done.expect("a channel")));
        Self { store, channel }
    }
}

impl Way for Qyun {
    fn append(&mut self, batch: usize, payload: &[u8]) {
        let payload = Bytes::copy_from_slice(payload);
        let (tell, told) = mpsc::channel();
        let records = (0..batch).map(|n| {
            let record = Record {
                kind: MessageKind::Binary,
                payload: payload.clone(),
                key: Bytes::new(),
                idempotency: Bytes::new(),
                time_ms: 1,
            };
            let tell = (n + 1 == batch).then(|| tell.clone());
            let done = move |done: qyun::Result<_>| {
                done.expect("appended");
                if let Some(tell) = tell {
                    let _ = tell.send(());
                }
            };
            (record, Box::new(done) as Done<_>)
        });
        self.store.append_many(self.channel, records, Reached::Fsync);
        told.recv().expect("the last one is told");
    }
}
