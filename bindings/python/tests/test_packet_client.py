"""The packet dialect on the client, against a server in this process."""

from __future__ import annotations

import asyncio
import os
import queue
import threading
from typing import Iterator

import pytest

import qyun
from conftest import PATIENCE, wait_until


@pytest.fixture
def packets(server: qyun.Server) -> Iterator[qyun.Server]:
    server.on_packet(2, lambda got: got.connection.request(3, got.data, PATIENCE).data + b"!")
    server.on_packet(4, lambda got: got.data, inline=True)
    yield server


@pytest.fixture
def client(packets: qyun.Server) -> Iterator[qyun.PacketClient]:
    with qyun.PacketClient(packets.address, "u", type=7, device="d", source="网") as made:
        yield made


@pytest.mark.parametrize("inline", [False, True])
def test_messages_and_requests_go_both_ways(
    packets: qyun.Server, client: qyun.PacketClient, inline: bool
) -> None:
    said: queue.Queue[tuple[str, bytes]] = queue.Queue()
    packets.on_packet(1, lambda got: said.put((got.connection.id, got.data)))
    client.on_packet(3, lambda got: b"<" + got.data + b">", inline=inline)
    with pytest.raises(qyun.ConnectError):
        client.send(1, "early")
    client.connect(PATIENCE)
    assert client.connected
    client.send(1, "你好")
    assert said.get(timeout=PATIENCE) == ("u-7-d-网", "你好".encode())
    assert client.request(2, b"x\0y", PATIENCE) == qyun.Response(2, b"<x\0y>!")
    with pytest.raises(qyun.Timeout):
        client.request(99, "", 0.001)
    counters = client.counters
    assert (counters.received, counters.in_flight, counters.timed_out) == (1, 0, 1)
    client.on_packet(3, None)


def test_a_handler_may_ask_and_wait(packets: qyun.Server, client: qyun.PacketClient) -> None:
    client.on_packet(3, lambda got: client.request(4, got.data, PATIENCE).data.upper())
    client.connect(PATIENCE)
    assert client.request(2, "abc", PATIENCE).data == b"ABC!"


def test_requests_end_once_each(packets: qyun.Server, client: qyun.PacketClient) -> None:
    ends: queue.Queue[qyun.Response | Exception] = queue.Queue()
    client.connect(PATIENCE)
    for number in range(1000):
        client.request_async(4 if number % 2 else 99, str(number), PATIENCE, ends.put)
    answers = [ends.get(timeout=PATIENCE) for _ in range(500)]
    assert [answer.data for answer in answers if isinstance(answer, qyun.Response)] == [
        str(number).encode() for number in range(1, 1000, 2)
    ]
    client.close_wait(PATIENCE)
    assert all(isinstance(ends.get_nowait(), qyun.Closed) for _ in range(500))
    assert ends.empty()
    with pytest.raises(qyun.Closed):
        client.request(4, "", PATIENCE)


def test_asyncio_asks_many_at_once(packets: qyun.Server, client: qyun.PacketClient) -> None:
    async def main() -> None:
        await client.aconnect(PATIENCE)
        asked = [client.arequest(4, str(number), PATIENCE) for number in range(200)]
        assert [got.data for got in await asyncio.gather(*asked)] == [
            str(number).encode() for number in range(200)
        ]
        with pytest.raises(qyun.Timeout):
            await client.arequest(99, "", 0.001)

    asyncio.run(asyncio.wait_for(main(), 3 * PATIENCE))


def test_a_second_client_displaces_the_first(packets: qyun.Server) -> None:
    told: queue.Queue[qyun.PacketClientEvent] = queue.Queue()
    first = qyun.PacketClient(packets.address, "same")
    first.on_event(told.put)
    first.connect(PATIENCE)
    first.set("k", "v")
    assert told.get(timeout=PATIENCE).type == qyun.PacketClientEventType.ESTABLISHED
    with qyun.PacketClient(packets.address, "same") as second:
        second.connect(PATIENCE)
        event = told.get(timeout=PATIENCE)
        assert event.type == qyun.PacketClientEventType.DISPLACED
        assert (event.old_ip, event.new_ip) == (b"127.0.0.1", b"127.0.0.1")
        for kind in (qyun.PacketClientEventType.CLOSING, qyun.PacketClientEventType.CLOSED):
            event = told.get(timeout=PATIENCE)
            assert (event.type, event.code, event.will_reconnect) == (kind, 3505, False)
        assert second.request(4, "here", PATIENCE).data == b"here"
    wait_until(lambda: first.state == qyun.SocketState.DISCONNECTED, "it does not come back")
    first.close_wait(PATIENCE)


def test_a_failed_attempt_is_told() -> None:
    told: queue.Queue[qyun.PacketClientEvent] = queue.Queue()
    with qyun.PacketClient("127.0.0.1:1", "u", reconnect=False) as client:
        client.on_event(told.put)
        with pytest.raises(qyun.ConnectError):
            client.connect(PATIENCE)
        event = told.get(timeout=PATIENCE)
        assert event.type == qyun.PacketClientEventType.FAILED
        assert isinstance(event.error, qyun.ConnectError) and not event.will_reconnect
        assert client.last_error


def test_values_and_pull_signals(client: qyun.PacketClient) -> None:
    with pytest.raises(qyun.NotFound):
        client.get("k")
    client.set("k", b"\0" * 1000)
    assert client.get("k") == b"\0" * 1000
    assert (client.increment("n"), client.increment("n", -43)) == (1, -42)
    assert client.get("n") == b"-42"
    with pytest.raises(qyun.InvalidArgument):
        client.increment("k")
    client.remove("n")
    with pytest.raises(qyun.NotFound):
        client.remove("n")
    pulled = threading.Event()
    with pytest.raises(qyun.NotFound):
        client.signal_pull(5)
    client.on_pull(5, lambda channel: pulled.set() if channel == 5 else None)
    client.signal_pull(5)
    assert pulled.wait(PATIENCE)
    client.on_pull(5, None)


def test_what_is_no_identity_is_refused() -> None:
    for uid in ("", "a\nb", "a\0b"):
        with pytest.raises(qyun.InvalidArgument):
            qyun.PacketClient("localhost", uid)
    with pytest.raises(qyun.InvalidArgument):
        qyun.PacketClient("localhost", "u", type=-1)
    with pytest.raises(qyun.InvalidUrl):
        qyun.PacketClient("://", "u")


def test_a_child_process_cannot_use_it(client: qyun.PacketClient) -> None:
    client.connect(PATIENCE)
    child = os.fork()
    if child == 0:
        try:
            client.send(1, "x")
        except qyun.Forked:
            os._exit(0)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert client.request(4, "still", PATIENCE).data == b"still"
