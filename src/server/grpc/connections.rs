//! Connections of gRPC callers: their limits, and how they end.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::router::Router;
use crate::server::ServerOptions;

/// Connections at a time; more wait in the listener's backlog.
const MAX_CONNECTIONS: usize = 1024;
/// Calls at a time on one connection.
const MAX_CALLS: u32 = 128;
/// Calls that a peer may have reset before they were begun, and resets of this side's that its own
/// errors may cause; beyond either, the connection ends (CVE-2023-44487, CVE-2025-8671).
const MAX_RESET_CALLS: usize = 32;
const MAX_ERROR_RESETS: usize = 1024;
/// How long accepting pauses when the system has no descriptor for it.
const PAUSE: Duration = Duration::from_millis(100);
/// What an HTTP/2 client says first (RFC 9113 section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Tells everything on this thread that the server stops.
pub(super) type Stopping = watch::Receiver<bool>;

/// Returns when the server stops.
pub(super) async fn stopped(mut stopping: Stopping) {
    // Without a sender it stops as well.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

/// Serves until `stop` says how long to wait for calls that have begun. True if all were finished.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    stop: oneshot::Receiver<Duration>,
) -> bool {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            log::error!(target: "qyun::server", "cannot watch the gRPC socket: {error}");
            return false;
        }
    };
    router.declare_healthy().await;
    let router = Arc::new(router);
    let (stopping, watching) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut stop = std::pin::pin!(stop);
    let drain = loop {
        tokio::select! {
            drain = &mut stop => break drain.unwrap_or_default(),
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, peer)) => {
                    connections.spawn(serve_one(stream, peer, router.clone(), watching.clone()));
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    log::warn!(target: "qyun::server", "cannot accept gRPC callers: {error}");
                    sleep(PAUSE).await;
                }
            },
        }
    };
    drop(listener);
    stopping.send_replace(true);
    let gone = async { while connections.join_next().await.is_some() {} };
    timeout(drain, gone).await.is_ok()
}

async fn serve_one(
    mut stream: TcpStream,
    peer: SocketAddr,
    router: Arc<Router>,
    stopping: Stopping,
) {
    let options = router.options();
    let mut preface = [0; PREFACE.len()];
    let begun = timeout(options.handshake_timeout, stream.read_exact(&mut preface));
    tokio::select! {
        begun = begun => match begun {
            Ok(Ok(_)) if preface == *PREFACE => {}
            // Silent, gone, or no HTTP/2.
            _ => return,
        },
        () = stopped(stopping.clone()) => return,
    }
    // An answer would wait 40 ms for an acknowledgement otherwise.
    let _ = stream.set_nodelay(true);
    let (reader, writer) = stream.into_split();
    let stream = tokio::io::join(preface.as_slice().chain(reader), writer);
    let allowed = router.allows(peer.ip());
    if !allowed {
        let peer = peer.ip().to_canonical();
        log::warn!(target: "qyun::server", "gRPC from {peer}, which 'grpc_allow' does not have");
    }
    let calls = Arc::new(());
    let answer = service_fn(|request| {
        let (router, stopping, call) = (Arc::clone(&router), stopping.clone(), Arc::clone(&calls));
        async move { Ok::<_, Infallible>(router.answer(request, peer, allowed, stopping, call).await) }
    });
    let connection = http2(&options).serve_connection(TokioIo::new(stream), answer);
    let mut connection = std::pin::pin!(connection);
    // Who may not call is told so and goes: it is not to take the place of one who may.
    let unwelcome = async {
        match allowed {
            true => std::future::pending().await,
            false => sleep(options.handshake_timeout).await,
        }
    };
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = unwelcome => return,
        () = stopped(stopping.clone()) => {
            connection.as_mut().graceful_shutdown();
            loop {
                match timeout(options.handshake_timeout, &mut connection).await {
                    Ok(ended) => break ended,
                    // The peer has all its answers and does not go.
                    Err(_) if Arc::strong_count(&calls) == 1 => return,
                    Err(_) => {}
                }
            }
        }
    };
    if let Err(error) = ended {
        log::debug!(target: "qyun::server", "gRPC with {peer}: {error}");
    }
}

fn http2(options: &ServerOptions) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    let interval = Some(options.ping_interval).filter(|interval| !interval.is_zero());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(interval)
        .keep_alive_timeout(options.pong_wait)
        .max_concurrent_streams(MAX_CALLS)
        .max_pending_accept_reset_streams(MAX_RESET_CALLS)
        .max_local_error_reset_streams(MAX_ERROR_RESETS)
        .max_header_list_size(u32::try_from(options.max_header_bytes).unwrap_or(u32::MAX));
    builder
}
