// The test tab: a form for each dialect, and the log of what was sent and received.
import { call, segment } from './api.js';
import { Events, Gateway, Packets, Sender, Session } from './dialects.js';
import { $, choice, el, field } from './dom.js';
import { Listener } from './listener.js';
import { locale, onLanguage, t } from './words.js';

const MAX_ENTRIES = 500;
const MAX_SHOWN = 4000;
const WAYS = { in: '↓', out: '↑', note: '·', bad: '!' };

/** The living connections, by the form that made them, and what the forms' fields hold. */
const live = {};
const values = {
  dialect: 'channel',
  name: 'news', listen: 'websocket', via: 'get', message: 'Hello 青云',
  sessionPath: '/ws', text: 'Hello', sessionChannel: 'news', json: '{"id":"1","type":"request","action":"echo","payload":{"message":"Hello"}}',
  packetPath: '/join', uid: '100', type: '0', device: '', source: '', protocol: '1', packetKind: 'request', data: 'Hello',
  gatewayPath: '/', plain: 'Hello',
};
let count = 0;

function tell(way, text, tag = '') {
  count += 1;
  const list = $('log');
  const follow = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  const now = new Date();
  list.append(
    el('div', { class: `entry ${way}` },
      el('time', { dateTime: now.toISOString(), textContent: now.toLocaleTimeString(locale(), { hour12: false }) }),
      el('span', { class: 'way', textContent: WAYS[way], 'aria-hidden': 'true' }),
      el('span', { class: 'tag', textContent: tag }),
      el('span', { class: 'body', textContent: text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}… (${text.length})` : text })),
  );
  while (list.childElementCount > MAX_ENTRIES) list.firstElementChild.remove();
  if (follow) list.scrollTop = list.scrollHeight;
  showCount();
}

function showCount() {
  $('log-count').textContent = count;
  $('log-empty').hidden = count > 0;
}

/** A call over HTTP, told. */
async function ask(method, path, options) {
  tell('out', `${method} ${path}${options?.body ? `\n${options.body}` : ''}`, 'http');
  const { status, json } = await call(method, path, options);
  tell(status >= 200 && status < 300 ? 'in' : 'bad', status ? JSON.stringify(json) : t('noAnswer'), `http ${status}`);
  return status;
}

const input = (key, props = {}) =>
  el('input', { name: key, value: values[key], autocomplete: 'off', spellcheck: false, oninput: (event) => (values[key] = event.target.value), ...props });

const area = (key, label) =>
  el('textarea', { name: key, value: values[key], spellcheck: false, 'aria-label': label, oninput: (event) => (values[key] = event.target.value) });

function pick(key, label, options) {
  const picked = choice(el('div', { class: 'choice', 'aria-label': label }), options, (value) => (values[key] = value));
  picked.set(values[key]);
  return picked.element;
}

const button = (name, text, onclick, kind = '') => el('button', { type: 'button', name, class: kind, textContent: text, onclick });

const section = (title, ...rows) => el('fieldset', {}, el('legend', { textContent: title }), ...rows);
const row = (...children) => el('div', { class: 'row' }, ...children);

/** The button that opens `key`'s connection, or closes it. */
function switcher(key, open, on, off) {
  const alive = live[key]?.isAlive;
  return button(`${key}-switch`, t(alive ? off : on), () => {
    if (live[key]?.isAlive) live[key].close();
    else {
      try {
        live[key] = open();
      } catch (error) {
        tell('bad', error.message);
      }
    }
    draw();
  }, alive ? '' : 'main');
}

/** A button that needs `key`'s connection. */
const acting = (key, name, text, act, kind) => {
  const made = button(name, text, () => act(live[key]), kind);
  made.disabled = !live[key]?.isOpen;
  return made;
};

function sendToChannel() {
  const { name, message, via } = values;
  const path = `/channel/send/${segment(name)}`;
  if (via === 'websocket') {
    if (live.sender?.isAlive && live.sender.name === name) return whenOpen(live.sender, message);
    live.sender?.close();
    live.sender = new Sender(path, name, tell, draw);
    live.sender.name = name;
    return whenOpen(live.sender, message);
  }
  // Browsers cannot put these two into a path.
  if (via === 'get' && message !== '.' && message !== '..') return ask('GET', `${path}/${segment(message)}`);
  return ask('POST', path, { body: message, type: 'text/plain' });
}

function whenOpen(sender, message) {
  if (sender.isOpen) sender.send(message);
  else sender.socket.addEventListener('open', () => sender.send(message));
}

const FORMS = {
  channel: () => [
    section(t('channel'),
      row(field(t('name'), input('name')),
        button('create', t('create'), () => ask('GET', `/channel/create/${segment(values.name)}`)),
        button('delete', t('delete'), () => ask('DELETE', `/channel/${segment(values.name)}`), 'danger')),
      row(pick('listen', t('listen'), [['websocket', 'WebSocket'], ['events', t('events')]]),
        switcher('listener', () => {
          const Kind = values.listen === 'events' ? Events : Listener;
          return new Kind(`/channel/listen/${segment(values.name)}`, values.name, tell, draw);
        }, 'listen', 'stop'))),
    section(t('message'),
      area('message', t('message')),
      row(pick('via', t('via'), [['get', 'GET'], ['post', 'POST'], ['websocket', 'WebSocket']]), button('send', t('send'), sendToChannel, 'main'))),
  ],
  session: () => [
    section(t('connection'),
      row(field(t('path'), input('sessionPath')), switcher('session', () => new Session(values.sessionPath, tell, draw), 'connect', 'disconnect')),
      known(live.session)),
    section(t('message'),
      input('text', { 'aria-label': t('message') }),
      row(acting('session', 'echo', t('echo'), (it) => it.request('echo', { message: values.text })),
        acting('session', 'broadcast', t('broadcast'), (it) => it.request('broadcast', { message: values.text })),
        acting('session', 'count', t('getConnections'), (it) => it.request('get_connections', {})))),
    section(t('channel'),
      field(t('name'), input('sessionChannel')),
      row(acting('session', 'create', t('create'), (it) => it.request('create', { channel: values.sessionChannel })),
        acting('session', 'subscribe', t('subscribe'), (it) => it.request('subscribe', { channel: values.sessionChannel })),
        acting('session', 'unsubscribe', t('unsubscribe'), (it) => it.request('unsubscribe', { channel: values.sessionChannel })),
        acting('session', 'publish', t('publish'), (it) => it.request('publish', { channel: values.sessionChannel, message: values.text })))),
    section('JSON', area('json', 'JSON'), row(acting('session', 'send', t('sendJson'), (it) => it.sendText(values.json)))),
  ],
  packet: () => [
    section(t('connection'),
      row(field(t('path'), input('packetPath')), switcher('packet', () => new Packets(joinPath(), tell, draw), 'connect', 'disconnect')),
      row(field('uid', input('uid')), field(t('type'), input('type', { inputMode: 'numeric' })), field(t('device'), input('device')), field(t('source'), input('source'))),
      known(live.packet, `${values.uid}-${values.type || 0}-${values.device}-${values.source}`)),
    section(t('packet'),
      row(field(t('protocolId'), input('protocol', { type: 'number', min: 0, max: 4294967295 })),
        pick('packetKind', t('packet'), [['request', t('request')], ['oneWay', t('oneWay')]])),
      area('data', t('data')),
      row(acting('packet', 'send', t('send'), (it) => it[values.packetKind](Number(values.protocol), values.data), 'main'))),
  ],
  gateway: () => [
    section(t('connection'),
      row(field(t('path'), input('gatewayPath')), switcher('gateway', () => new Gateway(values.gatewayPath, tell, draw), 'connect', 'disconnect')),
      known(live.gateway)),
    section(t('message'),
      area('plain', t('message')),
      row(acting('gateway', 'ping', t('ping'), (it) => it.send('ping')), acting('gateway', 'send', t('send'), (it) => it.send(values.plain), 'main'))),
  ],
};

function joinPath() {
  const query = new URLSearchParams({ uid: values.uid });
  for (const key of ['type', 'device', 'source']) if (values[key]) query.set(key, values[key]);
  return `${values.packetPath}?${query}`;
}

/** Who the connection is, once it is known. */
function known(connection, id = connection?.id) {
  const text = !connection?.isOpen ? t('notConnected') : id ? t('me', id) : '…';
  return el('p', { class: 'known', textContent: text });
}

function draw() {
  const focused = document.activeElement?.name;
  $('dialect-hint').textContent = t(`${values.dialect}Hint`);
  $('form').replaceChildren(...FORMS[values.dialect]());
  if (focused) $('form').querySelector(`[name="${CSS.escape(focused)}"]`)?.focus();
}

/** Puts the paths of this server's dialects into the forms. */
export async function learnPaths() {
  const { status, json } = await call('GET', '/api/v1/endpoints');
  if (status !== 200) return;
  for (const { path, dialect } of json.endpoints) {
    if (`${dialect}Path` in values) values[`${dialect}Path`] = path;
  }
  draw();
}

export function startTest() {
  $('log-clear').onclick = () => {
    $('log').replaceChildren();
    count = 0;
    showCount();
  };
  onLanguage(() => {
    choice($('dialects'), Object.keys(FORMS).map((key) => [key, t(key)]), (value) => {
      values.dialect = value;
      draw();
    }).set(values.dialect);
    draw();
    showCount();
  });
}
