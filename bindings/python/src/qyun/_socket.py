"""One WebSocket to any server."""

from __future__ import annotations

import asyncio
import ctypes
import enum
import functools
import json as _json
import select
import struct
import time
from collections import deque
from types import TracebackType
from typing import Any, Callable, Iterable, Iterator, Mapping, NamedTuple, Union

from . import _callbacks, _native
from ._errors import BY_CODE, Closed, Error, InvalidUrl, Timeout, WouldDeadlock
from ._handle import Payload, milliseconds, owned, payload, readable
from ._native import (
    DELIVER_INLINE,
    DELIVER_THREAD,
    DROP_CALLBACK,
    ERR_TIMEOUT,
    EVENT_CLOSED,
    EVENT_CONNECTED,
    EVENT_DISCONNECTED,
    EVENT_ERROR,
    EVENT_MESSAGE,
    EVENT_PING,
    EVENT_PONG,
    OPTIONS_SOCKET,
    TEXT,
    SocketEvent,
    bytes_at,
    check,
    lib,
    name_of,
    utf8,
)
from ._options import OptionValue, built_from

#: A text message, or a binary one.
Data = Union[str, bytes]
Headers = Union[Mapping[str, str], Iterable["tuple[str, str]"]]

# struct_size, event, kind, data, len, code, will_reconnect
_ROW = struct.Struct("@NiiPNii")
assert _ROW.size == ctypes.sizeof(SocketEvent)
_BATCH = 1024


class SocketState(enum.IntEnum):
    """Where a socket stands."""

    CONNECTING = 1
    CONNECTED = 2
    CLOSED = 3
    #: Not connected, and not trying.
    DISCONNECTED = 4


class Disconnection(NamedTuple):
    """The end of a connection."""

    #: The close code; 1006 when there was no Close, 1005 when that had no code.
    code: int
    #: What the Close said, or why the connection is lost.
    reason: str
    #: Whether it is tried again.
    will_reconnect: bool


class SocketCounters(NamedTuple):
    """Totals of a socket since it was made. Bytes are those of payloads."""

    messages_in: int
    messages_out: int
    bytes_in: int
    bytes_out: int
    #: Received messages dropped because the queue was full.
    dropped: int
    #: Messages that were queued to be sent and lost with their connection.
    unsent: int
    reconnects: int
    #: Messages that wait to be written now.
    queued: int


class _Handlers(NamedTuple):
    """What hears of events; None hears nothing."""

    connect: Callable[[str | None], object] | None
    disconnect: Callable[[Disconnection], object] | None
    message: Callable[[Data], object] | None
    error: Callable[[Error, bool], object] | None
    ping: Callable[[bytes], object] | None
    pong: Callable[[bytes], object] | None
    close: Callable[[str], object] | None

    def hear(self, event: int, data: bytes, code: int, again: bool) -> None:
        """Tells an event that is no message."""
        if event == EVENT_CONNECTED and self.connect:
            self.connect(data.decode("utf-8", "replace") or None)
        elif event == EVENT_DISCONNECTED and self.disconnect:
            self.disconnect(Disconnection(code, data.decode("utf-8", "replace"), again))
        elif event == EVENT_ERROR and self.error:
            text = data.decode("utf-8", "replace")
            self.error(BY_CODE.get(code, Error)(text, code), again)
        elif event == EVENT_PING and self.ping:
            self.ping(data)
        elif event == EVENT_PONG and self.pong:
            self.pong(data)
        elif event == EVENT_CLOSED and self.close:
            self.close(data.decode("utf-8", "replace"))


def _deliver(address: int, handlers: _Handlers) -> None:
    """Hands the one event at `address` to its handler."""
    _, event, kind, data, size, code, again = _ROW.unpack(bytes_at(address, _ROW.size))
    raw = bytes_at(data, size)
    if event != EVENT_MESSAGE:
        handlers.hear(event, raw, code, bool(again))
    elif handlers.message:
        handlers.message(raw.decode() if kind == TEXT else raw)


def _free(at_exit: int | None, handle: ctypes.c_void_p) -> None:
    _callbacks.not_before_exit(at_exit)
    lib.qy_socket_free(handle)


class Socket:
    """One WebSocket to `url` (``ws://HOST:PORT/PATH?QUERY`` or ``wss://…``). It does not connect
    before :meth:`connect`, and connects again by itself when the connection is lost.

    With `on_message` every handler is called on a thread of the library, one at a time and in
    order; `inline` takes the I/O thread instead, where it must not block. Without it, receive:
    ``recv()``, ``for message in socket``, or with asyncio ``await socket.arecv()`` and ``async for``;
    the other handlers are then called by whoever receives.

    A text message is a str, a binary one bytes. Other keyword arguments are the options that
    :func:`socket_options` lists, such as ``reconnect_delay_ms=1000``. Every method may be called
    from any thread and callback. As a context manager it closes at the end.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Headers = (),
        on_connect: Callable[[str | None], object] | None = None,
        on_disconnect: Callable[[Disconnection], object] | None = None,
        on_message: Callable[[Data], object] | None = None,
        on_error: Callable[[Error, bool], object] | None = None,
        on_ping: Callable[[bytes], object] | None = None,
        on_pong: Callable[[bytes], object] | None = None,
        on_close: Callable[[str], object] | None = None,
        inline: bool = False,
        **options: OptionValue,
    ) -> None:
        self._handle = ctypes.c_void_p()
        self._url = url
        self._ready: deque[Data] = deque()
        self._busy = False
        self._called = on_message is not None
        handlers = _Handlers(
            on_connect, on_disconnect, on_message, on_error, on_ping, on_pong, on_close
        )
        self._handlers = handlers
        if on_ping or on_pong:
            options.setdefault("control_events", True)
        pairs: list[tuple[str, OptionValue]] = list(options.items())
        lines = headers.items() if isinstance(headers, Mapping) else headers
        pairs += [("header", f"{name}: {value}") for name, value in lines]
        raw = name_of(url, "URL", InvalidUrl)
        with built_from(OPTIONS_SOCKET, pairs) as made:
            if self._called:
                # The library drops the number, also when this fails.
                number = _callbacks.register(functools.partial(_deliver, handlers=handlers))
                delivery = DELIVER_INLINE if inline else DELIVER_THREAD
                check(
                    lib.qy_socket_open(
                        raw, made, delivery, ctypes.byref(_callbacks.on_socket), number,
                        _callbacks.on_drop, ctypes.byref(self._handle),
                    )
                )
            else:
                check(
                    lib.qy_socket_open(
                        raw, made, DELIVER_THREAD, None, None, DROP_CALLBACK(),
                        ctypes.byref(self._handle),
                    )
                )
        # While its callbacks may run, the interpreter must not end.
        handle = self._handle
        self._at_exit = (
            _callbacks.before_exit(lambda: lib.qy_socket_close_wait(handle, 2000))
            if self._called
            else None
        )
        owned(self, handle, functools.partial(_free, self._at_exit))

    @property
    def url(self) -> str:
        """What it was made with."""
        return self._url

    def connect(self, timeout: float | None = None) -> None:
        """Begins to connect, unless it does or is, and waits until it is; 0 does not wait.

        Raises :class:`Timeout` after `timeout` seconds, and the attempts go on; any other
        :class:`Error` says why the last attempt failed.
        """
        check(lib.qy_socket_connect(self._handle, milliseconds(timeout)))

    async def aconnect(self, timeout: float | None = None) -> None:
        """:meth:`connect` for asyncio: a thread of the loop's executor waits."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, functools.partial(self.connect, timeout))

    def disconnect(self, code: int = 1000, reason: str = "") -> None:
        """Ends the connection, or the attempts, without waiting; :meth:`connect` connects again.

        What was sent before is still written, if the server takes it.
        """
        raw = name_of(reason, "reason", Error)
        check(lib.qy_socket_disconnect(self._handle, code, raw))

    @property
    def state(self) -> SocketState:
        """The state now."""
        state = ctypes.c_int32()
        check(lib.qy_socket_state(self._handle, ctypes.byref(state)))
        return SocketState(state.value)

    @property
    def connected(self) -> bool:
        """Whether it is connected."""
        return self.state == SocketState.CONNECTED

    @property
    def counters(self) -> SocketCounters:
        """The counters."""
        raw = _native.SocketCounters(struct_size=ctypes.sizeof(_native.SocketCounters))
        check(lib.qy_socket_counters_get(self._handle, ctypes.byref(raw)))
        return SocketCounters(*(getattr(raw, name) for name in SocketCounters._fields))

    @property
    def last_error(self) -> str:
        """The newest failure, empty if there was none."""
        return _native.text_of(lib.qy_socket_last_error, self._handle)

    def send(self, data: Payload) -> None:
        """Queues str as text or bytes as binary; :class:`ConnectError` while it is not connected,
        :class:`QueueFull` when the send queue is full."""
        check(lib.qy_socket_send(self._handle, *payload(data)))

    def send_json(self, value: Any) -> None:
        """Sends a value as JSON text."""
        raw = utf8(_json.dumps(value, ensure_ascii=False), "JSON")
        check(lib.qy_socket_send_json(self._handle, raw, len(raw)))

    def ping(self, data: bytes = b"") -> None:
        """Sends a ping with at most 125 bytes; `on_pong` hears the answer."""
        check(lib.qy_socket_ping(self._handle, data, len(data)))

    def recv(self, timeout: float | None = None) -> Data:
        """The next message.

        Raises :class:`Timeout` if none came within `timeout` seconds (None waits for ever, 0 does
        not wait) and :class:`Closed` after :meth:`close`.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._ready:
            if not self._take() and not self._wait(deadline):
                raise Timeout(f"no message from {self._url} in {timeout:g} s")
        return self._ready.popleft()

    def __iter__(self) -> Iterator[Data]:
        """The messages until the socket is closed."""
        return self

    def __next__(self) -> Data:
        try:
            return self.recv()
        except Closed:
            raise StopIteration from None

    async def arecv(self) -> Data:
        """The next message, for asyncio; :class:`Closed` after the last one.

        One task may wait at a time. Cancelling a wait loses nothing.
        """
        if not self._ready:
            if self._busy:
                raise RuntimeError(f"another task waits for a message from {self._url}")
            self._busy = True
            try:
                while not self._ready:
                    if not self._take():
                        await readable(self.fileno())
            finally:
                self._busy = False
        return self._ready.popleft()

    def __aiter__(self) -> Socket:
        return self

    async def __anext__(self) -> Data:
        try:
            return await self.arecv()
        except Closed:
            raise StopAsyncIteration from None

    def _take(self) -> bool:
        """Takes what waits now, without waiting; whether there was anything."""
        batch = ctypes.c_void_p()
        status = lib.qy_socket_recv(self._handle, _BATCH, 0, ctypes.byref(batch))
        if status == ERR_TIMEOUT:
            return False
        check(status)
        try:
            self._read(batch)
        finally:
            lib.qy_socket_batch_free(batch)
        return True

    def _read(self, batch: ctypes.c_void_p) -> None:
        count = lib.qy_socket_batch_count(batch)
        first = lib.qy_socket_batch_events(batch)
        if not count or not first:
            return
        # A newer library may have a longer struct; its struct_size is the distance to the next.
        stride: int = ctypes.c_size_t.from_address(first).value
        raw = bytes_at(first, count * stride)
        for at in range(0, len(raw), stride):
            _, event, kind, data, size, code, again = _ROW.unpack_from(raw, at)
            got = bytes_at(data, size)
            if event == EVENT_MESSAGE:
                self._ready.append(got.decode() if kind == TEXT else got)
            else:
                self._handlers.hear(event, got, code, bool(again))

    def _wait(self, deadline: float | None) -> bool:
        # Not in the library: there, Ctrl-C would wait for the next message.
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            return False
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN)
        return bool(poll.poll(None if left is None else milliseconds(left)))

    def fileno(self) -> int:
        """A descriptor that is readable while an event waits or the socket is closed."""
        fd = ctypes.c_int(-1)
        check(lib.qy_socket_fd(self._handle, ctypes.byref(fd)))
        return fd.value

    def close(self) -> None:
        """Closes it for good without waiting; from anywhere, and again."""
        check(lib.qy_socket_close(self._handle))

    def close_wait(self, timeout: float | None = None) -> None:
        """Closes it and waits until no callback runs or will run.

        Raises :class:`Timeout` if one still runs, :class:`WouldDeadlock` inside that callback.
        """
        check(lib.qy_socket_close_wait(self._handle, milliseconds(timeout)))
        _callbacks.not_before_exit(self._at_exit)

    def __enter__(self) -> Socket:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._called:
            return self.close()
        try:
            self.close_wait(60)
        except WouldDeadlock:  # closed inside its own callback, which is allowed
            pass

    def __repr__(self) -> str:
        return f"<qyun.Socket to {self._url}>"
