"""A server and a client per test, and what the tests need to wait for things."""

from __future__ import annotations

import threading
import time
from typing import Callable, Iterator

import pytest

import qyun

PATIENCE = 10.0

#: Names and messages that a path, a URL or a C string could break.
AWKWARD = [
    "plain",
    "a/b//c",
    "what?is=this&that",
    "#fragment",
    "100% %2F %zz",
    " spaces  around ",
    "青云 你好",
    "🚀👩‍👩‍👧",
    "\"quoted\" 'and' \\escaped\\",
    "../../etc/passwd",
    "a+b;c,d:e@f",
]
#: What only a message may hold.
AWKWARD_MESSAGES = [*AWKWARD, "two\nlines\r\n", "a\0b", "\0", "", "\x1b[0m\t\x7f", "x" * 60_000]


@pytest.fixture
def server() -> Iterator[qyun.Server]:
    with qyun.Server(listen="127.0.0.1:0", shards=1) as running:
        running.create_channel("test")
        yield running


@pytest.fixture
def client(server: qyun.Server) -> Iterator[qyun.Client]:
    with qyun.Client(server.address) as opened:
        yield opened


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """For what nothing announces."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.005)


class Collector:
    """A callback that keeps what it is given; the test waits for a number of them."""

    def __init__(self) -> None:
        self.messages: list[qyun.Message] = []
        self.threads: set[int] = set()
        self._changed = threading.Condition()

    def __call__(self, message: qyun.Message) -> None:
        with self._changed:
            self.messages.append(message)
            self.threads.add(threading.get_ident())
            self._changed.notify_all()

    def wait(self, count: int) -> list[str]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.messages) >= count, PATIENCE), (
                f"{len(self.messages)} of {count} messages came"
            )
            return [message.text for message in self.messages]
