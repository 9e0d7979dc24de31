"""Patterns, and who is in a channel."""

from __future__ import annotations

import queue
from typing import Iterator

import pytest

import qyun

PATIENCE = 10


@pytest.fixture
def server() -> Iterator[qyun.Server]:
    with qyun.Server(
        listen="127.0.0.1:0", namespaces="room: presence=true, auto_create=true"
    ) as server:
        yield server


def test_a_pattern_brings_messages_with_their_channels(server: qyun.Server) -> None:
    server.create_channel("news.a")
    heard: queue.Queue[qyun.Message] = queue.Queue()
    with qyun.Client(server.address) as client:
        with client.subscribe_pattern("news.*") as pulled, client.subscribe_pattern(
            "news.>", heard.put
        ):
            assert pulled.channel == "news.*"
            server.create_channel("news.b")
            server.publish("news.a", "1")
            server.publish("news.b", b"2")
            for name, data in [("news.a", b"1"), ("news.b", b"2")]:
                got, told = pulled.recv(PATIENCE), heard.get(timeout=PATIENCE)
                assert (got.channel, got.data) == (told.channel, told.data) == (name, data)
        with pytest.raises(qyun.InvalidName):
            client.subscribe_pattern("a.>.b")


def test_who_is_there_and_who_comes_and_goes(server: qyun.Server) -> None:
    heard: queue.Queue[qyun.Notice] = queue.Queue()
    with qyun.Client(server.address) as client:
        with client.subscribe_presence("room", heard.put, lambda message: None):
            assert heard.get(timeout=PATIENCE).type == qyun.EventType.CONNECTED
            own = heard.get(timeout=PATIENCE)
            assert own.type == qyun.EventType.JOIN and own.attendee is not None
            assert own.attendee.edge and own.attendee.user is None
            assert own.attendee.time_ms > 1_700_000_000_000
            with qyun.Client(server.address) as other:
                theirs = other.subscribe_presence("room", lambda notice: None)
                came = heard.get(timeout=PATIENCE)
                assert came.type == qyun.EventType.JOIN and came.attendee is not None
                assert theirs.channel == "room"
                ids = sorted([own.attendee.id, came.attendee.id])
                page = client.presence("room", limit=1)
                assert (page.total, page.anonymous, page.more) == (2, 0, True)
                rest = server.presence("room", after=page.members[0].id)
                assert [one.id for one in page.members + rest.members] == ids
                assert rest.members[0].user is None and not rest.more
            left = heard.get(timeout=PATIENCE)
            assert left.type == qyun.EventType.LEAVE and left.attendee is not None
            assert left.attendee.id == came.attendee.id
        with pytest.raises(qyun.ChannelNotFound):
            client.presence("none such")
        with pytest.raises(ValueError):
            client.presence("room", limit=0)
