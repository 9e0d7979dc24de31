// The session dialect with standard WebSockets: Node's `ws`, or a page in Chromium.
//
//   session_client.mjs ws|chromium PAGE   reads { url, messages } from stdin, prints the transcript
import { createRequire } from 'node:module';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

// Runs in the page as well: it uses nothing from outside. What each client heard, line by line.
async function contract(WebSocket, { url, messages }) {
  const open = () =>
    new Promise((resolve, reject) => {
      const socket = new WebSocket(url);
      socket.binaryType = 'arraybuffer';
      const heard = [];
      let changed = () => {};
      socket.onmessage = ({ data }) => {
        heard.push(typeof data === 'string' ? data : 'binary');
        changed();
      };
      const hear = async () => {
        while (heard.length === 0) await new Promise((done) => (changed = done));
        return heard.shift();
      };
      const say = (message) => socket.send(message);
      const ask = (id, action, payload) => {
        say(JSON.stringify({ id, type: 'request', action, payload }));
        return hear();
      };
      socket.onerror = () => reject(new Error('no connection'));
      socket.onopen = () => resolve({ socket, hear, say, ask });
    });
  const log = [];
  const a = await open();
  log.push(await a.hear());
  const b = await open();
  log.push(await b.hear());

  // What must exist.
  log.push(await a.ask('msg-123', 'echo', { message: 'Hello' }));
  const echoed = [];
  for (const [n, message] of messages.entries()) {
    echoed.push(JSON.parse(await a.ask(n, 'echo', { message })));
  }
  log.push(await b.ask(7, 'get_connections', {}));
  log.push(await b.ask('b', 'broadcast', { message: 'to all' }), await b.hear(), await a.hear());

  // What goes wrong.
  for (const bad of ['{"id":', 'no json', '{"id":"x","type":"request","action":"dance"}', '{"id":1}']) {
    a.say(bad);
    log.push(await a.hear());
  }
  a.say(new Uint8Array([1, 2, 3]));
  log.push(await a.hear());

  // Channels: many requests at once, then what they brought.
  for (const [id, action, payload] of [
    [1, 'create', { channel: 'peers' }],
    [2, 'subscribe', { channel: 'peers' }],
    [3, 'publish', { channel: 'peers', message: '你好' }],
    [4, 'publish', { channel: 'peers', message: 'AP8=', encoding: 'base64' }],
    [5, 'presence', { channel: 'peers' }],
    [6, 'connections', { limit: 1000 }],
    [7, 'rpc', { method: 'none', params: [] }],
    [8, 'unsubscribe', { channel: 'peers' }],
    [9, 'subscribe', { channel: 'peers' }],
    [10, 'delete', { channel: 'peers' }],
    [11, 'ping'],
  ]) {
    a.say(JSON.stringify({ id, type: 'request', action, payload }));
  }
  for (let left = 14; left > 0; left -= 1) log.push(await a.hear());

  const codes = [];
  for (const { socket } of [a, b]) {
    const closed = new Promise((done) => (socket.onclose = ({ code }) => done(code)));
    socket.close(1000);
    codes.push(await closed);
  }
  return { log, echoed, codes };
}

const require = createRequire(`${process.env.QYUN_PEERS_NODE}/`);
const [where, address] = process.argv.slice(2);
const input = JSON.parse(readFileSync(0, 'utf8'));
if (where === 'ws') {
  console.log(JSON.stringify(await contract(require('ws'), input)));
} else {
  const { chromium } = require('playwright-core');
  const profile = mkdtempSync(join(tmpdir(), 'qyun-chromium-'));
  const browser = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    headless: true,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
  try {
    const page = browser.pages()[0] ?? (await browser.newPage());
    await page.goto(address);
    const output = await page.evaluate(`(${contract})(WebSocket, ${JSON.stringify(input)})`);
    console.log(JSON.stringify(output));
  } finally {
    await browser.close();
    rmSync(profile, { recursive: true, force: true });
  }
}
