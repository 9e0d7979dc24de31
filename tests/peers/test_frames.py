"""RFC 6455 frame by frame, with the frames of wsproto: what a sender sends, what a listener hears,
and how the connection ends."""

from __future__ import annotations

import os
import socket
import struct
from typing import Iterator

import pytest
from conftest import Server
from websockets.sync.client import connect
from wsproto.frame_protocol import CloseReason, Frame, FrameProtocol, Opcode

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
TEXT, BINARY, MORE = 1, 2, 0
CLOSE, PING, PONG = 8, 9, 10
FIN = 0x80


def frame(first: int, payload: bytes = b"", *, masked: bool = True, length: bytes | None = None) -> bytes:
    """A client's frame, also one that is not allowed."""
    size = len(payload)
    if length is None:
        if size < 126:
            length = bytes([size])
        elif size < 65536:
            length = b"\x7e" + struct.pack("!H", size)
        else:
            length = b"\x7f" + struct.pack("!Q", size)
    if not masked:
        return bytes([first]) + length + payload
    mask = os.urandom(4)
    body = bytes(byte ^ mask[n % 4] for n, byte in enumerate(payload))
    return bytes([first, length[0] | 0x80]) + length[1:] + mask + body


def text(message: str | bytes) -> bytes:
    return frame(FIN | TEXT, message.encode() if isinstance(message, str) else message)


def close(code: int, reason: bytes = b"") -> bytes:
    return frame(FIN | CLOSE, struct.pack("!H", code) + reason)


class Raw:
    """A WebSocket whose client writes bytes and reads frames."""

    def __init__(self, server: Server, path: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout=20)
        self.socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: t\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n".encode()
        )
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.socket.recv(1)
        assert head.startswith(b"HTTP/1.1 101 ") and b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head
        self.protocol = FrameProtocol(client=True, extensions=[])
        self.frames = self.read()

    def read(self) -> Iterator[Frame]:
        while data := self.socket.recv(65536):
            self.protocol.receive_bytes(data)
            yield from self.protocol.received_frames()

    def send(self, *frames: bytes) -> None:
        self.socket.sendall(b"".join(frames))

    def next(self) -> tuple[Opcode, object]:
        received = next(self.frames)
        return received.opcode, received.payload

    def end(self) -> int:
        """The code of the Close that comes next; after it there is nothing."""
        opcode, payload = self.next()
        assert opcode == Opcode.CLOSE, (opcode, payload)
        try:
            assert list(self.frames) == []
        except ConnectionResetError:
            pass
        self.socket.close()
        return int(payload[0])


@pytest.fixture
def sender(server: Server) -> Iterator[Raw]:
    server.create("test")
    raw = Raw(server, "/channel/send/test")
    yield raw
    raw.socket.close()


@pytest.fixture
def heard(server: Server, sender: Raw):
    """Everything that was broadcast before the call."""
    with connect(f"{server.ws}/channel/listen/test", max_size=None) as listener:

        def until_now() -> list[str | bytes]:
            server.send("test", b"marker")
            return list(iter(listener.recv, b"marker"))

        yield until_now


def finish(sender: Raw) -> None:
    sender.send(close(1000))
    assert sender.end() == 1000


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 128, 65535, 65536, 1 << 20])
@pytest.mark.parametrize("kind", [TEXT, BINARY])
def test_sizes(sender: Raw, heard, kind: int, size: int) -> None:
    sender.send(frame(FIN | kind, b"*" * size))
    finish(sender)
    assert heard() == ["*" * size if kind == TEXT else b"*" * size]


@pytest.mark.parametrize("step", [1, 2, 3, 7, 64])
def test_any_cut_of_the_bytes(sender: Raw, heard, step: int) -> None:
    sender.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    frames = frame(TEXT, "分".encode()[:1]) + frame(FIN | PING, b"p") + frame(FIN | MORE, "分".encode()[1:])
    frames += frame(FIN | BINARY, bytes(200)) + close(1000)
    for at in range(0, len(frames), step):
        sender.send(frames[at : at + step])
    assert sender.next() == (Opcode.PONG, b"p")
    assert sender.end() == 1000
    assert heard() == ["分", bytes(200)]


def test_fragments_with_control_frames_between(sender: Raw, heard) -> None:
    sender.send(frame(TEXT, b"one "), frame(FIN | PING, b"a"), frame(MORE), frame(MORE, b"two "))
    sender.send(frame(FIN | PONG, b"unasked"), frame(FIN | PING, b"b" * 125), frame(FIN | MORE, b"three"))
    assert sender.next() == (Opcode.PONG, b"a")
    assert sender.next() == (Opcode.PONG, b"b" * 125)
    finish(sender)
    assert heard() == ["one two three"]


def test_pings_are_answered_in_order(sender: Raw) -> None:
    sender.send(*(frame(FIN | PING, str(n).encode()) for n in range(100)))
    for n in range(100):
        assert sender.next() == (Opcode.PONG, str(n).encode())
    finish(sender)


BROKEN = {
    "reserved bit 1": frame(FIN | 0x40 | TEXT, b"x"),
    "reserved bit 2": frame(FIN | 0x20 | TEXT, b"x"),
    "reserved bit 3 of a ping": frame(FIN | 0x10 | PING),
    "unmasked": frame(FIN | TEXT, b"x", masked=False),
    "fragmented ping": frame(PING, b"x"),
    "ping of 126 bytes": frame(FIN | PING, b"x" * 126),
    "close of 126 bytes": frame(FIN | CLOSE, b"\x03\xe8" + b"x" * 124),
    "close of one byte": frame(FIN | CLOSE, b"\x03"),
    "continuation of nothing": frame(FIN | MORE, b"x"),
    "continuation of nothing, not the last": frame(MORE, b"x"),
    "text in a text": frame(TEXT, b"x") + frame(FIN | TEXT, b"y"),
    "binary in a text": frame(TEXT, b"x") + frame(FIN | BINARY, b"y"),
    "16-bit length of 125": frame(FIN | TEXT, b"x" * 125, length=b"\x7e\x00\x7d"),
    "64-bit length of 65535": frame(FIN | TEXT, b"x" * 65535, length=b"\x7f" + struct.pack("!Q", 65535)),
    "64-bit length with the top bit": frame(FIN | TEXT, length=b"\x7f\x80" + bytes(7)),
} | {f"opcode {opcode}": frame(FIN | opcode, b"x") for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15]}


@pytest.mark.parametrize("what", BROKEN)
def test_what_breaks_the_protocol_is_1002(sender: Raw, heard, what: str) -> None:
    sender.send(text("before"), BROKEN[what])
    sender.socket.shutdown(socket.SHUT_WR)
    assert sender.end() == CloseReason.PROTOCOL_ERROR
    assert heard() == ["before"]


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999])
def test_close_codes_come_back(sender: Raw, code: int) -> None:
    sender.send(close(code, "理由".encode()))
    assert sender.end() == code


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535])
def test_codes_that_nobody_may_send_are_1002(sender: Raw, code: int) -> None:
    sender.send(close(code))
    assert sender.end() == CloseReason.PROTOCOL_ERROR


def test_close_without_a_code_and_after_it_nothing_counts(sender: Raw, heard) -> None:
    sender.send(text("before"), frame(FIN | CLOSE), text("after"), frame(FIN | PING, b"after"))
    assert sender.end() == CloseReason.NO_STATUS_RCVD
    assert heard() == ["before"]


def test_a_close_reason_that_is_no_utf8_is_1007(sender: Raw) -> None:
    sender.send(close(1000, b"\xff"))
    assert sender.end() == CloseReason.INVALID_FRAME_PAYLOAD_DATA


VALID = [
    b"", b"\x00", b"\x7f", b"\xc2\x80", b"\xdf\xbf", b"\xe0\xa0\x80", b"\xed\x9f\xbf", b"\xee\x80\x80",
    b"\xef\xbf\xbd", b"\xef\xbf\xbe", b"\xef\xbf\xbf", b"\xf0\x90\x80\x80", b"\xf4\x8f\xbf\xbf", "κόσμε".encode(),
]  # fmt: skip
INVALID = [
    b"\x80", b"\xbf", b"\xc0\xaf", b"\xc0\x80", b"\xc1\xbf", b"\xc2", b"\xc2\x20", b"\xe0\x80\xaf", b"\xe0\x9f\xbf",
    b"\xe4\xb8", b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xf0\x80\x80\xaf", b"\xf0\x8f\xbf\xbf", b"\xf0\x9f\x9a",
    b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80", b"\xfe", b"\xff",
]  # fmt: skip


@pytest.mark.parametrize("payload", VALID, ids=bytes.hex)
def test_valid_utf8(sender: Raw, heard, payload: bytes) -> None:
    sender.send(text(payload), frame(TEXT, b"a"), *(frame(MORE, bytes([byte])) for byte in payload), frame(FIN))
    finish(sender)
    assert heard() == [payload.decode(), "a" + payload.decode()]


@pytest.mark.parametrize("pieces", [1, 3], ids=["whole", "in fragments"])
@pytest.mark.parametrize("payload", INVALID, ids=bytes.hex)
def test_invalid_utf8_is_1007(sender: Raw, heard, payload: bytes, pieces: int) -> None:
    if pieces == 1:
        sender.send(text(b"ok" + payload + b"ok"))
    else:
        sender.send(frame(TEXT, b"ok"), *(frame(MORE, bytes([byte])) for byte in payload), frame(FIN))
    sender.socket.shutdown(socket.SHUT_WR)
    assert sender.end() == CloseReason.INVALID_FRAME_PAYLOAD_DATA
    assert heard() == []


def test_invalid_utf8_is_found_before_the_message_ends(sender: Raw) -> None:
    sender.send(frame(TEXT, b"\xce\xba\xed\xa0"))
    assert sender.end() == CloseReason.INVALID_FRAME_PAYLOAD_DATA


@pytest.mark.parametrize("parts", [1, 4])
def test_a_message_over_the_limit_is_1009(sender: Raw, heard, parts: int) -> None:
    size = (1 << 20) // parts + 1
    first = frame(BINARY if parts > 1 else FIN | BINARY, bytes(size))
    try:
        sender.send(first, *(frame(MORE, bytes(size)) for _ in range(parts - 1)))
    except (BrokenPipeError, ConnectionResetError):
        pass
    assert sender.end() == CloseReason.MESSAGE_TOO_BIG
    assert heard() == []


def test_what_a_listener_sends_is_checked_and_ignored(server: Server) -> None:
    server.create("test")
    listener = Raw(server, "/channel/listen/test")
    listener.send(text("ignored"), frame(FIN | BINARY, b"\xff"), frame(FIN | PING, b"p"))
    assert listener.next() == (Opcode.PONG, b"p")
    server.send("test", "heard")
    assert listener.next() == (Opcode.TEXT, "heard")
    listener.send(text(b"\xff"))
    assert listener.end() == CloseReason.INVALID_FRAME_PAYLOAD_DATA


def test_a_server_s_frames_are_whole_and_in_the_shortest_form(server: Server) -> None:
    server.create("test")
    listener = Raw(server, "/channel/listen/test")
    for size, head in [(0, "8200"), (125, "827d"), (126, "827e007e"), (65535, "827effff"), (65536, "827f0000000000010000")]:
        server.send("test", bytes(size))
        wanted = bytes.fromhex(head) + bytes(size)
        got = b""
        while len(got) < len(wanted):
            got += listener.socket.recv(len(wanted) - len(got))
        assert got == wanted
    listener.socket.close()
