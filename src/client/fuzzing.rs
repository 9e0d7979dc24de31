//! What the fuzz targets need of the client's inside. Only with the feature `fuzzing`.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::deflate::Filter;
use super::url::Url;
use crate::Result;
use crate::wire::MessageKind;

/// A WebSocket's URL as it is written again after it was read.
pub fn url(text: &str) -> Result<String> {
    Url::parse(text).map(|url| url.to_string())
}

/// A server's bytes in the pieces in which they are read.
struct Pieces<'a>(Vec<&'a [u8]>);

impl AsyncRead for Pieces<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(piece) = self.0.pop() {
            buf.put_slice(piece);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pieces<'_> {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(0))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What the filter below tungstenite makes of a server's bytes, read in these pieces, and what it
/// remembers of the first `messages` messages.
pub fn filtered(pieces: &[&[u8]], messages: usize) -> (Vec<u8>, Vec<Option<MessageKind>>) {
    let total = pieces.iter().map(|piece| piece.len()).sum();
    let mut filter = Filter::new(Pieces(pieces.iter().rev().copied().collect()), true);
    let mut bytes = vec![0; total];
    let mut buf = ReadBuf::new(&mut bytes);
    let mut cx = Context::from_waker(Waker::noop());
    for _ in pieces {
        // The stream is always ready.
        let _ = Pin::new(&mut filter).poll_read(&mut cx, &mut buf);
    }
    let kinds = (0..messages).map(|_| filter.next_deflated()).collect();
    (bytes, kinds)
}
