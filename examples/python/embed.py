"""A program with a Qyun server inside: it publishes without the network, and anything that speaks
HTTP or WebSocket can listen and send. Here the program listens to itself.

    embed.py [HOST:PORT]        (without it: any free port)
"""

from __future__ import annotations

import sys

import qyun


def main(listen: str = "127.0.0.1:0") -> None:
    with qyun.Server(listen=listen) as server, qyun.Client(server.address) as client:
        server.create_channel("news")
        print(f"listening on {server.address}", flush=True)
        with client.subscribe("news") as news:
            server.publish("news", "青云 hello from inside")  # no network
            client.publish("news", "hello over the network")  # acknowledged by the server
            qyun.send_message(server.address, "news", "hello by one call")
            server.publish("news", "bye")
            while (message := news.recv(timeout=10)).text != "bye":
                print(f"{message.channel} {message.offset}: {message.text}")
        client.close()
        server.stop()
        totals = server.counters  # final, now that it is stopped
        print(f"{totals.published} published, {totals.delivered} delivered")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:2])
    except qyun.Error as error:
        sys.exit(f"embed.py: {error}")
