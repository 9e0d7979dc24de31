"""Endpoints of the program, connections and users; the clients are sockets."""

from __future__ import annotations

import asyncio
import queue
import sys
import threading
from typing import Any

import pytest

import qyun
from conftest import PATIENCE, wait_until

INLINE = pytest.mark.parametrize("inline", [False, True])


class Recorder:
    """An endpoint that echoes, and keeps what it was called for."""

    def __init__(self, server: qyun.Server, inline: bool = False, **options: Any) -> None:
        self.calls: queue.Queue[tuple[Any, ...]] = queue.Queue()
        self.connections: list[qyun.Connection] = []
        self.decide: Any = lambda upgrade: None
        self.endpoint = qyun.Endpoint("/h", inline=inline, **options)

        @self.endpoint.on_connect
        def connect(upgrade: qyun.Upgrade) -> None:
            self.decide(upgrade)

        @self.endpoint.on_open
        def opened(connection: qyun.Connection) -> None:
            self.connections.append(connection)
            self.calls.put(("open", connection.id))

        @self.endpoint.on_message
        def message(connection: qyun.Connection, data: str | bytes) -> None:
            self.calls.put(("message", data))
            connection.send(data)

        @self.endpoint.on_error
        def failed(connection: qyun.Connection, error: qyun.Error) -> None:
            self.calls.put(("error", type(error)))

        @self.endpoint.on_disconnect
        def disconnect(connection: qyun.Connection, closure: qyun.Closure) -> None:
            self.calls.put(("gone", closure, connection.user, connection.channels))

        server.handle(self.endpoint)

    def next(self) -> tuple[Any, ...]:
        return self.calls.get(timeout=PATIENCE)


def joined(server: qyun.Server, target: str = "/h", **options: Any) -> qyun.Socket:
    socket = qyun.Socket(f"ws://{server.address}{target}", reconnect=False, **options)
    socket.connect(PATIENCE)
    return socket


@INLINE
def test_a_conversation(server: qyun.Server, inline: bool) -> None:
    room = Recorder(server, inline)
    room.decide = lambda upgrade: upgrade.accept(id="me", user="ann")
    client = joined(server, "/h?a=%20b", headers={"User-Agent": "tests"})
    assert room.next() == ("open", "me")
    connection = room.connections[0]
    assert (connection.path, connection.query, connection.user) == ("/h", "a=%20b", "ann")
    assert connection.remote.startswith("127.0.0.1:")
    assert (connection.user_agent, connection.header("UPGRADE")) == ("tests", "websocket")
    assert ("Host", server.address) in [(k.title(), v) for k, v in connection.headers]
    client.send("青云\0")
    client.send(b"\xff\x00")
    assert (room.next(), room.next()) == (("message", "青云\0"), ("message", b"\xff\x00"))
    assert (client.recv(PATIENCE), client.recv(PATIENCE)) == ("青云\0", b"\xff\x00")
    connection.send_json({"a": [1, "二"]})
    assert client.recv(PATIENCE) == '{"a": [1, "二"]}'
    info = connection.info
    assert (info.dialect, info.is_open, info.messages_in) == (qyun.Dialect.HOST, True, 2)
    connection.join("room")
    connection.join("room")
    assert (connection.channels, server.members("room")) == (["room"], [connection])
    assert server.channel("room").members == 1
    with pytest.raises(qyun.ChannelNotFound):
        connection.join("none", create=False)
    server.publish("room", "to the room")
    assert client.recv(PATIENCE) == "to the room"
    assert (connection.leave("room"), connection.leave("room")) == (True, False)
    connection.join("last")
    connection.close(4000, "enough")
    closure = qyun.Closure(4000, "enough", qyun.EndedBy.PROGRAM)
    assert room.next() == ("gone", closure, "ann", ["last"])
    assert not connection.is_open
    with pytest.raises(qyun.Closed):
        connection.send("late")


def test_data_of_a_connection(server: qyun.Server) -> None:
    room = Recorder(server)
    joined(server)
    room.next()
    one = room.connections[0]
    assert one.get("k") is None
    one.set("k", "青云")
    one.set("large", b"x" * 1000)
    assert (one.get("k"), one.get("large")) == ("青云".encode(), b"x" * 1000)
    assert (one.remove("k"), one.remove("k")) == (True, False)
    assert (one.increment("n"), one.increment("n", -3)) == (1, -2)
    assert one.get("n") == b"-2"
    with pytest.raises(qyun.InvalidArgument):
        one.increment("large")


@INLINE
def test_every_way_to_decide(server: qyun.Server, inline: bool) -> None:
    room = Recorder(server, inline)
    kept: queue.Queue[qyun.Upgrade] = queue.Queue()

    def decide(upgrade: qyun.Upgrade) -> None:
        if upgrade.query == "refuse":
            upgrade.refuse(402, "Pay first")
        elif upgrade.query == "keep":
            kept.put(upgrade.later())
        elif upgrade.query == "fail":
            raise RuntimeError("planted")

    room.decide = decide
    with pytest.raises(qyun.Error, match="402"):
        joined(server, "/h?refuse")
    failures: list[Any] = []
    before, sys.unraisablehook = sys.unraisablehook, failures.append
    try:
        with pytest.raises(qyun.Error, match="500"):
            joined(server, "/h?fail")
        wait_until(lambda: len(failures) == 1, "the exception is reported")
    finally:
        sys.unraisablehook = before
        failures.clear()
    later = qyun.Socket(f"ws://{server.address}/h?keep", reconnect=False)
    threading.Thread(target=lambda: kept.get(timeout=PATIENCE).accept(id="kept")).start()
    later.connect(PATIENCE)
    assert room.next() == ("open", "kept")
    refused = qyun.Socket(f"ws://{server.address}/h?keep", reconnect=False)
    threading.Thread(target=lambda: kept.get(timeout=PATIENCE)).start()  # and lets go of it
    with pytest.raises(qyun.Error, match="503"):
        refused.connect(PATIENCE)
    with pytest.raises(qyun.Exists):
        server.handle(room.endpoint)


def test_faults_and_limits(server: qyun.Server) -> None:
    room = Recorder(server, max_message_bytes=10, max_connections=1)
    client = joined(server)
    room.next()
    with pytest.raises(qyun.Error, match="503"):
        joined(server)
    client.send("x" * 11)
    assert room.next() == ("error", qyun.TooLarge)
    kind, closure, *_ = room.next()
    assert (kind, closure.code, closure.by) == ("gone", 1009, qyun.EndedBy.SERVER)
    with pytest.raises(qyun.InvalidOption):
        qyun.Server.handle(server, qyun.Endpoint("/other", max_message_bytes=0))
    names = [option.name for option in qyun.endpoint_options()]
    assert {"max_connections", "ping_interval_ms", "write_wait_ms", "read_buffer_bytes"} <= set(names)


def test_origins(server: qyun.Server) -> None:
    asked: list[str] = []
    endpoint = qyun.Endpoint("/h")

    @endpoint.check_origin
    def check(upgrade: qyun.Upgrade, origin: str) -> bool:
        asked.append(origin)
        return origin == "https://good.example"

    server.handle(endpoint)
    with joined(server):
        pass
    with joined(server, headers={"Origin": "https://good.example"}):
        pass
    with pytest.raises(qyun.Error, match="403"):
        joined(server, headers={"Origin": "https://bad.example"})
    assert asked == ["https://good.example", "https://bad.example"]


def test_connections_and_users(server: qyun.Server) -> None:
    room = Recorder(server)
    room.decide = lambda upgrade: upgrade.accept(id=upgrade.query)
    clients = [joined(server, f"/h?{n}") for n in "abc"]
    for _ in clients:
        room.next()
    server.bind_user("a", "ann")
    server.bind_user("b", "ann")
    server.connection("c").bind("cy")
    assert (server.users(), server.user_count) == ({"ann": 2, "cy": 1}, 2)
    assert server.users(after="ann") == {"cy": 1}
    assert [c.id for c in server.connections()] == ["a", "b", "c"]
    assert [c.id for c in server.connections(after="a", limit=1)] == ["b"]
    assert [c.id for c in server.connections(user="ann", path="/h")] == ["a", "b"]
    assert server.count_connections(dialect=qyun.Dialect.HOST) == 3
    assert server.count_connections(path="/none") == 0
    assert server.send_to_user("ann", "user") == 2
    assert server.send_to_user("nobody", "user") == 0
    assert server.broadcast(b"all") == 3
    assert server.broadcast("path", "/h") == 3
    assert server.send_where(lambda c: c.id != "b", "some", path="/h") == 2
    with pytest.raises(ZeroDivisionError):
        server.send_where(lambda c: 1 // 0, "none")  # type: ignore[return-value,arg-type]
    server.send_to("b", "one")
    heard = [["user", b"all", "path", "some"], ["user", b"all", "path", "one"]]
    heard.append([b"all", "path", "some"])
    for client, messages in zip(clients, heard):
        assert [client.recv(PATIENCE) for _ in messages] == messages
    with pytest.raises(qyun.NotFound):
        server.connection("d")
    with pytest.raises(qyun.NotFound):
        server.broadcast("x", "/none")
    assert (server.unbind_user("a"), server.unbind_user("a")) == (True, False)
    server.close_connection("c", 4001, "out")
    assert room.next()[1:3] == (qyun.Closure(4001, "out", qyun.EndedBy.PROGRAM), "cy")
    assert server.users() == {"ann": 1}


@INLINE
def test_an_endpoint_ends(server: qyun.Server, inline: bool) -> None:
    room = Recorder(server, inline)
    client = joined(server)
    room.next()
    server.unhandle("/h", wait=PATIENCE)
    assert room.next()[1] == qyun.Closure(1001, "endpoint is gone", qyun.EndedBy.SERVER)
    wait_until(lambda: not client.connected, "the client hears of it")
    with pytest.raises(qyun.NotFound):
        server.unhandle("/h")
    with pytest.raises(qyun.Error, match="404"):
        joined(server)
    server.handle(room.endpoint)
    assert server.is_running
    server.stop(0)
    assert not server.is_running


def test_coroutines_run_in_the_loop_in_order() -> None:
    async def main() -> None:
        here = threading.get_ident()
        seen: list[tuple[str, int]] = []
        done = asyncio.Event()
        endpoint = qyun.Endpoint("/h")

        @endpoint.on_connect
        async def connect(upgrade: qyun.Upgrade) -> None:
            await asyncio.sleep(0)
            if upgrade.query == "no":
                upgrade.refuse(402)

        @endpoint.on_message
        async def message(connection: qyun.Connection, data: str) -> None:
            await asyncio.sleep(0)
            seen.append((data, threading.get_ident()))
            connection.send(data)

        @endpoint.on_disconnect
        async def disconnect(connection: qyun.Connection, closure: qyun.Closure) -> None:
            done.set()

        with pytest.raises(RuntimeError):
            await asyncio.to_thread(server.handle, endpoint)  # there is no loop
        server.handle(endpoint)
        with pytest.raises(qyun.Error, match="402"):
            await asyncio.to_thread(joined, server, "/h?no")
        client = await asyncio.to_thread(joined, server)
        for n in range(50):
            client.send(str(n))
        assert [await client.arecv() for _ in range(50)] == [str(n) for n in range(50)]
        client.close()
        await asyncio.wait_for(done.wait(), PATIENCE)
        assert seen == [(str(n), here) for n in range(50)]
        await asyncio.to_thread(server.stop)

    server = qyun.Server(listen="127.0.0.1:0", shards=1)
    asyncio.run(main())
