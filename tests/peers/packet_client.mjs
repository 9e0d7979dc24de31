// The rows of packet_rows.js, by Node's `ws` or, with a page's address, in Chromium. Prints what was found as JSON.
//
//   packet_client.mjs node PORT
//   packet_client.mjs browser PORT
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';

const require = createRequire(`${process.env.QYUN_PEERS_NODE}/`);
const [where, port] = process.argv.slice(2);
const base = `ws://127.0.0.1:${port}/join`;
const source = readFileSync(new URL('packet_rows.js', import.meta.url), 'utf8');

async function inNode() {
  const WebSocket = require('ws');
  (0, eval)(source);
  const socket = (query) => Object.assign(new WebSocket(`${base}?${query}`), { binaryType: 'arraybuffer' });
  return globalThis.rows(
    (query) =>
      new Promise((resolve, reject) => {
        const opening = socket(query);
        opening.onopen = () => resolve(opening);
        opening.onerror = ({ error }) => reject(error);
      }),
    (query) =>
      new Promise((resolve) => {
        const refusing = socket(query);
        refusing.on('unexpected-response', (request, response) => {
          request.destroy();
          resolve(response.statusCode);
        });
      }),
  );
}

async function inBrowser() {
  const { chromium } = require('playwright-core');
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking'],
  });
  try {
    const page = await browser.newPage();
    await page.goto(`http://127.0.0.1:${port}/health`);
    await page.evaluate(source);
    return await page.evaluate((address) => {
      const opened = (query) =>
        new Promise((resolve, reject) => {
          const socket = new WebSocket(`${address}?${query}`);
          socket.binaryType = 'arraybuffer';
          socket.onopen = () => resolve(socket);
          socket.onclose = (event) => reject(event.code);
        });
      // A page is not told the status.
      return globalThis.rows(opened, (query) => opened(query).catch((code) => code));
    }, base);
  } finally {
    await browser.close();
  }
}

console.log(JSON.stringify(await (where === 'browser' ? inBrowser() : inNode())));
