//! Publishing with a key, with counts, and many at a time.

use qyun::client::{
    Client, ClientOptions, Delivery, EventKind, PublishVia, send_batch, send_message_with,
};
use qyun::hub::{BatchMessage, ChannelConfig, PublishOptions, Published, Report};
use qyun::server::{self, ServerOptions};
use qyun::tally::Counts;
use qyun::wire::stream::{self, Op, Publication, Reply};
use qyun::wire::{MessageKind, Position};
use qyun::{ErrorKind, Result};
use tungstenite::Message;

use crate::events::fast;
use crate::peer::Peer;
use crate::server::LONG;

#[test]
fn a_refusal_on_the_websocket_has_the_kind_of_its_status() {
    let peer = Peer::start();
    let client = Client::open(&peer.address().to_string(), fast()).unwrap();
    let mut link = peer.accept();
    for (status, kind) in [
        (400, ErrorKind::Refused),
        (404, ErrorKind::ChannelNotFound),
        (409, ErrorKind::Conflict),
        (413, ErrorKind::TooLarge),
        (503, ErrorKind::Refused),
    ] {
        let error = std::thread::scope(|scope| {
            let publish = scope.spawn(|| client.publish("c", MessageKind::Text, b"x"));
            let Message::Binary(bytes) = link.read() else { panic!("not binary") };
            let id = stream::decode_request(&bytes).unwrap().id;
            let mut packet = Vec::new();
            stream::encode_reply(
                &mut packet,
                &Reply { id, status, error: "because", ..Reply::default() },
            );
            link.send(Message::binary(packet));
            publish.join().unwrap().unwrap_err()
        });
        assert_eq!(error.kind(), kind, "{status}: {error}");
        assert!(error.to_string().contains("because"), "{error}");
    }
}

fn qyun(options: &[(&str, &str)]) -> (server::Server, String) {
    let mut all = ServerOptions::default();
    for (key, value) in [&[("listen", "127.0.0.1:0")], options].concat() {
        all.set(key, value).unwrap();
    }
    let server = server::Server::start(all).unwrap();
    server.service().create_channel("c").unwrap();
    let host = server.local_addr().to_string();
    (server, host)
}

const ASKS_NOTHING: PublishOptions<'static> =
    PublishOptions { key: None, conflate: None, counts: false };

type Publish<'a> =
    Box<dyn Fn(&str, MessageKind, &[u8], &PublishOptions<'_>) -> Result<Report> + 'a>;

/// Every way in which a message can be published with what else is asked for.
fn ways<'a>(host: &'a str, websocket: &'a Client, http: &'a Client) -> Vec<(&'a str, Publish<'a>)> {
    vec![
        (
            "websocket",
            Box::new(|c, kind, data, options| websocket.publish_with(c, kind, data, options)),
        ),
        ("http", Box::new(|c, kind, data, options| http.publish_with(c, kind, data, options))),
        (
            "one-shot",
            Box::new(move |c, kind, data, options| send_message_with(host, c, kind, data, options)),
        ),
        (
            "batch",
            Box::new(|channel, kind, payload, options| {
                let one = BatchMessage { channel, kind, payload, options: *options };
                websocket.publish_batch(&[one])?.pop().unwrap()
            }),
        ),
        (
            "one-shot batch",
            Box::new(move |channel, kind, payload, options| {
                let one = BatchMessage { channel, kind, payload, options: *options };
                send_batch(host, &[one])?.pop().unwrap()
            }),
        ),
    ]
}

#[test]
fn a_message_is_published_once_under_its_key_whatever_way_it_comes() {
    let (server, host) = qyun(&[]);
    let websocket = Client::open(&host, fast()).unwrap();
    let http = ClientOptions { publish_via: PublishVia::Http, ..fast() };
    let http = Client::open(&host, http).unwrap();
    let subscription = websocket.subscribe("c", Delivery::Pull).unwrap();
    assert_eq!(subscription.recv(LONG).unwrap().kind, EventKind::Connected);
    let epoch = server.service().channel("c").unwrap().epoch;
    let keyed = PublishOptions { key: Some("订单 &7".as_bytes()), ..ASKS_NOTHING };
    for (at, (way, publish)) in ways(&host, &websocket, &http).iter().enumerate() {
        let report = publish("c", MessageKind::Binary, b"\0once", &keyed).unwrap();
        let position = Position { epoch, offset: 1 };
        let expected = Published { position, subscribers: 1, duplicate: at > 0 };
        assert_eq!((report.published, report.counts), (expected, None), "{way}");
        let error = publish("c", MessageKind::Text, b"another", &keyed).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{way}: {error}");
        let text = error.to_string();
        assert!(text.contains("'c'") && text.contains(&host), "{way}: {text}");
        for options in [
            PublishOptions { key: Some(b""), ..ASKS_NOTHING },
            PublishOptions { key: Some(&[b'k'; 256]), ..ASKS_NOTHING },
            PublishOptions { conflate: Some(""), ..ASKS_NOTHING },
        ] {
            let error = publish("c", MessageKind::Text, b"x", &options).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{way}: {error}");
        }
        let missing = publish("none", MessageKind::Text, b"x", &ASKS_NOTHING).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::ChannelNotFound, "{way}: {missing}");
        let broken = publish("c", MessageKind::Text, b"\xff", &ASKS_NOTHING).unwrap_err();
        assert_eq!(broken.kind(), ErrorKind::InvalidUtf8, "{way}: {broken}");
    }
    assert_eq!(subscription.recv(LONG).unwrap().data, "\0once");
    assert_eq!(server.service().counters().published, 1);
    // A key of any bytes, but where it stands in JSON.
    let bytes = PublishOptions { key: Some(b"\xff\0"), ..ASKS_NOTHING };
    for (at, (way, publish)) in ways(&host, &websocket, &http).iter().enumerate() {
        match (publish("c", MessageKind::Text, b"any", &bytes), way.contains("batch")) {
            (Ok(report), false) => assert_eq!(report.published.duplicate, at > 0, "{way}"),
            (Err(error), true) => assert_eq!(error.kind(), ErrorKind::InvalidUtf8, "{way}"),
            (other, _) => panic!("{way}: {other:?}"),
        }
    }
    assert_eq!(server.service().channel("c").unwrap().offset, 2);
}

#[test]
fn counts_say_whom_a_message_reached() {
    let (_server, host) = qyun(&[("shards", "2")]);
    let websocket = Client::open(&host, fast()).unwrap();
    let http = ClientOptions { publish_via: PublishVia::Http, ..fast() };
    let http = Client::open(&host, http).unwrap();
    let subscriptions = [&websocket, &http].map(|one| one.subscribe("c", Delivery::Pull).unwrap());
    let counted = PublishOptions { counts: true, ..ASKS_NOTHING };
    for (way, publish) in ways(&host, &websocket, &http) {
        let report = publish("c", MessageKind::Text, b"", &counted).unwrap();
        let reached = Some(Counts { reached: 2, queued: 0, dropped: 0 });
        assert_eq!((report.counts, report.published.subscribers), (reached, 2), "{way}");
    }
    drop(subscriptions);
}

#[test]
fn what_a_message_is_the_latest_value_of_reaches_the_server() {
    let peer = Peer::start();
    let client = Client::open(&peer.address().to_string(), fast()).unwrap();
    let mut link = peer.accept();
    let options = PublishOptions { key: Some(b"k"), conflate: Some("price"), counts: true };
    let report = std::thread::scope(|scope| {
        let publish = scope.spawn(|| client.publish_with("c", MessageKind::Text, b"7", &options));
        let Message::Binary(bytes) = link.read() else { panic!("not binary") };
        let request = stream::decode_request(&bytes).unwrap();
        let plain = Publication::new(MessageKind::Text, b"7");
        let (key, conflate) = (Some(&b"k"[..]), Some("price"));
        let asked = Publication { key, conflate, counts: true, subscribers: true, ..plain };
        assert_eq!(request.op, Op::PublishWith(asked));
        let counts = Some(Counts { reached: 3, queued: 2, dropped: 1 });
        let position = Position { epoch: 7, offset: 9 };
        let told =
            Reply { id: request.id, position, counts, subscribers: Some(4), ..Reply::default() };
        let mut packet = Vec::new();
        stream::encode_reply(&mut packet, &told);
        link.send(Message::binary(packet));
        publish.join().unwrap().unwrap()
    });
    let position = Position { epoch: 7, offset: 9 };
    assert_eq!(report.published, Published { position, subscribers: 4, duplicate: false });
    assert_eq!(report.counts, Some(Counts { reached: 3, queued: 2, dropped: 1 }));
}

#[test]
fn a_batch_travels_once_and_tells_of_each_message() {
    let (server, host) = qyun(&[("max_batch_messages", "7"), ("max_message_bytes", "1000")]);
    server.service().create_channel("d").unwrap();
    let client = Client::open(&host, fast()).unwrap();
    let subscription = client.subscribe("c", Delivery::Pull).unwrap();
    assert_eq!(subscription.recv(LONG).unwrap().kind, EventKind::Connected);
    let message = |channel, payload| {
        let kind = MessageKind::Text;
        BatchMessage { channel, kind, payload, options: ASKS_NOTHING }
    };
    let counted = PublishOptions { counts: true, ..ASKS_NOTHING };
    let batch = [
        message("c", b"one"),
        message("none", b"x"),
        message("d", b"two"),
        message("c\n", b"x"),
        BatchMessage { kind: MessageKind::Binary, options: counted, ..message("c", b"\xff\0") },
        message("c", &[b'x'; 1001]),
        message("c", b""),
    ];
    for (way, reports) in [
        ("handle", client.publish_batch(&batch).unwrap()),
        ("one-shot", send_batch(&host, &batch).unwrap()),
    ] {
        let kinds: Vec<_> =
            reports.iter().map(|one| one.as_ref().err().map(|e| e.kind())).collect();
        let (missing, name) = (Some(ErrorKind::ChannelNotFound), Some(ErrorKind::InvalidName));
        let large = Some(ErrorKind::TooLarge);
        assert_eq!(kinds, [None, missing, None, name, None, large, None], "{way}");
        let text = reports[1].as_ref().unwrap_err().to_string();
        assert!(text.contains("'none'") && text.contains(&host), "{text}");
        let counts: Vec<_> = reports.iter().flatten().map(|report| report.counts).collect();
        let reached = Some(Counts { reached: 1, queued: 0, dropped: 0 });
        assert_eq!(counts, [None, None, reached, None], "{way}");
        for expected in [&b"one"[..], b"\xff\0", b""] {
            assert_eq!(subscription.recv(LONG).unwrap().data, expected, "{way}");
        }
    }
    assert_eq!(server.service().channel("c").unwrap().offset, 6);
    assert_eq!(client.counters().published, 4);
    // Nothing of a batch that is too long is published, and an empty one does not travel.
    let error = client.publish_batch(&vec![message("c", b"x"); 8]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
    assert!(
        error.to_string().contains("at most 7") && error.to_string().contains(&host),
        "{error}"
    );
    assert_eq!(server.service().channel("c").unwrap().offset, 6);
    drop(server);
    assert!(client.publish_batch(&[]).unwrap().is_empty());
    assert_eq!(client.publish_batch(&batch).unwrap_err().kind(), ErrorKind::Connect);
    client.close();
    assert_eq!(client.publish_batch(&batch).unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn the_program_s_own_key_is_used_for_sending_again() {
    let peer = Peer::start();
    let options = ClientOptions { publish_retries: 1, ..fast() };
    let client = Client::open(&peer.address().to_string(), options).unwrap();
    let options = PublishOptions { key: Some(b"mine"), ..ASKS_NOTHING };
    std::thread::scope(|scope| {
        let publish = scope.spawn(|| client.publish_with("c", MessageKind::Text, b"x", &options));
        for again in [false, true] {
            let mut link = peer.accept();
            let Message::Binary(bytes) = link.read() else { panic!("not binary") };
            let request = stream::decode_request(&bytes).unwrap();
            let Op::PublishWith(publication) = request.op else { panic!("{request:?}") };
            assert_eq!(publication.key, Some(&b"mine"[..]));
            if !again {
                link.kill();
                continue;
            }
            let told = Reply { id: request.id, duplicate: true, ..Reply::default() };
            let mut packet = Vec::new();
            stream::encode_reply(&mut packet, &told);
            link.send(Message::binary(packet));
            assert!(publish.join().unwrap().unwrap().published.duplicate);
            break;
        }
        client.close();
    });
}

#[test]
fn a_channel_is_created_with_options() {
    let (server, host) = qyun(&[("admin_token", "secret")]);
    let client = Client::open(&host, fast()).unwrap();
    let mut config = ChannelConfig::default();
    config.set_all("history_size=5, overload=keep_latest, presence=true").unwrap();
    client.create_channel_with("with", &config, "secret").unwrap();
    let options = server.service().channel("with").unwrap().options.unwrap();
    assert_eq!(serde_json::to_value(options).unwrap(), serde_json::Value::from(config.json()));
    let again = client.create_channel_with("with", &config, "secret").unwrap_err();
    assert_eq!(again.kind(), ErrorKind::ChannelExists);
    let refused = client.create_channel_with("other", &config, "guess").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Refused, "{refused}");
    assert!(refused.to_string().contains("401"), "{refused}");
    assert!(server.service().channel("other").is_err());
}
