"""Receives COUNT messages of SIZE bytes from feed.c and checks each of them.

    recv_many.py qyun|websockets|asyncio HOST:PORT COUNT SIZE

`qyun` calls recv_many of the Python package, `websockets` recv of the library websockets on a thread, and
`asyncio` the same of its asyncio client. Says "ready" when it listens; then one JSON object: the
seconds from the first message to the last, and the process's CPU seconds meanwhile.
"""

import asyncio
import json
import sys
import time

PATIENCE = 20


class Check:
    """Every message, once, in order, unchanged."""

    def __init__(self, count, size):
        self.count, self.seen = count, 0
        self.padding = b"x" * (size - 12)

    def take(self, data):
        """A message; true when it was the last."""
        if self.seen == 0:
            self.start, self.cpu = time.perf_counter(), time.process_time()
        if data != b"%012d%b" % (self.seen, self.padding):
            sys.exit(f"message {self.seen} is {data[:40]!r}")
        self.seen += 1
        return self.seen == self.count

    def tell(self):
        print(json.dumps({"seconds": time.perf_counter() - self.start, "cpu_s": time.process_time() - self.cpu}))


def ready():
    print("ready", flush=True)


def with_qyun(host, check):
    import qyun

    with qyun.Client(host, overflow="block") as client, client.subscribe("feed") as subscription:
        ready()
        while True:
            for message in subscription.recv_many(4096, PATIENCE) or sys.exit("no message came"):
                if check.take(message.data):
                    return check.tell()


def with_websockets(host, check):
    from websockets.sync.client import connect

    with connect(f"ws://{host}/channel/listen/feed", compression=None) as socket:
        ready()
        while not check.take(socket.recv(PATIENCE, decode=False)):
            pass
        check.tell()


async def with_asyncio(host, check):
    from websockets.asyncio.client import connect

    async with connect(f"ws://{host}/channel/listen/feed", compression=None) as socket:
        ready()
        while not check.take(await socket.recv(decode=False)):
            pass
        check.tell()


def main():
    kind, host, count, size = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    check = Check(count, size)
    if kind == "asyncio":
        asyncio.run(with_asyncio(host, check))
    else:
        {"qyun": with_qyun, "websockets": with_websockets}[kind](host, check)


if __name__ == "__main__":
    main()
