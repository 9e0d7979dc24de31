"""Who is in a channel, and patterns of names: by clients of the session dialect that are written from
its description alone, with Python's websockets and Node's ws."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path
from typing import Any, Iterator

import httpx
import pytest
from conftest import Server, quote, serving
from sessions import PATIENCE, Client
from websockets.sync.client import connect

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def rooms() -> Iterator[Server]:
    namespaces = "room.>: presence=true, auto_create=true; news.>: auto_create=true"
    with serving("--namespaces", namespaces) as server:
        yield server


@contextlib.contextmanager
def session(server: Server) -> Iterator[Client]:
    with connect(f"{server.ws}/ws") as socket:
        yield Client(socket)


class Member:
    """A program of its own that is in a channel."""

    def __init__(self, server: Server, channel: str) -> None:
        self.process = subprocess.Popen(
            ["node", str(HERE / "session_member.mjs"), f"{server.ws}/ws", channel],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.id = self.process.stdout.readline().strip()

    def __enter__(self) -> Member:
        assert self.id, "it is not in the channel"
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate(timeout=PATIENCE)

    def end(self, how: str) -> None:
        if how == "kill":
            # SIGKILL: it says nothing more, and its kernel ends the connection.
            self.process.kill()
            return
        assert self.process.stdin is not None
        self.process.stdin.write(f"{how}\n")
        self.process.stdin.flush()


def ids(there: Any) -> list[str]:
    return [one["id"] for one in there["members"]]


def listed(server: Server, channel: str, **query: str | int) -> Any:
    """Who is there, as HTTP tells everybody."""
    answer = httpx.get(f"{server.http}/channel/presence/{quote(channel)}", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("how", ["unsubscribe", "close", "terminate", "kill"])
def test_who_is_there_who_comes_and_who_goes(rooms: Server, how: str) -> None:
    room = f"room.{how}"
    with session(rooms) as resident, session(rooms) as watcher:
        resident.ask("subscribe", channel=room)
        begin = watcher.ask("subscribe", channel=room, presence=True)
        there = begin["presence"]
        assert ids(there) == sorted([resident.id, watcher.id])
        assert (there["count"], there["anonymous"], there["next"]) == (2, 0, None)

        rooms.send(room, "before it comes")
        with Member(rooms, room) as member:
            rooms.send(room, "while it is there")
            assert ids(listed(rooms, room)) == sorted([resident.id, watcher.id, member.id])
            member.end(how)
            assert watcher.told()["message"] == "before it comes"
            came = watcher.told()
            assert watcher.told()["message"] == "while it is there"
            went = watcher.told()
        who = {"channel": room, "id": member.id, "user": None, "epoch": begin["epoch"]}
        times = [came.pop("time_ms"), went.pop("time_ms")]
        assert came == {"event": "join", **who, "offset": 1, "first": True}
        assert went == {"event": "leave", **who, "offset": 2, "last": True}
        assert 1_700_000_000_000 < times[0] <= times[1]

        # Nothing else is told of it, and nobody lists it any more.
        rooms.send(room, "behind it")
        assert watcher.told()["message"] == "behind it"
        assert ids(watcher.ask("presence", channel=room)) == sorted([resident.id, watcher.id])
        assert ids(listed(rooms, room)) == sorted([resident.id, watcher.id])
        # Who did not ask for it was told of messages alone.
        for text in ["before it comes", "while it is there", "behind it"]:
            assert resident.told()["message"] == text

        # A deletion stands for all who leave.
        httpx.delete(f"{rooms.http}/channel/{quote(room)}").raise_for_status()
        assert watcher.told() == {"event": "channel_deleted", "channel": room}


def test_the_list_comes_in_parts(rooms: Server) -> None:
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(session(rooms)) for _ in range(5)]
        for client in clients:
            client.ask("subscribe", channel="room.parts")
        # Neither is a member: one by a pattern alone, and one without a name.
        clients.append(stack.enter_context(session(rooms)))
        clients[5].ask("subscribe", pattern="room.*")
        stack.enter_context(connect(f"{rooms.ws}/channel/listen/room.parts"))
        members = sorted(client.id for client in clients[:5])

        def parts(ask: Any) -> list[str]:
            seen: list[str] = []
            after: dict[str, str] = {}
            while True:
                part = ask(limit=2, **after)
                assert (part["count"], part["anonymous"]) == (5, 1)
                assert len(part["members"]) <= 2
                seen += ids(part)
                if part["next"] is None:
                    return seen
                after = {"after": part["next"]}

        assert parts(lambda **part: listed(rooms, "room.parts", **part)) == members
        asker = clients[5]
        assert parts(lambda **part: asker.ask("presence", channel="room.parts", **part)) == members


def test_patterns_bring_what_they_match(rooms: Server) -> None:
    for name in ["news", "news.sport", "news.sport.ski", "newsletter"]:
        rooms.create(name)
    with session(rooms) as one, session(rooms) as every, session(rooms) as both:
        assert one.ask("subscribe", pattern="news.*") == {"pattern": "news.*", "channels": 1}
        assert every.ask("subscribe", pattern="news.>") == {"pattern": "news.>", "channels": 2}
        for subscription in [{"pattern": "news.*"}, {"channel": "news.sport"}, {"pattern": "*.sport"}]:
            both.ask("subscribe", **subscription)
        for name in ["news", "news.sport", "news.sport.ski", "newsletter"]:
            rooms.send(name, f"to {name}")
        # One that comes into being by its first message, which is not missed.
        rooms.send("news.late", "to news.late")
        epoch = httpx.get(f"{rooms.http}/channel/info/news.late").json()["channel"]["epoch"]

        def heard(client: Client, count: int) -> dict[str, Any]:
            told = [client.told() for _ in range(count)]
            by_channel = {message["channel"]: message for message in told}
            assert len(by_channel) == count, "no message comes twice"
            for name, message in by_channel.items():
                assert (message["event"], message["message"]) == ("message", f"to {name}")
            return by_channel

        late = heard(one, 2).pop("news.late")
        assert (late["epoch"], late["offset"]) == (epoch, 1)
        assert heard(every, 3).keys() == {"news.sport", "news.sport.ski", "news.late"}
        assert heard(both, 2).keys() == {"news.sport", "news.late"}

        # A channel that is deleted and made again goes on.
        httpx.delete(f"{rooms.http}/channel/news.late").raise_for_status()
        assert one.told() == {"event": "channel_deleted", "channel": "news.late"}
        rooms.send("news.late", "to news.late")
        assert heard(one, 1)["news.late"]["offset"] == 1

        # Without the pattern nothing comes, but for what the name brings.
        assert one.ask("unsubscribe", pattern="news.*") == {"pattern": "news.*"}
        for _ in range(2):
            assert both.told()["channel"] == "news.late"
        for pattern in ["news.*", "*.sport"]:
            both.ask("unsubscribe", pattern=pattern)
        for name in ["news.late", "news.sport"]:
            rooms.send(name, f"to {name}")
        assert one.ask("ping") == {}
        assert heard(both, 1).keys() == {"news.sport"}
        assert both.ask("ping") == {}
