"""libqyun through ctypes: where it is found, its functions and structs. Nothing else calls C."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import sys
from ctypes import (
    CFUNCTYPE,
    POINTER,
    c_char_p,
    c_int,
    c_int32,
    c_int64,
    c_size_t,
    c_uint16,
    c_uint32,
    c_uint64,
    c_void_p,
)
from pathlib import Path
from typing import Any, Callable

from ._errors import BY_CODE, AbiMismatch, Error, InvalidUtf8

ABI_VERSION = 1

OK = 0
ERR_TIMEOUT = -11
ERR_CLOSED = -12
ERR_NOT_FOUND = -17
ERR_BUFFER_TOO_SMALL = -23

EVENT_CONNECTED, EVENT_MESSAGE, EVENT_CLOSED, EVENT_ERROR = 1, 2, 3, 4
EVENT_DISCONNECTED, EVENT_PING, EVENT_PONG = 5, 6, 7
OPTIONS_SERVER, OPTIONS_CLIENT, OPTIONS_ENDPOINT = 1, 2, 3
OPTIONS_SOCKET = 4
OPTIONS_CHANNEL = 5
TEXT, BINARY = 1, 2
DELIVER_THREAD, DELIVER_INLINE = 0, 1

LIBRARY_NAME = {"darwin": "libqyun.dylib", "win32": "qyun.dll"}.get(sys.platform, "libqyun.so")


class OptionInfo(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("key", c_char_p),
        ("type", c_char_p),
        ("default_value", c_char_p),
        ("help", c_char_p),
        ("min", c_uint64),
        ("max", c_uint64),
        ("choices", c_char_p),
    ]


class ChannelInfo(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("name", c_void_p),
        ("name_len", c_size_t),
        ("subscribers", c_uint64),
        ("offset", c_uint64),
        ("epoch", c_uint64),
        ("created_ms", c_uint64),
        ("members", c_uint64),
    ]


class ServerCounters(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("connections", c_uint64),
        ("connections_total", c_uint64),
        ("channels", c_uint64),
        ("subscribers", c_uint64),
        ("published", c_uint64),
        ("delivered", c_uint64),
        ("bytes_in", c_uint64),
        ("bytes_out", c_uint64),
        ("closed_slow", c_uint64),
        ("rejected", c_uint64),
        ("queued_bytes", c_uint64),
        ("compressions", c_uint64),
        ("compressed_bytes_in", c_uint64),
        ("compressed_bytes_out", c_uint64),
        ("inflations", c_uint64),
    ]


class ClientCounters(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("received", c_uint64),
        ("published", c_uint64),
        ("dropped", c_uint64),
        ("reconnects", c_uint64),
    ]


class Position(ctypes.Structure):
    _fields_ = [("struct_size", c_size_t), ("epoch", c_uint64), ("offset", c_uint64)]


class PublishOptions(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("key", c_char_p),
        ("key_len", c_size_t),
        ("conflate", c_char_p),
        ("counts", c_int32),
    ]


class PublishResult(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("epoch", c_uint64),
        ("offset", c_uint64),
        ("subscribers", c_uint64),
        ("reached", c_uint64),
        ("queued", c_uint64),
        ("dropped", c_uint64),
        ("status", c_int32),
        ("duplicate", c_int32),
        ("has_counts", c_int32),
    ]


class PublishItem(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("channel", c_char_p),
        ("data", c_char_p),
        ("len", c_size_t),
        ("options", POINTER(PublishOptions)),
        ("kind", c_int32),
        ("error", c_void_p),
        ("error_cap", c_size_t),
    ]


class HistoryRange(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("after", c_uint64),
        ("before", c_uint64),
        ("limit", c_uint32),
        ("backward", c_int32),
    ]


class HistoryInfo(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("epoch", c_uint64),
        ("offset", c_uint64),
        ("first", c_uint64),
        ("more", c_int32),
    ]


class PresenceInfo(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("count", c_uint64),
        ("anonymous", c_uint64),
        ("more", c_int32),
    ]


class Present(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("id", c_void_p),
        ("id_len", c_size_t),
        ("user", c_void_p),
        ("user_len", c_size_t),
        ("connected_ms", c_uint64),
    ]


class Publication(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("offset", c_uint64),
        ("time_ms", c_uint64),
        ("data", c_void_p),
        ("len", c_size_t),
        ("kind", c_int32),
    ]


class Event(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("event", c_int32),
        ("kind", c_int32),
        ("channel", c_void_p),
        ("channel_len", c_size_t),
        ("data", c_void_p),
        ("len", c_size_t),
        ("epoch", c_uint64),
        ("offset", c_uint64),
        ("recovered", c_int32),
        ("edge", c_int32),
        ("user", c_void_p),
        ("user_len", c_size_t),
        ("time_ms", c_uint64),
    ]


class SocketEvent(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("event", c_int32),
        ("kind", c_int32),
        ("data", c_void_p),
        ("len", c_size_t),
        ("code", c_int32),
        ("will_reconnect", c_int32),
    ]


class SocketCounters(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("messages_in", c_uint64),
        ("messages_out", c_uint64),
        ("bytes_in", c_uint64),
        ("bytes_out", c_uint64),
        ("dropped", c_uint64),
        ("unsent", c_uint64),
        ("reconnects", c_uint64),
        ("queued", c_uint64),
    ]


class PacketEvent(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("event", c_int32),
        ("code", c_int32),
        ("by_peer", c_int32),
        ("reason", c_void_p),
        ("reason_len", c_size_t),
    ]


class PacketCounters(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("received", c_uint64),
        ("unhandled", c_uint64),
        ("refused", c_uint64),
        ("displaced", c_uint64),
        ("in_flight", c_uint64),
        ("timed_out", c_uint64),
        ("late", c_uint64),
    ]


class ConnectionInfo(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("serial", c_uint64),
        ("dialect", c_int32),
        ("is_open", c_int32),
        ("connected_ms", c_uint64),
        ("uptime_ms", c_uint64),
        ("bytes_in", c_uint64),
        ("bytes_out", c_uint64),
        ("messages_in", c_uint64),
        ("messages_out", c_uint64),
        ("channels", c_uint64),
    ]


class ConnectionFilter(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("path", c_char_p),
        ("user", c_char_p),
        ("channel", c_char_p),
        ("dialect", c_int64),
    ]


class Closure(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("code", c_int32),
        ("ended_by", c_int32),
        ("reason", c_void_p),
        ("reason_len", c_size_t),
    ]


ORIGIN_CALLBACK = CFUNCTYPE(c_int32, c_void_p, c_void_p, c_size_t, c_void_p)
CONNECTION_CALLBACK = CFUNCTYPE(None, c_void_p, c_void_p)
CONNECTION_PREDICATE = CFUNCTYPE(c_int32, c_void_p, c_void_p)
MESSAGE_CALLBACK = CFUNCTYPE(None, c_void_p, c_int32, c_void_p, c_size_t, c_void_p)
DISCONNECT_CALLBACK = CFUNCTYPE(None, c_void_p, POINTER(Closure), c_void_p)
PING_CALLBACK = CFUNCTYPE(None, c_void_p, c_void_p, c_size_t, c_void_p)
HEADER_VISITOR = CFUNCTYPE(None, c_void_p, c_size_t, c_void_p, c_size_t, c_void_p)
NAME_VISITOR = CFUNCTYPE(None, c_void_p, c_size_t, c_void_p)
USER_VISITOR = CFUNCTYPE(None, c_void_p, c_size_t, c_uint64, c_void_p)


class EndpointCallbacks(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("check_origin", ORIGIN_CALLBACK),
        ("connect", CONNECTION_CALLBACK),
        ("open", CONNECTION_CALLBACK),
        ("message", MESSAGE_CALLBACK),
        ("disconnect", DISCONNECT_CALLBACK),
        ("error", MESSAGE_CALLBACK),
        ("ping", PING_CALLBACK),
        ("pong", CONNECTION_CALLBACK),
    ]


DROP_CALLBACK = CFUNCTYPE(None, c_void_p)
LOG_CALLBACK = CFUNCTYPE(None, c_int32, c_void_p, c_size_t, c_void_p, c_size_t, c_void_p)
LISTEN_CALLBACK = CFUNCTYPE(None, c_int32, c_void_p, c_size_t, c_void_p)
EVENT_CALLBACK = CFUNCTYPE(None, c_void_p, c_void_p)
SOCKET_CALLBACK = CFUNCTYPE(None, c_void_p, c_void_p)
PACKET_CALLBACK = CFUNCTYPE(
    None, c_void_p, c_uint32, c_void_p, c_size_t, c_void_p, c_void_p
)
PACKET_EVENT_CALLBACK = CFUNCTYPE(None, c_void_p, POINTER(PacketEvent), c_void_p)
PULL_CALLBACK = CFUNCTYPE(None, c_void_p, c_uint32, c_void_p)
RESPONSE_CALLBACK = CFUNCTYPE(None, c_int32, c_void_p, c_void_p)
RPC_CALLBACK = CFUNCTYPE(None, c_void_p, c_void_p, c_void_p, c_size_t, c_void_p, c_void_p)
CHANNEL_VISITOR = CFUNCTYPE(None, POINTER(ChannelInfo), c_void_p)


class PacketIdentity(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("uid", c_char_p),
        ("device", c_char_p),
        ("source", c_char_p),
        ("version", c_char_p),
        ("charset", c_char_p),
        ("type", c_uint32),
        ("reserved", c_uint32),
    ]


class PacketClientEvent(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("event", c_int32),
        ("code", c_int32),
        ("will_reconnect", c_int32),
        ("reserved", c_int32),
        ("reason", c_void_p),
        ("reason_len", c_size_t),
        ("old_ip", c_void_p),
        ("old_ip_len", c_size_t),
        ("new_ip", c_void_p),
        ("new_ip_len", c_size_t),
        ("ts", c_int64),
    ]


class PacketClientCounters(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("packets_in", c_uint64),
        ("packets_out", c_uint64),
        ("bytes_in", c_uint64),
        ("bytes_out", c_uint64),
        ("received", c_uint64),
        ("unhandled", c_uint64),
        ("dropped", c_uint64),
        ("unsent", c_uint64),
        ("reconnects", c_uint64),
        ("in_flight", c_uint64),
        ("timed_out", c_uint64),
        ("late", c_uint64),
    ]


PACKET_CLIENT_CALLBACK = CFUNCTYPE(None, c_uint32, c_void_p, c_size_t, c_void_p, c_void_p)
PACKET_CLIENT_EVENT_CALLBACK = CFUNCTYPE(None, POINTER(PacketClientEvent), c_void_p)
PACKET_CLIENT_PULL_CALLBACK = CFUNCTYPE(None, c_uint32, c_void_p)


class SocketCallbacks(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("connected", SOCKET_CALLBACK),
        ("disconnected", SOCKET_CALLBACK),
        ("message", SOCKET_CALLBACK),
        ("error", SOCKET_CALLBACK),
        ("closed", SOCKET_CALLBACK),
        ("ping", SOCKET_CALLBACK),
        ("pong", SOCKET_CALLBACK),
    ]


_OUT = POINTER(c_void_p)
_PUBLISH_WITH = [
    c_char_p, c_int32, c_char_p, c_size_t, POINTER(PublishOptions), POINTER(PublishResult),
]
_PUBLISH_BATCH = [POINTER(PublishItem), c_size_t, POINTER(PublishResult)]
_TEXT_OUT = [c_void_p, c_size_t, POINTER(c_size_t)]

# Return type and argument types of every function this package calls. CDLL releases the GIL
# around each call.
_FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "qy_version": (c_char_p, []),
    "qy_abi_version": (c_uint32, []),
    "qy_abi_check": (c_int32, [c_uint32]),
    "qy_status_name": (c_char_p, [c_int32]),
    "qy_status_text": (c_char_p, [c_int32]),
    "qy_last_error": (c_int32, _TEXT_OUT),
    "qy_set_log_callback": (c_int32, [c_int32, LOG_CALLBACK, c_void_p, DROP_CALLBACK]),
    "qy_shutdown": (c_int32, [c_uint32]),
    "qy_create_channel": (c_int32, [c_char_p, c_char_p]),
    "qy_send_message": (c_int32, [c_char_p, c_char_p, c_char_p]),
    "qy_listen_channel": (c_int32, [c_char_p, c_char_p, LISTEN_CALLBACK, c_void_p]),
    "qy_stop_listening": (c_int32, [c_char_p, c_char_p]),
    "qy_options_new": (c_int32, [c_int32, _OUT]),
    "qy_options_free": (None, [c_void_p]),
    "qy_options_set": (c_int32, [c_void_p, c_char_p, c_char_p]),
    "qy_options_set_int": (c_int32, [c_void_p, c_char_p, c_int64]),
    "qy_options_describe": (c_int32, [c_int32, c_size_t, POINTER(OptionInfo)]),
    "qy_server_start": (c_int32, [c_void_p, _OUT]),
    "qy_server_address": (c_int32, [c_void_p, *_TEXT_OUT]),
    "qy_server_port": (c_int32, [c_void_p, POINTER(c_uint16)]),
    "qy_server_grpc_port": (c_int32, [c_void_p, POINTER(c_uint16)]),
    "qy_server_reload": (c_int32, [c_void_p, c_void_p, *_TEXT_OUT]),
    "qy_server_create_channel": (c_int32, [c_void_p, c_char_p]),
    "qy_server_create_channel_with": (c_int32, [c_void_p, c_char_p, c_void_p]),
    "qy_server_delete_channel": (c_int32, [c_void_p, c_char_p]),
    "qy_server_channel_info": (c_int32, [c_void_p, c_char_p, POINTER(ChannelInfo)]),
    "qy_server_list_channels": (c_int32, [c_void_p, CHANNEL_VISITOR, c_void_p]),
    "qy_server_publish": (
        c_int32,
        [c_void_p, c_char_p, c_int32, c_char_p, c_size_t, POINTER(Position)],
    ),
    "qy_server_counters_get": (c_int32, [c_void_p, POINTER(ServerCounters)]),
    "qy_server_stop": (c_int32, [c_void_p, c_uint32]),
    "qy_server_free": (None, [c_void_p]),
    "qy_server_last_error": (c_int32, [c_void_p, *_TEXT_OUT]),
    "qy_client_open": (c_int32, [c_char_p, c_void_p, _OUT]),
    "qy_client_wait_connected": (c_int32, [c_void_p, c_uint32]),
    "qy_client_state": (c_int32, [c_void_p, POINTER(c_int32)]),
    "qy_client_counters_get": (c_int32, [c_void_p, POINTER(ClientCounters)]),
    "qy_client_create_channel": (c_int32, [c_void_p, c_char_p]),
    "qy_client_create_channel_with": (c_int32, [c_void_p, c_char_p, c_void_p, c_char_p]),
    "qy_client_delete_channel": (c_int32, [c_void_p, c_char_p]),
    "qy_server_publish_with": (c_int32, [c_void_p, *_PUBLISH_WITH]),
    "qy_server_publish_batch": (c_int32, [c_void_p, *_PUBLISH_BATCH]),
    "qy_client_publish_with": (c_int32, [c_void_p, *_PUBLISH_WITH]),
    "qy_client_publish_batch": (c_int32, [c_void_p, *_PUBLISH_BATCH]),
    "qy_send_message_with": (c_int32, [c_char_p, *_PUBLISH_WITH]),
    "qy_send_batch": (c_int32, [c_char_p, *_PUBLISH_BATCH]),
    "qy_client_publish": (
        c_int32,
        [c_void_p, c_char_p, c_int32, c_char_p, c_size_t, POINTER(Position)],
    ),
    "qy_client_publish_nowait": (
        c_int32,
        [c_void_p, c_char_p, c_int32, c_char_p, c_size_t],
    ),
    "qy_client_subscribe": (
        c_int32,
        [c_void_p, c_char_p, c_int32, EVENT_CALLBACK, c_void_p, DROP_CALLBACK, _OUT],
    ),
    "qy_client_subscribe_since": (
        c_int32,
        [
            c_void_p, c_char_p, POINTER(Position), c_int32, EVENT_CALLBACK, c_void_p,
            DROP_CALLBACK, _OUT,
        ],
    ),
    "qy_client_subscribe_pattern": (
        c_int32,
        [c_void_p, c_char_p, c_int32, EVENT_CALLBACK, c_void_p, DROP_CALLBACK, _OUT],
    ),
    "qy_client_subscribe_presence": (
        c_int32,
        [c_void_p, c_char_p, c_int32, EVENT_CALLBACK, c_void_p, DROP_CALLBACK, _OUT],
    ),
    "qy_client_presence": (c_int32, [c_void_p, c_char_p, c_char_p, c_uint32, _OUT]),
    "qy_server_presence": (c_int32, [c_void_p, c_char_p, c_char_p, c_uint32, _OUT]),
    "qy_presence_info_get": (c_int32, [c_void_p, POINTER(PresenceInfo)]),
    "qy_presence_count": (c_size_t, [c_void_p]),
    "qy_presence_members": (c_void_p, [c_void_p]),
    "qy_presence_free": (None, [c_void_p]),
    "qy_client_history": (c_int32, [c_void_p, c_char_p, POINTER(HistoryRange), _OUT]),
    "qy_server_history": (c_int32, [c_void_p, c_char_p, POINTER(HistoryRange), _OUT]),
    "qy_history_info_get": (c_int32, [c_void_p, POINTER(HistoryInfo)]),
    "qy_history_count": (c_size_t, [c_void_p]),
    "qy_history_publications": (c_void_p, [c_void_p]),
    "qy_history_free": (None, [c_void_p]),
    "qy_client_last_error": (c_int32, [c_void_p, *_TEXT_OUT]),
    "qy_client_close": (c_int32, [c_void_p]),
    "qy_client_free": (None, [c_void_p]),
    "qy_subscription_recv_many": (c_int32, [c_void_p, c_size_t, c_uint32, _OUT]),
    "qy_batch_count": (c_size_t, [c_void_p]),
    "qy_batch_events": (c_void_p, [c_void_p]),
    "qy_batch_free": (None, [c_void_p]),
    "qy_subscription_fd": (c_int32, [c_void_p, POINTER(c_int)]),
    "qy_subscription_dropped": (c_int32, [c_void_p, POINTER(c_uint64)]),
    "qy_subscription_close": (c_int32, [c_void_p]),
    "qy_subscription_close_wait": (c_int32, [c_void_p, c_uint32]),
    "qy_subscription_free": (None, [c_void_p]),
    "qy_server_is_running": (c_int32, [c_void_p, POINTER(c_int32)]),
    "qy_server_handle": (
        c_int32,
        [
            c_void_p,
            c_char_p,
            c_void_p,
            POINTER(EndpointCallbacks),
            c_int32,
            c_void_p,
            DROP_CALLBACK,
        ],
    ),
    "qy_server_unhandle": (c_int32, [c_void_p, c_char_p]),
    "qy_server_unhandle_wait": (c_int32, [c_void_p, c_char_p, c_uint32]),
    "qy_upgrade_clone": (c_int32, [c_void_p, _OUT]),
    "qy_upgrade_free": (None, [c_void_p]),
    "qy_upgrade_accept": (c_int32, [c_void_p, c_char_p, c_char_p]),
    "qy_upgrade_refuse": (c_int32, [c_void_p, c_uint16, c_char_p]),
    "qy_upgrade_remote": (c_int32, [c_void_p, *_TEXT_OUT]),
    "qy_upgrade_path": (c_int32, [c_void_p, *_TEXT_OUT]),
    "qy_upgrade_query": (c_int32, [c_void_p, *_TEXT_OUT]),
    "qy_upgrade_list_headers": (c_int32, [c_void_p, HEADER_VISITOR, c_void_p]),
    "qy_connection_remote": (c_int32, [c_void_p, *_TEXT_OUT]),
    "qy_connection_path": (c_int32, [c_void_p, *_TEXT_OUT]),
    "qy_connection_query": (c_int32, [c_void_p, *_TEXT_OUT]),
    "qy_connection_list_headers": (c_int32, [c_void_p, HEADER_VISITOR, c_void_p]),
    "qy_connection_info_get": (c_int32, [c_void_p, POINTER(ConnectionInfo)]),
    "qy_connection_is_open": (c_int32, [c_void_p, POINTER(c_int32)]),
    "qy_connection_send": (c_int32, [c_void_p, c_int32, c_char_p, c_size_t]),
    "qy_connection_close": (c_int32, [c_void_p, c_uint16, c_char_p]),
    "qy_connection_user": (c_int32, [c_void_p, *_TEXT_OUT]),
    "qy_connection_bind": (c_int32, [c_void_p, c_char_p]),
    "qy_connection_unbind": (c_int32, [c_void_p]),
    "qy_connection_join": (c_int32, [c_void_p, c_char_p, c_int32]),
    "qy_connection_leave": (c_int32, [c_void_p, c_char_p]),
    "qy_connection_list_channels": (c_int32, [c_void_p, NAME_VISITOR, c_void_p]),
    "qy_connection_set": (c_int32, [c_void_p, c_char_p, c_char_p, c_size_t]),
    "qy_connection_get": (
        c_int32,
        [c_void_p, c_char_p, c_void_p, c_size_t, POINTER(c_size_t)],
    ),
    "qy_connection_remove": (c_int32, [c_void_p, c_char_p]),
    "qy_connection_increment": (c_int32, [c_void_p, c_char_p, c_int64, POINTER(c_int64)]),
    "qy_server_find_connection": (c_int32, [c_void_p, c_char_p, _OUT]),
    "qy_server_list_connections": (
        c_int32,
        [
            c_void_p,
            POINTER(ConnectionFilter),
            c_char_p,
            c_size_t,
            CONNECTION_CALLBACK,
            c_void_p,
        ],
    ),
    "qy_server_count_connections": (
        c_int32,
        [c_void_p, POINTER(ConnectionFilter), POINTER(c_uint64)],
    ),
    "qy_server_send_to": (c_int32, [c_void_p, c_char_p, c_int32, c_char_p, c_size_t]),
    "qy_server_send_to_user": (
        c_int32,
        [c_void_p, c_char_p, c_int32, c_char_p, c_size_t, POINTER(c_uint64)],
    ),
    "qy_server_broadcast": (
        c_int32,
        [c_void_p, c_char_p, c_int32, c_char_p, c_size_t, POINTER(c_uint64)],
    ),
    "qy_server_send_where": (
        c_int32,
        [
            c_void_p,
            POINTER(ConnectionFilter),
            CONNECTION_PREDICATE,
            c_void_p,
            c_int32,
            c_char_p,
            c_size_t,
            POINTER(c_uint64),
        ],
    ),
    "qy_server_close_connection": (c_int32, [c_void_p, c_char_p, c_uint16, c_char_p]),
    "qy_server_bind_user": (c_int32, [c_void_p, c_char_p, c_char_p]),
    "qy_server_unbind_user": (c_int32, [c_void_p, c_char_p]),
    "qy_server_list_users": (
        c_int32,
        [c_void_p, c_char_p, c_size_t, USER_VISITOR, c_void_p],
    ),
    "qy_server_count_users": (c_int32, [c_void_p, POINTER(c_uint64)]),
    "qy_server_list_members": (c_int32, [c_void_p, c_char_p, CONNECTION_CALLBACK, c_void_p]),
    "qy_connection_clone": (c_int32, [c_void_p, _OUT]),
    "qy_connection_free": (None, [c_void_p]),
    "qy_connection_id": (c_int32, [c_void_p, *_TEXT_OUT]),
    "qy_reply_clone": (c_int32, [c_void_p, _OUT]),
    "qy_reply_send": (c_int32, [c_void_p, c_uint32, c_char_p, c_size_t]),
    "qy_reply_free": (None, [c_void_p]),
    "qy_response_protocol": (c_uint32, [c_void_p]),
    "qy_response_data": (c_void_p, [c_void_p]),
    "qy_response_len": (c_size_t, [c_void_p]),
    "qy_response_free": (None, [c_void_p]),
    "qy_server_on_packet": (
        c_int32,
        [c_void_p, c_uint32, c_int32, PACKET_CALLBACK, c_void_p, DROP_CALLBACK],
    ),
    "qy_server_on_packet_event": (
        c_int32,
        [c_void_p, c_int32, PACKET_EVENT_CALLBACK, c_void_p, DROP_CALLBACK],
    ),
    "qy_server_on_pull": (
        c_int32,
        [c_void_p, c_uint32, PULL_CALLBACK, c_void_p, DROP_CALLBACK],
    ),
    "qy_server_packet_counters": (c_int32, [c_void_p, POINTER(PacketCounters)]),
    "qy_connection_packet_identity": (c_int32, [c_void_p, c_char_p, *_TEXT_OUT]),
    "qy_connection_send_packet": (c_int32, [c_void_p, c_uint32, c_char_p, c_size_t]),
    "qy_connection_request": (
        c_int32,
        [c_void_p, c_uint32, c_char_p, c_size_t, c_uint32, _OUT],
    ),
    "qy_connection_request_async": (
        c_int32,
        [
            c_void_p, c_uint32, c_char_p, c_size_t, c_uint32, c_int32, RESPONSE_CALLBACK,
            c_void_p, DROP_CALLBACK,
        ],
    ),
    "qy_connection_signal_pull": (c_int32, [c_void_p, c_uint32]),
    "qy_server_on_rpc": (
        c_int32,
        [c_void_p, c_char_p, c_int32, RPC_CALLBACK, c_void_p, DROP_CALLBACK],
    ),
    "qy_rpc_reply_clone": (c_int32, [c_void_p, _OUT]),
    "qy_rpc_reply_result": (c_int32, [c_void_p, c_char_p, c_size_t]),
    "qy_rpc_reply_error": (c_int32, [c_void_p, c_char_p, c_char_p]),
    "qy_rpc_reply_free": (None, [c_void_p]),
    "qy_packet_client_open": (
        c_int32, [c_char_p, POINTER(PacketIdentity), c_void_p, _OUT],
    ),
    "qy_packet_client_on_packet": (
        c_int32,
        [c_void_p, c_uint32, c_int32, PACKET_CLIENT_CALLBACK, c_void_p, DROP_CALLBACK],
    ),
    "qy_packet_client_on_event": (
        c_int32, [c_void_p, c_int32, PACKET_CLIENT_EVENT_CALLBACK, c_void_p, DROP_CALLBACK],
    ),
    "qy_packet_client_on_pull": (
        c_int32, [c_void_p, c_uint32, PACKET_CLIENT_PULL_CALLBACK, c_void_p, DROP_CALLBACK],
    ),
    "qy_packet_client_connect": (c_int32, [c_void_p, c_uint32]),
    "qy_packet_client_disconnect": (c_int32, [c_void_p, c_int32, c_char_p]),
    "qy_packet_client_state": (c_int32, [c_void_p, POINTER(c_int32)]),
    "qy_packet_client_counters_get": (c_int32, [c_void_p, POINTER(PacketClientCounters)]),
    "qy_packet_client_last_error": (c_int32, [c_void_p, *_TEXT_OUT]),
    "qy_packet_client_send": (c_int32, [c_void_p, c_uint32, c_char_p, c_size_t]),
    "qy_packet_client_request": (
        c_int32, [c_void_p, c_uint32, c_char_p, c_size_t, c_uint32, _OUT],
    ),
    "qy_packet_client_request_async": (
        c_int32,
        [
            c_void_p, c_uint32, c_char_p, c_size_t, c_uint32, c_int32, RESPONSE_CALLBACK,
            c_void_p, DROP_CALLBACK,
        ],
    ),
    "qy_packet_client_signal_pull": (c_int32, [c_void_p, c_uint32]),
    "qy_packet_client_set": (c_int32, [c_void_p, c_char_p, c_char_p, c_size_t]),
    "qy_packet_client_get": (
        c_int32, [c_void_p, c_char_p, c_void_p, c_size_t, POINTER(c_size_t)],
    ),
    "qy_packet_client_remove": (c_int32, [c_void_p, c_char_p]),
    "qy_packet_client_increment": (c_int32, [c_void_p, c_char_p, c_int64, POINTER(c_int64)]),
    "qy_packet_client_close": (c_int32, [c_void_p]),
    "qy_packet_client_close_wait": (c_int32, [c_void_p, c_uint32]),
    "qy_packet_client_free": (None, [c_void_p]),
    "qy_socket_open": (
        c_int32,
        [
            c_char_p, c_void_p, c_int32, POINTER(SocketCallbacks), c_void_p, DROP_CALLBACK, _OUT,
        ],
    ),
    "qy_socket_connect": (c_int32, [c_void_p, c_uint32]),
    "qy_socket_disconnect": (c_int32, [c_void_p, c_int32, c_char_p]),
    "qy_socket_state": (c_int32, [c_void_p, POINTER(c_int32)]),
    "qy_socket_counters_get": (c_int32, [c_void_p, POINTER(SocketCounters)]),
    "qy_socket_send": (c_int32, [c_void_p, c_int32, c_char_p, c_size_t]),
    "qy_socket_send_json": (c_int32, [c_void_p, c_char_p, c_size_t]),
    "qy_socket_ping": (c_int32, [c_void_p, c_char_p, c_size_t]),
    "qy_socket_recv": (c_int32, [c_void_p, c_size_t, c_uint32, _OUT]),
    "qy_socket_batch_count": (c_size_t, [c_void_p]),
    "qy_socket_batch_events": (c_void_p, [c_void_p]),
    "qy_socket_batch_free": (None, [c_void_p]),
    "qy_socket_fd": (c_int32, [c_void_p, POINTER(c_int)]),
    "qy_socket_last_error": (c_int32, [c_void_p, *_TEXT_OUT]),
    "qy_socket_close": (c_int32, [c_void_p]),
    "qy_socket_close_wait": (c_int32, [c_void_p, c_uint32]),
    "qy_socket_free": (None, [c_void_p]),
}


def _candidates() -> list[str]:
    bundled = Path(__file__).with_name(LIBRARY_NAME)
    if bundled.is_file():
        return [str(bundled)]
    named = os.environ.get("QYUN_LIBRARY")
    if named:
        return [named]
    found = ctypes.util.find_library("qyun")
    return [found] if found else []


def _load() -> ctypes.CDLL:
    candidates = _candidates()
    if not candidates:
        raise ImportError(
            f"qyun: no {LIBRARY_NAME}: not in {Path(__file__).parent}, QYUN_LIBRARY is not set, "
            "and the system has none"
        )
    path = candidates[0]
    try:
        library = ctypes.CDLL(path)
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(library, name)
            function.restype = result
            function.argtypes = arguments
    except (OSError, AttributeError) as error:
        raise ImportError(f"qyun: cannot use {path}: {error}") from error
    if library.qy_abi_check(ABI_VERSION) != OK:
        raise AbiMismatch(
            f"qyun: {path} has ABI version {library.qy_abi_version()}, this package needs "
            f"{ABI_VERSION}; install the two together"
        )
    return library


lib = _load()

#: Converts an address and a length to bytes: one C call without ctypes.string_at's Python layer.
bytes_at: Callable[[int, int], bytes] = ctypes.PYFUNCTYPE(
    ctypes.py_object, c_void_p, ctypes.c_ssize_t
)(("PyBytes_FromStringAndSize", ctypes.pythonapi))


def text_of(function: Any, *handle: Any) -> str:
    """Reads a text through a C function of the form (…, buffer, capacity, needed)."""
    size = 512
    while True:
        buffer = ctypes.create_string_buffer(size)
        needed = c_size_t()
        status = function(*handle, buffer, size, ctypes.byref(needed))
        if status != ERR_BUFFER_TOO_SMALL or needed.value <= size:
            return buffer.value.decode("utf-8", "replace")
        size = needed.value


def error(status: int) -> Error:
    """The exception for a failed call. Call it on the same thread, right after the C function."""
    text = text_of(lib.qy_last_error)
    if not text:
        text = lib.qy_status_text(status).decode("utf-8", "replace")
    return BY_CODE.get(status, Error)(text, status)


def check(status: int) -> None:
    """Raises unless `status` is success."""
    if status != OK:
        raise error(status)


def name_of(text: str, what: str, refuse: type[Error]) -> bytes:
    """`text` as a C string."""
    if not isinstance(text, str):
        raise TypeError(f"{what} must be str, not {type(text).__name__}")
    raw = utf8(text, what)
    if b"\0" in raw:
        raise refuse(f"{what} {text!r} has a NUL inside; leave it out")
    return raw


def utf8(text: str, what: str) -> bytes:
    """`text` as UTF-8; a lone surrogate has none."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidUtf8(f"{what} {text!r} is not Unicode text: {error.reason}") from None
