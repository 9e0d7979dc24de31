"""One exception class per status of the C ABI, all of them :class:`Error`."""

from __future__ import annotations


class Error(Exception):
    """What failed, with which value, and what to do: the library's text."""

    #: The status of the C ABI, such as -11 for ``QY_ERR_TIMEOUT``.
    code: int = 0

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (str(self), self.code))


class InvalidArgument(Error, ValueError):
    """An argument is out of its range."""

    code = -1


class InvalidUtf8(Error, ValueError):
    """Text that must be UTF-8 is not."""

    code = -2


class InvalidName(Error, ValueError):
    """A channel name is empty, too long, or has control characters."""

    code = -3


class InvalidUrl(Error, ValueError):
    """A host or URL cannot be understood."""

    code = -4


class UnknownOption(Error, TypeError):
    """No option has that name."""

    code = -5


class InvalidOption(Error, ValueError):
    """The option exists and does not take that value."""

    code = -6


class ChannelNotFound(Error, LookupError):
    """The channel does not exist."""

    code = -7


class ChannelExists(Error):
    """The channel exists already."""

    code = -8


class TooLarge(Error, ValueError):
    """A message, name or request is over a limit."""

    code = -9


class ConnectError(Error, ConnectionError):
    """No connection could be made, or it was lost before the answer. A retry may help."""

    code = -10


class Timeout(Error, TimeoutError):
    """There was no answer, or no message, in time."""

    code = -11


class Closed(Error):
    """The object was closed, or has delivered its last message."""

    code = -12


class ProtocolError(Error):
    """The peer answered something that is not the protocol."""

    code = -13


class Refused(Error):
    """The peer understood the request and refused it."""

    code = -14


class AddressInUse(Error, OSError):
    """Another socket listens on the address."""

    code = -15


class IoError(Error, OSError):
    """The operating system refused an operation."""

    code = -16


class NotFound(Error, LookupError):
    """There is no such object."""

    code = -17


class QueueFull(Error):
    """A bounded queue is full. A retry may help."""

    code = -18


class WouldDeadlock(Error, RuntimeError):
    """Waiting here would wait for the caller itself."""

    code = -19


class Forked(Error, RuntimeError):
    """The object was made before ``os.fork`` in another process; make a new one."""

    code = -20


class Panic(Error, RuntimeError):
    """A defect of the library, caught; other objects go on."""

    code = -21


class AbiMismatch(Error, ImportError):
    """The library found is not the one this package was made for."""

    code = -22


class Exists(Error):
    """There is such an object already."""

    code = -24


class Conflict(Error):
    """What is there already contradicts it: another message under the same key."""

    code = -25


BY_CODE: dict[int, type[Error]] = {
    kind.code: kind for kind in Error.__subclasses__()
}
