// A page in Chromium as the client of a program behind a path. Prints what it found as JSON.
//
//   host_browser.mjs URL-OF-THE-PATH
import { createRequire } from 'node:module';

const require = createRequire(`${process.env.QYUN_PEERS_NODE}/`);
const { chromium } = require('playwright-core');
const base = process.argv[2];

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking'],
});
try {
  const page = await browser.newPage();
  await page.goto(`${base.replace('ws:', 'http:').replace('/h', '')}/health`);
  const found = await page.evaluate(async (address) => {
    const connect = (query) =>
      new Promise((resolve) => {
        const socket = new WebSocket(address + query);
        socket.binaryType = 'arraybuffer';
        socket.onopen = () => resolve(socket);
        socket.onclose = (event) => resolve(event.code);
      });
    const refused = await connect('?refuse=403');
    const socket = await connect('?id=page');
    const next = () => new Promise((resolve) => { socket.onmessage = (event) => resolve(event.data); });
    const echo = async (data) => {
      const answer = next();
      socket.send(data);
      return answer;
    };
    const text = await echo('青云');
    const empty = await echo('');
    const bytes = [...new Uint8Array(await echo(new Uint8Array([0, 255, 128]).buffer))];
    const large = (await echo('x'.repeat(200_000))).length;
    const closed = await new Promise((resolve) => {
      socket.onclose = ({ code, reason, wasClean }) => resolve({ code, reason, wasClean });
      socket.send('kick me');
    });
    return { refused, text, empty, bytes, large, closed };
  }, base);
  console.log(JSON.stringify(found));
} finally {
  await browser.close();
}
