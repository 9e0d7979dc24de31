// The channel dialect on Bun: its own router, and publish/subscribe of its WebSockets, which is
// uWebSockets' in C++.
//
// Prints {"address":"HOST:PORT"} and serves until it is ended.

const channels = new Set<string>();

function json(body: object, status = 200) {
  return Response.json(body, { status });
}

const missing = () => json({ status: "error", message: "Channel not found" }, 404);

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  routes: {
    "/channel/create/:name": (request) => {
      const { name } = request.params;
      if (channels.has(name)) {
        return json({ status: "error", message: "Channel already exists" }, 400);
      }
      channels.add(name);
      return json({ status: "success", message: `Channel '${name}' created` });
    },
    "/channel/send/:name/:message": (request, server) => {
      const { name, message } = request.params;
      if (!channels.has(name)) return missing();
      server.publish(name, message);
      return json({ status: "success", message: "Message broadcasted" });
    },
    "/channel/listen/:name": (request, server) => {
      const { name } = request.params;
      if (!channels.has(name)) return new Response("", { status: 403 });
      if (!server.upgrade(request, { data: { name } })) {
        return new Response("", { status: 400 });
      }
    },
    "/channel/:name": {
      DELETE: (request) =>
        channels.delete(request.params.name) ? json({ status: "success" }) : missing(),
    },
  },
  websocket: {
    // Off: what costs something and is not measured. A subscriber may have as much waiting as the
    // load generator ever has in flight, so that nothing is dropped.
    perMessageDeflate: false,
    idleTimeout: 0,
    sendPings: false,
    backpressureLimit: 256 << 20,
    open(socket) {
      socket.subscribe(socket.data.name);
    },
    message() {},
  },
});

console.log(JSON.stringify({ address: `127.0.0.1:${server.port}` }));
