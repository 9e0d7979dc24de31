"""Calls without an object. Connections to a host are kept between them."""

from __future__ import annotations

from typing import Iterable

from . import _callbacks, _publish
from ._errors import Error, InvalidArgument, InvalidName, InvalidUrl, NotFound
from ._events import MessageCallback, NoticeCallback, notice
from ._handle import Payload
from ._native import EVENT_MESSAGE, OK, check, error, lib, name_of
from ._publish import Outgoing, Published
from ._subscription import ignore
from ._types import Kind, Message

_stops: dict[tuple[str, str], int] = {}


def create_channel(host: str, name: str) -> None:
    """Creates a channel; :class:`ChannelExists` if there is one of that name."""
    check(
        lib.qy_create_channel(
            name_of(host, "host", InvalidUrl), name_of(name, "name", InvalidName)
        )
    )


def send_message(host: str, channel: str, message: str) -> None:
    """Broadcasts a text. It cannot have a NUL inside: :meth:`Client.publish` can send that."""
    check(
        lib.qy_send_message(
            name_of(host, "host", InvalidUrl),
            name_of(channel, "name", InvalidName),
            name_of(message, "message", InvalidArgument),
        )
    )


def send_message_with(
    host: str,
    channel: str,
    data: Payload,
    *,
    key: str | bytes | None = None,
    conflate: str | None = None,
    counts: bool = False,
) -> Published:
    """Broadcasts str as text or bytes as binary, and tells what became of the message.

    The arguments are those of :meth:`Client.publish_with`.
    """
    message = Outgoing(channel, data, key, conflate, counts)
    return _publish.publish(
        lib.qy_send_message_with, name_of(host, "host", InvalidUrl), message
    )


def send_many(host: str, messages: Iterable[Outgoing]) -> list[Published | Error]:
    """Broadcasts many messages in one request, as :meth:`Client.publish_many` does."""
    return _publish.publish_many(
        lib.qy_send_batch, name_of(host, "host", InvalidUrl), messages
    )


def listen_channel(
    host: str,
    channel: str,
    callback: MessageCallback,
    *,
    on_notice: NoticeCallback | None = None,
) -> None:
    """Gives each message to `callback`, on a thread of the library, until :func:`stop_listening`.

    Returns once the subscription is live. These messages carry neither their kind nor their place
    in the channel; :meth:`Client.subscribe` has them.
    """
    hear = on_notice if on_notice is not None else ignore

    def deliver(event: int, data: bytes) -> None:
        if event == EVENT_MESSAGE:
            callback(Message(channel, data, Kind.TEXT, 0, 0))
        else:
            hear(notice(event, channel, data))

    raw_host = name_of(host, "host", InvalidUrl)
    raw_channel = name_of(channel, "name", InvalidName)
    number = _callbacks.register(deliver)
    status = lib.qy_listen_channel(raw_host, raw_channel, _callbacks.on_listen, number)
    if status != OK:
        failure = error(status)
        _callbacks.forget(number)
        raise failure
    if (host, channel) not in _stops:
        _stops[host, channel] = _callbacks.before_exit(
            lambda: lib.qy_stop_listening(raw_host, raw_channel)
        )


def stop_listening(host: str, channel: str) -> None:
    """Ends every listener of this host and channel and waits for their callbacks.

    :class:`NotFound` if there is none.
    """
    try:
        check(
            lib.qy_stop_listening(
                name_of(host, "host", InvalidUrl), name_of(channel, "name", InvalidName)
            )
        )
    except NotFound:
        _forget(host, channel)
        raise
    _forget(host, channel)


def _forget(host: str, channel: str) -> None:
    _callbacks.not_before_exit(_stops.pop((host, channel), None))
