"""The packet dialect on the client."""

from __future__ import annotations

import asyncio
import ctypes
import enum
import functools
from types import TracebackType
from typing import Any, Callable, NamedTuple, Union

from . import _callbacks, _native
from ._errors import BY_CODE, Error, InvalidArgument, InvalidUrl, WouldDeadlock
from ._handle import milliseconds, owned
from ._native import (
    DELIVER_INLINE,
    DELIVER_THREAD,
    DROP_CALLBACK,
    ERR_BUFFER_TOO_SMALL,
    OPTIONS_SOCKET,
    PACKET_CLIENT_CALLBACK,
    PACKET_CLIENT_EVENT_CALLBACK,
    PACKET_CLIENT_PULL_CALLBACK,
    bytes_at,
    check,
    lib,
    name_of,
)
from ._options import OptionValue, built
from ._packet import (
    Identity,
    PacketData,
    Reply,
    Response,
    ResponseHandler,
    awaited,
    raw,
    response_at,
    u32,
)
from ._socket import SocketState


class PacketClientEventType(enum.IntEnum):
    """What happened to a client's connection."""

    ESTABLISHED = 1
    #: It ends; its values are still there.
    CLOSING = 2
    #: It is gone; its values go when the handler returns.
    CLOSED = 3
    PINGED = 4
    PONGED = 5
    #: Another connection with this one's id displaced it; no reconnection follows.
    DISPLACED = 6
    #: An attempt to connect failed.
    FAILED = 7


class PacketClientEvent(NamedTuple):
    """What happened to a client's connection."""

    type: PacketClientEventType
    #: Of CLOSING and CLOSED: the close code.
    code: int
    #: Of CLOSING, CLOSED and FAILED.
    will_reconnect: bool
    reason: str
    #: Of FAILED.
    error: Error | None
    #: Of DISPLACED: the addresses of this client and of the other, and ns since the Unix epoch.
    old_ip: bytes
    new_ip: bytes
    ts: int


class PacketClientCounters(NamedTuple):
    """Totals of a packet client. Bytes are those of packets."""

    packets_in: int
    packets_out: int
    bytes_in: int
    bytes_out: int
    #: One-way messages and requests that came.
    received: int
    #: Those of them whose protocol id had no handler.
    unhandled: int
    dropped: int
    unsent: int
    reconnects: int
    in_flight: int
    timed_out: int
    #: Responses that nothing waited for.
    late: int


class ClientPacket(NamedTuple):
    """A one-way message or a request from the server."""

    protocol: int
    data: bytes
    #: Answers a request; None for a one-way message.
    reply: Reply | None


ClientPacketHandler = Callable[[ClientPacket], Union[PacketData, None]]


def _free(at_exit: int, handle: ctypes.c_void_p) -> None:
    _callbacks.not_before_exit(at_exit)
    lib.qy_packet_client_free(handle)


class PacketClient:
    """A client of the packet dialect of the server at `host` (``HOST:PORT`` or a URL, whose path
    stands for ``/join``) that says it is `uid` and so on. It does not connect before :meth:`connect`,
    and connects again by itself, unless another connection with its id has displaced it.

    Other keyword arguments are the options that :func:`socket_options` lists. Every method may be
    called from any thread and callback. As a context manager it closes at the end.
    """

    def __init__(
        self,
        host: str,
        uid: str,
        *,
        type: int = 0,
        device: str = "",
        source: str = "",
        version: str = "",
        charset: str = "",
        **options: OptionValue,
    ) -> None:
        self._handle = ctypes.c_void_p()
        self._identity = Identity(uid, type, device, source, version, charset)
        where = name_of(host, "host", InvalidUrl)
        texts = [
            name_of(text, "identity", InvalidArgument)
            for text in (uid, device, source, version, charset)
        ]
        identity = _native.PacketIdentity(
            ctypes.sizeof(_native.PacketIdentity), *texts, u32(type, "type"), 0
        )
        with built(OPTIONS_SOCKET, options) as made:
            check(
                lib.qy_packet_client_open(
                    where, ctypes.byref(identity), made, ctypes.byref(self._handle)
                )
            )
        # While its callbacks may run, the interpreter must not end.
        handle = self._handle
        at_exit = _callbacks.before_exit(lambda: lib.qy_packet_client_close_wait(handle, 2000))
        self._at_exit = at_exit
        owned(self, handle, functools.partial(_free, at_exit))

    @property
    def identity(self) -> Identity:
        """What it says about itself."""
        return self._identity

    def on_packet(
        self, protocol: int, handler: ClientPacketHandler | None, *, inline: bool = False
    ) -> None:
        """Has `handler(packet)` called for each one-way message and request with this protocol id, in
        place of the one before; None removes it.

        What a handler returns for a request, unless None, is sent as its answer. All handlers are
        called on one thread of the library, in order; `inline` takes the I/O thread instead, where
        it must not block.
        """
        number = u32(protocol, "protocol")
        if handler is None:
            nothing = (PACKET_CLIENT_CALLBACK(), None, DROP_CALLBACK())
            return check(
                lib.qy_packet_client_on_packet(self._handle, number, DELIVER_THREAD, *nothing)
            )
        call = handler

        def received(protocol: int, data: bytes, reply: int | None) -> None:
            answer = Reply(reply, protocol) if reply else None
            result = call(ClientPacket(protocol, data, answer))
            if result is not None and answer is not None:
                answer.send(result)

        check(
            lib.qy_packet_client_on_packet(
                self._handle,
                number,
                DELIVER_INLINE if inline else DELIVER_THREAD,
                _callbacks.on_client_packet,
                _callbacks.register(received),
                _callbacks.on_drop,
            )
        )

    def on_event(
        self, handler: Callable[[PacketClientEvent], object] | None, *, inline: bool = False
    ) -> None:
        """Has `handler(event)` called for what happens to the connection, in place of the one before;
        None removes it."""
        if handler is None:
            nothing = (PACKET_CLIENT_EVENT_CALLBACK(), None, DROP_CALLBACK())
            return check(lib.qy_packet_client_on_event(self._handle, DELIVER_THREAD, *nothing))
        tell = handler

        def happened(event: Any) -> None:
            kind = PacketClientEventType(event.event)
            reason = bytes_at(event.reason, event.reason_len).decode("utf-8", "replace")
            failed = kind == PacketClientEventType.FAILED
            tell(
                PacketClientEvent(
                    kind,
                    0 if failed else event.code,
                    bool(event.will_reconnect),
                    reason,
                    BY_CODE.get(event.code, Error)(reason, event.code) if failed else None,
                    bytes_at(event.old_ip, event.old_ip_len),
                    bytes_at(event.new_ip, event.new_ip_len),
                    event.ts,
                )
            )

        check(
            lib.qy_packet_client_on_event(
                self._handle,
                DELIVER_INLINE if inline else DELIVER_THREAD,
                _callbacks.on_client_event,
                _callbacks.register(happened),
                _callbacks.on_drop,
            )
        )

    def on_pull(self, channel: int, handler: Callable[[int], object] | None) -> None:
        """Has `handler(channel)` called after :meth:`signal_pull`, in place of the one before; None
        removes it."""
        number = u32(channel, "channel")
        if handler is None:
            nothing = (PACKET_CLIENT_PULL_CALLBACK(), None, DROP_CALLBACK())
            return check(lib.qy_packet_client_on_pull(self._handle, number, *nothing))
        check(
            lib.qy_packet_client_on_pull(
                self._handle,
                number,
                _callbacks.on_client_pull,
                _callbacks.register(handler),
                _callbacks.on_drop,
            )
        )

    def signal_pull(self, channel: int) -> None:
        """Makes the handler of a pull channel run: once, however often it is signalled before that
        run begins."""
        check(lib.qy_packet_client_signal_pull(self._handle, u32(channel, "channel")))

    def connect(self, timeout: float | None = None) -> None:
        """As :meth:`Socket.connect`."""
        check(lib.qy_packet_client_connect(self._handle, milliseconds(timeout)))

    async def aconnect(self, timeout: float | None = None) -> None:
        """:meth:`connect` for asyncio: a thread of the loop's executor waits."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, functools.partial(self.connect, timeout))

    def disconnect(self, code: int = 1000, reason: str = "") -> None:
        """As :meth:`Socket.disconnect`. Requests under way end with :class:`Closed`."""
        text = name_of(reason, "reason", InvalidArgument)
        check(lib.qy_packet_client_disconnect(self._handle, code, text))

    @property
    def state(self) -> SocketState:
        """The state now."""
        state = ctypes.c_int32()
        check(lib.qy_packet_client_state(self._handle, ctypes.byref(state)))
        return SocketState(state.value)

    @property
    def connected(self) -> bool:
        """Whether it is connected."""
        return self.state == SocketState.CONNECTED

    @property
    def counters(self) -> PacketClientCounters:
        """The counters."""
        totals = _native.PacketClientCounters(
            struct_size=ctypes.sizeof(_native.PacketClientCounters)
        )
        check(lib.qy_packet_client_counters_get(self._handle, ctypes.byref(totals)))
        return PacketClientCounters(
            *(getattr(totals, name) for name in PacketClientCounters._fields)
        )

    @property
    def last_error(self) -> str:
        """The newest failure, empty if there was none."""
        return _native.text_of(lib.qy_packet_client_last_error, self._handle)

    def send(self, protocol: int, data: PacketData = b"") -> None:
        """Sends a one-way message; :class:`ConnectError` while it is not connected."""
        body = raw(data)
        check(
            lib.qy_packet_client_send(self._handle, u32(protocol, "protocol"), body, len(body))
        )

    def request(
        self, protocol: int, data: PacketData = b"", timeout: float | None = None
    ) -> Response:
        """Makes a request and waits at most `timeout` seconds for its response.

        Raises :class:`Timeout`, :class:`Closed`, and :class:`WouldDeadlock` in an inline handler.
        """
        body, out = raw(data), ctypes.c_void_p()
        check(
            lib.qy_packet_client_request(
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
            lib.qy_packet_client_request_async(
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

    def set(self, key: str, value: PacketData) -> None:
        """Keeps bytes with the connection, until its CLOSED was told."""
        body = raw(value)
        name = name_of(key, "key", InvalidArgument)
        check(lib.qy_packet_client_set(self._handle, name, body, len(body)))

    def get(self, key: str) -> bytes:
        """What is kept, a number as its decimal text; :class:`NotFound`."""
        name, size = name_of(key, "key", InvalidArgument), 256
        while True:
            buffer = ctypes.create_string_buffer(size)
            needed = ctypes.c_size_t()
            status = lib.qy_packet_client_get(
                self._handle, name, buffer, size, ctypes.byref(needed)
            )
            if status != ERR_BUFFER_TOO_SMALL:
                check(status)
                return buffer.raw[: needed.value]
            size = needed.value

    def remove(self, key: str) -> None:
        """Takes away what is kept; :class:`NotFound`."""
        check(
            lib.qy_packet_client_remove(self._handle, name_of(key, "key", InvalidArgument))
        )

    def increment(self, key: str, by: int = 1) -> int:
        """Adds to a number that begins at 0, in one step; the sum."""
        total = ctypes.c_int64()
        name = name_of(key, "key", InvalidArgument)
        check(lib.qy_packet_client_increment(self._handle, name, by, ctypes.byref(total)))
        return total.value

    def close(self) -> None:
        """Closes it for good without waiting; from anywhere, and again."""
        check(lib.qy_packet_client_close(self._handle))

    def close_wait(self, timeout: float | None = None) -> None:
        """Closes it and waits until no handler runs or will run.

        Raises :class:`Timeout` if one still runs, :class:`WouldDeadlock` inside one.
        """
        check(lib.qy_packet_client_close_wait(self._handle, milliseconds(timeout)))
        _callbacks.not_before_exit(self._at_exit)

    def __enter__(self) -> PacketClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.close_wait(60)
        except WouldDeadlock:  # closed inside a handler of its own, which is allowed
            pass

    def __repr__(self) -> str:
        return f"<qyun.PacketClient {self._identity.uid}>"
