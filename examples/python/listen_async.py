"""Listens with asyncio and prints what comes.

    listen_async.py HOST:PORT CHANNEL...      until Ctrl-C, or the channels end
    listen_async.py                           a demonstration with a server in this process
"""

from __future__ import annotations

import asyncio
import sys

import qyun


async def listen(client: qyun.Client, channel: str) -> None:
    async for message in client.listen(channel):
        print(f"{message.channel}: {message.text}", flush=True)


async def follow(host: str, channels: list[str]) -> None:
    with qyun.Client(host) as client:
        await asyncio.gather(*(listen(client, channel) for channel in channels))


async def demonstrate() -> None:
    with qyun.Server(listen="127.0.0.1:0") as server, qyun.Client(server.address) as client:
        server.create_channel("test")
        async with client.listen("test") as messages:  # live from here on
            for number in range(3):
                await client.apublish("test", f"你好 {number}")
            async for message in messages:
                print(f"{message.channel}: {message.text}")
                if message.text.endswith("2"):
                    break


if __name__ == "__main__":
    try:
        if len(sys.argv) > 2:
            asyncio.run(follow(sys.argv[1], sys.argv[2:]))
        else:
            asyncio.run(demonstrate())
    except KeyboardInterrupt:
        pass
    except qyun.Error as error:
        sys.exit(f"listen_async.py: {error}")
