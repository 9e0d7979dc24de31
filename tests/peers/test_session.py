"""The session dialect: clients written from its description alone, with Node's ws, in a browser and
with Python's websockets."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from conftest import MESSAGES, Server
from sessions import Client, connected
from websockets.sync.client import connect

HERE = Path(__file__).parent


@pytest.mark.parametrize("where", ["ws", "chromium"])
def test_every_action_and_every_fault(server: Server, where: str) -> None:
    job = {"url": f"{server.ws}/ws", "messages": MESSAGES}
    done = subprocess.run(
        ["node", str(HERE / "session_client.mjs"), where, f"{server.http}/health"],
        input=json.dumps(job),
        text=True,
        timeout=55,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["codes"] == [1000, 1000]
    assert told["echoed"] == [
        {"id": n, "type": "response", "data": {"echo": message}}
        for n, message in enumerate(MESSAGES)
    ]
    log = iter(told["log"])
    a, b = connected(next(log)), connected(next(log))
    assert a != b
    assert next(log) == '{"id":"msg-123","type":"response","data":{"echo":"Hello"}}'
    assert next(log) == '{"id":7,"type":"response","data":{"count":2}}'
    everybody = (
        '{"type":"notification","data":{"event":"broadcast","message":"to all","from":"%s"}}' % b
    )
    assert next(log) == everybody
    assert next(log) == '{"id":"b","type":"response","data":{"recipients":2}}'
    assert next(log) == everybody

    for start in [
        '{"type":"error","error":{"code":"parse_error",',
        '{"type":"error","error":{"code":"parse_error",',
        '{"id":"x","type":"error","error":{"code":"unknown_action",',
        '{"id":1,"type":"error","error":{"code":"invalid_request",',
        '{"type":"error","error":{"code":"unsupported",',
    ]:
        text = next(log)
        assert text.startswith(start) and json.loads(text)["error"]["message"]

    answers: dict[int, Any] = {}
    events = []
    order = []
    for text in log:
        message = json.loads(text)
        if message["type"] == "notification":
            events.append(message["data"])
            order.append(message["data"]["event"])
        else:
            answers[message["id"]] = message.get("data", message.get("error"))
            order.append(message["id"])
    # Each message behind the subscription and before the response to what published it.
    assert order == [1, 2, "message", 3, "message", 4, 5, 6, 7, 8, 9, "channel_deleted", 10, 11]
    channel = {"channel": "peers"}
    assert answers[1] == answers[8] == answers[10] == channel
    epoch = answers[2]["epoch"]
    assert answers[2] == {**channel, "epoch": epoch, "offset": 0}
    assert answers[9] == {**channel, "epoch": epoch, "offset": 2}
    for offset in [1, 2]:
        assert answers[offset + 2] == {"epoch": epoch, "offset": offset, "subscribers": 1}
    assert events == [
        {"event": "message", **channel, "message": "你好", "epoch": epoch, "offset": 1},
        {
            "event": "message",
            **channel,
            "message": "AP8=",
            "encoding": "base64",
            "epoch": epoch,
            "offset": 2,
        },
        {"event": "channel_deleted", **channel},
    ]
    members = answers[5]["members"]
    assert [(member["id"], member["user"]) for member in members] == [(a, None)]
    assert (answers[5]["count"], answers[5]["anonymous"], answers[5]["next"]) == (1, 0, None)
    assert [one["id"] for one in answers[6]["connections"]] == sorted([a, b])
    assert answers[7]["code"] == "method_not_found"
    assert answers[11] == {}


def test_sessions_and_listeners_share_channels(server: Server, name: str) -> None:
    path = server.create(name)
    with (
        connect(f"{server.ws}/ws") as one,
        connect(f"{server.ws}/ws") as two,
        connect(f"{server.ws}/channel/listen/{path}") as listener,
    ):
        publisher, subscriber = Client(one), Client(two)
        begin = subscriber.ask("subscribe", channel=name)
        for n, message in enumerate(MESSAGES, 1):
            answer = publisher.ask("publish", channel=name, message=message)
            assert (answer["offset"], answer["subscribers"]) == (begin["offset"] + n, 2)
            told = subscriber.receive()["data"]
            assert (told["channel"], told["message"]) == (name, message)
            assert listener.recv(20) == message
        server.send(path, b"\x00\xff")
        told = subscriber.receive()["data"]
        assert (told["message"], told["encoding"]) == ("AP8=", "base64")
        presence = publisher.ask("presence", channel=name)
        assert presence["anonymous"] == 1
        assert [member["id"] for member in presence["members"]] == [subscriber.id]


def test_requests_are_pipelined(server: Server) -> None:
    with connect(f"{server.ws}/ws") as socket:
        connected(socket.recv(20))
        # More than the server keeps for a client that does not read; written before any is read.
        text = "x" * 1000
        for n in range(2000):
            payload = {"message": text}
            request = {"id": n, "type": "request", "action": "echo", "payload": payload}
            socket.send(json.dumps(request))
        for n in range(2000):
            answer = json.loads(socket.recv(20))
            assert answer == {"id": n, "type": "response", "data": {"echo": text}}


def test_compressed_sessions(server: Server) -> None:
    with connect(f"{server.ws}/ws") as socket:
        response = socket.response
        assert response is not None
        extensions = response.headers["sec-websocket-extensions"]
        assert re.match("permessage-deflate", extensions)
        client = Client(socket)
        assert client.ask("echo", message="青云" * 5000) == {"echo": "青云" * 5000}
