// A member of a channel by the session dialect, with Node's ws.
//
//   session_member.mjs URL CHANNEL   prints its connection's id when it is in the channel, and its socket's
//                                    close code at the end; a line of stdin says how it is to end
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const require = createRequire(`${process.env.QYUN_PEERS_NODE}/`);
const WebSocket = require('ws');
const [url, channel] = process.argv.slice(2);

const socket = new WebSocket(url);
const ask = (action) =>
  socket.send(JSON.stringify({ id: action, type: 'request', action, payload: { channel } }));

let id;
socket.on('message', (text) => {
  const message = JSON.parse(text);
  if (message.data?.event === 'connected') {
    id = message.data.connection_id;
    ask('subscribe');
  } else if (message.type === 'response' && message.id === 'subscribe') {
    console.log(id);
  } else if (message.type === 'error') {
    throw new Error(text);
  }
});
socket.on('close', (code) => {
  console.log(code);
  process.exit();
});

const ends = {
  unsubscribe: () => ask('unsubscribe'),
  close: () => socket.close(1000),
  // The connection ends, and no closing handshake precedes it.
  terminate: () => socket.terminate(),
};
createInterface({ input: process.stdin }).on('line', (how) => ends[how]());
