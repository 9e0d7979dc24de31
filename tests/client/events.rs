//! Collects what a callback gets, and waits for it.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use qyun::client::{ClientOptions, Delivery, Event, EventKind};

use crate::server::LONG;

/// The test's end of a callback.
pub struct Events {
    events: Receiver<Event>,
    dropped: Receiver<()>,
}

/// Tells when it is dropped; a second drop cannot be told and would be a double free.
struct Canary(Sender<()>);

impl Drop for Canary {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

/// What a subscription calls.
pub type Callback = Box<dyn FnMut(&Event) + Send>;

/// A callback that reports, and its report.
pub fn callback() -> (Callback, Events) {
    callback_with(|_| {})
}

/// A callback that reports and then does something.
pub fn callback_with(mut then: impl FnMut(&Event) + Send + 'static) -> (Callback, Events) {
    let (sender, events) = channel();
    let (canary, dropped) = channel();
    let canary = Canary(canary);
    let function = move |event: &Event| {
        let _canary = &canary;
        let _ = sender.send(event.clone());
        then(event);
    };
    (Box::new(function), Events { events, dropped })
}

pub fn thread() -> (Delivery, Events) {
    let (function, events) = callback();
    (Delivery::Thread(function), events)
}

pub fn inline() -> (Delivery, Events) {
    let (function, events) = callback();
    (Delivery::Inline(function), events)
}

impl Events {
    pub fn next(&self) -> Event {
        self.events.recv_timeout(LONG).expect("an event")
    }

    /// The next event, which must be of this kind; its text.
    pub fn expect(&self, kind: EventKind) -> String {
        let event = self.next();
        let text = String::from_utf8_lossy(&event.data).into_owned();
        assert_eq!(event.kind, kind, "{text}");
        text
    }

    pub fn message(&self) -> String {
        self.expect(EventKind::Message)
    }

    /// Skips errors of failing attempts until one of this kind comes; its text.
    pub fn skip_errors(&self, kind: EventKind) -> String {
        loop {
            let event = self.next();
            if event.kind != EventKind::Error {
                assert_eq!(event.kind, kind);
                return String::from_utf8_lossy(&event.data).into_owned();
            }
        }
    }

    /// Expects `Closed`, then the drop of the function, then nothing more; the reason.
    pub fn end(&self) -> String {
        let reason = self.expect(EventKind::Closed);
        self.dropped.recv_timeout(LONG).expect("the function is dropped");
        assert!(self.events.try_recv().is_err(), "an event after Closed");
        reason
    }

    /// Waits for the drop of a function that was never called.
    pub fn never_called(&self) {
        self.dropped.recv_timeout(LONG).expect("the function is dropped");
        assert!(self.events.try_recv().is_err(), "the function was called");
    }

    pub fn pending(&self) -> Vec<Event> {
        self.events.try_iter().collect()
    }
}

/// Options with which a test needs no patience.
pub fn fast() -> ClientOptions {
    ClientOptions {
        reconnect_min: Duration::from_millis(1),
        reconnect_max: Duration::from_millis(20),
        ..ClientOptions::default()
    }
}
