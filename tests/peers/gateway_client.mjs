// A client of the gateway in Node's `ws` or in Chromium: what comes is written to stdout, what is read
// from stdin is sent, both as lines, "text HEX" or "binary HEX". The end is "closed CODE".
//
//   gateway_client.mjs node|browser URL PAGE    PAGE is any page of the server
import { createInterface } from 'node:readline';
import { createRequire } from 'node:module';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const require = createRequire(`${process.env.QYUN_PEERS_NODE}/`);
const [mode, url, address] = process.argv.slice(2);
const commands = createInterface({ input: process.stdin });
const tell = (kind, hex) => {
  console.log(`${kind} ${hex}`);
  if (kind === 'closed') commands.close();
};

async function node() {
  const WebSocket = require('ws');
  const socket = new WebSocket(url);
  socket.on('message', (data, isBinary) => tell(isBinary ? 'binary' : 'text', data.toString('hex')));
  socket.on('close', (code) => tell('closed', code));
  for await (const line of commands) {
    const [kind, hex] = line.split(' ');
    if (kind === 'close') socket.close(1000);
    else socket.send(Buffer.from(hex, 'hex'), { binary: kind === 'binary' });
  }
}

async function browser() {
  const { chromium } = require('playwright-core');
  const profile = mkdtempSync(join(tmpdir(), 'qyun-chromium-'));
  const browser = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    headless: true,
    args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking'],
  });
  try {
    const page = browser.pages()[0] ?? (await browser.newPage());
    await page.exposeFunction('tell', tell);
    await page.goto(address);
    await page.evaluate((url) => {
      const hex = (bytes) => [...bytes].map((b) => b.toString(16).padStart(2, '0')).join('');
      const socket = new WebSocket(url);
      socket.binaryType = 'arraybuffer';
      socket.onmessage = ({ data }) =>
        typeof data === 'string'
          ? tell('text', hex(new TextEncoder().encode(data)))
          : tell('binary', hex(new Uint8Array(data)));
      socket.onclose = ({ code }) => tell('closed', code);
      window.perform = (kind, hex) => {
        const bytes = Uint8Array.from(hex?.match(/../g) ?? [], (byte) => parseInt(byte, 16));
        if (kind === 'close') socket.close(1000);
        else socket.send(kind === 'binary' ? bytes : new TextDecoder().decode(bytes));
      };
    }, url);
    for await (const line of commands) {
      await page.evaluate(([kind, hex]) => window.perform(kind, hex), line.split(' '));
    }
  } finally {
    await browser.close();
    rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  }
}

await (mode === 'browser' ? browser() : node());
