"""Clients that are programs of their own: Node's ws, libwebsockets, libcurl, a browser."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import threading
from pathlib import Path
from typing import Callable

import pytest
from conftest import MESSAGES, Server
from websockets.sync.client import connect

HERE = Path(__file__).parent
BUILT = Path(os.environ["QYUN_PEERS_BIN"])

#: A message as the programs write and read it.
Line = str


def line(message: str | bytes) -> Line:
    if isinstance(message, str):
        return f"text {message.encode().hex()}"
    return f"binary {message.hex()}"


def node(mode: str, server: Server, path: str, *more: str) -> list[str]:
    return ["node", str(HERE / "ws_client.mjs"), mode, server.ws + path, *more]


def lws(mode: str, server: Server, path: str, *more: str) -> list[str]:
    return [str(BUILT / "lws_client"), mode, str(server.port), path, *more]


Program = Callable[..., "list[str]"]
each_program = pytest.mark.parametrize("program", [node, lws])

BINARY = bytes(range(256)) * 100
EVERYTHING = [*MESSAGES, BINARY, b""]


@each_program
def test_listens(server: Server, name: str, program: Program) -> None:
    path = server.create(name)
    command = program("listen", server, f"/channel/listen/{path}", str(len(EVERYTHING)))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as listener:
        assert listener.stdout is not None
        assert listener.stdout.readline() == "ready\n"
        for message in EVERYTHING:
            server.send(path, message)
        assert listener.stdout.read().splitlines() == [line(message) for message in EVERYTHING]
        assert listener.wait(20) == 0


@each_program
def test_sends(server: Server, name: str, program: Program) -> None:
    path = server.create(name)
    with connect(f"{server.ws}/channel/listen/{path}") as listener:
        lines = "".join(line(message) + "\n" for message in EVERYTHING)
        command = program("send", server, f"/channel/send/{path}")
        done = subprocess.run(command, input=lines, text=True, timeout=30, capture_output=True)
        assert done.returncode == 0, done
        assert [listener.recv() for _ in EVERYTHING] == EVERYTHING


@each_program
def test_is_refused_without_the_channel(server: Server, program: Program) -> None:
    for mode in ["listen", "send"]:
        command = program(mode, server, f"/channel/{mode}/none", "1")
        done = subprocess.run(command, text=True, timeout=30, capture_output=True, input="")
        assert done.returncode == 3 and "403" in done.stdout, done


def test_libcurl_sends_by_get_on_one_connection(server: Server, name: str) -> None:
    path = server.create(name)
    with connect(f"{server.ws}/channel/listen/{path}") as listener:
        lines = "".join(line(message) + "\n" for message in MESSAGES)
        command = [str(BUILT / "curl_client"), f"{server.http}/channel/send/{path}/"]
        done = subprocess.run(command, input=lines, text=True, timeout=30, capture_output=True)
        assert done.returncode == 0, done
        assert done.stdout.splitlines() == ["200"] * len(MESSAGES) + ["connections 1"]
        assert [listener.recv() for _ in MESSAGES] == MESSAGES


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write("<!doctype html><title>青云</title>".encode())

    def log_message(self, *_: object) -> None:
        pass


def test_a_page_in_a_browser_listens_and_sends(server: Server, name: str) -> None:
    path = server.create(name)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as pages:
        threading.Thread(target=pages.serve_forever, daemon=True).start()
        job = {
            "page": f"http://127.0.0.1:{pages.server_port}/",
            "server": f"127.0.0.1:{server.port}",
            "path": path,
            "messages": MESSAGES,
        }
        command = ["node", str(HERE / "browser.mjs")]
        done = subprocess.run(
            command, input=json.dumps(job), text=True, timeout=55, capture_output=True
        )
        pages.shutdown()
    assert done.returncode == 0, done.stderr
    page = json.loads(done.stdout)
    assert page["received"] == [*MESSAGES, *MESSAGES, {"binary": [0, 255, 128, 10]}]
    assert page["codes"] == [1000, 1000]
    events = page["events"]
    assert [event["data"] for event in events] == [m.replace("\r\n", "\n") for m in MESSAGES]
    first = events[0]["offset"]
    assert [event["offset"] for event in events] == list(range(first, first + len(MESSAGES)))
    assert page["protocol"] == "channel-protocol"
    assert page["extensions"].startswith("permessage-deflate; server_no_context_takeover")
    assert page["refused"] == "closed with 1006"
