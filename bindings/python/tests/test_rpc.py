"""Methods that clients of the session dialect call; the client is a socket that writes JSON."""

from __future__ import annotations

import json
import queue
import sys
import threading
from typing import Any

import pytest

import qyun
from conftest import PATIENCE


class Session:
    """A client of the session dialect."""

    def __init__(self, server: qyun.Server) -> None:
        self.socket = qyun.Socket(f"ws://{server.address}/ws", reconnect=False)
        self.socket.connect(PATIENCE)
        first = self.receive()
        assert first["data"]["event"] == "connected"
        self.id = first["data"]["connection_id"]

    def receive(self) -> Any:
        return json.loads(self.socket.recv(PATIENCE))

    def send(self, method: str, *params: Any) -> None:
        payload: dict[str, Any] = {"method": method}
        if params:
            payload["params"] = params[0]
        request = {"id": method, "type": "request", "action": "rpc", "payload": payload}
        self.socket.send(json.dumps(request))

    def call(self, method: str, *params: Any) -> Any:
        self.send(method, *params)
        answer = self.receive()
        assert answer["id"] == method
        return answer["data"] if answer["type"] == "response" else answer["error"]


@pytest.mark.parametrize("inline", [False, True])
def test_a_method_returns_its_result(server: qyun.Server, inline: bool) -> None:
    callers: queue.Queue[str] = queue.Queue()

    @server.rpc("add", inline=inline)
    def add(call: qyun.RpcCall) -> Any:
        callers.put(call.connection.id)
        return call.params["a"] + call.params["b"]

    @server.rpc("青云", inline=inline)
    def echo(call: qyun.RpcCall) -> Any:
        return {"method": call.method, "params": call.params}

    client = Session(server)
    assert client.call("add", {"a": 1, "b": 2}) == 3
    assert callers.get(timeout=PATIENCE) == client.id
    assert client.call("add", {"a": "青", "b": "云\n"}) == "青云\n"
    assert client.call("青云") == {"method": "青云", "params": None}
    assert client.call("青云", [1.5, None, {}])["params"] == [1.5, None, {}]
    assert add is not None and echo.__name__ == "echo"


def test_what_a_method_raises_is_the_callers_error(
    server: qyun.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    raised: queue.Queue[BaseException | None] = queue.Queue()
    monkeypatch.setattr(sys, "unraisablehook", lambda what: raised.put(what.exc_value))

    @server.rpc("refuse")
    def refuse(call: qyun.RpcCall) -> None:
        raise qyun.RpcError("no_tea", "come back later")

    @server.rpc("break")
    def fail(call: qyun.RpcCall) -> None:
        raise KeyError("secret")

    @server.rpc("unjson")
    def unjson(call: qyun.RpcCall) -> object:
        return object()

    client = Session(server)
    assert client.call("refuse") == {"code": "no_tea", "message": "come back later"}
    assert client.call("break") == {"code": "internal", "message": "the method failed"}
    assert isinstance(raised.get(timeout=PATIENCE), KeyError)
    assert client.call("unjson")["code"] == "internal"
    assert isinstance(raised.get(timeout=PATIENCE), TypeError)
    assert client.call("none")["code"] == "method_not_found"
    server.remove_rpc("refuse")
    server.remove_rpc("refuse")
    assert client.call("refuse")["code"] == "method_not_found"


def test_a_call_is_answered_later_and_once(server: qyun.Server) -> None:
    kept: queue.Queue[qyun.RpcReply] = queue.Queue()

    @server.rpc("later")
    def later(call: qyun.RpcCall) -> None:
        kept.put(call.later())

    client = Session(server)
    client.send("later")
    reply = kept.get(timeout=PATIENCE)
    thread = threading.Thread(target=lambda: reply.result({"at": "last"}))
    thread.start()
    assert client.receive()["data"] == {"at": "last"}
    thread.join()
    with pytest.raises(qyun.InvalidArgument, match="answered already"):
        reply.error("c", "m")

    client.send("later")
    kept.get(timeout=PATIENCE)  # and let go of
    assert client.receive()["error"]["code"] == "no_answer"

    client.send("later")
    reply = kept.get(timeout=PATIENCE)
    server.stop(0)
    with pytest.raises(qyun.Closed):
        reply.result()


def test_parameters_that_python_does_not_take(server: qyun.Server) -> None:
    @server.rpc("m")
    def method(call: qyun.RpcCall) -> None:
        return None

    client = Session(server)
    payload = '{"method":"m","params":' + "[" * 100_000 + "]" * 100_000 + "}"
    client.socket.send('{"id":1,"type":"request","action":"rpc","payload":' + payload + "}")
    assert client.receive()["error"]["code"] == "invalid_payload"
    assert client.call("m") is None


def test_bad_names(server: qyun.Server) -> None:
    for name in ["", "a\0b", "a\nb", "x" * 256]:
        with pytest.raises(qyun.InvalidName):
            server.rpc(name)(lambda call: None)
