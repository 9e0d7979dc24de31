"""A real `qyun serve`, and what every client is to receive."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import urllib.parse
from dataclasses import dataclass
from typing import Iterator

import httpx
import pytest

#: Twenty messages; what makes clients, paths, C strings and frames break.
MESSAGES = [
    "plain",
    "你好，青云",
    "🚀👩‍👩‍👧‍👦🇨🇳",
    "a/b//c",
    "what?is=this&that",
    "#fragment",
    "100% %2F %zz %",
    "two\nlines\r\n",
    "a\0b",
    " spaces  around ",
    '"quoted" \'and\' \\escaped\\',
    "../../etc/passwd",
    "a+b;c,d:e@f",
    '{"json": [1, "二", null]}',
    "\x1b[0m\t\x7f",
    "é\u0301\u202e\ufeff\uffff",
    "x" * 125,
    "y" * 126,
    "长" * 7_000,
    "",
]
assert len(MESSAGES) == 20

NAMES = ["test", "青云/北京 ?#%", "🚀"]


@dataclass
class Server:
    port: int
    #: The port of gRPC, if there is one.
    grpc: int | None = None

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def create(self, name: str) -> str:
        """Creates a channel; its name as it is written in a path."""
        path = quote(name)
        assert httpx.get(f"{self.http}/channel/create/{path}").status_code == 200
        return path

    def send(self, path: str, message: str | bytes) -> None:
        kind = "text/plain" if isinstance(message, str) else "application/octet-stream"
        answer = httpx.post(
            f"{self.http}/channel/send/{path}",
            content=message.encode() if isinstance(message, str) else message,
            headers={"content-type": kind},
        )
        assert answer.status_code == 200, answer.text

    def send_all(self, path: str) -> None:
        for message in MESSAGES:
            self.send(path, message)


def quote(text: str) -> str:
    return urllib.parse.quote(text, safe="")


@contextlib.contextmanager
def serving(*options: str) -> Iterator[Server]:
    """`qyun serve` on a free port; at the end it is to stop by itself."""
    command = [os.environ["QYUN_BIN"], "serve", "--listen", "127.0.0.1:0", "--json", *options]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    try:
        told = json.loads(running.stdout.readline())
        grpc = told.get("grpc")
        yield Server(told["port"], int(grpc.rpartition(":")[2]) if grpc else None)
        running.send_signal(signal.SIGTERM)
        assert running.wait(20) == 0
    finally:
        running.kill()
        running.wait()
        running.stdout.close()


@pytest.fixture(scope="session")
def process() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture
def server(process: Server) -> Iterator[Server]:
    """Without channels, and with nobody left afterwards."""
    yield process
    for channel in httpx.get(f"{process.http}/channels?limit=1000").json()["channels"]:
        httpx.delete(f"{process.http}/channel/{quote(channel['name'])}").raise_for_status()


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param
