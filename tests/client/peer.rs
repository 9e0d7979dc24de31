//! A raw WebSocket server that does what a test tells it, step by step.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};

use tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tungstenite::protocol::WebSocketConfig;
use tungstenite::protocol::frame::{CloseFrame, coding::CloseCode};
use tungstenite::{Message, WebSocket};

use crate::server::LONG;

pub struct Peer {
    listener: TcpListener,
}

/// One accepted connection.
pub struct Link {
    pub socket: WebSocket<TcpStream>,
    /// The path with its query.
    pub path: String,
    /// Header names are lower-case; in the order they came.
    pub headers: Vec<(String, String)>,
}

impl Peer {
    pub fn start() -> Self {
        Self::bind("127.0.0.1:0".parse().unwrap())
    }

    pub fn bind(address: SocketAddr) -> Self {
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.bind(&address.into()).unwrap();
        socket.listen(128).unwrap();
        Self { listener: socket.into() }
    }

    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    pub fn url(&self, path: &str) -> String {
        format!("ws://{}{path}", self.address())
    }

    fn tcp(&self) -> TcpStream {
        let (tcp, _) = self.listener.accept().unwrap();
        tcp.set_read_timeout(Some(LONG)).unwrap();
        tcp.set_nodelay(true).unwrap();
        tcp
    }

    /// Accepts one connection.
    pub fn accept(&self) -> Link {
        self.accept_with(None)
    }

    /// Accepts one connection and chooses a sub-protocol.
    pub fn accept_with(&self, protocol: Option<&str>) -> Link {
        let field = protocol.map(|protocol| ("sec-websocket-protocol", protocol));
        self.try_accept_with(field.as_slice()).expect("a WebSocket handshake")
    }

    /// Accepts one connection with header fields of the answer besides.
    pub fn accept_answering(&self, fields: &[(&'static str, &str)]) -> Link {
        self.try_accept_with(fields).expect("a WebSocket handshake")
    }

    /// Accepts one connection, whose client may give up in the middle.
    pub fn try_accept(&self) -> Option<Link> {
        self.try_accept_with(&[])
    }

    #[allow(clippy::result_large_err)]
    fn try_accept_with(&self, fields: &[(&'static str, &str)]) -> Option<Link> {
        let (mut path, mut headers) = (String::new(), Vec::new());
        let read = |request: &Request, mut response: Response| {
            path = request.uri().to_string();
            for (name, value) in request.headers() {
                let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                headers.push((name.as_str().to_owned(), value));
            }
            for (name, value) in fields {
                response.headers_mut().insert(*name, value.parse().unwrap());
            }
            Ok(response)
        };
        let config = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
        let accepted = tungstenite::accept_hdr_with_config(self.tcp(), read, Some(config));
        accepted.ok().map(|socket| Link { socket, path, headers })
    }

    /// Refuses one upgrade with this status.
    #[allow(clippy::result_large_err)]
    pub fn refuse(&self, status: u16) {
        let refuse = |_: &Request, _: Response| -> Result<Response, ErrorResponse> {
            let mut response = ErrorResponse::new(None);
            *response.status_mut() = status.try_into().unwrap();
            Err(response)
        };
        assert!(tungstenite::accept_hdr(self.tcp(), refuse).is_err());
    }
}

impl Link {
    pub fn header(&self, name: &str) -> Vec<&str> {
        let all = self.headers.iter().filter(|(other, _)| other == name);
        all.map(|(_, value)| value.as_str()).collect()
    }

    pub fn send(&mut self, message: impl Into<Message>) {
        self.socket.send(message.into()).unwrap();
    }

    /// Sends bytes as they are.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.socket.get_mut().write_all(bytes).unwrap();
    }

    /// The next message that is neither a ping nor a pong.
    pub fn read(&mut self) -> Message {
        loop {
            match self.socket.read().unwrap() {
                Message::Ping(_) | Message::Pong(_) => {}
                message => return message,
            }
        }
    }

    /// Reads until the client's Close; its code and reason.
    pub fn read_close(&mut self) -> (u16, String) {
        loop {
            if let Message::Close(frame) = self.read() {
                let frame = frame.expect("a Close with a code");
                return (frame.code.into(), frame.reason.to_string());
            }
        }
    }

    pub fn close(&mut self, code: u16, reason: &str) {
        let frame = CloseFrame { code: CloseCode::from(code), reason: reason.into() };
        self.socket.close(Some(frame)).unwrap();
        // The client's answer, then the end.
        while self.socket.read().is_ok() {}
    }

    /// Ends the connection without a Close.
    pub fn kill(self) {
        drop(self);
    }
}
