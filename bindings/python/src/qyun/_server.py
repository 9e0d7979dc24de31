"""A server in this process."""

from __future__ import annotations

import ctypes
import functools
from types import TracebackType
from typing import Any, Iterable

from . import _callbacks, _history, _native, _presence, _publish
from ._connections import ConnectionsServer
from ._errors import Error, InvalidName
from ._handle import Payload, milliseconds, owned, payload
from ._native import (
    ERR_NOT_FOUND,
    ERR_TIMEOUT,
    OPTIONS_CHANNEL,
    OPTIONS_SERVER,
    bytes_at,
    check,
    lib,
    name_of,
)
from ._history import History
from ._presence import Presence
from ._host import HostServer
from ._options import OptionValue, built
from ._packet import PacketServer
from ._publish import Outgoing, Published
from ._rpc import RpcServer
from ._types import ChannelInfo, Position, ServerCounters


def _free(at_exit: list[int], handle: ctypes.c_void_p) -> None:
    for number in at_exit:
        _callbacks.not_before_exit(number)
    lib.qy_server_free(handle)


class Server(HostServer, ConnectionsServer, PacketServer, RpcServer):
    """A server in this process, accepting connections as soon as it is made.

    Keyword arguments are the options that :func:`server_options` lists, such as
    ``listen="127.0.0.1:0"``. Every method may be called from any thread and none waits for a
    subscriber, but publishing in channels with ``overload=hold``. As a context manager it stops at the end, with a drain of 5 s.
    """

    def __init__(self, **options: OptionValue) -> None:
        self._handle = ctypes.c_void_p()
        self._options = options
        with built(OPTIONS_SERVER, options) as made:
            check(lib.qy_server_start(made, ctypes.byref(self._handle)))
        self._at_exit: list[int] = []
        owned(self, self._handle, functools.partial(_free, self._at_exit))
        self._address = _native.text_of(lib.qy_server_address, self._handle)
        self._grpc_port = self._find_grpc_port()

    def _find_grpc_port(self) -> int | None:
        port = ctypes.c_uint16()
        status = lib.qy_server_grpc_port(self._handle, ctypes.byref(port))
        if status == ERR_NOT_FOUND:
            return None
        check(status)
        return port.value

    def _called(self) -> None:
        if not self._at_exit:
            handle = self._handle
            self._at_exit.append(_callbacks.before_exit(lambda: lib.qy_server_stop(handle, 0)))

    @property
    def address(self) -> str:
        """``HOST:PORT`` with the real port, also after it stopped."""
        return self._address

    @property
    def port(self) -> int:
        """The real port, also after it stopped."""
        return int(self._address.rpartition(":")[2])

    @property
    def grpc_port(self) -> int | None:
        """The real port of its gRPC, also after it stopped; ``None`` without ``grpc_listen``."""
        return self._grpc_port

    def reload(self, **options: OptionValue) -> list[str]:
        """Sets these options anew while the server runs, and leaves the others as they are.

        Limits, times and more change at once, without dropping a connection. Gives the keys of
        what needs a restart; those stay as they are. After an error, nothing has changed.
        """
        wanted = {**self._options, **options}
        with built(OPTIONS_SERVER, wanted) as made:
            # More than all keys together.
            keys = ctypes.create_string_buffer(4096)
            check(lib.qy_server_reload(self._handle, made, keys, len(keys), None))
        self._options = wanted
        return keys.value.decode().split(", ") if keys.value else []

    @property
    def is_running(self) -> bool:
        """Whether it has not been told to stop."""
        running = ctypes.c_int32()
        check(lib.qy_server_is_running(self._handle, ctypes.byref(running)))
        return bool(running.value)

    def create_channel(self, name: str, **options: OptionValue) -> None:
        """Creates a channel; :class:`ChannelExists` if there is one of that name.

        With options, those that :func:`channel_options` lists, such as ``history_size=100``, it
        has these in place of its namespace's.
        """
        raw = name_of(name, "name", InvalidName)
        if not options:
            check(lib.qy_server_create_channel(self._handle, raw))
            return
        with built(OPTIONS_CHANNEL, options) as made:
            check(lib.qy_server_create_channel_with(self._handle, raw, made))

    def delete_channel(self, name: str) -> None:
        """Deletes a channel; its listeners are closed after the last message before that."""
        check(lib.qy_server_delete_channel(self._handle, name_of(name, "name", InvalidName)))

    def channel(self, name: str) -> ChannelInfo:
        """One channel; :class:`ChannelNotFound` if there is none of that name."""
        info = _native.ChannelInfo(struct_size=ctypes.sizeof(_native.ChannelInfo))
        check(
            lib.qy_server_channel_info(
                self._handle, name_of(name, "name", InvalidName), ctypes.byref(info)
            )
        )
        return _channel_info(info, name)

    def channels(self) -> list[ChannelInfo]:
        """All channels, by name."""
        found: list[ChannelInfo] = []

        def visit(pointer: Any, _user_data: int | None) -> None:
            info = pointer.contents
            name = bytes_at(info.name, info.name_len).decode("utf-8", "replace")
            found.append(_channel_info(info, name))

        check(lib.qy_server_list_channels(self._handle, _native.CHANNEL_VISITOR(visit), None))
        return found

    def history(
        self,
        channel: str,
        *,
        after: int | None = None,
        before: int | None = None,
        limit: int = 100,
        reverse: bool = False,
    ) -> History:
        """A page of what a channel has kept.

        The publications behind the offset `after` and in front of `before`, at most `limit` (up to
        1,000) and about 4 MiB of them, the oldest first or, with `reverse`, the newest.
        """
        return _history.read(
            lib.qy_server_history, self._handle, channel, after, before, limit, reverse
        )

    def presence(
        self, channel: str, *, after: str | None = None, limit: int = 100
    ) -> Presence:
        """Who is in a channel with the option ``presence``.

        At most `limit` (up to 1,000) of those whose ids sort behind `after`.
        """
        return _presence.read(lib.qy_server_presence, self._handle, channel, after, limit)

    def publish(self, channel: str, data: Payload) -> Position:
        """Broadcasts without the network: str as text, bytes as binary.

        In a channel with ``durability`` ``os`` or ``fsync`` it waits until the message is kept, and
        in one with ``overload=hold`` while a subscriber has no room: :class:`Timeout` after twice its
        ``hold_ms``, and then nothing is published.
        """
        at = _native.Position(struct_size=ctypes.sizeof(_native.Position))
        name = name_of(channel, "name", InvalidName)
        check(lib.qy_server_publish(self._handle, name, *payload(data), ctypes.byref(at)))
        return Position(at.epoch, at.offset)

    def publish_with(
        self,
        channel: str,
        data: Payload,
        *,
        key: str | bytes | None = None,
        conflate: str | None = None,
        counts: bool = False,
    ) -> Published:
        """Broadcasts, and tells what became of the message.

        Under the same `key` (1 to 255 bytes) it is published once within the channel's
        ``idempotency_ms``, however often it comes; another message under it is a
        :class:`Conflict`. `conflate` names what the message is the latest value of, in a channel
        with ``overload=keep_latest``. With `counts` the call waits until it is known how many
        subscribers the message reached; not in an inline callback of the server:
        :class:`WouldDeadlock`.
        """
        message = Outgoing(channel, data, key, conflate, counts)
        return _publish.publish(lib.qy_server_publish_with, self._handle, message)

    def publish_many(self, messages: Iterable[Outgoing]) -> list[Published | Error]:
        """Broadcasts many messages, those to one channel one behind the other.

        Gives, in their order, what became of each: one that fails, with the exception that is
        then in its place, keeps no other back.
        """
        return _publish.publish_many(lib.qy_server_publish_batch, self._handle, messages)

    @property
    def counters(self) -> ServerCounters:
        """The counters."""
        raw = _native.ServerCounters(struct_size=ctypes.sizeof(_native.ServerCounters))
        check(lib.qy_server_counters_get(self._handle, ctypes.byref(raw)))
        return ServerCounters(*(getattr(raw, name) for name in ServerCounters._fields))

    def stop(self, drain: float = 5.0) -> bool:
        """Sends what is queued and a Close to every client and waits up to `drain` seconds.

        True if all went by themselves. Harmless when called again.
        """
        status = lib.qy_server_stop(self._handle, milliseconds(drain))
        if status == ERR_TIMEOUT:
            return False
        check(status)
        return True

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<qyun.Server {self._address}>"


def _channel_info(raw: Any, name: str) -> ChannelInfo:
    return ChannelInfo(
        name, raw.subscribers, raw.epoch, raw.offset, raw.created_ms, raw.members
    )
