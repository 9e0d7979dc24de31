"""What every chat server of the examples does, whatever language it is written in."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
import urllib.parse
from types import TracebackType
from typing import Any, Iterator

import qyun
from conftest import PATIENCE, wait_until


class Guest:
    """A plain WebSocket client of the chat."""

    def __init__(self, url: str, user: str | None) -> None:
        query = "" if user is None else f"?user={urllib.parse.quote(user)}"
        self.socket = qyun.Socket(url + query, reconnect=False)
        try:
            self.socket.connect(PATIENCE)
        except BaseException:
            self.socket.close()
            raise

    def says(self, **what: Any) -> None:
        self.socket.send(json.dumps(what))

    def hears(self) -> Any:
        return json.loads(self.socket.recv(PATIENCE))

    def __enter__(self) -> Guest:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.socket.close()


@contextlib.contextmanager
def chatting(command: list[str]) -> Iterator[str]:
    """The program on any port; it tells the URL in its first line and ends with its input."""
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as program:
        assert program.stdin is not None and program.stdout is not None
        assert program.stderr is not None
        try:
            yield program.stdout.readline().strip()
            program.stdin.close()
            assert (program.wait(PATIENCE), program.stderr.read()) == (0, "")
        finally:
            program.kill()


def refusal(url: str, user: str | None) -> str:
    """Why this user is not admitted."""
    try:
        with Guest(url, user):
            raise AssertionError(f"{user} was admitted")
    except qyun.Error as error:
        return str(error)


def gone(url: str, user: str) -> None:
    """Waits until the name is free, which nothing announces to a stranger."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return Guest(url, user).socket.close()
        except qyun.Error:
            assert time.monotonic() < deadline, f"{user} is still there"


def converse(url: str) -> None:
    """Two rooms and three users."""
    assert "400" in refusal(url, None)
    with Guest(url, "ann") as ann, Guest(url, "bøb") as bob, Guest(url, "cy") as cy:
        assert "409" in refusal(url, "ann")
        ann.says(join="red")
        assert ann.hears() == {"room": "red", "joined": "ann"}
        bob.says(join="red")
        joined = {"room": "red", "joined": "bøb"}
        assert (ann.hears(), bob.hears()) == (joined, joined)
        bob.says(join="blue")
        assert bob.hears() == {"room": "blue", "joined": "bøb"}
        cy.says(join="blue")
        joined = {"room": "blue", "joined": "cy"}
        assert (bob.hears(), cy.hears()) == (joined, joined)

        # Each room hears its own, in the order in which it is said.
        for n in range(100):
            ann.says(room="red", text=f"red {n}")
        cy.says(room="blue", text='"青云"\n')
        reds = [{"room": "red", "user": "ann", "text": f"red {n}"} for n in range(100)]
        blue = {"room": "blue", "user": "cy", "text": '"青云"\n'}
        assert [ann.hears() for _ in range(100)] == reds
        both = [bob.hears() for _ in range(101)]
        assert [one for one in both if one["room"] == "red"] == reds
        assert [one for one in both if one["room"] == "blue"] == [blue]
        assert cy.hears() == blue

        # To one, who need not be in a room; nobody else hears it, and outsiders cannot speak.
        cy.says(to="ann", text="psst")
        assert ann.hears() == {"user": "cy", "text": "psst"}
        cy.says(room="red", text="let me in")
        assert "error" in cy.hears()
        cy.says(to="dan", text="are you there?")
        assert "error" in cy.hears()
        bob.says(leave="red")
        assert ann.hears() == {"room": "red", "left": "bøb"}
        ann.says(room="red", text="alone")
        assert ann.hears() == {"room": "red", "user": "ann", "text": "alone"}
        bob.says(leave="red")
        assert "error" in bob.hears()

        # Whoever is kicked leaves the rooms, and the name is free.
        ann.says(kick="cy")
        assert bob.hears() == {"room": "blue", "left": "cy"}
        wait_until(lambda: not cy.socket.connected, "cy is kicked")
        assert "4003" in cy.socket.last_error or "kicked" in cy.socket.last_error
        gone(url, "cy")
        ann.socket.close()
        gone(url, "ann")
        bob.says(room="blue", text="still here")
        assert bob.hears() == {"room": "blue", "user": "bøb", "text": "still here"}
