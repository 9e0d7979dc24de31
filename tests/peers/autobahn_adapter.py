"""An echo made of a channel, for Autobahn's fuzzing client.

Qyun echoes nothing: what a sender sends goes to the listeners of its channel. The adapter gives every
connection of the fuzzing client a fresh channel with two connections to Qyun: the sender, who gets the
client's bytes as they are (only the target of the handshake is another), and a listener. The client gets
what Qyun answered the sender, byte for byte, and between those frames the messages the listener hears.

Two connections have no order between them, an echo has: the pong of an earlier ping goes first, and so do
the messages before the Close that came after them.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Iterator

from conftest import Server

CLOSE = 8
LISTEN = (
    "GET /channel/listen/{} HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{}\r\n"
)
OFFER = "Sec-WebSocket-Extensions: permessage-deflate\r\n"


class Peer:
    """A connection to Qyun, read frame by frame."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray()
        self.ended = False

    def read(self) -> None:
        """Waits for bytes, or for the end."""
        self.ended = not (data := self.socket.recv(1 << 20))
        self.buffer += data

    def head(self) -> bytes:
        while b"\r\n\r\n" not in self.buffer and not self.ended:
            self.read()
        return self.take(self.buffer.find(b"\r\n\r\n") + 4)

    def take(self, size: int) -> bytes:
        taken = bytes(self.buffer[:size])
        del self.buffer[:size]
        return taken

    def frames(self) -> Iterator[bytes]:
        """The whole frames among the bytes read."""
        while len(self.buffer) >= 2:
            short = self.buffer[1] & 0x7F
            extended = {126: 2, 127: 8}.get(short, 0)
            size = int.from_bytes(self.buffer[2 : 2 + extended], "big") if extended else short
            size += 2 + extended + (4 if self.buffer[1] & 0x80 else 0)
            if len(self.buffer) < size:
                return
            yield self.take(size)


@contextlib.contextmanager
def adapting(server: Server) -> Iterator[int]:
    """The port it listens on until the block ends, or until something goes wrong in the adapter itself."""
    listening = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        # The fuzzing client runs one case after the other, so connections take turns.
        with listening:
            for number in itertools.count():
                try:
                    client = listening.accept()[0]
                except OSError:
                    return
                with client:
                    echo(client, server, f"autobahn-{number}", pool)

    with ThreadPoolExecutor() as pool:
        accepting = pool.submit(accept)
        try:
            yield listening.getsockname()[1]
        finally:
            with contextlib.suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            accepting.result()


def echo(client: socket.socket, server: Server, channel: str, pool: ThreadPoolExecutor) -> None:
    server.create(channel)
    sender, listener = Peer(server.port), Peer(server.port)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with sender.socket, listener.socket:
        forwarding = pool.submit(forward, client, sender.socket, channel)
        try:
            answer(client, server, sender, listener, channel)
        except ConnectionError:
            pass  # The client went first, or Qyun broke off, and then the client misses what was lost.
        finally:
            # Not closed before the client has: a close with bytes unread takes back bytes unsent.
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_WR)
            forwarding.result()


def answer(client: socket.socket, server: Server, sender: Peer, listener: Peer, channel: str) -> None:
    """Merges what Qyun says, until it ends the sender's connection."""

    def drain() -> None:
        """Passes on every message published so far; a marker published now comes after them."""
        marker = os.urandom(16)
        server.send(channel, marker)
        while True:
            for frame in listener.frames():
                if frame[2:] == marker:
                    return
                client.sendall(frame)
            listener.read()
            assert not listener.ended, "Qyun gave up a listener"

    head = sender.head()
    # What the client gets is compressed as it and Qyun agreed.
    offer = OFFER if b"permessage-deflate" in head else ""
    listener.socket.sendall(LISTEN.format(channel, offer).encode())
    heard = listener.head()
    assert heard.startswith(b"HTTP/1.1 101 ") and bool(offer) == (b"permessage-deflate" in heard)
    client.sendall(head)
    while not sender.ended:
        ready = select.select([sender.socket, listener.socket], [], [])[0]
        if listener.socket in ready:
            listener.read()
            assert not listener.ended, "Qyun gave up a listener"
            # Pongs that are here by now are older than the message.
            ready = select.select([sender.socket], [], [], 0)[0]
        if sender.socket in ready:
            sender.read()
            for frame in sender.frames():
                if frame[0] & 0x0F == CLOSE:
                    drain()
                client.sendall(frame)
        for frame in listener.frames():
            client.sendall(frame)
    client.sendall(sender.take(len(sender.buffer)))


def forward(client: socket.socket, sender: socket.socket, channel: str) -> None:
    """Passes on what the client says, its end too; after Qyun has closed, to nobody."""
    data = client.recv(65536)
    assert b"\r\n\r\n" in data, data
    method, _, rest = data.split(b" ", 2)
    data = b" ".join([method, f"/channel/send/{channel}".encode(), rest])
    heard = True
    while data:
        if heard:
            try:
                sender.sendall(data)
            except ConnectionError:
                heard = False
        try:
            data = client.recv(1 << 20)
        except ConnectionError:
            break
    with contextlib.suppress(OSError):
        sender.shutdown(socket.SHUT_WR)
