"""Qyun (青云) broadcasts messages over channels in real time: a server and a client, in this
process or across the network.

>>> import qyun
>>> server = qyun.Server(listen="127.0.0.1:0")
>>> server.create_channel("test")
>>> client = qyun.Client(server.address)
>>> messages = client.subscribe("test")
>>> at = server.publish("test", "hello")
>>> messages.recv(timeout=5).text
'hello'
>>> client.close()
>>> server.stop()
True
"""

from __future__ import annotations

from typing import Callable

from . import _callbacks, _native
from ._errors import (
    AbiMismatch,
    AddressInUse,
    ChannelExists,
    ChannelNotFound,
    Closed,
    Conflict,
    ConnectError,
    Error,
    Exists,
    Forked,
    InvalidArgument,
    InvalidName,
    InvalidOption,
    InvalidUrl,
    InvalidUtf8,
    IoError,
    NotFound,
    Panic,
    ProtocolError,
    QueueFull,
    Refused,
    Timeout,
    TooLarge,
    UnknownOption,
    WouldDeadlock,
)
from ._client import Client
from ._connection import Connection
from ._history import History, Publication
from ._presence import Presence, Present
from ._host import Endpoint, Upgrade
from ._handle import Payload, milliseconds
from ._listener import Listener
from ._oneshot import (
    create_channel,
    listen_channel,
    send_many,
    send_message,
    send_message_with,
    stop_listening,
)
from ._options import (
    Option,
    OptionValue,
    channel_options,
    client_options,
    endpoint_options,
    server_options,
    socket_options,
)
from ._packet import (
    Identity,
    Packet,
    PacketCounters,
    PacketData,
    PacketEvent,
    PacketEventType,
    Reply,
    Response,
)
from ._packet_client import (
    ClientPacket,
    PacketClient,
    PacketClientCounters,
    PacketClientEvent,
    PacketClientEventType,
)
from ._publish import DeliveryCounts, Outgoing, Published
from ._rpc import RpcCall, RpcError, RpcReply
from ._server import Server
from ._socket import Data, Disconnection, Socket, SocketCounters, SocketState
from ._subscription import Subscription
from ._types import (
    Attendee,
    ChannelInfo,
    ClientCounters,
    ClientState,
    Closure,
    ConnectionInfo,
    Dialect,
    EndedBy,
    EventType,
    Kind,
    Message,
    Notice,
    Position,
    ServerCounters,
)

__all__ = [
    "AbiMismatch",
    "AddressInUse",
    "Attendee",
    "ChannelExists",
    "ChannelInfo",
    "ChannelNotFound",
    "Client",
    "ClientCounters",
    "ClientPacket",
    "ClientState",
    "Closed",
    "Conflict",
    "Closure",
    "ConnectError",
    "Connection",
    "ConnectionInfo",
    "Data",
    "Dialect",
    "DeliveryCounts",
    "Disconnection",
    "EndedBy",
    "Endpoint",
    "Error",
    "EventType",
    "Exists",
    "Forked",
    "History",
    "Identity",
    "InvalidArgument",
    "InvalidName",
    "InvalidOption",
    "InvalidUrl",
    "InvalidUtf8",
    "IoError",
    "Kind",
    "Listener",
    "Message",
    "NotFound",
    "Notice",
    "Option",
    "OptionValue",
    "Outgoing",
    "Packet",
    "PacketClient",
    "PacketClientCounters",
    "PacketClientEvent",
    "PacketClientEventType",
    "PacketCounters",
    "PacketData",
    "PacketEvent",
    "PacketEventType",
    "Panic",
    "Payload",
    "Position",
    "ProtocolError",
    "Presence",
    "Present",
    "Publication",
    "Published",
    "QueueFull",
    "Refused",
    "Reply",
    "Response",
    "RpcCall",
    "RpcError",
    "RpcReply",
    "Server",
    "ServerCounters",
    "Socket",
    "SocketCounters",
    "SocketState",
    "Subscription",
    "Timeout",
    "TooLarge",
    "UnknownOption",
    "Upgrade",
    "WouldDeadlock",
    "channel_options",
    "client_options",
    "create_channel",
    "endpoint_options",
    "listen_channel",
    "send_many",
    "send_message",
    "send_message_with",
    "server_options",
    "set_log",
    "shutdown",
    "socket_options",
    "stop_listening",
    "__version__",
]

#: The version of the library that is loaded.
__version__: str = _native.lib.qy_version().decode()


def set_log(write: Callable[[int, str, str], object] | None, level: int = 3) -> None:
    """Has ``write(level, target, text)`` called for each log line of the library, from any thread.

    Levels: 1 error, 2 warning, 3 info, 4 debug, 5 trace; lines above `level` are left out. It
    replaces the one before; None stops the log.
    """
    _callbacks.log(write, level)


def shutdown(timeout: float = 5.0) -> None:
    """Closes every client, listener and server of the process and joins the library's threads.

    Objects made before are closed; new ones can be made. A program need not call it.
    """
    _native.check(_native.lib.qy_shutdown(milliseconds(timeout)))
