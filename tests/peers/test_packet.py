"""The packet dialect: Node's ws, Chromium and Python's websockets as clients, each written from the protocol's table,
against a program that uses libqyun. What a displaced connection is told is read by protobuf."""

from __future__ import annotations

import contextlib
import json
import os
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Iterator

import pytest
import websockets
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from websockets.sync.client import ClientConnection, connect

HERE = Path(__file__).parent
LIMIT = 512 * 1024
Type = descriptor_pb2.FieldDescriptorProto


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    assert "QYUN_LIBRARY" in os.environ, "where is libqyun.so?"
    command = [sys.executable, str(HERE / "packet_host.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as host:
        assert host.stdin is not None and host.stdout is not None
        yield int(host.stdout.readline())
        host.stdin.close()
        assert host.wait(20) == 0


def displaced() -> Any:
    """The class of { bytes old_ip = 1; bytes new_ip = 2; int64 ts = 3; }, made by protobuf."""
    file = descriptor_pb2.FileDescriptorProto(name="displaced.proto", syntax="proto3")
    message = file.message_type.add(name="Displaced")
    for number, (name, kind) in enumerate(
        [("old_ip", Type.TYPE_BYTES), ("new_ip", Type.TYPE_BYTES), ("ts", Type.TYPE_INT64)], 1
    ):
        message.field.add(name=name, number=number, type=kind, label=Type.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("Displaced"))


Displaced = displaced()


def check_notice(data: bytes) -> None:
    notice = Displaced.FromString(data)
    assert (notice.old_ip, notice.new_ip) == (b"127.0.0.1", b"127.0.0.1")
    assert abs(notice.ts - time.time_ns()) < 60 * 10**9
    # Not one byte more or other than protobuf would write.
    assert notice.SerializeToString(deterministic=True) == data


@pytest.mark.parametrize("where", ["node", "browser"])
def test_each_row(port: int, where: str) -> None:
    command = ["node", str(HERE / "packet_client.mjs"), where, str(port)]
    done = subprocess.run(command, text=True, timeout=55, capture_output=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert "permessage-deflate" in found.pop("extensions")
    protocol, sn, notice, code = found.pop("displaced")
    assert (protocol, sn, code) == (2147483647, 0, 3505)
    check_notice(bytes.fromhex(notice))
    refusal = {"node": 400, "browser": 1006}[where]
    assert found == {
        "echo": "青云",
        "empty": 0,
        "identity": ["100-2-D-网", "100", 2, "D", "网", "3", "utf8"],
        "oneWay": [3, 0, "cba"],
        "asked": [5, 1, "who?"],
        "told": "50:me",
        "timeout": "timeout",
        "after": "still here",
        "whole": True,
        "tooLarge": 1009,
        "malformed": [1002] * 5,
        "second": "mine now",
        "refused": [refusal] * 3,
        "closed": 1000,
    }


class Client:
    """Python's websockets and struct."""

    def __init__(self, port: int, query: str) -> None:
        self.stack = contextlib.ExitStack()
        joining = connect(f"ws://127.0.0.1:{port}/join?{query}")
        self.socket: ClientConnection = self.stack.enter_context(joining)
        self.sn = 0

    def send(self, protocol: int, sn: int, data: bytes = b"") -> None:
        self.socket.send(b"\xfe\xef" + struct.pack("<III", 8 + len(data), protocol, sn) + data)

    def receive(self) -> tuple[int, int, bytes]:
        raw = self.socket.recv(20)
        assert isinstance(raw, bytes) and raw[:2] == b"\xfe\xef"
        size, protocol, sn = struct.unpack_from("<III", raw, 2)
        assert size == len(raw) - 6
        return protocol, sn, raw[14:]

    def ask(self, protocol: int, data: bytes = b"") -> bytes:
        self.sn += 2
        self.send(protocol, self.sn, data)
        *head, answer = self.receive()
        assert head == [protocol, self.sn]
        return answer

    def closed(self) -> int | None:
        with pytest.raises(websockets.ConnectionClosed):
            self.socket.recv(20)
        return self.socket.close_code


def test_python_requests_both_ways(port: int) -> None:
    client = Client(port, "uid=py&type=7")
    assert [e.name for e in client.socket.protocol.extensions] == ["permessage-deflate"]
    for data in [b"", b"x", "青云".encode(), bytes(range(256)) * 400]:
        assert client.ask(1, data) == data
    assert json.loads(client.ask(8)) == ["py-7--", "py", 7, "", "", "", ""]
    client.send(2, 0, b"abc")
    assert client.receive() == (3, 0, b"cba")
    client.send(4, 0)
    protocol, sn, data = client.receive()
    assert (protocol, sn % 2, data) == (5, 1, b"who?") and sn >= 3
    client.send(50, sn, b"me")
    assert client.receive() == (6, 0, b"50:me")
    client.send(7, 0)
    _, late, _ = client.receive()
    assert client.receive() == (6, 0, b"timeout")
    client.send(5, late, b"late")
    client.socket.send("text is ignored")
    # Many at once, answered in their order.
    for number in range(2, 2000, 2):
        client.send(1, number, str(number).encode())
    for number in range(2, 2000, 2):
        assert client.receive() == (1, number, str(number).encode())
    client.socket.close()


def test_python_pings_and_lifecycle(port: int) -> None:
    client = Client(port, "uid=life")
    assert client.socket.ping(b"p").wait(20)
    client.socket.pong(b"unasked")
    client.ask(1)
    client.socket.close()
    other = Client(port, "uid=other")
    told: list[str] = []
    deadline = time.monotonic() + 20
    while "life-0-- CLOSED" not in told and time.monotonic() < deadline:
        told = json.loads(other.ask(9))
    mine = [line.split()[1] for line in told if line.startswith("life-0--")]
    assert mine == ["ESTABLISHED", "PINGED", "PONGED", "CLOSING", "CLOSED"]


def test_python_limits(port: int) -> None:
    client = Client(port, "uid=limits")
    whole = os.urandom(LIMIT - 14)
    assert client.ask(1, whole) == whole
    # Compressed it is small: the limit is on what it becomes.
    client.send(1, 2, bytes(LIMIT - 13))
    assert client.closed() == 1009
    good = b"\xfe\xef" + struct.pack("<III", 12, 1, 2) + b"data"
    for bad in [b"", good[:13], b"\0" + good[1:], good[:-1], good + b"!"]:
        client = Client(port, "uid=bad")
        client.socket.send(bad)
        assert client.closed() == 1002, bad
    for query in ["", "device=1", "uid=&type=1", "uid=1&type=x", "uid=%zz"]:
        with pytest.raises(websockets.exceptions.InvalidStatus) as refused:
            Client(port, query)
        assert refused.value.response.status_code == 400


def test_python_displacement(port: int) -> None:
    first = Client(port, "uid=1&device=d")
    bystander = Client(port, "uid=1&device=e")
    second = Client(port, "uid=1&device=d")
    protocol, sn, data = first.receive()
    assert (protocol, sn) == (2147483647, 0)
    check_notice(data)
    assert first.closed() == 3505
    assert second.ask(1, b"mine now") == b"mine now"
    assert bystander.ask(1, b"untouched") == b"untouched"
