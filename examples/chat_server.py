"""A chat with users and rooms, at ws://HOST:PORT/chat?user=NAME. What clients say:
/join ROOM, /leave ROOM, /say ROOM TEXT, /to USER TEXT, /kick USER"""
import contextlib, sys, urllib.parse
import qyun

server = qyun.Server(listen=sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:8000")
chat = qyun.Endpoint("/chat", max_message_bytes=4096)

def tell(room, what):
    with contextlib.suppress(qyun.Error):  # it fails only when everybody has gone
        server.publish(room, f"{room}: {what}")

@chat.on_connect
def connect(upgrade):
    user = dict(urllib.parse.parse_qsl(upgrade.query)).get("user")
    if user and not server.connections(user=user):
        return upgrade.accept(id=user, user=user)
    upgrade.refuse(409 if user else 400, "Connect with ?user=NAME, a name that nobody has")

@chat.on_message
def message(connection, line):
    me, (verb, name, text, *_) = connection.user, [*str(line).split(" ", 2), "", ""]
    if verb == "/join" and name:
        connection.join(name)  # a channel that is there while it has members
        tell(name, f"{me} joined")
    elif verb == "/leave" and connection.leave(name):
        tell(name, f"{me} left")
    elif verb == "/say" and name in connection.channels:
        tell(name, f"<{me}> {text}")
    elif verb == "/kick" and server.send_to_user(name, f"{me} kicks you"):
        [one.close(4003, "kicked") for one in server.connections(user=name)]
    elif verb != "/to" or not server.send_to_user(name, f"<{me}> {text}"):
        connection.send(f"? {line}")

chat.on_disconnect(lambda who, _: [tell(room, f"{who.user} left") for room in who.channels])
server.handle(chat)
print(f"ws://{server.address}/chat", flush=True)
sys.stdin.read()  # until the input ends, and with it the program and the server
