// Node's `ws`. Messages are written and read as lines: "text HEX" or "binary HEX".
//
//   ws_client.mjs listen URL COUNT   "ready", then COUNT messages
//   ws_client.mjs send URL           what stdin says, then a close
//   ws_client.mjs agree URL COUNT    the extensions agreed on, then as listen, then the bytes read in all
import { createInterface } from 'node:readline';
import { createRequire } from 'node:module';

const require = createRequire(`${process.env.QYUN_PEERS_NODE}/`);
const WebSocket = require('ws');
const [mode, url, count] = process.argv.slice(2);
const socket = new WebSocket(url, mode === 'send' ? 'sender-protocol' : 'channel-protocol');

socket.on('unexpected-response', (request, response) => {
  console.log(`refused ${response.statusCode}`);
  process.exit(3);
});
socket.on('error', (error) => {
  console.error(error);
  process.exit(1);
});
// Not process.exit(), which throws away what stdout has not written yet.
socket.on('close', (code) => {
  process.exitCode = code === 1000 ? 0 : 1;
  process.stdin.destroy();
});

if (mode !== 'send') {
  let left = Number(count);
  socket.on('open', () => console.log(mode === 'listen' ? 'ready' : socket.extensions));
  socket.on('message', (data, isBinary) => {
    console.log(`${isBinary ? 'binary' : 'text'} ${data.toString('hex')}`);
    left -= 1;
    if (left > 0) return;
    if (mode === 'agree') console.log(socket._socket.bytesRead);
    socket.close(1000);
  });
} else {
  socket.on('open', async () => {
    for await (const line of createInterface({ input: process.stdin })) {
      const [kind, hex] = line.split(' ');
      socket.send(Buffer.from(hex, 'hex'), { binary: kind === 'binary' });
    }
    socket.close(1000);
  });
}
