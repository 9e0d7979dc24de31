"""Python's clients: websockets (asyncio and threads), wsproto's frames are in test_frames.py;
requests, httpx and http.client for HTTP."""

from __future__ import annotations

import asyncio
import http.client
import socket

import httpx
import pytest
import requests
import websockets
from conftest import MESSAGES, Server, quote
from websockets.sync.client import connect


def test_websockets_with_threads(server: Server, name: str) -> None:
    path = server.create(name)
    with (
        connect(f"{server.ws}/channel/listen/{path}") as listener,
        connect(f"{server.ws}/channel/send/{path}") as sender,
    ):
        for message in MESSAGES:
            sender.send(message)
            sender.send(message.encode())
        for message in MESSAGES:
            assert listener.recv() == message
            assert listener.recv() == message.encode()
        # In fragments.
        sender.send(["分", "", "段", "x" * 70_000])
        assert listener.recv() == "分段" + "x" * 70_000
        assert sender.ping().wait(10)
        assert listener.ping(b"payload").wait(10)


def test_websockets_with_asyncio(server: Server, name: str) -> None:
    path = server.create(name)

    async def run() -> None:
        url = f"{server.ws}/channel/listen/{path}"
        async with websockets.connect(url) as one, websockets.connect(url) as two:
            async with websockets.connect(f"{server.ws}/channel/send/{path}") as sender:
                for message in MESSAGES:
                    await sender.send(message)
            assert sender.close_code == 1000
            for listener in (one, two):
                assert [await listener.recv() for _ in MESSAGES] == MESSAGES
        assert (one.close_code, two.close_code) == (1000, 1000)

    asyncio.run(run())


def test_any_subprotocol_is_accepted_and_the_first_is_echoed(server: Server) -> None:
    server.create("test")
    for offered in [["channel-protocol"], ["sender-protocol", "other"], ["x.y-z"]]:
        with connect(f"{server.ws}/channel/listen/test", subprotocols=offered) as listener:
            assert listener.subprotocol == offered[0]


def test_without_the_channel_the_upgrade_is_403(server: Server) -> None:
    for path in ["listen", "send"]:
        with pytest.raises(websockets.exceptions.InvalidStatus) as refused:
            connect(f"{server.ws}/channel/{path}/none")
        assert refused.value.response.status_code == 403


def send_with_requests(server: Server, path: str) -> None:
    with requests.Session() as session:
        for message in MESSAGES:
            # requests would unquote and quote again what looks unreserved; it changes no message.
            answer = session.get(f"{server.http}/channel/send/{path}/{quote(message)}", timeout=10)
            assert (answer.status_code, answer.json()["message"]) == (200, "Message broadcasted")


def send_with_httpx(server: Server, path: str) -> None:
    with httpx.Client() as client:
        for message in MESSAGES:
            answer = client.get(f"{server.http}/channel/send/{path}/{quote(message)}")
            assert answer.text == '{"status":"success","message":"Message broadcasted"}'


def send_with_http_client(server: Server, path: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.connect()
    kept = connection.sock
    for message in MESSAGES:
        connection.request("GET", f"/channel/send/{path}/{quote(message)}")
        answer = connection.getresponse()
        assert (answer.status, len(answer.read())) == (200, 52)
        assert connection.sock is kept, "the connection is kept alive"
    connection.close()


def send_pipelined(server: Server, path: str) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as raw:
        gets = [f"GET /channel/send/{path}/{quote(message)} HTTP/1.1\r\nHost: t\r\n\r\n" for message in MESSAGES]
        raw.sendall("".join(gets).encode())
        raw.shutdown(socket.SHUT_WR)
        answers = b"".join(iter(lambda: raw.recv(65536), b""))
        assert answers.count(b"HTTP/1.1 200 OK\r\n") == len(MESSAGES)


@pytest.mark.parametrize(
    "send", [send_with_requests, send_with_httpx, send_with_http_client, send_pipelined]
)
def test_http_clients(server: Server, name: str, send) -> None:
    path = server.create(name)
    with connect(f"{server.ws}/channel/listen/{path}") as listener:
        send(server, path)
        assert [listener.recv() for _ in MESSAGES] == MESSAGES
