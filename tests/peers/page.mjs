// Chromium: the page that the server brings along. Reads one JSON object from stdin, { server, shots, token }, goes
// through what a user does, and fails at the first thing that is not so. Screenshots go to `shots`.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { mkdirSync, readFileSync } from 'node:fs';

const require = createRequire(`${process.env.QYUN_PEERS_NODE}/`);
const { chromium } = require('playwright-core');
const WebSocket = require('ws');
const { server, shots, token } = JSON.parse(readFileSync(0, 'utf8'));
mkdirSync(shots, { recursive: true });

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking'],
});

/** Does `body` with a page; nothing may go wrong in it that the browser complains of. */
async function visit(options, body) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  const complaints = [];
  page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('requestfailed', (request) => {
    // A stream of events that the page itself ended.
    if (request.failure()?.errorText !== 'net::ERR_ABORTED') complaints.push(`${request.url()} failed`);
  });
  await page.goto(`${server}/`);
  await body(page, complaints);
  const { scrollWidth, clientWidth } = await page.evaluate(() => document.documentElement);
  assert.equal(scrollWidth, clientWidth, 'the page is not wider than the window');
  assert.deepEqual(complaints, []);
  await context.close();
}

/** Entries of the log that came in, as tag and text. */
const received = (page, tag) => page.locator('#log .in', { has: page.locator('.tag', { hasText: tag }) }).locator('.body');

/** Waits until the log has this as its newest entry of a kind. */
const logged = (page, way, text) => page.locator(`#log .${way} .body`, { hasText: text }).last().waitFor();

async function choose(page, text) {
  await page.getByRole('radio', { name: text, exact: true }).click();
}

/** The channel dialect, every way of listening and sending. */
async function channel(page, name) {
  await page.fill('[name=name]', name);
  await page.click('[name=create]');
  await logged(page, 'in', `Channel '${name}' created`);
  const texts = ['by GET / ? # % 青云', 'by POST ..', 'by socket'];
  for (const [listen, opened] of [['WebSocket', 'note'], [/SSE/, 'note']]) {
    await page.getByRole('radio', { name: listen }).first().click();
    const before = await page.locator(`#log .${opened}`).count();
    await page.click('[name=listener-switch]');
    await page.locator(`#log .${opened}`).nth(before).waitFor();
    const seen = await received(page, name).count();
    for (const [n, [via, text]] of [['GET', texts[0]], ['POST', texts[1]], ['WebSocket', texts[2]]].entries()) {
      await page.getByRole('radio', { name: via, exact: true }).last().click();
      await page.fill('[name=message]', text);
      await page.click('[name=send]');
      await received(page, name).nth(seen + n).waitFor();
      assert.equal(await received(page, name).nth(seen + n).textContent(), text);
    }
    if (listen === 'WebSocket') await page.click('[name=listener-switch]');
  }
  // What a message holds is never markup.
  await page.fill('[name=message]', '<img src=x onerror=alert(1)><b>bold</b>');
  await page.click('[name=send]');
  await received(page, name).filter({ hasText: '<b>bold</b>' }).first().waitFor();
  assert.equal(await page.locator('#log img, #log b').count(), 0);
  await page.click('[name=listener-switch]');
}

/** What a page's session says for itself, and what others hear and send. */
async function session(page, language) {
  await page.locator('#dialects [value=session]').click();
  await page.click('[name=session-switch]');
  await logged(page, 'in', '"event":"connected"');
  const { id } = await page.waitForFunction(() => {
    const text = document.querySelector('.known').textContent;
    const id = text.match(/[0-9a-f]{8}-[0-9a-f-]{27}/)?.[0];
    return id && { id, text };
  }).then((handle) => handle.jsonValue());
  await page.fill('[name=text]', 'hello "青云"');
  await page.click('[name=echo]');
  await logged(page, 'in', '"data":{"echo":"hello \\"青云\\""}');
  await page.click('[name=broadcast]');
  await logged(page, 'in', '"event":"broadcast"');
  await page.click('[name=count]');
  await logged(page, 'in', '"data":{"count":1}');
  await page.fill('[name=sessionChannel]', `session ${language}`);
  for (const [button, answer] of [['create', '"channel"'], ['subscribe', '"offset":0'], ['publish', '"event":"message"']]) {
    await page.click(`[name=${button}]`);
    await logged(page, 'in', answer);
  }
  await page.fill('[name=json]', 'no json');
  await page.click('[name=send]');
  await logged(page, 'bad', '"code":"parse_error"');
  return id;
}

const admin = (method, path, body) =>
  fetch(`${server}/api/v1/${path}`, { method, body }).then(async (answer) => assert.equal(answer.status, 200, await answer.text()));

/** Packets: one that the server sends, a request, and the displacement by another connection with the same id. */
async function packet(page) {
  await page.locator('#dialects [value=packet]').click();
  await page.fill('[name=uid]', '4711');
  await page.click('[name=packet-switch]');
  await page.locator('.known', { hasText: '4711-0--' }).waitFor();
  await page.locator('[name=send]:enabled').waitFor();
  await admin('POST', 'connections/4711-0--/send', 'to a packet 青云');
  await logged(page, 'in', 'to a packet 青云');
  assert.match(await page.locator('#log .in .tag').last().textContent(), /^#0 sn 0$/);
  await page.fill('[name=protocol]', '7');
  await page.fill('[name=data]', 'a request');
  await page.click('[name=send]');
  await logged(page, 'out', 'a request');
  assert.match(await page.locator('#log .out .tag').last().textContent(), /^#7 sn 2$/);
  const other = new WebSocket(`${server.replace('http', 'ws')}/join?uid=4711`);
  await page.locator('#log .bad .tag', { hasText: '#2147483647' }).waitFor();
  await page.locator('[name=send]:disabled').waitFor();
  assert.match(await page.locator('#log .bad .body').last().textContent(), /127\.0\.0\.1/);
  other.terminate();
}

/** The gateway: the client id first, its heartbeat, and what a back end sends. */
async function gateway(page) {
  await page.locator('#dialects [value=gateway]').click();
  await page.click('[name=gateway-switch]');
  await page.locator('.known', { hasText: /[0-9a-f]{8}-/ }).waitFor();
  await page.click('[name=ping]');
  await logged(page, 'in', 'pong');
  await admin('POST', 'broadcast?path=%2F', 'to the gateway');
  await logged(page, 'in', 'to the gateway');
  await page.click('[name=gateway-switch]');
  await page.locator('[name=send]:disabled').waitFor();
}

/** The console lists the page's own session and kicks it. */
async function kick(page, id, words) {
  const table = page.locator('#table-connections');
  await admin('PUT', `connections/${id}/user`, 'someone');
  await table.locator('[type=search]').fill('someone');
  await page.waitForFunction((id) => document.querySelector('#table-connections td.name')?.textContent === id, id);
  await table.getByRole('button', { name: `${words.kick} ${id}` }).click();
  await page.fill('dialog [name=code]', '4321');
  await page.fill('dialog [name=reason]', 'good bye');
  await page.locator('dialog button.danger').click();
  await table.locator('.empty').waitFor();
  await table.locator('[type=search]').fill('');
  const closed = page.locator('#log .note .body', { hasText: '4321' });
  await closed.waitFor({ state: 'attached' });
  assert.match(await closed.textContent(), /good bye/);
}

/** The number that a tile shows. */
const tile = (page, name) => page.locator(`#tile-${name} b`);

async function consoleTab(page, words) {
  await page.click('#tab-console');
  await page.locator('#tile-channels b', { hasText: /^3\d$/ }).waitFor();
  const stats = await page.evaluate(async () => (await fetch('/api/v1/stats')).json());
  assert.equal(await tile(page, 'channels').textContent(), String(stats.counters.channels));
  assert.match(await tile(page, 'memory').textContent(), /MiB|GiB/);

  // While something is published and heard, rates and times are shown.
  const listener = new WebSocket(`${server.replace('http', 'ws')}/channel/listen/room-01`);
  const busy = setInterval(() => fetch(`${server}/channel/send/room-01/x`).catch(() => {}), 20);
  await page.locator('canvas[aria-label*="µs"], canvas[aria-label*=" ms"]').first().waitFor();
  await page.waitForFunction(() => Number(document.querySelector('#tile-publishedRate b').textContent) > 0);
  const [filled, all] = await page.locator('#plots canvas').first().evaluate((canvas) => {
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    return [data.filter((value, at) => at % 4 === 3 && value > 0).length, data.length / 4];
  });
  assert.ok(filled > all / 200, 'something is drawn');
  clearInterval(busy);
  listener.terminate();

  // Pages, a search, and a deletion that asks first.
  const table = page.locator('#table-channels');
  const names = () => table.locator('tbody td.name').allTextContents();
  const last = (await names()).at(-1);
  await table.getByRole('button', { name: words.next }).click();
  await page.waitForFunction((last) => document.querySelector('#table-channels td.name')?.textContent > last, last);
  await table.locator('[type=search]').fill('room-2');
  await page.waitForFunction(() => document.querySelectorAll('#table-channels tbody tr').length === 10);
  assert.deepEqual(await names(), [...Array(10).keys()].map((n) => `room-2${n}`));
  await table.locator('[type=search]').fill('doomed');
  const remove = table.getByRole('button', { name: `${words.delete} doomed` });
  await remove.click();
  await page.locator('dialog').getByText(words.cancel).click();
  assert.deepEqual(await names(), ['doomed']);
  await remove.click();
  await page.locator('dialog button.danger').click();
  await table.locator('.empty').waitFor();
  await table.locator('[type=search]').fill('');
  await page.waitForFunction(() => document.querySelectorAll('#table-channels tbody tr').length === 20);
}

const LANGUAGES = {
  'en-US': { html: 'en', title: 'Test', delete: 'Delete', kick: 'Kick', cancel: 'Cancel', next: 'Next', ready: 'Ready' },
  'zh-CN': { html: 'zh-CN', title: '测试', delete: '删除', kick: '踢出', cancel: '取消', next: '下一页', ready: '就绪' },
};
const VIEWS = { desktop: { width: 1280, height: 900 }, phone: { width: 390, height: 844 } };

async function everyday() {
  for (const n of [...Array(30).keys()]) await fetch(`${server}/channel/create/room-${String(n).padStart(2, '0')}`);
  const scheme = { desktop: 'light', phone: 'dark' };
  for (const [locale, words] of Object.entries(LANGUAGES)) {
    for (const [view, viewport] of Object.entries(VIEWS)) {
      await visit({ locale, viewport, colorScheme: scheme[view] }, async (page) => {
        await fetch(`${server}/channel/create/doomed`);
        assert.equal(await page.getAttribute('html', 'lang'), words.html);
        assert.equal(await page.locator('#tab-test').textContent(), words.title);
        await page.locator('#state.good').waitFor();
        assert.equal(await page.getAttribute('#state', 'title'), words.ready);
        await channel(page, `${view} ${locale} 频道/?#%`);
        await page.screenshot({ path: `${shots}/test-${locale}-${view}.png` });
        const id = await session(page, `${locale} ${view}`);
        await page.screenshot({ path: `${shots}/session-${locale}-${view}.png` });
        await packet(page);
        await page.screenshot({ path: `${shots}/packet-${locale}-${view}.png` });
        await gateway(page);
        await consoleTab(page, words);
        await page.evaluate(() => {
          document.activeElement.blur();
          scrollTo(0, 0);
        });
        await page.screenshot({ path: `${shots}/console-${locale}-${view}.png`, fullPage: true });
        await kick(page, id, words);
      });
    }
  }
}

/** The keyboard alone, the other language, the themes, and what is remembered. */
async function settings() {
  await visit({ locale: 'fr-FR', viewport: VIEWS.desktop }, async (page) => {
    assert.equal(await page.getAttribute('html', 'lang'), 'en');
    await page.focus('#tab-test');
    await page.keyboard.press('ArrowRight');
    assert.equal(await page.getAttribute('#tab-console', 'aria-selected'), 'true');
    assert.ok(await page.isHidden('#test'));
    await page.click('[data-language=zh]');
    assert.equal(await page.locator('#tab-console').textContent(), '控制台');
    const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    await page.click('#theme');
    const light = await background();
    await page.click('#theme');
    assert.notEqual(await background(), light);
    await page.reload();
    assert.equal(await page.getAttribute('html', 'lang'), 'zh-CN');
    assert.equal(await page.getAttribute('html', 'data-theme'), 'dark');
    assert.equal(await page.getAttribute('#tab-console', 'aria-selected'), 'true');
  });
}

/** The policy is in force: what did not come with the page does not run, and nothing goes elsewhere. */
async function policy() {
  await visit({ viewport: VIEWS.desktop }, async (page, complaints) => {
    const refused = await page.evaluate(async () => {
      const told = [];
      document.addEventListener('securitypolicyviolation', (event) => told.push(event.effectiveDirective));
      const script = document.createElement('script');
      script.textContent = 'window.injected = true';
      document.body.append(script);
      await fetch('http://127.0.0.1:9/').catch(() => {});
      await new Promise((resolve) => setTimeout(resolve));
      return { told, injected: window.injected === true };
    });
    assert.deepEqual(refused, { told: ['script-src-elem', 'connect-src'], injected: false });
    complaints.length = 0;
  });
}

/** A server that wants a token says so, refuses a wrong one, and is content with the right one. */
async function withToken() {
  await visit({ locale: 'en-US', viewport: VIEWS.desktop }, async (page, complaints) => {
    await page.click('#tab-console');
    await page.fill('[name=token]', 'wrong');
    await page.keyboard.press('Enter');
    await page.getByText('That is not the admin token.').waitFor();
    assert.ok(await page.isHidden('#live'));
    await page.fill('[name=token]', token);
    await page.keyboard.press('Enter');
    await page.locator('#tile-connections b', { hasText: /\d/ }).waitFor();
    assert.ok(await page.isHidden('#access'));
    assert.ok(complaints.every((text) => text.includes('401')), complaints.join());
    complaints.length = 0;
  });
}

try {
  if (token) {
    await withToken();
  } else {
    await policy();
    await settings();
    await everyday();
  }
} finally {
  await browser.close();
}
