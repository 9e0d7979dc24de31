"""Keyword arguments to the library's options."""

from __future__ import annotations

import ctypes
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import Iterable, Iterator, Mapping, NamedTuple, Union

from ._errors import InvalidOption, UnknownOption
from ._native import (
    ERR_NOT_FOUND,
    OPTIONS_CHANNEL,
    OPTIONS_CLIENT,
    OPTIONS_ENDPOINT,
    OPTIONS_SERVER,
    OPTIONS_SOCKET,
    OptionInfo,
    check,
    lib,
    name_of,
)

#: What an option takes: a timedelta is written in the unit that ends the option's name.
OptionValue = Union[str, int, bool, timedelta]


class Option(NamedTuple):
    """An option: what it is called, what it takes, what it does."""

    name: str
    #: "integer", "text", "boolean" or "choice".
    type: str
    default: str
    help: str
    #: Of an integer, else None.
    min: int | None
    #: Of an integer, else None.
    max: int | None
    #: Of a choice, else empty.
    choices: tuple[str, ...]


def _text(key: str, value: OptionValue) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, timedelta):
        unit = timedelta(microseconds=1) if key.endswith("_us") else timedelta(milliseconds=1)
        return str(value // unit)
    if isinstance(value, (str, int)):
        return str(value)
    raise InvalidOption(
        f"option '{key}' cannot be {value!r}: it takes str, int, bool or timedelta"
    )


def built(
    kind: int, values: Mapping[str, OptionValue]
) -> AbstractContextManager[ctypes.c_void_p]:
    """The values as a C options object for the time of the context."""
    return built_from(kind, values.items())


@contextmanager
def built_from(
    kind: int, pairs: Iterable[tuple[str, OptionValue]]
) -> Iterator[ctypes.c_void_p]:
    """As :func:`built`, of pairs: some options may be set more than once."""
    options = ctypes.c_void_p()
    check(lib.qy_options_new(kind, ctypes.byref(options)))
    try:
        for key, value in pairs:
            text = name_of(_text(key, value), f"option '{key}'", InvalidOption)
            check(lib.qy_options_set(options, name_of(key, "option", UnknownOption), text))
        yield options
    finally:
        lib.qy_options_free(options)


def _described(kind: int) -> list[Option]:
    found: list[Option] = []
    info = OptionInfo(struct_size=ctypes.sizeof(OptionInfo))
    while True:
        status = lib.qy_options_describe(kind, len(found), ctypes.byref(info))
        if status == ERR_NOT_FOUND:
            return found
        check(status)
        kind_name = (info.type or b"").decode()
        number = kind_name == "integer"
        choices = (info.choices or b"").decode()
        found.append(
            Option(
                name=(info.key or b"").decode(),
                type=kind_name,
                default=(info.default_value or b"").decode(),
                help=(info.help or b"").decode(),
                min=info.min if number else None,
                max=info.max if number else None,
                choices=tuple(choices.split("|")) if choices else (),
            )
        )


def server_options() -> list[Option]:
    """Every option of :class:`Server`."""
    return _described(OPTIONS_SERVER)


def client_options() -> list[Option]:
    """Every option of :class:`Client`."""
    return _described(OPTIONS_CLIENT)


def socket_options() -> list[Option]:
    """Every option of :class:`Socket`."""
    return _described(OPTIONS_SOCKET)


def endpoint_options() -> list[Option]:
    """Every option of :class:`Endpoint`."""
    return _described(OPTIONS_ENDPOINT)


def channel_options() -> list[Option]:
    """Every option of a channel, as ``create_channel`` takes them."""
    return _described(OPTIONS_CHANNEL)
