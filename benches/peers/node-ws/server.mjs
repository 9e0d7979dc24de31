// The channel dialect on Node's http server and `ws`: a loop over the channel's sockets.
//
// Prints {"address":"HOST:PORT"} and serves until it is ended.

import { createServer } from "node:http";
import { WebSocketServer } from "ws";

const channels = new Map();
const sockets = new WebSocketServer({
  noServer: true,
  perMessageDeflate: false,
  clientTracking: false,
});

function answer(response, code, status, message) {
  const body = JSON.stringify({ status, message });
  response.writeHead(code, {
    "Content-Type": "application/json",
    "Content-Length": Buffer.byteLength(body),
  });
  response.end(body);
}

const missing = (response) => answer(response, 404, "error", "Channel not found");

// A message in a URL may have 64 KiB.
const server = createServer({ maxHeaderSize: 128 << 10 }, (request, response) => {
  const [, root, verb, name, message] = request.url.split("/").map(decodeURIComponent);
  if (root !== "channel") return answer(response, 404, "error", "No such path");
  if (request.method === "DELETE") {
    if (!channels.delete(verb)) return missing(response);
    return answer(response, 200, "success", "Channel deleted");
  }
  const channel = channels.get(name);
  if (verb === "create") {
    if (channel) return answer(response, 400, "error", "Channel already exists");
    channels.set(name, new Set());
    return answer(response, 200, "success", `Channel '${name}' created`);
  }
  if (verb !== "send" || !channel) return missing(response);
  // A buffer, so that the text is encoded once.
  const data = Buffer.from(message);
  for (const socket of channel) socket.send(data, { binary: false });
  answer(response, 200, "success", "Message broadcasted");
});

server.on("upgrade", (request, socket, head) => {
  const [, , verb, name] = request.url.split("/").map(decodeURIComponent);
  const channel = channels.get(name);
  if (verb !== "listen" || !channel) {
    socket.end("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
    return;
  }
  sockets.handleUpgrade(request, socket, head, (client) => {
    channel.add(client);
    client.on("error", () => {});
    client.on("close", () => channel.delete(client));
  });
});

server.keepAliveTimeout = 0;
server.listen({ host: "127.0.0.1", port: 0, backlog: 4096 }, () => {
  console.log(JSON.stringify({ address: `127.0.0.1:${server.address().port}` }));
});
