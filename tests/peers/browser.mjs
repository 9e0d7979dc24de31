// Chromium: a page listens and sends with WebSocket and fetch. Reads one JSON object from stdin,
// { page, server, path, messages }, and prints what the page received as another.
import { createRequire } from 'node:module';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const require = createRequire(`${process.env.QYUN_PEERS_NODE}/`);
const { chromium } = require('playwright-core');
const input = JSON.parse(readFileSync(0, 'utf8'));
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
  await page.goto(input.page);
  const output = await page.evaluate(async ({ server, path, messages }) => {
    const open = (url, protocol) =>
      new Promise((resolve, reject) => {
        const socket = new WebSocket(`ws://${server}${url}`, protocol);
        socket.binaryType = 'arraybuffer';
        socket.onopen = () => resolve(socket);
        socket.onclose = (event) => reject(new Error(`closed with ${event.code}`));
      });
    const listener = await open(`/channel/listen/${path}`, ['channel-protocol', 'other']);
    const received = [];
    let changed = () => {};
    listener.onmessage = ({ data }) => {
      received.push(typeof data === 'string' ? data : { binary: [...new Uint8Array(data)] });
      changed();
    };
    const until = async (count) => {
      while (received.length < count) await new Promise((resolve) => (changed = resolve));
    };

    // The server sends no CORS fields: the page may send, and may not see the answer.
    for (const [n, message] of messages.entries()) {
      const url = `http://${server}/channel/send/${path}/${encodeURIComponent(message)}`;
      await fetch(url, { mode: 'no-cors' });
      await until(n + 1);
    }
    const sender = await open(`/channel/send/${path}`);
    for (const message of messages) sender.send(message);
    sender.send(new Uint8Array([0, 255, 128, 10]));
    await until(2 * messages.length + 1);

    const closed = (socket) => new Promise((resolve) => (socket.onclose = (e) => resolve(e.code)));
    const codes = [];
    for (const socket of [listener, sender]) {
      socket.close(1000);
      codes.push(await closed(socket));
    }
    const refused = await open('/channel/listen/none').catch((error) => error.message);
    const { protocol, extensions } = listener;
    return { received, codes, refused, protocol, extensions };
  }, input);

  // EventSource needs CORS fields, or a page of the same origin: any answer of the server is one.
  await page.goto(`http://${input.server}/health`);
  output.events = await page.evaluate(async ({ path, messages }) => {
    const source = new EventSource(`/channel/listen/${path}`);
    await new Promise((resolve) => (source.onopen = resolve));
    const received = [];
    const all = new Promise((resolve) => {
      source.onmessage = ({ data, lastEventId }) => {
        received.push({ data, offset: Number(lastEventId.split('-')[1]) });
        if (received.length === messages.length) resolve();
      };
    });
    for (const message of messages) {
      await fetch(`/channel/send/${path}`, { method: 'POST', body: message });
    }
    await all;
    source.close();
    return received;
  }, input);
  console.log(JSON.stringify(output));
} finally {
  await browser.close();
  rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
}
