"""What every chat server of the examples does, whatever language it is written in."""

from __future__ import annotations

import contextlib
import subprocess
import time
import urllib.parse
from types import TracebackType
from typing import Iterator

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

    def says(self, line: str) -> None:
        self.socket.send(line)

    def hears(self) -> str:
        line = self.socket.recv(PATIENCE)
        assert isinstance(line, str)
        return line

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
        ann.says("/join red")
        assert ann.hears() == "red: ann joined"
        bob.says("/join red")
        assert (ann.hears(), bob.hears()) == ("red: bøb joined",) * 2
        bob.says("/join blue")
        assert bob.hears() == "blue: bøb joined"
        cy.says("/join blue")
        assert (bob.hears(), cy.hears()) == ("blue: cy joined",) * 2

        # Each room hears its own, in the order in which it is said.
        for n in range(100):
            ann.says(f"/say red number {n}")
        cy.says("/say blue 青云\n /to?")
        red, blue = [f"red: <ann> number {n}" for n in range(100)], "blue: <cy> 青云\n /to?"
        assert [ann.hears() for _ in range(100)] == red
        both = [bob.hears() for _ in range(101)]
        assert [line for line in both if line.startswith("red")] == red
        assert [line for line in both if line.startswith("blue")] == [blue]
        assert cy.hears() == blue

        # To one, who need not be in a room; nobody else hears it, and outsiders cannot speak.
        cy.says("/to ann psst")
        assert ann.hears() == "<cy> psst"
        for nonsense in ["/say red let me in", "/to dan hello?", "/leave red", "/kick dan", "hello"]:
            cy.says(nonsense)
            assert cy.hears() == f"? {nonsense}"
        bob.says("/leave red")
        assert ann.hears() == "red: bøb left"
        ann.says("/say red alone")
        assert ann.hears() == "red: <ann> alone"

        # Whoever is kicked leaves the rooms, and the name is free.
        ann.says("/kick cy")
        assert cy.hears() == "ann kicks you"
        assert bob.hears() == "blue: cy left"
        wait_until(lambda: not cy.socket.connected, "cy is kicked")
        gone(url, "cy")
        ann.socket.close()
        gone(url, "ann")
        bob.says("/say blue still here")
        assert bob.hears() == "blue: <bøb> still here"
