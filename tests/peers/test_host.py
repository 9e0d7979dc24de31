"""A program behind a path, and its clients: Node's ws, Chromium and Python's websockets."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, Iterator

import pytest
from conftest import MESSAGES
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

HERE = Path(__file__).parent


class Program:
    """host_program.py, while it runs."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.url = f"ws://127.0.0.1:{self.hears('listening')['port']}/h"

    def hears(self, event: str) -> Any:
        """The next line, which tells of this; pongs are passed over unless they are meant."""
        assert self.process.stdout is not None
        while True:
            told = json.loads(self.process.stdout.readline())
            if told["event"] == event:
                return told
            assert told["event"] == "pong", told

    def does(self, *what: Any) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()
        return self.hears("done")["answer"]

    def client(self, query: str = "", **options: Any) -> ClientConnection:
        return connect(self.url + query, ping_interval=None, **options)

    def refuses(self, query: str = "", **options: Any) -> int:
        with pytest.raises(InvalidStatus) as refused:
            self.client(query, **options)
        return refused.value.response.status_code


@contextlib.contextmanager
def hosting(**options: Any) -> Iterator[Program]:
    bindings = HERE.parents[1] / "bindings" / "python" / "src"
    assert "QYUN_LIBRARY" in os.environ, "where is libqyun.so?"
    environment = {**os.environ, "PYTHONPATH": str(bindings)}
    command = [sys.executable, "-B", str(HERE / "host_program.py"), json.dumps(options)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) as process:
        try:
            yield Program(process)
            process.stdin.close()  # type: ignore[union-attr]
            assert process.wait(20) == 0
        finally:
            process.kill()


@contextlib.contextmanager
def silent(program: Program) -> Iterator[None]:
    """A client that never reads and never answers."""
    port = int(program.url.rpartition(":")[2].partition("/")[0])
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(
            b"GET /h HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        yield


def test_the_program_decides_who_comes() -> None:
    with hosting(max_connections=2) as program:
        assert program.refuses("?refuse=401") == 401
        assert program.refuses("?refuse=503") == 503
        assert program.refuses(origin="https://bad.example") == 403
        with program.client("?id=a", origin="https://good.example", user_agent_header="me"):
            told = program.hears("open")
            assert (told["id"], told["agent"]) == ("a", "me")
            with program.client():
                assert len(program.hears("open")["id"]) == 36
                assert program.refuses() == 503
            assert program.hears("gone")["by"] == "CLIENT"
        assert (program.hears("gone")["code"]) == 1000
        with program.client():
            program.hears("open")


def test_an_origin_on_the_list_is_checked_by_the_program_too() -> None:
    with hosting(origins="https://good.example, https://listed.example") as program:
        for origin in ["https://listed.example", "https://bad.example"]:
            assert program.refuses(origin=origin) == 403
        with program.client(origin="https://good.example"):
            pass


def test_every_kind_of_message_both_ways() -> None:
    messages: list[str | bytes] = [*MESSAGES, bytes(range(256)) * 300, b""]
    with hosting() as program, program.client("?id=a") as client:
        program.hears("open")
        for message in messages:
            client.send(message)
        assert [client.recv() for _ in messages] == messages
        program.does("send_json", "a", {"青": [1, None]})
        assert json.loads(client.recv()) == {"青": [1, None]}


def test_to_one_to_a_user_to_a_channel_to_all_and_to_some() -> None:
    with hosting() as program, contextlib.ExitStack() as stack:
        queries = ["?id=a&user=ann", "?id=b&user=ann", "?id=c"]
        clients = [stack.enter_context(program.client(query)) for query in queries]
        for _ in clients:
            program.hears("open")
        program.does("send_to", "a", "one")
        assert program.does("send_to_user", "ann", "user") == 2
        assert program.does("broadcast", "all") == 3
        assert program.does("broadcast", "path", "/h") == 3
        program.does("create_channel", "room")
        program.does("join", "b", "room")
        program.does("join", "c", "room")
        program.does("publish", "room", "channel")
        assert program.does("where", "a", "some") == 2
        expected = [
            ["one", "user", "all", "path"],
            ["user", "all", "path", "channel", "some"],
            ["all", "path", "channel", "some"],
        ]
        for client, messages in zip(clients, expected):
            assert [client.recv() for _ in messages] == messages
        program.does("close_connection", "a", 4001, "kicked")
        with pytest.raises(ConnectionClosed) as closed:
            clients[0].recv()
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4001, "kicked")  # type: ignore[union-attr]
        assert program.hears("gone") == {"event": "gone", "id": "a", "code": 4001, "by": "PROGRAM"}


def test_who_answers_pings_stays_and_who_does_not_goes() -> None:
    with hosting(ping_interval_ms=100, pong_wait_ms=500) as program:
        with program.client("?id=a") as client:
            program.hears("open")
            for _ in range(5):
                assert program.hears("pong")["id"] == "a"
            client.send("still here")
            assert client.recv() == "still here"
        program.hears("gone")
        with silent(program):
            program.hears("open")
            assert program.hears("error")["kind"] == "Timeout"
            assert program.hears("gone")["code"] == 3012


def test_a_client_that_takes_nothing_is_cut() -> None:
    with hosting(ping_interval_ms=0, write_wait_ms=200) as program, silent(program):
        client = program.hears("open")["id"]
        assert program.does("flood", client, 32) is None  # more than the kernel holds for it
        assert program.hears("error")["kind"] == "Timeout"
        assert program.hears("gone")["code"] == 1006


def test_faults_of_the_client() -> None:
    with hosting(max_message_bytes=1000) as program:
        with program.client("?id=a") as client:
            program.hears("open")
            client.send("x" * 1001)
            with pytest.raises(ConnectionClosed) as closed:
                client.recv()
            assert closed.value.rcvd.code == 1009  # type: ignore[union-attr]
        assert program.hears("error")["kind"] == "TooLarge"
        assert program.hears("gone")["code"] == 1009


def test_stopping_closes_with_1000() -> None:
    with hosting() as program, program.client() as client:
        program.hears("open")
        program.process.stdin.close()  # type: ignore[union-attr]
        with pytest.raises(ConnectionClosed) as closed:
            client.recv()
        assert closed.value.rcvd.code == 1000  # type: ignore[union-attr]
        assert program.hears("gone")["by"] == "SERVER"


def test_node_hears_and_is_refused() -> None:
    with hosting() as program:
        script = ["node", str(HERE / "ws_client.mjs"), "listen"]
        refused = subprocess.run(
            [*script, program.url + "?refuse=402", "1"], capture_output=True, text=True, timeout=30
        )
        assert (refused.returncode, refused.stdout) == (3, "refused 402\n")
        command = [*script, program.url + "?id=n", str(len(MESSAGES))]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as node:
            assert node.stdout is not None
            assert node.stdout.readline() == "ready\n"
            program.hears("open")
            for message in MESSAGES:
                program.does("send_to", "n", message)
            lines = [f"text {message.encode().hex()}" for message in MESSAGES]
            assert node.stdout.read().splitlines() == lines
            assert node.wait(20) == 0
        assert program.hears("gone")["code"] == 1000


def test_a_page_is_a_client_as_well() -> None:
    with hosting() as program:
        command = ["node", str(HERE / "host_browser.mjs"), program.url]
        done = subprocess.run(command, text=True, timeout=55, capture_output=True)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == {
            "refused": 1006,  # a page is not told the status
            "text": "青云",
            "empty": "",
            "bytes": [0, 255, 128],
            "large": 200_000,
            "closed": {"code": 4002, "reason": "as you wish", "wasClean": True},
        }
        assert program.hears("open")["id"] == "page"
        assert program.hears("gone") == {"event": "gone", "id": "page", "code": 4002, "by": "PROGRAM"}
