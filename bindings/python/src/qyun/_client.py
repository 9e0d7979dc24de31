"""A handle on a server: one connection, many subscriptions."""

from __future__ import annotations

import asyncio
import ctypes
import functools
from types import TracebackType
from typing import Callable, Iterable

from . import _callbacks, _history, _native, _presence, _publish
from ._errors import Error, InvalidArgument, InvalidName, InvalidUrl
from ._events import MessageCallback, NoticeCallback, deliver
from ._history import History
from ._handle import Payload, milliseconds, owned, payload
from ._listener import Listener
from ._native import (
    DELIVER_INLINE,
    DELIVER_THREAD,
    DROP_CALLBACK,
    EVENT_CALLBACK,
    OPTIONS_CHANNEL,
    OPTIONS_CLIENT,
    check,
    lib,
    name_of,
)
from ._options import OptionValue, built
from ._presence import Presence
from ._publish import Outgoing, Published
from ._subscription import Subscription, ignore
from ._types import ClientCounters, ClientState, Position

_NO_EVENT_CALLBACK = EVENT_CALLBACK()
_NO_DROP_CALLBACK = DROP_CALLBACK()


def _subscribing(since: Position | None) -> Callable[..., int]:
    """The C function that subscribes, with all its arguments but the position."""
    if since is None:
        return lib.qy_client_subscribe
    at = _native.Position(ctypes.sizeof(_native.Position), *since)

    def subscribe(handle: ctypes.c_void_p, name: bytes, *rest: object) -> int:
        status: int = lib.qy_client_subscribe_since(handle, name, ctypes.byref(at), *rest)
        return status

    return subscribe


class Client:
    """A handle on the server at `host` (``HOST:PORT`` or a URL). It connects again by itself.

    Keyword arguments are the options that :func:`client_options` lists, such as
    ``request_timeout_ms=1000``. Making one does not wait for the connection; the first operation
    does. Every method may be called from any thread and callback. As a context manager it closes
    at the end.
    """

    def __init__(self, host: str, **options: OptionValue) -> None:
        self._handle = ctypes.c_void_p()
        self._host = host
        # Nobody else may hold a subscription that has a callback.
        self._called: set[Subscription] = set()
        raw = name_of(host, "host", InvalidUrl)
        with built(OPTIONS_CLIENT, options) as made:
            check(lib.qy_client_open(raw, made, ctypes.byref(self._handle)))
        owned(self, self._handle, lib.qy_client_free)

    @property
    def host(self) -> str:
        """What it was made with."""
        return self._host

    def wait_connected(self, timeout: float | None = None) -> None:
        """Waits until it is connected; :class:`Timeout` after `timeout` seconds."""
        check(lib.qy_client_wait_connected(self._handle, milliseconds(timeout)))

    @property
    def state(self) -> ClientState:
        """The state now."""
        state = ctypes.c_int32()
        check(lib.qy_client_state(self._handle, ctypes.byref(state)))
        return ClientState(state.value)

    @property
    def counters(self) -> ClientCounters:
        """The counters."""
        raw = _native.ClientCounters(struct_size=ctypes.sizeof(_native.ClientCounters))
        check(lib.qy_client_counters_get(self._handle, ctypes.byref(raw)))
        return ClientCounters(*(getattr(raw, name) for name in ClientCounters._fields))

    @property
    def last_error(self) -> str:
        """The newest failure of its background work, empty if there was none."""
        return _native.text_of(lib.qy_client_last_error, self._handle)

    def create_channel(self, name: str, *, token: str = "", **options: OptionValue) -> None:
        """Creates a channel; :class:`ChannelExists` if there is one of that name.

        With options, those that :func:`channel_options` lists, it has these in place of its
        namespace's. That takes the server's admin API, which asks for its ``admin_token``,
        `token`, or lets in who is on its machine; :class:`Refused` otherwise.
        """
        raw = name_of(name, "name", InvalidName)
        if not options:
            check(lib.qy_client_create_channel(self._handle, raw))
            return
        secret = name_of(token, "token", InvalidArgument)
        with built(OPTIONS_CHANNEL, options) as made:
            check(lib.qy_client_create_channel_with(self._handle, raw, made, secret))

    def delete_channel(self, name: str) -> None:
        """Deletes a channel; :class:`ChannelNotFound` if there is none of that name."""
        check(lib.qy_client_delete_channel(self._handle, name_of(name, "name", InvalidName)))

    def publish(self, channel: str, data: Payload) -> Position:
        """Publishes str as text or bytes as binary, and waits for the acknowledgement."""
        at = _native.Position(struct_size=ctypes.sizeof(_native.Position))
        name = name_of(channel, "name", InvalidName)
        check(lib.qy_client_publish(self._handle, name, *payload(data), ctypes.byref(at)))
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
        """:meth:`publish` with more: tells what became of the message.

        Whoever does not know whether a message arrived, after :class:`ConnectError` or
        :class:`Timeout`, sends it again under the same `key` (1 to 255 bytes), and it is published
        once; another message under it is a :class:`Conflict`. With the option ``publish_retries``
        the client does so by itself. `conflate` and `counts` are those of
        :meth:`Server.publish_with`.
        """
        message = Outgoing(channel, data, key, conflate, counts)
        return _publish.publish(lib.qy_client_publish_with, self._handle, message)

    def publish_many(self, messages: Iterable[Outgoing]) -> list[Published | Error]:
        """Publishes many messages in one request, over HTTP.

        Gives, in their order, what became of each: one that fails, with the exception that is
        then in its place, keeps no other back. Keys are UTF-8 here. :class:`TooLarge` for more
        than the server's ``max_batch_messages`` or ``max_batch_bytes``.
        """
        return _publish.publish_many(lib.qy_client_publish_batch, self._handle, messages)

    def publish_nowait(self, channel: str, data: Payload) -> None:
        """Queues a publication and returns; :class:`QueueFull` when the send queue is full."""
        name = name_of(channel, "name", InvalidName)
        check(lib.qy_client_publish_nowait(self._handle, name, *payload(data)))

    async def apublish(self, channel: str, data: Payload) -> Position:
        """:meth:`publish` for asyncio: a thread of the loop's executor waits."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            None, functools.partial(self.publish, channel, data)
        )

    def subscribe(
        self,
        channel: str,
        callback: MessageCallback | None = None,
        *,
        since: Position | None = None,
        on_notice: NoticeCallback | None = None,
        inline: bool = False,
    ) -> Subscription:
        """Subscribes; returns once the subscription is live.

        With `callback`, each message is given to it on a delivery thread of the library, one at a
        time and in order, until the subscription is closed; `inline` takes the I/O thread instead,
        where it must not block. Without it, receive from the subscription that is returned.
        `on_notice` hears of connections made and lost, and of the end, in order with the messages.

        When the connection was lost it continues behind the last message; :attr:`Notice.recovered`
        tells whether everything that was missed follows. With `since`, the position of the last
        message that the program has, it begins behind that.
        """
        return self._subscribe(_subscribing(since), channel, callback, on_notice, inline)

    def subscribe_pattern(
        self,
        pattern: str,
        callback: MessageCallback | None = None,
        *,
        on_notice: NoticeCallback | None = None,
        inline: bool = False,
    ) -> Subscription:
        """Subscribes to all channels that `pattern` matches, like :meth:`subscribe`.

        ``*`` stands for one segment between dots, ``>`` at the end for one or more; channels that
        are created later are among them. :attr:`Message.channel` says which one it is. After a
        reconnection it begins at the present.
        """
        return self._subscribe(
            lib.qy_client_subscribe_pattern, pattern, callback, on_notice, inline, pattern=True
        )

    def subscribe_presence(
        self,
        channel: str,
        on_notice: NoticeCallback,
        callback: MessageCallback | None = None,
        *,
        inline: bool = False,
    ) -> Subscription:
        """Subscribes to a channel with the option ``presence``, like :meth:`subscribe`.

        `on_notice` hears, in order with the messages, who is there (this client among them) and
        then who comes and goes: notices of the types JOIN and LEAVE, with an :class:`Attendee`.
        """
        return self._subscribe(
            lib.qy_client_subscribe_presence, channel, callback, on_notice, inline
        )

    def presence(
        self, channel: str, *, after: str | None = None, limit: int = 100
    ) -> Presence:
        """Who is in a channel with the option ``presence``, over HTTP.

        At most `limit` (up to 1,000) of those whose ids sort behind `after`.
        """
        return _presence.read(lib.qy_client_presence, self._handle, channel, after, limit)

    def _subscribe(
        self,
        subscribe: Callable[..., int],
        channel: str,
        callback: MessageCallback | None,
        on_notice: NoticeCallback | None,
        inline: bool,
        pattern: bool = False,
    ) -> Subscription:
        name = name_of(channel, "name", InvalidName)
        hear = on_notice if on_notice is not None else ignore
        handle = ctypes.c_void_p()
        if callback is None:
            check(
                subscribe(
                    self._handle, name, DELIVER_THREAD, _NO_EVENT_CALLBACK, None,
                    _NO_DROP_CALLBACK, ctypes.byref(handle),
                )
            )
            return Subscription(self, handle, channel, hear, called=False, pattern=pattern)
        number = _callbacks.register(
            functools.partial(
                deliver,
                channel=None if pattern else channel,
                on_message=callback,
                on_notice=hear,
            )
        )
        # The library drops the number, also when this fails.
        check(
            subscribe(
                self._handle, name, DELIVER_INLINE if inline else DELIVER_THREAD,
                _callbacks.on_event, number, _callbacks.on_drop, ctypes.byref(handle),
            )
        )
        subscription = Subscription(self, handle, channel, hear, called=True, pattern=pattern)
        self._called.add(subscription)
        return subscription

    def history(
        self,
        channel: str,
        *,
        after: int | None = None,
        before: int | None = None,
        limit: int = 100,
        reverse: bool = False,
    ) -> History:
        """A page of what a channel has kept, over HTTP.

        The publications behind the offset `after` and in front of `before`, at most `limit` (up to
        1,000) and about 4 MiB of them, the oldest first or, with `reverse`, the newest.
        """
        return _history.read(
            lib.qy_client_history, self._handle, channel, after, before, limit, reverse
        )

    def listen(
        self,
        channel: str,
        *,
        since: Position | None = None,
        on_notice: NoticeCallback | None = None,
    ) -> Listener:
        """The messages of a channel for asyncio: ``async for message in client.listen("test")``.

        ``async with client.listen("test") as messages`` is live once it is entered. `since` and
        `on_notice` are those of :meth:`subscribe`.
        """
        return Listener(self, channel, since, on_notice)

    def close(self) -> None:
        """Closes it and its subscriptions; never waits; from anywhere, and again."""
        check(lib.qy_client_close(self._handle))
        self._called.clear()

    def _forget(self, subscription: Subscription) -> None:
        self._called.discard(subscription)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<qyun.Client of {self._host}>"
