"""The channel dialect on FastAPI and uvicorn: uvloop, httptools, no access log, no compression.

Prints {"address": "HOST:PORT"} and serves until it is ended.
"""

import json
import socket

import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from fastapi.responses import JSONResponse

app = FastAPI(openapi_url=None)
channels: dict[str, set[WebSocket]] = {}


def error(code: int, message: str) -> JSONResponse:
    return JSONResponse({"status": "error", "message": message}, code)


@app.get("/channel/create/{name}")
async def create(name: str):
    if name in channels:
        return error(400, "Channel already exists")
    channels[name] = set()
    return JSONResponse({"status": "success", "message": f"Channel '{name}' created"})


@app.get("/channel/send/{name}/{message}")
async def send(name: str, message: str):
    if name not in channels:
        return error(404, "Channel not found")
    for listener in tuple(channels[name]):
        await listener.send_text(message)
    return JSONResponse({"status": "success", "message": "Message broadcasted"})


@app.delete("/channel/{name}")
async def remove(name: str):
    if channels.pop(name, None) is None:
        return error(404, "Channel not found")
    return JSONResponse({"status": "success", "message": "Channel deleted"})


@app.websocket("/channel/listen/{name}")
async def listen(listener: WebSocket, name: str):
    channel = channels.get(name)
    if channel is None:
        await listener.close()
        return
    await listener.accept()
    channel.add(listener)
    try:
        while True:
            await listener.receive_text()
    except WebSocketDisconnect:
        pass
    finally:
        channel.discard(listener)


if __name__ == "__main__":
    listening = socket.create_server(("127.0.0.1", 0), backlog=4096)
    print(json.dumps({"address": "127.0.0.1:%d" % listening.getsockname()[1]}), flush=True)
    config = uvicorn.Config(app, loop="uvloop", http="httptools", ws="websockets-sansio", lifespan="off",
                            access_log=False, log_level="error", ws_per_message_deflate=False,
                            ws_ping_interval=None, backlog=4096)
    uvicorn.Server(config).run(sockets=[listening])
