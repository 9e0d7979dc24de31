"""The packet dialect on a server; the client is a socket that packs by the protocol's table."""

from __future__ import annotations

import asyncio
import gc
import queue
import struct
import threading
import weakref

import pytest

import qyun
from conftest import PATIENCE, wait_until
from qyun import PacketEventType


class Client:
    """A client of the dialect."""

    def __init__(self, server: qyun.Server, query: str) -> None:
        self.socket = qyun.Socket(f"ws://{server.address}/join?{query}", reconnect=False)
        self.socket.connect(PATIENCE)

    def send(self, protocol: int, sn: int, data: bytes = b"") -> None:
        self.socket.send(b"\xfe\xef" + struct.pack("<III", 8 + len(data), protocol, sn) + data)

    def receive(self) -> tuple[int, int, bytes]:
        raw = self.socket.recv(PATIENCE)
        assert isinstance(raw, bytes) and raw[:2] == b"\xfe\xef"
        size, protocol, sn = struct.unpack_from("<III", raw, 2)
        assert size == len(raw) - 6
        return protocol, sn, raw[14:]


@pytest.mark.parametrize("inline", [False, True])
def test_what_a_handler_returns_answers_a_request(server: qyun.Server, inline: bool) -> None:
    told: queue.Queue[object] = queue.Queue()

    def double(packet: qyun.Packet) -> bytes | None:
        told.put((packet.connection.id, packet.protocol, packet.data, packet.reply is not None))
        return packet.data * 2

    server.on_packet(5, double, inline=inline)
    client = Client(server, "uid=1")
    client.send(5, 0, b"one-way")
    client.send(5, 2, b"ab")
    assert client.receive() == (5, 2, b"abab")
    client.send(5, 4)
    assert client.receive() == (5, 4, b"")
    assert told.get(timeout=PATIENCE) == ("1-0--", 5, b"one-way", False)
    assert told.get(timeout=PATIENCE) == ("1-0--", 5, b"ab", True)


def test_a_request_may_be_answered_later_and_once(server: qyun.Server) -> None:
    told: queue.Queue[qyun.Packet] = queue.Queue()
    server.on_packet(5, told.put)
    client = Client(server, "uid=1")
    client.send(5, 2, b"?")
    packet = told.get(timeout=PATIENCE)
    assert packet.reply is not None
    packet.reply.send("青", protocol=50)
    assert client.receive() == (50, 2, "青".encode())
    with pytest.raises(qyun.InvalidArgument, match="answered already"):
        packet.reply.send()


def test_requests_of_the_server(server: qyun.Server) -> None:
    told: queue.Queue[object] = queue.Queue()
    found: queue.Queue[qyun.Connection] = queue.Queue()
    server.on_packet(1, lambda packet: found.put(packet.connection))
    client = Client(server, "uid=%E9%9D%92&type=3&device=d&version=2")
    client.send(1, 0)
    connection = found.get(timeout=PATIENCE)
    assert connection.packet_identity == ("青", 3, "d", "", "2", "")

    connection.request_async(7, b"who?", PATIENCE, told.put)
    protocol, sn, data = client.receive()
    assert (protocol, data, sn % 2) == (7, b"who?", 1)
    client.send(70, sn, b"me")
    assert told.get(timeout=PATIENCE) == qyun.Response(70, b"me")
    with pytest.raises(qyun.Timeout):
        connection.request(7, timeout=0.001)
    client.receive()

    async def ask() -> qyun.Response:
        waiting = asyncio.ensure_future(connection.arequest(8, "x", PATIENCE))
        loop = asyncio.get_running_loop()
        _, sn, _ = await loop.run_in_executor(None, client.receive)
        client.send(8, sn, b"y")
        return await waiting

    assert asyncio.run(ask()) == (8, b"y")
    connection.request_async(7, b"", PATIENCE, told.put)
    client.receive()
    client.socket.close()
    assert isinstance(told.get(timeout=PATIENCE), qyun.Closed)
    with pytest.raises(qyun.Closed):
        connection.send_packet(1, b"x")
    counters = server.packet_counters
    assert (counters.received, counters.in_flight, counters.timed_out) == (1, 0, 1)


def test_a_handler_may_ask_in_turn_and_wait(server: qyun.Server) -> None:
    server.on_packet(1, lambda packet: packet.connection.request(2, b"more?", PATIENCE).data)
    client = Client(server, "uid=1")
    client.send(1, 2)
    assert client.receive() == (2, 3, b"more?")
    client.send(2, 3, b"more!")
    assert client.receive() == (1, 2, b"more!")


def test_life_displacement_and_pull_signals(server: qyun.Server) -> None:
    events: queue.Queue[qyun.PacketEvent] = queue.Queue()
    connections: queue.Queue[qyun.Connection] = queue.Queue()
    pulls: queue.Queue[object] = queue.Queue()

    def happened(connection: qyun.Connection, event: qyun.PacketEvent) -> None:
        if event.type == PacketEventType.ESTABLISHED:
            connections.put(connection)
        events.put(event)

    server.on_packet_event(happened)
    server.on_pull(4, lambda connection, channel: pulls.put((connection, channel)))
    first = Client(server, "uid=1")
    old = connections.get(timeout=PATIENCE)
    assert events.get(timeout=PATIENCE).type == PacketEventType.ESTABLISHED
    old.signal_pull(4)
    assert pulls.get(timeout=PATIENCE) == (old, 4)
    with pytest.raises(qyun.NotFound):
        old.signal_pull(5)

    second = Client(server, "uid=1")
    protocol, sn, data = first.receive()
    assert (protocol, sn) == (2147483647, 0) and data.startswith(b"\x0a\x09127.0.0.1")
    ends: dict[PacketEventType, tuple[int, bool]] = {}
    while len(ends) < 2:
        event = events.get(timeout=PATIENCE)
        if event.type in (PacketEventType.CLOSING, PacketEventType.CLOSED):
            ends[event.type] = (event.code, event.by_peer)
    assert set(ends.values()) == {(3505, False)}
    connections.get(timeout=PATIENCE).send_packet(9, "still")
    assert second.receive() == (9, 0, b"still")


def test_what_is_registered_is_let_go(server: qyun.Server) -> None:
    class Handler:
        def __call__(self, packet: qyun.Packet) -> None:
            pass

    handlers = [Handler() for _ in range(3)]
    gone = [weakref.ref(handler) for handler in handlers]
    server.on_packet(1, handlers[0])
    server.on_packet(1, handlers[1])
    server.on_packet(2, handlers[2])
    server.on_packet(2, None)
    handlers.clear()
    wait_until(lambda: gone[0]() is None and gone[2]() is None, "the replaced ones are let go")
    assert gone[1]() is not None
    server.stop()
    wait_until(lambda: gone[1]() is None, "the last one goes with the server")
    with pytest.raises(qyun.Closed):
        server.on_packet(1, lambda packet: None)


def test_a_server_is_collected_while_its_handler_runs() -> None:
    started, go = threading.Event(), threading.Event()
    server = qyun.Server(listen="127.0.0.1:0", shards=1)

    def wait(packet: qyun.Packet) -> None:
        started.set()
        go.wait(PATIENCE)

    server.on_packet(1, wait)
    client = Client(server, "uid=1")
    client.send(1, 0)
    assert started.wait(PATIENCE)
    threading.Timer(0.05, go.set).start()
    del server
    gc.collect()
    assert go.is_set(), "freeing waits for the handler"


def test_numbers_out_of_range_are_refused(server: qyun.Server) -> None:
    with pytest.raises(qyun.InvalidArgument, match="protocol cannot be -1"):
        server.on_packet(-1, lambda packet: None)
    found: queue.Queue[qyun.Connection] = queue.Queue()
    server.on_packet(1, lambda packet: found.put(packet.connection))
    client = Client(server, "uid=1")
    client.send(1, 0)
    connection = found.get(timeout=PATIENCE)
    with pytest.raises(qyun.InvalidArgument, match="protocol cannot be 4294967296"):
        connection.send_packet(1 << 32)
    with pytest.raises(TypeError, match="data must be bytes or str"):
        connection.send_packet(1, 5)  # type: ignore[arg-type]
    with pytest.raises(qyun.TooLarge, match="the limit is 524288"):
        connection.send_packet(1, bytes(524288))
