//! Publishing with a key, with counts, and many at a time.

use qyun::ErrorKind;
use qyun::client::Client;
use qyun::wire::MessageKind;
use qyun::wire::stream::{self, Reply};
use tungstenite::Message;

use crate::events::fast;
use crate::peer::Peer;

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
