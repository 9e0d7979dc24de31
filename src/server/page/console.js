// The console tab: numbers, plots and tables of the running server, asked for every second.
import { call, hasToken, setToken } from './api.js';
import { $, el } from './dom.js';
import { Plot, WINDOW } from './plot.js';
import { startTables } from './tables.js';
import { learnPaths } from './test.js';
import { bytes, onLanguage, short, span, t, time, whole } from './words.js';

const EVERY_MS = 1000;

/** The histogram's bounds in seconds, as in the server. */
const BOUNDS = [5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1];

const rate = (value) => t('perSecond', short(value));
const byteRate = (value) => t('perSecond', bytes(value));

/** The binary unit in which so many bytes are told. */
const unit = (value) => 1024 ** Math.floor(Math.log(Math.max(value, 1)) / Math.log(1024));

/** What each plot shows: its series' names, values and colours. */
const PLOTS = [
  { title: 'connectionsPlot', series: [['connections', 's1'], ['subscribers', 's2']], format: short, scale: { floor: 4 } },
  { title: 'messages', series: [['published', 's1'], ['delivered', 's3']], format: short, told: rate, scale: { floor: 4 } },
  { title: 'traffic', series: [['sent', 's1'], ['received', 's4']], format: bytes, told: byteRate, scale: { floor: 1024, unit } },
  { title: 'wait', series: [['p50', 's2'], ['p99', 's3']], format: time, scale: { floor: 1e-3, bottom: 1e-6 } },
];

/** Tiles: name, and text made from a sample. */
const TILES = [
  ['connections', (now) => whole(now.connections)],
  ['channels', (now) => whole(now.channels)],
  ['subscribers', (now) => whole(now.subscribers)],
  ['publishedRate', (now) => short(now.published ?? 0)],
  ['deliveredRate', (now) => short(now.delivered ?? 0)],
  ['sentRate', (now) => bytes(now.sent ?? 0)],
  ['receivedRate', (now) => bytes(now.received ?? 0)],
  ['queued', (now) => bytes(now.queued)],
  ['rejected', (now) => whole(now.rejected)],
  ['memory', (now) => (now.memory === null ? '–' : bytes(now.memory))],
  ['cpu', (now) => (now.cpu === null ? '–' : `${now.cpu.toFixed(0)} %`)],
  ['uptime', (now) => span(now.uptime)],
];

const samples = [];
let before = null;
let shown = false;
let trouble = null;
let views = [];
let tables = null;

/** The time that a share `q` of the counted ones did not exceed; between bounds, linearly. */
function quantile(counts, q) {
  const total = counts.reduce((sum, count) => sum + count, 0);
  if (total === 0) return null;
  let seen = 0;
  for (const [bucket, count] of counts.entries()) {
    if (count > 0 && seen + count >= q * total) {
      const from = bucket === 0 ? 0 : BOUNDS[bucket - 1];
      const to = BOUNDS[bucket] ?? BOUNDS.at(-1);
      return from + ((q * total - seen) / count) * (to - from);
    }
    seen += count;
  }
  return BOUNDS.at(-1);
}

/** A sample of what the server told, with rates since the one before. */
function sample(stats) {
  const { counters, process } = stats;
  const seconds = before ? (stats.now_ms - before.now_ms) / 1000 : 0;
  const perSecond = (key) => (seconds > 0 ? (counters[key] - before.counters[key]) / seconds : null);
  const counts = before
    ? stats.publish_to_write.counts.map((count, at) => count - before.publish_to_write.counts[at])
    : [];
  return {
    at: stats.now_ms / 1000,
    connections: counters.connections, channels: counters.channels, subscribers: counters.subscribers,
    published: perSecond('published'), delivered: perSecond('delivered'),
    sent: perSecond('bytes_out'), received: perSecond('bytes_in'),
    p50: quantile(counts, 0.5), p99: quantile(counts, 0.99),
    queued: counters.queued_bytes, rejected: counters.rejected, memory: process.resident_bytes,
    cpu: seconds > 0 ? (process.cpu_ms - before.process.cpu_ms) / (10 * seconds) : null,
    uptime: (stats.now_ms - stats.started_ms) / 1000,
  };
}

async function poll() {
  const { status, json } = await call('GET', '/api/v1/stats');
  if (status === 200) {
    // Another server, or the same one started again: what came before is of no use.
    if (before && before.started_ms !== json.started_ms) {
      before = null;
      samples.length = 0;
    }
    if (!before) learnPaths();
    if (!before || json.now_ms > before.now_ms) {
      samples.push(sample(json));
      before = json;
    }
    while (samples.length > 0 && samples[0].at < samples.at(-1).at - WINDOW - 5) samples.shift();
  }
  setTrouble(status === 200 ? null : { status, message: json.message ?? '' });
  redraw();
}

async function run() {
  if (shown && !document.hidden && trouble?.status !== 401) {
    await poll();
    if (!trouble) await tables.refresh();
  }
  setTimeout(run, EVERY_MS);
}

function setTrouble(to) {
  const changed = to?.status !== trouble?.status || to?.message !== trouble?.message;
  trouble = to;
  if (changed) drawTrouble();
}

function drawTrouble() {
  const notice = $('access');
  notice.hidden = trouble === null;
  $('live').hidden = trouble !== null && trouble.status !== 0;
  if (trouble === null) return;
  if (trouble.status !== 401) {
    notice.replaceChildren(trouble.status === 0 ? t('noAnswer') : t('noAccess', trouble.message));
    return;
  }
  const input = el('input', { type: 'password', name: 'token', autocomplete: 'off', required: true, 'aria-label': t('token'), placeholder: t('token') });
  const form = el('form', {
    onsubmit: (event) => {
      event.preventDefault();
      setToken(input.value);
      trouble = { status: -1 };
      poll();
    },
  }, input, el('button', { class: 'main', textContent: t('use') }));
  notice.replaceChildren(t(hasToken() ? 'tokenWrong' : 'tokenNeeded'), form);
}

function build() {
  views = PLOTS.map((plot) => {
    const legend = el('div', { class: 'legend' });
    const told = plot.told ?? plot.format;
    const colours = plot.series.map(([name, colour]) => {
      const value = el('b', { textContent: '–' });
      const mark = el('i', { class: colour });
      legend.append(el('span', { class: 's' }, mark, el('span', { textContent: t(name) }), value));
      return { mark, value };
    });
    const canvas = el('canvas', { role: 'img' });
    const tip = el('div', { class: 'tip', hidden: true });
    const [grid, axis] = ['grid-line', 'axis'].map((name) => el('i', { class: name, hidden: true }));
    const card = el('div', { class: 'card plot' },
      el('div', { class: 'card-head' }, el('h2', { textContent: t(plot.title) }), el('span', { class: 'grow' }), legend),
      canvas, tip, grid, axis);
    const view = new Plot(canvas, {
      colours: colours.map(({ mark }) => mark), grid, axis, format: plot.format, scale: plot.scale,
      ago: (seconds) => (seconds === 0 ? t('now') : t('secondsAgo', seconds)),
      tip: (at, x) => {
        tip.hidden = at === null;
        if (at === null) return;
        const lines = plot.series.map(([name], n) => el('div', { textContent: `${t(name)} ${at.values[n] === null ? '–' : told(at.values[n])}` }));
        tip.replaceChildren(el('div', { textContent: new Date(at.at * 1000).toLocaleTimeString() }), ...lines);
        const room = canvas.clientWidth - tip.offsetWidth - 12;
        tip.style.left = `${canvas.offsetLeft + (x > room ? x - tip.offsetWidth - 12 : x + 12)}px`;
        tip.style.top = `${canvas.offsetTop + 12}px`;
      },
    });
    return { card, view, canvas, colours, plot, told };
  });
  $('plots').replaceChildren(...views.map(({ card }) => card));
  $('tiles').replaceChildren(...TILES.map(([name]) =>
    el('div', { class: 'tile', id: `tile-${name}` }, el('span', { textContent: t(name), title: t(name) }), el('b', { textContent: '–' }))));
}

function redraw() {
  const now = samples.at(-1);
  if (!shown || !now) return;
  for (const [name, text] of TILES) $(`tile-${name}`).lastChild.textContent = text(now);
  for (const { view, canvas, colours, plot, told } of views) {
    const keys = plot.series.map(([name]) => name);
    const latest = keys.map((key) => (now[key] === null ? '–' : told(now[key])));
    colours.forEach(({ value }, n) => (value.textContent = latest[n]));
    canvas.setAttribute('aria-label', keys.map((key, n) => `${t(key)}: ${latest[n]}`).join(', '));
    view.show(samples.map((one) => ({ at: one.at, values: keys.map((key) => one[key]) })));
  }
}

export function startConsole() {
  tables = startTables();
  onLanguage(() => {
    build();
    drawTrouble();
    redraw();
  });
  run();
  return {
    show(is) {
      shown = is;
      if (is) poll().then(() => trouble ?? tables.refresh());
    },
    redraw,
  };
}
