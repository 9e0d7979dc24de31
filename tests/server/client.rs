//! Qyun's client against Qyun's server.

use qyun::ErrorKind;
use qyun::client::{ClientOptions, Http, shutdown};
use qyun::wire::MessageKind;

use crate::kit::server;

#[test]
fn http_calls_list_every_channel_and_look_one_up() {
    let server = server(&[]);
    let host = server.local_addr().to_string();
    let http = Http::new(&host, &ClientOptions::default()).unwrap();
    assert!(http.channels().unwrap().is_empty());
    // More than a page, with names that a query must not take apart.
    let mut names: Vec<_> = (0..2500).map(|number| format!("a&b=c/青 +{number}")).collect();
    names.sort_unstable();
    for name in &names {
        server.service().create_channel(name).unwrap();
    }
    let listed: Vec<_> = http.channels().unwrap().into_iter().map(|info| info.name).collect();
    assert_eq!(listed, names);

    let name = &names[7];
    let position = http.send(name, MessageKind::Binary, b"\xff").unwrap();
    let info = http.channel(name).unwrap();
    assert_eq!(info, server.service().channel(name).unwrap());
    assert_eq!((info.epoch, info.offset), (position.epoch, position.offset));
    http.delete(name).unwrap();
    for error in [http.channel(name).unwrap_err(), http.delete(name).unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::ChannelNotFound);
        for part in [host.as_str(), name.as_str()] {
            assert_eq!(error.to_string().matches(part).count(), 1, "{error}");
        }
    }
    http.close();
    shutdown(crate::kit::PATIENCE).unwrap();
}
