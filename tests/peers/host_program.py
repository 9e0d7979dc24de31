"""A program behind /h, for test_host.py: it does what it reads and tells what it hears, in lines of JSON.

usage: host_program.py OPTIONS-OF-THE-ENDPOINT-IN-JSON
"""

import contextlib
import json
import sys
import urllib.parse

import qyun

# Room for what a client does not take, so that it is the time that ends it.
server = qyun.Server(listen="127.0.0.1:0", queue_bytes=100_000_000)
endpoint = qyun.Endpoint("/h", **json.loads(sys.argv[1]))


def tell(**what):
    print(json.dumps(what), flush=True)


@endpoint.check_origin
def check_origin(upgrade, origin):
    return origin in ("https://good.example", f"http://127.0.0.1:{server.port}")


@endpoint.on_connect
def connect(upgrade):
    query = dict(urllib.parse.parse_qsl(upgrade.query))
    if "refuse" in query:
        return upgrade.refuse(int(query["refuse"]), "Not you")
    upgrade.accept(id=query.get("id"), user=query.get("user"))


@endpoint.on_open
def opened(connection):
    tell(event="open", id=connection.id, agent=connection.user_agent, remote=connection.remote)


@endpoint.on_message
def message(connection, data):
    if data == "kick me":
        return connection.close(4002, "as you wish")
    connection.send(data)


@endpoint.on_error
def failed(connection, error):
    tell(event="error", id=connection.id, kind=type(error).__name__)


@endpoint.on_disconnect
def disconnect(connection, closure):
    tell(event="gone", id=connection.id, code=closure.code, by=closure.by.name)


@endpoint.on_pong
def pong(connection):
    tell(event="pong", id=connection.id)


server.handle(endpoint)
tell(event="listening", port=server.port)
for line in sys.stdin:
    name, *arguments = json.loads(line)
    if name == "flood":
        # It may be cut before the end.
        with contextlib.suppress(qyun.NotFound, qyun.Closed):
            for _ in range(arguments[1]):
                server.send_to(arguments[0], b"x" * 1_000_000)
        tell(event="done", answer=None)
        continue
    if name == "where":  # whose id is behind this one
        name, arguments = "send_where", [lambda c, after=arguments[0]: c.id > after, arguments[1]]
    if name in ("join", "send_json"):
        target = server.connection(arguments.pop(0))
    else:
        target = server
    answer = getattr(target, name)(*arguments)
    tell(event="done", answer=answer if isinstance(answer, (int, str, type(None))) else None)
server.stop()
