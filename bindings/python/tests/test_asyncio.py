"""Listening and publishing with asyncio."""

from __future__ import annotations

import asyncio
import gc
from typing import Any, Coroutine

import pytest

import qyun
from conftest import PATIENCE, wait_until


def run(main: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(main, 3 * PATIENCE)

    asyncio.run(bounded())


def test_messages_arrive_in_order(server: qyun.Server, client: qyun.Client) -> None:
    async def main() -> None:
        async with client.listen("test") as messages:
            for index in range(1000):
                server.publish("test", str(index))
            seen = []
            async for message in messages:
                seen.append(message.text)
                if len(seen) == 1000:
                    break
        assert seen == [str(index) for index in range(1000)]

    run(main())


def test_a_listener_waits_without_stopping_the_loop(
    server: qyun.Server, client: qyun.Client
) -> None:
    async def main() -> None:
        seen: list[str] = []

        async def listen() -> None:
            async for message in client.listen("test"):
                seen.append(message.text)
                if message.text == "last":
                    return

        listener = asyncio.create_task(listen())
        while server.channel("test").subscribers == 0:
            await asyncio.sleep(0.005)
        for text in ("first", "last"):
            at = await client.apublish("test", text)
            assert at.offset > 0
        await listener
        assert seen == ["first", "last"]

    run(main())


def test_a_cancelled_wait_loses_nothing(server: qyun.Server, client: qyun.Client) -> None:
    async def main() -> None:
        async with client.listen("test") as messages:
            for index in range(20):
                waiting = asyncio.ensure_future(messages.__anext__())
                for _ in range(index % 4):
                    await asyncio.sleep(0)
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
            server.publish("test", "kept")
            assert (await messages.__anext__()).text == "kept"

    run(main())
    wait_until(lambda: server.channel("test").subscribers == 0, "the subscriber is gone")


def test_cancelling_while_it_subscribes_leaves_no_subscriber(
    server: qyun.Server, client: qyun.Client
) -> None:
    async def main() -> None:
        waiting = asyncio.ensure_future(client.listen("test").__anext__())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    run(main())
    gc.collect()
    wait_until(lambda: server.channel("test").subscribers == 0, "the subscriber is gone")


def test_aclose_ends_a_waiting_task(server: qyun.Server, client: qyun.Client) -> None:
    async def main() -> None:
        messages = client.listen("test")
        ended = asyncio.Event()

        async def listen() -> None:
            async for _ in messages:
                pass
            ended.set()

        async with messages:
            task = asyncio.create_task(listen())
            await asyncio.sleep(0.01)
            await messages.aclose()
            await asyncio.wait_for(ended.wait(), PATIENCE)
            await task
        assert [message async for message in messages] == []

    run(main())


def test_a_listener_that_was_closed_first_is_empty(client: qyun.Client) -> None:
    async def main() -> None:
        messages = client.listen("test")
        await messages.aclose()
        assert [message async for message in messages] == []

    run(main())


def test_two_tasks_cannot_wait_on_one_listener(client: qyun.Client) -> None:
    async def main() -> None:
        async with client.listen("test") as messages:
            first = asyncio.ensure_future(messages.__anext__())
            await asyncio.sleep(0.01)
            with pytest.raises(RuntimeError):
                await messages.__anext__()
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first

    run(main())


def test_many_listeners_on_one_loop(server: qyun.Server, client: qyun.Client) -> None:
    async def main() -> None:
        async def count(number: int) -> int:
            seen = 0
            async with client.listen(f"room {number}") as messages:
                ready.release()
                async for message in messages:
                    assert message.text == f"{number} {seen}"
                    seen += 1
                    if seen == 50:
                        break
            return seen

        rooms = 20
        ready = asyncio.Semaphore(0)
        for number in range(rooms):
            server.create_channel(f"room {number}")
        counting = [asyncio.create_task(count(number)) for number in range(rooms)]
        for _ in range(rooms):
            await ready.acquire()
        for index in range(50):
            for number in range(rooms):
                server.publish(f"room {number}", f"{number} {index}")
            await asyncio.sleep(0)
        assert await asyncio.gather(*counting) == [50] * rooms

    run(main())


def test_errors_reach_the_task(client: qyun.Client) -> None:
    async def main() -> None:
        with pytest.raises(qyun.ChannelNotFound):
            async for _ in client.listen("nowhere"):
                pass
        with pytest.raises(qyun.ChannelNotFound):
            await client.apublish("nowhere", "x")

    run(main())


def test_the_end_of_the_server_ends_the_loop(server: qyun.Server) -> None:
    async def main() -> None:
        with qyun.Client(server.address, reconnect=False) as client:
            async with client.listen("test") as messages:
                server.publish("test", "last")
                await asyncio.get_running_loop().run_in_executor(None, server.stop)
                assert [message.text async for message in messages] == ["last"]

    run(main())


def test_a_loop_goes_on_where_another_ended() -> None:
    async def main(server: qyun.Server) -> None:
        since: qyun.Position | None = qyun.Position(server.channel("kept").epoch, 0)
        seen = []
        for _ in range(3):
            with qyun.Client(server.address) as client:
                async with client.listen("kept", since=since) as messages:
                    async for message in messages:
                        seen.append(message.text)
                        since = message.position
                        if len(seen) % 3 == 0:
                            break
        assert seen == [str(number) for number in range(9)]

    with qyun.Server(listen="127.0.0.1:0", namespaces="kept: history_size=10") as server:
        server.create_channel("kept")
        for number in range(9):
            server.publish("kept", str(number))
        run(main(server))
