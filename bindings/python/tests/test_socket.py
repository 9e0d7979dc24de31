"""Sockets, with callbacks, received from, and with asyncio."""

from __future__ import annotations

import asyncio
import gc
import os
import queue
import threading
import weakref
from typing import Any, Iterator

import pytest

import qyun
from conftest import PATIENCE, wait_until


@pytest.fixture
def urls(server: qyun.Server) -> tuple[str, str]:
    base = f"ws://{server.address}/channel"
    return f"{base}/listen/test", f"{base}/send/test"


@pytest.fixture
def sender(urls: tuple[str, str]) -> Iterator[qyun.Socket]:
    with qyun.Socket(urls[1]) as socket:
        socket.connect(PATIENCE)
        yield socket


@pytest.mark.parametrize("inline", [False, True])
def test_callbacks_hear_everything_in_order(
    urls: tuple[str, str], sender: qyun.Socket, inline: bool
) -> None:
    told: queue.Queue[object] = queue.Queue()
    socket = qyun.Socket(
        urls[0],
        headers={"X-Test": "1"},
        on_connect=lambda protocol: told.put(("connect", protocol)),
        on_message=told.put,
        on_disconnect=told.put,
        on_close=lambda reason: told.put(("close", reason)),
        inline=inline,
    )
    assert socket.state.name == "DISCONNECTED" and not socket.connected
    socket.connect(PATIENCE)
    assert told.get(timeout=PATIENCE) == ("connect", None)
    sender.send("文")
    sender.send(b"\0\xff")
    sender.send_json({"a": ["云"]})
    assert told.get(timeout=PATIENCE) == "文"
    assert told.get(timeout=PATIENCE) == b"\0\xff"
    assert told.get(timeout=PATIENCE) == '{"a": ["云"]}'
    counters = socket.counters
    assert (counters.messages_in, counters.bytes_in) == (3, 3 + 2 + 14)
    socket.disconnect(4000, "enough")
    assert told.get(timeout=PATIENCE) == qyun.Disconnection(4000, "enough", False)
    socket.connect(PATIENCE)
    assert told.get(timeout=PATIENCE) == ("connect", None)
    socket.close_wait(PATIENCE)
    assert told.get(timeout=PATIENCE) == ("close", "closed")
    assert told.empty() and socket.state is qyun.SocketState.CLOSED
    with pytest.raises(qyun.Closed):
        socket.send("x")


def test_messages_can_be_received(urls: tuple[str, str], server: qyun.Server) -> None:
    connected: list[str | None] = []
    with qyun.Socket(urls[0], on_connect=connected.append) as socket:
        with pytest.raises(qyun.Timeout):
            socket.recv(0)
        socket.connect(PATIENCE)
        server.publish("test", "one")
        server.publish("test", b"two")
        assert socket.recv(PATIENCE) == "one"
        assert socket.recv(PATIENCE) == b"two"
        assert connected == [None]
        with pytest.raises(qyun.Timeout):
            socket.recv(0.01)
        server.publish("test", "three")
        closer = threading.Timer(0.05, socket.close)
        closer.start()
        for message in socket:
            assert message == "three"
        closer.join()
    with pytest.raises(qyun.Closed):
        socket.recv(PATIENCE)


def test_asyncio_waits_without_stopping_the_loop(
    urls: tuple[str, str], server: qyun.Server
) -> None:
    async def main() -> None:
        with qyun.Socket(urls[0]) as socket:
            await socket.aconnect(PATIENCE)
            seen: list[qyun.Data] = []

            async def listen() -> None:
                async for message in socket:
                    seen.append(message)

            listening = asyncio.create_task(listen())
            await asyncio.sleep(0)
            for number in range(500):
                server.publish("test", str(number))
            while len(seen) < 500:
                await asyncio.sleep(0.001)
            assert seen == [str(number) for number in range(500)]
            with pytest.raises(RuntimeError):
                await socket.arecv()
            socket.close()
            await listening

    asyncio.run(asyncio.wait_for(main(), 3 * PATIENCE))


def test_failures_are_told_and_say_why(server: qyun.Server) -> None:
    told: queue.Queue[tuple[qyun.Error, bool]] = queue.Queue()
    socket = qyun.Socket(
        f"ws://{server.address}/channel/listen/nowhere",
        on_message=lambda _: None,
        on_error=lambda error, again: told.put((error, again)),
        reconnect_delay_ms=1,
        reconnect_attempts=2,
    )
    with pytest.raises(qyun.Refused, match="403"):
        socket.connect(PATIENCE)
    for again in (True, False):
        error, tried = told.get(timeout=PATIENCE)
        assert isinstance(error, qyun.Refused) and tried is again
    assert "403" in socket.last_error
    with pytest.raises(qyun.ConnectError):
        socket.send("x")
    socket.close()
    for bad in ("nowhere://a", "ws://a\0b", "ws://a/#x"):
        with pytest.raises(qyun.InvalidUrl):
            qyun.Socket(bad)
    with pytest.raises(qyun.InvalidOption):
        qyun.Socket("ws://a", headers=[("Upgrade", "x")])
    with pytest.raises(qyun.UnknownOption):
        qyun.Socket("ws://a", colour="red")


def test_pings_are_answered(urls: tuple[str, str]) -> None:
    pongs: queue.Queue[bytes] = queue.Queue()
    with qyun.Socket(urls[0], on_message=lambda _: None, on_pong=pongs.put) as socket:
        socket.connect(PATIENCE)
        socket.ping(b"p")
        assert pongs.get(timeout=PATIENCE) == b"p"


def test_a_callback_may_close_its_own_socket(urls: tuple[str, str], server: qyun.Server) -> None:
    done = threading.Event()
    errors: list[BaseException] = []

    def on_message(_: qyun.Data) -> None:
        try:
            with pytest.raises(qyun.WouldDeadlock):
                socket.close_wait(PATIENCE)
        except BaseException as error:
            errors.append(error)
        done.set()

    socket = qyun.Socket(urls[0], on_message=on_message)
    socket.connect(PATIENCE)
    server.publish("test", "x")
    assert done.wait(PATIENCE) and not errors
    assert socket.state == qyun.SocketState.CLOSED


def test_what_is_not_referred_to_is_freed(urls: tuple[str, str], server: qyun.Server) -> None:
    class Handler:
        def __call__(self, data: qyun.Data) -> None:
            pass

    handler = Handler()
    gone = weakref.ref(handler)
    socket = qyun.Socket(urls[0], on_message=handler)
    socket.connect(PATIENCE)
    del socket, handler
    gc.collect()
    wait_until(lambda: gone() is None, "the handler is gone")
    wait_until(lambda: server.channel("test").subscribers == 0, "the connection is gone")


def test_a_child_process_cannot_use_it(urls: tuple[str, str]) -> None:
    socket = qyun.Socket(urls[0])
    socket.connect(PATIENCE)
    child = os.fork()
    if child == 0:
        try:
            socket.send("x")
        except qyun.Forked:
            os._exit(0)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert socket.connected


def test_the_options_are_described() -> None:
    names = {option.name for option in qyun.socket_options()}
    assert {"header", "protocols", "reconnect_delay_ms", "write_wait_ms"} <= names
    chosen: dict[str, Any] = {option.name: option.default for option in qyun.socket_options()}
    qyun.Socket("ws://127.0.0.1:1/", **chosen).close()
