//! Requests under way in the packet dialect, and their answers in any order.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use qyun::requests::{Clock, Requests};
use qyun::wire::packet::{Meaning, Packet, Side};
use qyun::{Error, ErrorKind};

thread_local! {
    static CLOCK: Rc<RefCell<Option<Arc<Clock>>>> = Rc::default();
}

/// Every request ends exactly once, by its own answer or with its connection, whatever a peer sends.
pub fn packet_requests(input: &[u8]) {
    let clock = CLOCK
        .with(|clock| Arc::clone(clock.borrow_mut().get_or_insert_with(|| Clock::new("fuzz"))));
    let requests = Requests::new(clock, Side::Client);
    let ended: Arc<Mutex<BTreeMap<u32, bool>>> = Arc::default();
    let mut asked = 0;
    for line in input.chunks(18) {
        match line.split_first() {
            Some((steer, _)) if steer & 1 == 0 => {
                let number = Arc::new(AtomicU32::new(0));
                let (told, sent) = (Arc::clone(&ended), Arc::clone(&number));
                let fails = steer & 2 != 0;
                let send = |sn| {
                    sent.store(sn, Relaxed);
                    match fails {
                        true => Err(Error::new(ErrorKind::Closed, "cannot send")),
                        false => Ok(()),
                    }
                };
                let made = requests.request(0, Duration::from_secs(3600), send, move |outcome| {
                    let sn = number.load(Relaxed);
                    let before = told.lock().unwrap().insert(sn, outcome.is_ok());
                    assert_eq!(before, None, "request {sn} ended twice");
                });
                assert_eq!(made.is_err(), fails);
                asked += usize::from(!fails);
            }
            Some((_, packet)) => {
                let Ok(packet) = Packet::decode(packet, 18) else { continue };
                if Side::Client.meaning(packet.sn) == Meaning::Response {
                    let waits = requests.in_flight();
                    let data = || Bytes::copy_from_slice(packet.data);
                    let known = requests.answered(packet.sn, packet.protocol, data);
                    assert_eq!(requests.in_flight(), waits - usize::from(known));
                }
            }
            None => {}
        }
    }
    requests.close(Error::new(ErrorKind::Closed, "gone"));
    assert_eq!(requests.in_flight(), 0);
    assert_eq!(ended.lock().unwrap().len(), asked);
}
