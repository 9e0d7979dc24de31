//! The channel dialect as one writes it first with axum: a `tokio::sync::broadcast` per channel, and
//! a task per subscriber that waits for the next message and sends it.
//!
//! Prints `{"address":"HOST:PORT"}` and serves until it is ended.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use axum::serve::ListenerExt;
use axum::{Json, Router};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::broadcast::{self, Sender};

/// Messages that a channel keeps for its slowest subscriber: enough that none is lost with 256 in
/// flight.
const KEPT: usize = 4096;

type Channels = Arc<RwLock<HashMap<String, Sender<Utf8Bytes>>>>;

#[derive(Serialize)]
struct Answer {
    status: &'static str,
    message: String,
}

fn success(message: impl Into<String>) -> Response {
    Json(Answer { status: "success", message: message.into() }).into_response()
}

fn error(code: StatusCode, message: &str) -> Response {
    (code, Json(Answer { status: "error", message: message.into() })).into_response()
}

fn find(channels: &Channels, name: &str) -> Option<Sender<Utf8Bytes>> {
    channels.read().expect("nothing panics with the lock held").get(name).cloned()
}

async fn create(Path(name): Path<String>, State(channels): State<Channels>) -> Response {
    let mut channels = channels.write().expect("nothing panics with the lock held");
    if channels.contains_key(&name) {
        return error(StatusCode::BAD_REQUEST, "Channel already exists");
    }
    let answer = success(format!("Channel '{name}' created"));
    channels.insert(name, broadcast::channel(KEPT).0);
    answer
}

async fn remove(Path(name): Path<String>, State(channels): State<Channels>) -> Response {
    match channels.write().expect("nothing panics with the lock held").remove(&name) {
        Some(_) => success("Channel deleted"),
        None => error(StatusCode::NOT_FOUND, "Channel not found"),
    }
}

async fn send(
    Path((name, message)): Path<(String, String)>,
    State(channels): State<Channels>,
) -> Response {
    match find(&channels, &name) {
        Some(channel) => {
            // It fails when nobody listens, which is no failure.
            let _ = channel.send(message.into());
            success("Message broadcasted")
        }
        None => error(StatusCode::NOT_FOUND, "Channel not found"),
    }
}

async fn listen(
    Path(name): Path<String>,
    State(channels): State<Channels>,
    upgrade: WebSocketUpgrade,
) -> Response {
    match find(&channels, &name) {
        // Subscribed before the upgrade is answered, so that nothing is missed after it.
        Some(channel) => {
            let messages = channel.subscribe();
            upgrade.on_upgrade(move |socket| deliver(socket, messages))
        }
        None => StatusCode::FORBIDDEN.into_response(),
    }
}

async fn deliver(mut socket: WebSocket, mut messages: broadcast::Receiver<Utf8Bytes>) {
    loop {
        tokio::select! {
            message = messages.recv() => match message {
                Ok(message) => if socket.send(Message::Text(message)).await.is_err() { return },
                // Lagged behind: a gap, which the load generator finds; or the channel is gone.
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return,
            },
            received = socket.recv() => match received {
                Some(Ok(_)) => {}
                _ => return,
            },
        }
    }
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let app = Router::new()
        .route("/channel/create/{name}", get(create))
        .route("/channel/send/{name}/{message}", get(send))
        .route("/channel/listen/{name}", get(listen))
        .route("/channel/{name}", delete(remove))
        .with_state(Channels::default());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{{\"address\":\"{}\"}}", listener.local_addr()?);
    let listener = listener.tap_io(|socket| {
        let _ = socket.set_nodelay(true);
    });
    axum::serve(listener, app).await
}
