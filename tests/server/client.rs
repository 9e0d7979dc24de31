//! Qyun's client against Qyun's server.

use qyun::ErrorKind;
use qyun::client::{Client, ClientOptions, Delivery, EventKind, Http, shutdown};
use qyun::wire::MessageKind;

use crate::kit::{PATIENCE, server};

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
}

#[test]
fn a_message_too_large_for_the_server_is_refused_and_disturbs_no_subscription() {
    let server = server(&[("max_message_bytes", "1000")]);
    server.service().create_channel("c").unwrap();
    let host = server.local_addr().to_string();
    let client = Client::open(&host, ClientOptions::default()).unwrap();
    let subscription = client.subscribe("c", Delivery::Pull).unwrap();
    assert_eq!(subscription.recv(PATIENCE).unwrap().kind, EventKind::Connected);
    for size in [1001, 16_000] {
        let error = client.publish("c", MessageKind::Binary, &vec![0; size]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
        assert!(error.to_string().ends_with("the limit is 1000"), "{error}");
    }
    client.publish_nowait("c", MessageKind::Binary, vec![0; 2000].into()).unwrap();
    client.publish("c", MessageKind::Text, b"fits").unwrap();
    assert_eq!(&subscription.recv(PATIENCE).unwrap().data[..], b"fits");
    assert_eq!(client.last_error().unwrap().kind(), ErrorKind::TooLarge);
    // Beyond what the server reads at all the connection is lost, and only then.
    let error = client.publish("c", MessageKind::Binary, &[0; 20_000]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
    assert_eq!(subscription.recv(PATIENCE).unwrap().kind, EventKind::Error);
    assert_eq!(subscription.recv(PATIENCE).unwrap().kind, EventKind::Connected);
    client.close();
    shutdown(PATIENCE).unwrap();
}
