"""The latency test in Python: 100 messages at 30 a second, each latency from its own send time.

    latency.py [HOST:PORT] [--messages N] [--rate R] [--size B] [--ws]

Without HOST:PORT it starts a server in this process. --ws sends over a WebSocket instead of HTTP.
Exit code: 0 if every message came once and in order, 1 if not.
"""

from __future__ import annotations

import argparse
import math
import sys
import threading
import time
import uuid
from contextlib import ExitStack

import qyun

CHANNEL = "test"
PATIENCE = 10.0


class Receiver:
    """Hears ``RUN:INDEX:SENT_NS:xxxx``; the index after the last message is the end mark.

    RUN tells this test's messages from those of others on the channel. A channel keeps its order:
    when the end mark is there, every message before it has come, or never will.
    """

    def __init__(self, run: str, messages: int) -> None:
        self.run, self.messages = run, messages
        self.latencies: list[int] = []
        self.in_order = True
        self.ended = threading.Event()

    def __call__(self, message: qyun.Message) -> None:
        now = time.perf_counter_ns()
        run, _, rest = message.text.partition(":")
        if run != self.run:
            return
        index, sent, _ = rest.split(":", 2)
        if int(index) == self.messages:
            self.ended.set()
            return
        self.in_order &= int(index) == len(self.latencies)
        self.latencies.append(now - int(sent))


def send_all(arguments: argparse.Namespace, host: str, run: str, client: qyun.Client) -> None:
    """Sends the messages at their rate, then the end mark."""
    start = time.perf_counter()
    for index in range(arguments.messages + 1):
        time.sleep(max(0.0, start + index / arguments.rate - time.perf_counter()))
        text = f"{run}:{index}:{time.perf_counter_ns()}:".ljust(arguments.size, "x")
        if arguments.ws:
            client.publish(CHANNEL, text)
        else:
            qyun.send_message(host, CHANNEL, text)


def figures(latencies: list[int]) -> str:
    ordered = sorted(latencies)

    def percentile(share: float) -> float:
        return ordered[max(1, math.ceil(share * len(ordered))) - 1] / 1e6

    average = sum(ordered) / len(ordered) / 1e6
    return (
        f"latency: average {average:.3f} ms, p50 {percentile(0.5):.3f} ms, "
        f"p99 {percentile(0.99):.3f} ms"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="The latency of Qyun messages.")
    parser.add_argument("host", nargs="?", help="HOST:PORT of a server; none starts one here")
    parser.add_argument("--messages", type=int, default=100)
    parser.add_argument("--rate", type=float, default=30, help="messages a second")
    parser.add_argument("--size", type=int, default=128, help="bytes a message")
    parser.add_argument("--ws", action="store_true", help="send over a WebSocket, not HTTP")
    arguments = parser.parse_args()
    if arguments.messages < 1 or not arguments.rate > 0:
        parser.error("--messages takes 1 or more, --rate more than 0")

    with ExitStack() as stack:
        host = arguments.host
        if host is None:
            host = stack.enter_context(qyun.Server(listen="127.0.0.1:0")).address
        try:
            qyun.create_channel(host, CHANNEL)
        except qyun.ChannelExists:
            pass
        run = uuid.uuid4().hex[:8]
        receiver = Receiver(run, arguments.messages)
        qyun.listen_channel(host, CHANNEL, receiver)
        client = stack.enter_context(qyun.Client(host))
        place = "external" if arguments.host else "embedded"
        way = "WebSocket" if arguments.ws else "HTTP"
        print(
            f"{place} server {host}, channel {CHANNEL}: {arguments.messages} messages of "
            f"{arguments.size} bytes, {arguments.rate:g} a second, sent by {way}",
            flush=True,
        )
        send_all(arguments, host, run, client)
        ended = receiver.ended.wait(PATIENCE)
        qyun.stop_listening(host, CHANNEL)

    good = ended and receiver.in_order and len(receiver.latencies) == arguments.messages
    if receiver.latencies:
        print(figures(receiver.latencies))
    order = "" if receiver.in_order else ", but not in order"
    print(f"received {len(receiver.latencies)} of {arguments.messages}{order}")
    return 0 if good else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except qyun.Error as error:
        sys.exit(f"latency.py: {error}")
