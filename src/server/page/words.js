// The page's words in English and Chinese.
import { remembered, remember } from './dom.js';

const WORDS = {
  en: {
    tabs: 'Views', test: 'Test', console: 'Console', language: 'Language', dialect: 'Dialect',
    themeauto: 'Theme: auto', themelight: 'Theme: light', themedark: 'Theme: dark',
    ready: 'Ready', unready: 'Not ready', gone: 'Not reachable', version: 'version {0}',
    log: 'Messages', clear: 'Clear', logEmpty: 'What is sent and received appears here.',
    channel: 'Channel', session: 'Session', packet: 'Packet', gateway: 'Gateway',
    channelHint: 'Whoever listens to a channel gets every message that is sent to it.',
    sessionHint: 'JSON requests, responses and notifications over one WebSocket.',
    packetHint: 'Binary packets with a protocol id; the server may ask, too.',
    gatewayHint: 'Plain messages; the first one tells your client id. Groups and users are managed over gRPC.',
    name: 'Name', create: 'Create', delete: 'Delete', listen: 'Listen', stop: 'Stop', send: 'Send', message: 'Message',
    via: 'Through', events: 'Events (SSE)', path: 'Path', connect: 'Connect', disconnect: 'Disconnect',
    connection: 'Connection', echo: 'Echo', broadcast: 'Broadcast', getConnections: 'Count connections',
    subscribe: 'Subscribe', unsubscribe: 'Unsubscribe', publish: 'Publish', request: 'Request', sendRequest: 'Send request',
    sendJson: 'Send JSON', channels: 'Channels', connections: 'Connections', device: 'Device', type: 'Type', source: 'Source',
    protocolId: 'Protocol id', oneWay: 'One-way', data: 'Data', ping: 'Ping', me: 'You are {0}',
    notConnected: 'Not connected', opened: 'connected', closed: 'closed with {0}', closedWhy: 'closed with {0}: {1}',
    refused: 'The connection was refused', ended: 'ended', retried: 'the stream ended; the browser tries again',
    lost: 'lost with {0}; tries again in {1} ms', recovered: 'connected again; nothing was missed',
    gap: 'connected again; messages were missed, it goes on behind {0}',
    displaced: 'displaced by a connection from {0} (this one: {1})', malformed: 'malformed: {0}', bytes: '{0} bytes',
    subscribers: 'Subscribers', published: 'Published', delivered: 'Delivered', sent: 'Sent', received: 'Received',
    perSecond: '{0}/s', messages: 'Messages per second', traffic: 'Bytes per second', wait: 'From publish to write',
    connectionsPlot: 'Connections and subscriptions', uptime: 'Uptime', memory: 'Memory', cpu: 'CPU', queued: 'Queued',
    rejected: 'Refused', publishedRate: 'Published /s', deliveredRate: 'Delivered /s', sentRate: 'Sent /s',
    receivedRate: 'Received /s', p50: 'p50', p99: 'p99', secondsAgo: '{0} s ago', now: 'now',
    search: 'Name begins with', searchConnections: 'User', created: 'Created', offset: 'Messages', actions: 'Actions',
    noChannels: 'There are no channels.', noConnections: 'There are no connections with an id.', total: '{0} in all',
    previous: 'Previous', next: 'Next', cancel: 'Cancel', deleteChannel: 'Delete the channel “{0}”? Its listeners are closed.',
    kick: 'Kick', kickConnection: 'Close the connection {0}?', code: 'Code', reason: 'Reason',
    host: 'Host', id: 'Id', user: 'User', remote: 'Address', since: 'Since', in: 'In', out: 'Out',
    tokenNeeded: 'The console needs the server’s admin token.', token: 'Admin token', use: 'Use it',
    tokenWrong: 'That is not the admin token.', noAccess: 'The server does not let this page look: {0}',
    noAnswer: 'The server does not answer.', days: '{0} d {1} h', hours: '{0} h {1} min', minutes: '{0} min {1} s', seconds: '{0} s',
  },
  zh: {
    tabs: '视图', test: '测试', console: '控制台', language: '语言', dialect: '协议',
    themeauto: '主题：自动', themelight: '主题：浅色', themedark: '主题：深色',
    ready: '就绪', unready: '未就绪', gone: '无法连接', version: '版本 {0}',
    log: '消息', clear: '清空', logEmpty: '发送和收到的内容会显示在这里。',
    channel: '频道', session: '会话', packet: '数据包', gateway: '网关',
    channelHint: '监听一个频道的人会收到发到该频道的每一条消息。',
    sessionHint: '一条 WebSocket 上的 JSON 请求、响应和通知。',
    packetHint: '带协议号的二进制数据包；服务器也可以发起请求。',
    gatewayHint: '普通消息；第一条告知你的客户端 ID。群组和用户通过 gRPC 管理。',
    name: '名称', create: '创建', delete: '删除', listen: '监听', stop: '停止', send: '发送', message: '消息',
    via: '方式', events: '事件流 (SSE)', path: '路径', connect: '连接', disconnect: '断开',
    connection: '连接', echo: '回显', broadcast: '广播', getConnections: '统计连接数',
    subscribe: '订阅', unsubscribe: '退订', publish: '发布', request: '请求', sendRequest: '发送请求',
    sendJson: '发送 JSON', channels: '频道', connections: '连接', device: '设备', type: '类型', source: '来源',
    protocolId: '协议号', oneWay: '单向', data: '数据', ping: '心跳', me: '你是 {0}',
    notConnected: '未连接', opened: '已连接', closed: '已关闭，代码 {0}', closedWhy: '已关闭，代码 {0}：{1}',
    refused: '连接被拒绝', ended: '已结束', retried: '事件流已结束，浏览器会重试',
    lost: '连接断开，代码 {0}；{1} 毫秒后重试', recovered: '已重新连接，没有遗漏',
    gap: '已重新连接；有消息遗漏，从 {0} 之后继续',
    displaced: '被来自 {0} 的连接顶替（本连接：{1}）', malformed: '格式错误：{0}', bytes: '{0} 字节',
    subscribers: '订阅', published: '发布', delivered: '送达', sent: '发送', received: '接收',
    perSecond: '{0}/秒', messages: '每秒消息数', traffic: '每秒字节数', wait: '从发布到写出',
    connectionsPlot: '连接与订阅', uptime: '运行时间', memory: '内存', cpu: 'CPU', queued: '排队',
    rejected: '拒绝', publishedRate: '发布/秒', deliveredRate: '送达/秒', sentRate: '发送/秒',
    receivedRate: '接收/秒', p50: 'p50', p99: 'p99', secondsAgo: '{0} 秒前', now: '现在',
    search: '名称前缀', searchConnections: '用户', created: '创建时间', offset: '消息数', actions: '操作',
    noChannels: '还没有频道。', noConnections: '没有带 ID 的连接。', total: '共 {0} 个',
    previous: '上一页', next: '下一页', cancel: '取消', deleteChannel: '删除频道“{0}”？监听者会被断开。',
    kick: '踢出', kickConnection: '关闭连接 {0}？', code: '代码', reason: '原因',
    host: '宿主', id: 'ID', user: '用户', remote: '地址', since: '连接时间', in: '收', out: '发',
    tokenNeeded: '控制台需要服务器的管理令牌。', token: '管理令牌', use: '使用',
    tokenWrong: '管理令牌不正确。', noAccess: '服务器不允许此页面查看：{0}',
    noAnswer: '服务器没有应答。', days: '{0} 天 {1} 小时', hours: '{0} 小时 {1} 分', minutes: '{0} 分 {1} 秒', seconds: '{0} 秒',
  },
};

const LOCALES = { en: 'en', zh: 'zh-CN' };
const listeners = [];
let language = remembered('language');
if (!(language in WORDS)) {
  const wanted = (navigator.languages ?? [navigator.language]).map((tag) => tag.toLowerCase().split('-')[0]);
  language = wanted.find((tag) => tag in WORDS) ?? 'en';
}

/** The words for `key`, with `{0}`, `{1}` … replaced. */
export const t = (key, ...values) => (WORDS[language][key] ?? key).replace(/\{(\d)\}/g, (_, n) => values[n] ?? '');

export const currentLanguage = () => language;
export const locale = () => LOCALES[language];

/** `listener` runs now, and whenever the language changes. */
export function onLanguage(listener) {
  listeners.push(listener);
  listener();
}

export function setLanguage(to) {
  language = to;
  remember('language', to);
  listeners.forEach((listener) => listener());
}

/** Puts words where the markup asks for them: `data-text` for text, `data-label` for a label. */
export function translate(root = document) {
  document.documentElement.lang = locale();
  for (const element of root.querySelectorAll('[data-text]')) element.textContent = t(element.dataset.text);
  for (const element of root.querySelectorAll('[data-label]')) element.setAttribute('aria-label', t(element.dataset.label));
}

/** A number, short. */
export const short = (n) =>
  new Intl.NumberFormat(locale(), n < 10000 ? { maximumFractionDigits: n < 10 ? 1 : 0 } : { notation: 'compact', maximumFractionDigits: 1 }).format(n);

/** A number, whole. */
export const whole = (n) => new Intl.NumberFormat(locale()).format(n);

/** Bytes in binary units. */
export function bytes(n) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  while (n >= 1024 && unit < units.length - 1) {
    n /= 1024;
    unit += 1;
  }
  return `${n.toFixed(unit === 0 || n >= 100 || n % 1 === 0 ? 0 : 1)} ${units[unit]}`;
}

/** A time in seconds, short. */
export function time(seconds) {
  if (seconds === null || seconds === undefined) return '–';
  if (seconds < 0.00099) return `${Number((seconds * 1e6).toPrecision(2))} µs`;
  if (seconds < 0.99) return `${Number((seconds * 1e3).toPrecision(2))} ms`;
  return `${Number(seconds.toPrecision(2))} s`;
}

/** How long, in words. */
export function span(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  if (s >= 86400) return t('days', Math.floor(s / 86400), Math.floor((s % 86400) / 3600));
  if (s >= 3600) return t('hours', Math.floor(s / 3600), Math.floor((s % 3600) / 60));
  if (s >= 60) return t('minutes', Math.floor(s / 60), s % 60);
  return t('seconds', s);
}

/** A moment in ms since 1970. */
export const moment = (ms) => new Date(ms).toLocaleString(locale(), { dateStyle: 'short', timeStyle: 'medium' });
