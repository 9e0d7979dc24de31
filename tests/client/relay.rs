//! A TCP relay in front of a server, whose connections a test can cut in the middle of anything.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// See the module's documentation. It relays until the test's process ends.
pub struct Relay {
    pub address: SocketAddr,
    streams: Arc<Mutex<Vec<TcpStream>>>,
}

impl Relay {
    pub fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let streams: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
        let open = streams.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(server) else { continue };
                let both = [(&client, &server), (&server, &client)];
                for (from, to) in both.map(|(a, b)| (a.try_clone(), b.try_clone())) {
                    let (Ok(from), Ok(to)) = (from, to) else { continue };
                    thread::spawn(move || pump(from, to));
                }
                open.lock().unwrap().extend([client, server]);
            }
        });
        Self { address, streams }
    }

    /// Cuts every connection, and says how many there were.
    pub fn cut(&self) -> usize {
        let streams = std::mem::take(&mut *self.streams.lock().unwrap());
        for stream in &streams {
            let _ = stream.shutdown(Shutdown::Both);
        }
        streams.len() / 2
    }
}

/// Little at a time, so that a cut is likely to come inside a frame.
fn pump(mut from: TcpStream, mut to: TcpStream) {
    let mut bytes = [0; 700];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
