// Chromium: the server's page loses its connection and continues. Reads one JSON object from stdin, { server }, whose
// channels "kept.…" keep five messages, and fails at the first thing that is not so.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import net from 'node:net';

const require = createRequire(`${process.env.QYUN_PEERS_NODE}/`);
const { chromium } = require('playwright-core');
const { server } = JSON.parse(readFileSync(0, 'utf8'));
const { hostname, port } = new URL(server);

// Between the page and the server, to be cut.
const open = new Set();
let isCut = false;
const relay = net.createServer((client) => {
  if (isCut) return client.destroy();
  const upstream = net.connect(port, hostname);
  for (const [from, to] of [[client, upstream], [upstream, client]]) {
    open.add(from);
    from.on('error', () => {});
    from.on('close', () => {
      open.delete(from);
      to.destroy();
    });
    from.pipe(to);
  }
});
await new Promise((done) => relay.listen(0, '127.0.0.1', done));
const cut = () => {
  isCut = true;
  open.forEach((socket) => socket.destroy());
};

const name = 'kept.news';
const publish = async (numbers) => {
  for (const number of numbers) {
    const answer = await fetch(`${server}/channel/send/${name}/message%20${number}`);
    assert.equal(answer.status, 200);
  }
};
const range = (from, to) => Array.from({ length: to - from + 1 }, (_, index) => from + index);

await fetch(`${server}/channel/create/${name}`);
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking'],
});
const page = await browser.newPage({ locale: 'en' });
page.setDefaultTimeout(30_000);
await page.goto(`http://127.0.0.1:${relay.address().port}/`);
const received = page.locator('#log .in .body');
const note = (way, text) => page.locator(`#log .${way} .body`, { hasText: text });
const messages = async () => (await received.allTextContents()).filter((text) => text.startsWith('message'));
const reached = (number) => received.filter({ hasText: new RegExp(`^message ${number}$`) }).waitFor();

await page.fill('[name=name]', name);
await page.getByRole('radio', { name: 'WebSocket', exact: true }).first().click();
await page.click('[name=listener-switch]');
await note('note', 'connected').waitFor();
await publish([1, 2]);
await reached(2);

// What is missed comes, once and in order.
cut();
await note('note', 'tries again').first().waitFor();
await publish([3, 4, 5]);
isCut = false;
await note('note', 'nothing was missed').waitFor();
await publish([6]);
await reached(6);
assert.deepEqual(await messages(), range(1, 6).map((number) => `message ${number}`));

// What cannot be had any more is told, with where it goes on.
cut();
await note('note', 'nothing was missed').waitFor();
await publish(range(7, 16));
isCut = false;
await note('bad', 'messages were missed, it goes on behind 16').waitFor();
await publish([17]);
await reached(17);
assert.deepEqual(await messages(), [...range(1, 6), 17].map((number) => `message ${number}`));

// A listener that is stopped while it waits stays stopped.
cut();
const attempts = note('note', 'tries again');
await attempts.nth((await attempts.count()) - 1).waitFor();
await page.click('[name=listener-switch]');
assert.equal(await page.locator('[name=listener-switch]').textContent(), 'Listen');

await browser.close();
relay.close();
