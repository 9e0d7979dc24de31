"""What every object over a C handle shares."""

from __future__ import annotations

import asyncio
import ctypes
import math
import weakref
from typing import Any, Callable, Optional, Union

from ._native import BINARY, TEXT, utf8

#: str is sent as text, bytes and their kin as binary.
Payload = Union[str, bytes, bytearray, memoryview]

_UINT32_MAX = 0xFFFF_FFFF


def owned(owner: object, handle: ctypes.c_void_p, free: Callable[[Any], object]) -> None:
    """Frees `handle` when `owner` is garbage.

    Not earlier, because another thread may be in a call of it; and not at exit, because a daemon
    thread may.
    """
    weakref.finalize(owner, free, handle).atexit = False


def payload(data: Payload) -> tuple[int, bytes, int]:
    """Kind, bytes and length of something to publish."""
    if isinstance(data, str):
        raw = utf8(data, "message")
        return TEXT, raw, len(raw)
    if isinstance(data, (bytes, bytearray, memoryview)):
        raw = bytes(data)
        return BINARY, raw, len(raw)
    raise TypeError(f"a message must be str or bytes, not {type(data).__name__}")


def milliseconds(seconds: Optional[float]) -> int:
    """A timeout for C, rounded up; None is as long as C can wait (49 days)."""
    if seconds is None:
        return _UINT32_MAX
    if seconds != seconds:
        raise ValueError("a timeout cannot be NaN")
    if seconds <= 0:
        return 0
    return _UINT32_MAX if seconds >= _UINT32_MAX / 1000 else math.ceil(seconds * 1000)

async def readable(fd: int) -> None:
    """Waits until `fd` is readable. The loop knows it for that time only: it may be closed later."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(fd, wake)
    try:
        await ready
    finally:
        loop.remove_reader(fd)
