"""The gateway: websockets, Node's ws and Chromium as clients, grpcio as the back end.

The back end's stubs are made from gateway_contract.proto, written from the protocol page."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any, Iterator, Protocol

import grpc
import pytest
import websockets
from conftest import MESSAGES, Server, serving
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from grpc_tools import protoc
from websockets.sync.client import connect

HERE = Path(__file__).parent
PUBLISHED = HERE.parent.parent / "proto" / "gateway.proto"

sys.path.insert(0, str(HERE))
messages, services = grpc.protos_and_services("gateway_contract.proto")  # type: ignore[attr-defined]
METHODS = sorted(messages.DESCRIPTOR.services_by_name)
assert len(METHODS) == 21


class BackEnd:
    """The methods by their names: keyword arguments in, the response out."""

    def __init__(self, port: int) -> None:
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}")

    def __getattr__(self, name: str) -> Any:
        stub = getattr(services, f"{name}Stub")(self.channel)
        request = getattr(messages, f"{name}Request")
        return lambda **fields: getattr(stub, name)(request(**fields), timeout=20)


class Client(Protocol):
    id: str

    def receive(self) -> str | bytes: ...
    def send(self, message: str | bytes) -> None: ...
    def end(self) -> int: ...


class Python:
    """Python's websockets, which offers permessage-deflate."""

    def __init__(self, server: Server) -> None:
        self.stack = contextlib.ExitStack()
        self.socket = self.stack.enter_context(connect(f"{server.ws}/"))
        assert self.socket.response is not None
        extensions = self.socket.response.headers["Sec-WebSocket-Extensions"]
        assert extensions.startswith("permessage-deflate")
        self.id = text(self.receive())

    def receive(self) -> str | bytes:
        return self.socket.recv(20)

    def send(self, message: str | bytes) -> None:
        self.socket.send(message)

    def end(self) -> int:
        """Waits for the server's Close; its code."""
        with pytest.raises(websockets.ConnectionClosed) as closed:
            self.receive()
        assert closed.value.rcvd is not None
        return closed.value.rcvd.code

    def close(self) -> None:
        self.stack.close()


class Program:
    """A program that speaks in lines."""

    def __init__(self, server: Server, mode: str) -> None:
        page = f"{server.http}/health"
        self.running = subprocess.Popen(
            ["node", str(HERE / "gateway_client.mjs"), mode, f"{server.ws}/", page],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.id = text(self.receive())

    def line(self) -> list[str]:
        assert self.running.stdout is not None
        return self.running.stdout.readline().rstrip("\n").split(" ")

    def receive(self) -> str | bytes:
        kind, data = self.line()
        assert kind in ("text", "binary"), (kind, data)
        return bytes.fromhex(data).decode() if kind == "text" else bytes.fromhex(data)

    def send(self, message: str | bytes) -> None:
        is_text = isinstance(message, str)
        self.write(f"text {message.encode().hex()}" if is_text else f"binary {message.hex()}")

    def write(self, line: str) -> None:
        assert self.running.stdin is not None
        self.running.stdin.write(line + "\n")
        self.running.stdin.flush()

    def end(self) -> int:
        kind, code = self.line()
        assert kind == "closed"
        return int(code)

    def close(self) -> None:
        # It may have seen its end already.
        with contextlib.suppress(BrokenPipeError):
            self.write("close")
        self.running.communicate(timeout=30)


def text(received: str | bytes) -> str:
    return received if isinstance(received, str) else received.decode()


@pytest.fixture(scope="module")
def gateway() -> Iterator[Server]:
    with serving("--set", "grpc_listen=127.0.0.1:0") as server:
        yield server


@pytest.fixture(scope="module")
def back_end(gateway: Server) -> Iterator[BackEnd]:
    assert gateway.grpc is not None
    back_end = BackEnd(gateway.grpc)
    with back_end.channel:
        yield back_end


@pytest.fixture(params=["python", "node", "browser"])
def trio(request: pytest.FixtureRequest, gateway: Server, back_end: BackEnd) -> Iterator[list[Client]]:
    """A client of the kind that is tested, and two others."""
    with contextlib.ExitStack() as stack:
        first = Python(gateway) if request.param == "python" else Program(gateway, request.param)
        clients = [first, Python(gateway), Python(gateway)]
        for client in clients:
            stack.callback(client.close)
        yield clients
        for client in clients:
            assert back_end.ClonseClient(clientid=client.id).result
        assert back_end.CountOnlineClient().count == 0
        assert back_end.CountGroup().count == back_end.CountOnlineUid().count == 0


def test_the_first_frame_is_an_id_and_a_ping_gets_a_pong(trio: list[Client]) -> None:
    for client in trio:
        assert str(uuid.UUID(client.id)) == client.id
        client.send("something that is no ping")
        client.send("ping")
        assert client.receive() == "pong"


def test_clients(trio: list[Client], back_end: BackEnd) -> None:
    ids = [client.id for client in trio]
    assert sorted(back_end.GetAllOnlineClient().client) == sorted(ids)
    assert back_end.CountOnlineClient().count == 3
    assert all(back_end.ClientIsOnline(clientid=id).isonline for id in ids)
    assert not back_end.ClientIsOnline(clientid="nobody").isonline
    sent = [message for message in MESSAGES if message]
    for message in sent:
        assert back_end.SendMessageToClient(clientid=ids[0], message=message).result
    assert not back_end.SendMessageToClient(clientid="nobody", message="x").result
    assert back_end.BroadcastMessage(message="所有人").result
    assert not back_end.BroadcastMessage(message="").result
    assert [trio[0].receive() for _ in sent] == sent
    assert [client.receive() for client in trio] == ["所有人"] * 3

    assert back_end.ClonseClient(clientid=ids[0]).result
    assert trio[0].end() == 1000
    assert not back_end.ClientIsOnline(clientid=ids[0]).isonline
    assert back_end.ClonseClient(clientid=ids[0]).result
    assert not back_end.ClonseClient(clientid="").result


def test_groups(trio: list[Client], back_end: BackEnd) -> None:
    ids = [client.id for client in trio]
    for id in ids[:2]:
        assert back_end.JoinGroup(clientid=id, group="群").result
        assert back_end.JoinGroup(clientid=id, group="群").result
    assert back_end.JoinGroup(clientid=ids[2], group="other").result
    assert not back_end.JoinGroup(clientid="nobody", group="群").result
    assert not back_end.JoinGroup(clientid=ids[0], group="").result
    assert back_end.CountGroup().count == 2
    assert back_end.CountOnlineGroup(group="群").count == 2
    assert sorted(back_end.GetGroupOnlineClient(group="群").clientid) == sorted(ids[:2])

    answer = back_end.SendMessageToGroup(group="群", message="一")
    assert (answer.result, answer.arrive) == (True, 2)
    assert back_end.LeaveGroup(clientid=ids[0], group="群").result
    answer = back_end.SendMessageToGroup(group="群", message="二")
    assert (answer.result, answer.arrive) == (True, 1)
    assert trio[0].receive() == "一"
    assert [trio[1].receive(), trio[1].receive()] == ["一", "二"]

    assert not back_end.LeaveGroup(clientid="nobody", group="群").result
    assert back_end.UnGroup(group="other").result
    assert not back_end.UnGroup(group="other").result
    assert back_end.LeaveGroup(clientid=ids[1], group="群").result
    answer = back_end.SendMessageToGroup(group="群", message="三")
    assert (answer.result, answer.arrive) == (False, 0)
    assert back_end.CountGroup().count == 0
    assert back_end.CountOnlineGroup(group="群").count == 0
    assert list(back_end.GetGroupOnlineClient(group="群").clientid) == []


def test_uids(trio: list[Client], back_end: BackEnd) -> None:
    ids = [client.id for client in trio]
    for id, uid in zip(ids, ["甲", "甲", "乙"]):
        assert back_end.ClientBindUid(clientid=id, uid=uid).result
    assert not back_end.ClientBindUid(clientid="nobody", uid="甲").result
    assert not back_end.ClientBindUid(clientid=ids[0], uid="").result
    assert sorted(back_end.GetAllOnlineUid().uid) == sorted(["甲", "乙"])
    assert back_end.CountOnlineUid().count == 2
    assert sorted(back_end.GetUidByClient(uid="甲").clientid) == sorted(ids[:2])
    assert back_end.GetClientByUid(clientid=ids[0]).uid == "甲"
    assert back_end.SendMessageToUid(uid="甲", message="两个").result

    assert back_end.ClientBindUid(clientid=ids[0], uid="乙").result
    assert back_end.GetClientByUid(clientid=ids[0]).uid == "乙"
    assert list(back_end.GetUidByClient(uid="甲").clientid) == [ids[1]]
    assert back_end.SendMessageToUid(uid="乙", message="moved").result
    assert [trio[0].receive(), trio[0].receive()] == ["两个", "moved"]
    assert trio[1].receive() == "两个"
    assert trio[2].receive() == "moved"

    assert back_end.UnBindUid(clientid=ids[1]).result
    assert not back_end.UidIsOnline(uid="甲").result
    assert back_end.UidIsOnline(uid="乙").result
    assert not back_end.SendMessageToUid(uid="甲", message="x").result
    assert not back_end.UnBindUid(clientid="nobody").result
    assert back_end.GetClientByUid(clientid=ids[1]).uid == ""
    assert back_end.GetClientByUid(clientid="nobody").uid == ""


@pytest.mark.parametrize("mode", ["python", "node", "browser"])
def test_the_format_is_binary_when_it_is_so_configured(mode: str) -> None:
    options = ("grpc_listen=127.0.0.1:0", "gateway_format=binary")
    with serving(*(part for option in options for part in ("--set", option))) as server:
        assert server.grpc is not None
        client = Python(server) if mode == "python" else Program(server, mode)
        with contextlib.closing(client):
            assert BackEnd(server.grpc).SendMessageToClient(clientid=client.id, message="青云").result
            assert client.receive() == "青云".encode()
            client.send(b"ping")
            assert client.receive() == b"pong"


def test_who_does_not_ping_is_disconnected() -> None:
    options = ("grpc_listen=127.0.0.1:0", "gateway_heartbeat_ms=1000")
    with serving(*(part for option in options for part in ("--set", option))) as server:
        assert server.grpc is not None
        back_end = BackEnd(server.grpc)
        with contextlib.closing(Python(server)) as client:
            assert back_end.ClientBindUid(clientid=client.id, uid="u").result
            assert back_end.JoinGroup(clientid=client.id, group="g").result
            client.end()
            assert not back_end.ClientIsOnline(clientid=client.id).isonline
            assert back_end.CountOnlineUid().count == back_end.CountGroup().count == 0


def described(file: descriptor_pb2.FileDescriptorProto) -> dict[str, Any]:
    """What callers depend on: names, numbers, types."""
    return {
        "package": file.package,
        "syntax": file.syntax,
        "messages": {
            message.name: [(f.name, f.number, f.type, f.label) for f in message.field]
            for message in file.message_type
        },
        "services": {
            service.name: [(m.name, m.input_type, m.output_type) for m in service.method]
            for service in file.service
        },
    }


def test_reflection_and_the_published_file_say_what_the_contract_says(
    back_end: BackEnd, tmp_path: Path
) -> None:
    contract = descriptor_pb2.FileDescriptorProto()
    messages.DESCRIPTOR.CopyToProto(contract)
    assert sorted(service.name for service in contract.service) == METHODS

    compiled = tmp_path / "gateway.pb"
    command = ["protoc", f"-I{PUBLISHED.parent}", f"--descriptor_set_out={compiled}", str(PUBLISHED)]
    assert protoc.main(command) == 0
    published = descriptor_pb2.FileDescriptorSet.FromString(compiled.read_bytes())
    assert described(published.file[0]) == described(contract)

    reflection = ProtoReflectionDescriptorDatabase(back_end.channel)
    served = set(reflection.get_services())
    assert served >= {f"proto.{name}" for name in METHODS} | {"grpc.health.v1.Health"}
    for name in METHODS:
        file = reflection.FindFileContainingSymbol(f"proto.{name}")
        assert described(file) == described(contract)


def test_health(back_end: BackEnd) -> None:
    stub = health_pb2_grpc.HealthStub(back_end.channel)
    answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=20)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_peers_that_are_not_on_the_list_are_refused() -> None:
    for allowed, passes in [("10.0.0.0/8,::1", False), ("127.0.0.0/8", True)]:
        options = ("--set", "grpc_listen=127.0.0.1:0", "--set", f"grpc_allow={allowed}")
        with serving(*options) as server:
            assert server.grpc is not None
            back_end = BackEnd(server.grpc)
            for name in METHODS:
                if passes:
                    getattr(back_end, name)()
                    continue
                with pytest.raises(grpc.RpcError) as refused:
                    getattr(back_end, name)()
                assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
