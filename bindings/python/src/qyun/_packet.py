"""The packet dialect on a server: handlers, and requests to connections."""

from __future__ import annotations

import asyncio
import ctypes
import enum
import functools
from typing import TYPE_CHECKING, Any, Callable, NamedTuple, Union

from . import _callbacks, _native
from ._errors import InvalidArgument
from ._handle import milliseconds
from ._native import (
    DELIVER_INLINE,
    DELIVER_THREAD,
    DROP_CALLBACK,
    OK,
    PACKET_CALLBACK,
    PACKET_EVENT_CALLBACK,
    PULL_CALLBACK,
    bytes_at,
    check,
    lib,
    utf8,
)

if TYPE_CHECKING:
    from ._connection import Connection

#: str is sent as UTF-8.
PacketData = Union[str, bytes, bytearray, memoryview]


class PacketEventType(enum.IntEnum):
    """What happened to a connection."""

    #: It is open, registered and bound to its user.
    ESTABLISHED = 1
    #: It ends; it is registered until the handler returns.
    CLOSING = 2
    #: It is gone: its last event.
    CLOSED = 3
    PINGED = 4
    PONGED = 5


class PacketEvent(NamedTuple):
    """What happened to a connection."""

    type: PacketEventType
    #: Of CLOSING and CLOSED: the close code; 1006 when it was lost, 3505 when it was displaced.
    code: int
    reason: str
    by_peer: bool


class Response(NamedTuple):
    """What a peer answered."""

    protocol: int
    data: bytes


class Identity(NamedTuple):
    """What a client said about itself."""

    uid: str
    type: int
    device: str
    source: str
    version: str
    charset: str


class PacketCounters(NamedTuple):
    """What a server counted of packets."""

    received: int
    #: Packets for whose protocol id there was no handler.
    unhandled: int
    #: Connections closed for a packet that was none, or too large.
    refused: int
    displaced: int
    #: Of the server's own requests, those under way now.
    in_flight: int
    timed_out: int
    #: Responses that nothing waited for.
    late: int


def raw(data: PacketData) -> bytes:
    """The bytes of a packet's data."""
    if isinstance(data, str):
        return utf8(data, "data")
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    raise TypeError(f"data must be bytes or str, not {type(data).__name__}")


def response_at(address: int | ctypes.c_void_p) -> Response:
    """Copies a response of the library."""
    data, size = lib.qy_response_data(address), lib.qy_response_len(address)
    return Response(lib.qy_response_protocol(address), bytes_at(data, size) if data else b"")


class Reply:
    """Answers one request, once, now or later, from any thread. A request whose reply is let go of
    is not answered, and times out at the peer."""

    def __init__(self, borrowed: int, protocol: int) -> None:
        self._handle = ctypes.c_void_p()
        self._protocol = protocol
        check(lib.qy_reply_clone(borrowed, ctypes.byref(self._handle)))

    def __del__(self, _free: Callable[[Any], object] = lib.qy_reply_free) -> None:
        _free(self._handle)

    def send(self, data: PacketData = b"", protocol: int | None = None) -> None:
        """Answers; :class:`InvalidArgument` when it was answered. `protocol` is the request's unless
        given."""
        body = raw(data)
        chosen = self._protocol if protocol is None else protocol
        check(lib.qy_reply_send(self._handle, u32(chosen, "protocol"), body, len(body)))


class Packet:
    """A one-way message or a request, as a handler gets it."""

    __slots__ = ("connection", "protocol", "data", "reply")

    def __init__(
        self, connection: Connection, protocol: int, data: bytes, reply: Reply | None
    ) -> None:
        #: Who sent it.
        self.connection = connection
        self.protocol = protocol
        self.data = data
        #: Answers a request; None for a one-way message.
        self.reply = reply

    def __repr__(self) -> str:
        what = "message" if self.reply is None else "request"
        return f"<qyun.Packet {what} {self.protocol}, {len(self.data)} bytes>"


PacketHandler = Callable[[Packet], Union[PacketData, None]]
ResponseHandler = Callable[[Union[Response, Exception]], object]


def u32(number: int, what: str) -> int:
    """A number that C takes as one of 32 bits."""
    if not 0 <= number <= 0xFFFF_FFFF:
        raise InvalidArgument(f"{what} cannot be {number}: it is 0 to {0xFFFF_FFFF}")
    return number


async def awaited(start: Callable[[ResponseHandler], None]) -> Response:
    """What a request ends with that `start` makes and whose end its argument is told."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Response] = loop.create_future()

    def settle(got: Response | Exception) -> None:
        if answer.done():  # cancelled
            return
        if isinstance(got, Exception):
            answer.set_exception(got)
        else:
            answer.set_result(got)

    def ended(got: Response | Exception) -> None:
        try:
            loop.call_soon_threadsafe(settle, got)
        except RuntimeError:  # the loop is closed: nobody waits
            pass

    start(ended)
    return await answer


class PacketConnection:
    """What a connection of the packet dialect can do."""

    _handle: ctypes.c_void_p

    @property
    def packet_identity(self) -> Identity:
        """What the client said about itself."""

        def said(key: str) -> str:
            # The call that asks for the size tells an error, too.
            needed = ctypes.c_size_t()
            function, name = lib.qy_connection_packet_identity, key.encode()
            status = function(self._handle, name, None, 0, ctypes.byref(needed))
            if status not in (OK, _native.ERR_BUFFER_TOO_SMALL):
                raise _native.error(status)
            return _native.text_of(function, self._handle, name)

        uid, kind, device, source, version, charset = map(said, Identity._fields)
        return Identity(uid, int(kind), device, source, version, charset)

    def send_packet(self, protocol: int, data: PacketData = b"") -> None:
        """Sends a one-way message."""
        body = raw(data)
        check(
            lib.qy_connection_send_packet(
                self._handle, u32(protocol, "protocol"), body, len(body)
            )
        )

    def request(
        self, protocol: int, data: PacketData = b"", timeout: float | None = None
    ) -> Response:
        """Makes a request and waits at most `timeout` seconds for its response.

        Raises :class:`Timeout`, :class:`Closed`, and :class:`WouldDeadlock` in an inline handler.
        """
        body, out = raw(data), ctypes.c_void_p()
        check(
            lib.qy_connection_request(
                self._handle,
                u32(protocol, "protocol"),
                body,
                len(body),
                milliseconds(timeout),
                ctypes.byref(out),
            )
        )
        try:
            return response_at(out)
        finally:
            lib.qy_response_free(out)

    def request_async(
        self,
        protocol: int,
        data: PacketData,
        timeout: float | None,
        callback: ResponseHandler,
    ) -> None:
        """Makes a request and returns; `callback` gets the response, or what it failed with, once."""

        def ended(status: int, response: int | None) -> None:
            callback(response_at(response) if response else _native.error(status))

        body = raw(data)
        number = u32(protocol, "protocol")
        check(
            lib.qy_connection_request_async(
                self._handle,
                number,
                body,
                len(body),
                milliseconds(timeout),
                DELIVER_THREAD,
                _callbacks.on_response,
                _callbacks.register(ended),
                _callbacks.on_drop,
            )
        )

    async def arequest(
        self, protocol: int, data: PacketData = b"", timeout: float | None = None
    ) -> Response:
        """:meth:`request` for asyncio."""
        return await awaited(functools.partial(self.request_async, protocol, data, timeout))

    def signal_pull(self, channel: int) -> None:
        """Makes the handler of a pull channel run for this connection: once, however often it is
        signalled before that run begins."""
        check(lib.qy_connection_signal_pull(self._handle, u32(channel, "channel")))


class PacketServer:
    """What a server does with the packet dialect."""

    _handle: ctypes.c_void_p

    def _called(self) -> None:
        """Python is about to be registered: it must not be called when the interpreter is gone."""
        raise NotImplementedError

    def on_packet(
        self, protocol: int, handler: PacketHandler | None, *, inline: bool = False
    ) -> None:
        """Has `handler(packet)` called for each one-way message and request with this protocol id, in
        place of the one before; None removes it.

        What a handler returns for a request, unless None, is sent as its answer. Calls come in order
        for each connection; those for different connections may come at the same time, unless the
        server's option `delivery_threads` is 1. `inline` calls it on the thread that reads the
        connection, where it must not block.
        """
        number = u32(protocol, "protocol")
        if handler is None:
            nothing = (PACKET_CALLBACK(), None, DROP_CALLBACK())
            return check(lib.qy_server_on_packet(self._handle, number, DELIVER_THREAD, *nothing))
        from ._connection import Connection

        def received(connection: int, protocol: int, data: bytes, reply: int | None) -> None:
            answer = Reply(reply, protocol) if reply else None
            result = handler(Packet(Connection(connection), protocol, data, answer))
            if result is not None and answer is not None:
                answer.send(result)

        self._called()
        check(
            lib.qy_server_on_packet(
                self._handle,
                number,
                DELIVER_INLINE if inline else DELIVER_THREAD,
                _callbacks.on_packet,
                _callbacks.register(received),
                _callbacks.on_drop,
            )
        )

    def on_packet_event(
        self,
        handler: Callable[[Connection, PacketEvent], object] | None,
        *,
        inline: bool = False,
    ) -> None:
        """Has `handler(connection, event)` called for what happens to connections of the packet
        dialect, in place of the one before; None removes it."""
        if handler is None:
            nothing = (PACKET_EVENT_CALLBACK(), None, DROP_CALLBACK())
            return check(lib.qy_server_on_packet_event(self._handle, DELIVER_THREAD, *nothing))
        from ._connection import Connection

        tell = handler

        def happened(connection: int, event: Any) -> None:
            reason = bytes_at(event.reason, event.reason_len).decode("utf-8", "replace")
            kind = PacketEventType(event.event)
            told = PacketEvent(kind, event.code, reason, bool(event.by_peer))
            tell(Connection(connection), told)

        self._called()
        check(
            lib.qy_server_on_packet_event(
                self._handle,
                DELIVER_INLINE if inline else DELIVER_THREAD,
                _callbacks.on_packet_event,
                _callbacks.register(happened),
                _callbacks.on_drop,
            )
        )

    def on_pull(
        self, channel: int, handler: Callable[[Connection, int], object] | None
    ) -> None:
        """Has `handler(connection, channel)` called after :meth:`Connection.signal_pull`, in place of
        the one before; None removes it."""
        number = u32(channel, "channel")
        if handler is None:
            nothing = (PULL_CALLBACK(), None, DROP_CALLBACK())
            return check(lib.qy_server_on_pull(self._handle, number, *nothing))
        from ._connection import Connection

        pull = handler

        def pulled(connection: int, channel: int) -> None:
            pull(Connection(connection), channel)

        self._called()
        check(
            lib.qy_server_on_pull(
                self._handle,
                number,
                _callbacks.on_pull,
                _callbacks.register(pulled),
                _callbacks.on_drop,
            )
        )

    @property
    def packet_counters(self) -> PacketCounters:
        """What was counted of packets."""
        raw_counters = _native.PacketCounters(struct_size=ctypes.sizeof(_native.PacketCounters))
        check(lib.qy_server_packet_counters(self._handle, ctypes.byref(raw_counters)))
        return PacketCounters(*(getattr(raw_counters, name) for name in PacketCounters._fields))
