"""Foreign clients agree on permessage-deflate: what they offer by themselves, and every parameter. (That
the browser does is seen in test_programs.py, that frames are right in all cases in test_autobahn.py.)"""

from __future__ import annotations

import asyncio
import os
import subprocess

import pytest
import websockets
from conftest import MESSAGES, Server, serving
from test_programs import line, node
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory, PerMessageDeflate
from websockets.sync.client import connect

LARGE = ["青云 compresses. " * 1000, os.urandom(50_000), os.urandom(2_000) * 30, "x" * 500_000]


def agreed(listener) -> PerMessageDeflate:
    (extension,) = listener.protocol.extensions
    return extension


def test_nodes_ws_agrees_and_gets_less_bytes(server: Server) -> None:
    path = server.create("test")
    command = node("agree", server, f"/channel/listen/{path}", "2")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as listener:
        assert listener.stdout is not None
        assert listener.stdout.readline() == "permessage-deflate\n"
        for _ in range(2):
            server.send(path, LARGE[0])
        *told, size = listener.stdout.read().splitlines()
        assert told == [line(LARGE[0])] * 2
        assert int(size) < 1_000 < len(LARGE[0])
        assert listener.wait(20) == 0


def test_what_websockets_offers_by_itself(server: Server) -> None:
    path = server.create("test")
    with (
        connect(f"{server.ws}/channel/listen/{path}", max_size=None) as listener,
        connect(f"{server.ws}/channel/send/{path}") as sender,
    ):
        for end in (listener, sender):
            extension = agreed(end)
            assert extension.remote_no_context_takeover and extension.local_no_context_takeover
        for message in [*MESSAGES, *LARGE]:
            sender.send(message)
            assert listener.recv() == message
        sender.send(["分" * 1000, "", "段" * 1000])
        assert listener.recv() == "分" * 1000 + "段" * 1000


@pytest.mark.parametrize("server_bits", [None, 15, 12])
@pytest.mark.parametrize("client_bits", [None, True, 15, 9])
@pytest.mark.parametrize("takeover", [(False, False), (True, False), (False, True), (True, True)])
def test_every_offer(server: Server, server_bits, client_bits, takeover) -> None:
    path = server.create("test")
    server_no_takeover, client_no_takeover = takeover
    offer = ClientPerMessageDeflateFactory(
        server_no_context_takeover=server_no_takeover,
        client_no_context_takeover=client_no_takeover,
        server_max_window_bits=server_bits,
        client_max_window_bits=client_bits,
    )
    options = {"extensions": [offer], "compression": None, "max_size": None}
    with (
        connect(f"{server.ws}/channel/listen/{path}", **options) as listener,
        connect(f"{server.ws}/channel/send/{path}", **options) as sender,
    ):
        assert agreed(listener).remote_no_context_takeover
        assert agreed(listener).remote_max_window_bits == (12 if server_bits else 15)
        for message in LARGE:
            sender.send(message)
            assert listener.recv() == message


def test_a_window_that_is_too_small_is_declined_and_nothing_is_compressed(server: Server) -> None:
    path = server.create("test")
    small = ClientPerMessageDeflateFactory(server_max_window_bits=9)
    with connect(f"{server.ws}/channel/listen/{path}", extensions=[small], compression=None) as listener:
        assert listener.protocol.extensions == []
        server.send(path, LARGE[0])
        assert listener.recv() == LARGE[0]


def test_clients_that_compress_and_clients_that_do_not_share_a_channel(server: Server) -> None:
    path = server.create("test")

    async def run() -> None:
        url = f"{server.ws}/channel/listen/{path}"
        offers = ["deflate", None] * 5
        listeners = [await websockets.connect(url, compression=offer, max_size=None) for offer in offers]
        async with websockets.connect(f"{server.ws}/channel/send/{path}") as sender:
            for message in [*MESSAGES, *LARGE]:
                await sender.send(message)
            for listener in listeners:
                assert [await listener.recv() for _ in [*MESSAGES, *LARGE]] == [*MESSAGES, *LARGE]
                await listener.close()

    asyncio.run(run())


def test_compression_can_be_turned_off() -> None:
    with serving("--set", "compression=false") as server:
        path = server.create("test")
        with connect(f"{server.ws}/channel/listen/{path}") as listener:
            assert listener.protocol.extensions == []
            server.send(path, LARGE[0])
            assert listener.recv() == LARGE[0]
