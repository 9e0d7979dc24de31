//! One compression for a thousand subscribers.

use qyun::wire::MessageKind;

use crate::kit::{alone, until_deserted};
use crate::raw::{Frame, OFFER, Raw, server, until};

const SUBSCRIBERS: usize = 1000;

#[test]
fn a_thousand_subscribers_share_one_compression() {
    let _alone = alone();
    let server = server(&[("shards", "2")]);
    let service = server.service();
    service.create_channel("test").unwrap();
    let mut all: Vec<_> = (0..SUBSCRIBERS)
        .map(|_| {
            let mut raw = Raw::connect(server.local_addr());
            let answer = raw.upgrade("/channel/listen/test", OFFER);
            assert!(answer.field("sec-websocket-extensions").is_some(), "{answer:?}");
            raw
        })
        .collect();
    for number in 1..=3 {
        let text = format!("{number} {}", "青云 shares what it compressed. ".repeat(50));
        service.publish("test", MessageKind::Text, text.as_bytes()).unwrap();
        for raw in &mut all {
            assert_eq!(raw.inflated(), (Frame::text(&text), true));
        }
        let counters = service.counters();
        assert_eq!((counters.published, counters.compressions), (number, number));
    }
    until("all is counted", || service.counters().delivered == 3 * SUBSCRIBERS as u64);
    drop(all);
    until_deserted(&server, SUBSCRIBERS as u64);
}
