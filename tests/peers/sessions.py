"""A client of the session dialect, written from its description alone, with Python's websockets."""

from __future__ import annotations

import json
import uuid
from typing import Any

from websockets.sync.client import ClientConnection

#: Seconds that anything may take.
PATIENCE = 20


def connected(text: str | bytes) -> str:
    """The id in the first message of a connection, which is exactly this one."""
    assert isinstance(text, str)
    start, end = '{"type":"notification","data":{"event":"connected","connection_id":"', '"}}'
    assert text.startswith(start) and text.endswith(end)
    name = text[len(start) : -len(end)]
    assert str(uuid.UUID(name)) == name
    return name


class Client:
    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.id = connected(socket.recv(PATIENCE))

    def receive(self) -> Any:
        return json.loads(self.socket.recv(PATIENCE))

    def ask(self, action: str, **payload: Any) -> Any:
        """The data of the response, which comes next."""
        request = {"id": action, "type": "request", "action": action, "payload": payload}
        self.socket.send(json.dumps(request))
        answer = self.receive()
        assert (answer["id"], answer["type"]) == (action, "response"), answer
        return answer["data"]

    def told(self) -> Any:
        """The data of the notification that comes next."""
        message = self.receive()
        assert message["type"] == "notification", message
        return message["data"]
