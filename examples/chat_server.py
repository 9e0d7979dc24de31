"""A chat with users and rooms, at ws://HOST:PORT/chat?user=NAME. What clients say, in JSON:
{"join": ROOM} {"leave": ROOM} {"room": ROOM, "text": TEXT} {"to": USER, "text": TEXT} {"kick": USER}"""
import contextlib, json, sys, urllib.parse
import qyun

server = qyun.Server(listen=sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:8000")
chat = qyun.Endpoint("/chat", max_message_bytes=4096)
def tell(room, **what):
    with contextlib.suppress(qyun.ChannelNotFound, qyun.Closed):  # everybody has gone
        server.publish(room, json.dumps({"room": room, **what}))

@chat.on_connect
def connect(upgrade):
    user = dict(urllib.parse.parse_qsl(upgrade.query)).get("user")
    if user and not server.connections(user=user):
        return upgrade.accept(id=user, user=user)
    upgrade.refuse(409 if user else 400, "Connect with ?user=NAME, a name that nobody has")

@chat.on_message
def message(connection, data):
    match json.loads(data):
        case {"join": room}:
            connection.join(room)  # a channel that is there while it has members
            tell(room, joined=connection.user)
        case {"leave": room} if connection.leave(room):
            tell(room, left=connection.user)
        case {"room": room, "text": text} if room in connection.channels:
            tell(room, user=connection.user, text=text)
        case {"to": user, "text": text} if server.connections(user=user):
            server.send_to_user(user, json.dumps({"user": connection.user, "text": text}))
        case {"kick": user} if server.connections(user=user):
            server.close_connection(user, 4003, f"kicked by {connection.user}")
        case said:
            connection.send_json({"error": "cannot be done", "said": said})

chat.on_disconnect(lambda who, _: [tell(room, left=who.user) for room in who.channels])
server.handle(chat)
print(f"ws://{server.address}/chat", flush=True)
sys.stdin.read()  # until the input ends, and with it the program and the server
