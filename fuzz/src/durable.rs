//! What one process leaves for the next: the store's files, and the words of a hand-over.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use qyun::hub::{ChannelConfig, Hub, Namespaces, Pattern};
use qyun::store::{
    ChannelRecord, Level, Options, Query, Reached, Record, Retention, Store, check, repair,
};
use qyun::wire::MessageKind;
use qyun::wire::handover::{Reader, Writer};

/// A store's files by name.
type Files = Vec<(String, Vec<u8>)>;

thread_local! {
    /// Of a store that ended in peace, and of the same before its end.
    static STORES: (Files, Files) = stores();
}

fn folder() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    parent.join(format!("qyun-fuzz-store-{}", std::process::id()))
}

const OPTIONS: Options = Options { segment_bytes: 64 << 10, queue_bytes: 1 << 20 };

fn stores() -> (Files, Files) {
    let folder = folder();
    let _ = std::fs::remove_dir_all(&folder);
    let store = Store::open(&folder, OPTIONS).unwrap();
    for name in ["one", "two"] {
        let channel = ChannelRecord {
            id: 0,
            name: name.into(),
            epoch: 7,
            level: Level::Os,
            retention: Retention::default(),
            created_ms: 1,
            text: "history_size=9".into(),
        };
        let id = store.create(channel, Box::new(|made| made.unwrap()));
        for n in 0..12u64 {
            let record = Record {
                kind: MessageKind::Text,
                payload: Bytes::from(vec![b'x'; n as usize * 17]),
                key: Bytes::from_static(b"k"),
                idempotency: Bytes::new(),
                time_ms: n,
            };
            store.append(id, record, Reached::Os, Box::new(|done| assert!(done.is_ok())));
        }
    }
    let (tell, told) = std::sync::mpsc::channel();
    store.sync(Box::new(move |done| tell.send(done.unwrap()).unwrap()));
    told.recv().unwrap();
    let open = files(&folder);
    drop(store);
    let closed = files(&folder);
    std::fs::remove_dir_all(&folder).unwrap();
    (closed, open)
}

fn files(folder: &Path) -> Files {
    let mut files: Files = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())
        })
        .collect();
    files.sort();
    files
}

/// Whatever stands in its files, a store opens with channels whose pages have no holes, or says what
/// is wrong; once it is repaired, it opens. Six bytes of input are one change: which file, where, what.
pub fn store(input: &[u8]) {
    let Some((&steer, edits)) = input.split_first() else { return };
    let mut files =
        STORES.with(|(closed, open)| if steer & 1 == 0 { closed.clone() } else { open.clone() });
    for edit in edits.chunks_exact(6) {
        let count = files.len();
        let (_, bytes) = &mut files[usize::from(edit[0]) % count];
        if bytes.is_empty() {
            bytes.push(edit[5]);
            continue;
        }
        let at = usize::from(u16::from_le_bytes([edit[1], edit[2]])) % bytes.len();
        match edit[3] & 3 {
            0 => bytes.truncate(at),
            1 => bytes[at] ^= edit[5] | 1,
            2 => bytes.extend_from_slice(&vec![edit[5]; usize::from(edit[4])]),
            _ => {
                let end = (at + usize::from(edit[4])).min(bytes.len());
                bytes[at..end].fill(edit[5]);
            }
        }
    }
    let folder = folder();
    std::fs::create_dir_all(&folder).unwrap();
    for (name, bytes) in &files {
        std::fs::write(folder.join(name), bytes).unwrap();
    }
    let _ = check(&folder);
    read(&folder);
    if repair(&folder).is_ok() {
        assert!(read(&folder), "a store that was repaired does not open");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

/// Reads all of a store; false if it does not open.
fn read(folder: &Path) -> bool {
    let Ok(store) = Store::open(folder, OPTIONS) else { return false };
    for state in store.channels() {
        let query = Query { limit: 100, ..Query::default() };
        if let Ok(page) = store.read(state.channel.id, &query) {
            let offsets: Vec<u64> = page.records.iter().map(|stored| stored.offset).collect();
            assert!(offsets.windows(2).all(|two| two[1] == two[0] + 1), "{offsets:?}");
            assert!(offsets.iter().all(|offset| (page.first..=page.last).contains(offset)));
        }
    }
    true
}

/// What another process wrote is read or refused; what is read of a hub is written as the same.
pub fn handover(input: &[u8]) {
    let mut reader = Reader::new(input);
    let _ = reader.option(|reader| reader.list(|reader| Some((reader.text()?, reader.size()?))));
    let hub = Hub::new(Vec::new(), 0);
    let mut reader = Reader::new(input);
    if hub.take_over(&mut reader).is_some() {
        let mut writer = Writer::default();
        hub.hand_over(&mut writer);
        assert!(input.starts_with(&writer.take()));
        while let Some(channel) = hub.take_over_channel(&mut reader) {
            let _ = channel.take_over_history(&mut reader);
        }
    }
}

/// Options of channels survive being written; a pattern matches what it says.
pub fn namespaces(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let mut config = ChannelConfig::default();
    if config.set_all(text).is_ok() {
        let mut again = ChannelConfig::default();
        again.set_all(&config.text()).unwrap();
        assert_eq!(again, config);
    }
    if let Ok(namespaces) = Namespaces::parse(text) {
        for (pattern, config) in namespaces.iter() {
            assert_eq!(Pattern::parse(pattern.as_str()).unwrap().as_str(), pattern.as_str());
            assert!(pattern.is_wildcard() || pattern.matches(pattern.as_str()));
            let _ = config.text();
        }
        let _ = namespaces.config(text);
    }
    let (pattern, name) = text.split_once('\n').unwrap_or((text, ""));
    if let Ok(pattern) = Pattern::parse(pattern) {
        let matches = pattern.matches(name);
        assert!(!matches || name.starts_with(pattern.prefix()));
    }
}
