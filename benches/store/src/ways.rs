//! What is compared. Each appends a batch of records and returns when all of it is durable.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use redb::{Durability, TableDefinition};

use crate::qyun_way::Qyun;

pub trait Way {
    fn append(&mut self, batch: usize, payload: &[u8]);
}

type Open = fn(&Path) -> Box<dyn Way>;

pub fn all() -> [(&'static str, Open); 4] {
    [
        ("bare write and fdatasync", |place| Box::new(Bare::open(place))),
        ("Qyun", |place| Box::new(Qyun::open(place))),
        ("redb", |place| Box::new(Redb::open(place))),
        ("fjall", |place| Box::new(Fjall::open(place))),
    ]
}

/// The payloads and nothing else.
struct Bare {
    file: File,
    buffer: Vec<u8>,
}

impl Bare {
    fn open(place: &Path) -> Self {
        let file = File::create(place.join("log")).expect("a file");
        Self { file, buffer: Vec::new() }
    }
}

impl Way for Bare {
    fn append(&mut self, batch: usize, payload: &[u8]) {
        self.buffer.clear();
        (0..batch).for_each(|_| self.buffer.extend_from_slice(payload));
        self.file.write_all(&self.buffer).expect("write");
        self.file.sync_data().expect("fdatasync");
    }
}

const TABLE: TableDefinition<u64, &[u8]> = TableDefinition::new("log");

struct Redb {
    database: redb::Database,
    offset: u64,
}

impl Redb {
    fn open(place: &Path) -> Self {
        let database = redb::Database::create(place.join("redb")).expect("a database");
        Self { database, offset: 0 }
    }
}

impl Way for Redb {
    fn append(&mut self, batch: usize, payload: &[u8]) {
        let mut write = self.database.begin_write().expect("a transaction");
        write.set_durability(Durability::Immediate).expect("durability");
        {
            let mut table = write.open_table(TABLE).expect("a table");
            for _ in 0..batch {
                self.offset += 1;
                table.insert(self.offset, payload).expect("insert");
            }
        }
        write.commit().expect("commit");
    }
}

struct Fjall {
    database: Database,
    log: Keyspace,
    offset: u64,
}

impl Fjall {
    fn open(place: &Path) -> Self {
        let database = Database::builder(place.join("fjall")).open().expect("a database");
        let log = database.keyspace("log", KeyspaceCreateOptions::default).expect("a keyspace");
        Self { database, log, offset: 0 }
    }
}

impl Way for Fjall {
    fn append(&mut self, batch: usize, payload: &[u8]) {
        let mut write = self.database.batch().durability(Some(PersistMode::SyncData));
        for _ in 0..batch {
            self.offset += 1;
            write.insert(&self.log, self.offset.to_be_bytes(), payload);
        }
        write.commit().expect("commit");
    }
}
