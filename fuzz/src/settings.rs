//! Options as text, and the configuration file.

use std::path::Path;

use qyun::client::{ClientOptions, SOCKET_OPTIONS, SocketOptions};
use qyun::options::OptionSpec;
use qyun::server::dialect::{ENDPOINT_OPTIONS, EndpointOptions};
use qyun::server::{OPTIONS, ServerOptions};

use crate::config::{Origin, Place, Sources, all};

/// A value that is taken reads back as one that is taken, and changes nothing but its own option.
pub fn options(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let mut server = ServerOptions::default();
    let mut client = ClientOptions::default();
    let mut socket = SocketOptions::default();
    let mut endpoint = EndpointOptions::default();
    for line in text.lines() {
        let (key, value) = line.split_once('=').unwrap_or((line, ""));
        let (key, value) = (key.trim(), value.trim());
        let before = server.clone();
        match server.set(key, value) {
            Ok(()) => {
                let kept = server.get(key).unwrap();
                let mut again = server.clone();
                if again.set(key, &kept).is_ok() {
                    assert_eq!(again.get(key).unwrap(), kept, "{key} = {value:?}");
                }
            }
            Err(error) => {
                assert!(error.to_string().contains(key), "{error}");
                assert_eq!(same(&before), same(&server), "a refusal of {key} changed something");
            }
        }
        let _ = client.set(key, value);
        let _ = socket.set(key, value);
        let _ = endpoint.set(key, value);
    }
    for spec in OPTIONS.iter().chain(SOCKET_OPTIONS).chain(ENDPOINT_OPTIONS) {
        spec_takes(spec, text);
    }
}

fn same(options: &ServerOptions) -> Vec<String> {
    OPTIONS.iter().map(|spec| options.get(spec.key).unwrap_or_default()).collect()
}

fn spec_takes(spec: &OptionSpec, text: &str) {
    if let Err(error) = spec.parse(text) {
        assert!(error.to_string().contains(spec.key));
    }
}

/// Any file is read, or refused with the line of each fault; what is read can be shown and read again.
pub fn file(input: &[u8]) {
    let folder = match Path::new("/dev/shm") {
        memory if memory.is_dir() => memory.to_owned(),
        _ => std::env::temp_dir(),
    };
    let path = folder.join(format!("qyun-fuzz-{}.toml", std::process::id()));
    std::fs::write(&path, input).unwrap();
    let read = Sources::new(Some(path.clone()), Vec::new()).load();
    std::fs::remove_file(&path).unwrap();
    let lines = input.iter().filter(|&&b| b == b'\n').count() + 1;
    match read {
        Ok(config) => {
            for spec in all() {
                let setting = &config.settings[spec.key];
                if let Origin::File(line) = setting.origin {
                    assert!((1..=lines).contains(&line), "{setting:?}");
                }
                spec_takes(spec, &setting.value);
            }
        }
        Err(faults) => {
            assert!(!faults.is_empty());
            for fault in faults {
                assert!(!fault.text.is_empty());
                let Place::File(named, line) = fault.place else { panic!("{fault:?}") };
                assert!(named == path && line.is_none_or(|line| (1..=lines).contains(&line)));
            }
        }
    }
}
