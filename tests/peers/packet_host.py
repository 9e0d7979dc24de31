"""A program whose server speaks packets: what the clients of test_packet.py talk to.

Prints its port, and ends with its stdin.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "bindings" / "python" / "src"))

import qyun  # noqa: E402

ECHO, REVERSE, REVERSED, ASK, WHO, TOLD, ASK_BRIEFLY, IDENTITY, EVENTS = 1, 2, 3, 4, 5, 6, 7, 8, 9

events: list[str] = []


def ask(packet: qyun.Packet) -> None:
    answer = packet.connection.request(WHO, "who?", 20)
    packet.connection.send_packet(TOLD, f"{answer.protocol}:".encode() + answer.data)


def ask_briefly(packet: qyun.Packet) -> None:
    try:
        packet.connection.request(WHO, "quick?", 0.05)
    except qyun.Timeout:
        packet.connection.send_packet(TOLD, "timeout")


def identity(packet: qyun.Packet) -> str:
    return json.dumps([packet.connection.id, *packet.connection.packet_identity])


def main() -> None:
    server = qyun.Server(listen="127.0.0.1:0", compression=True, delivery_threads=2)
    server.on_packet(ECHO, lambda packet: packet.data)
    server.on_packet(
        REVERSE, lambda packet: packet.connection.send_packet(REVERSED, packet.data[::-1])
    )
    server.on_packet(ASK, ask)
    server.on_packet(ASK_BRIEFLY, ask_briefly)
    server.on_packet(IDENTITY, identity)
    server.on_packet(EVENTS, lambda packet: json.dumps(events))
    server.on_packet_event(lambda connection, event: events.append(f"{connection.id} {event.type.name}"))
    print(server.port, flush=True)
    sys.stdin.read()
    server.stop()


main()
