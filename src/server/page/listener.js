// A WebSocket that listens to a channel, and when it is lost goes on behind the last message.
import { socketUrl } from './api.js';
import { readable } from './packet.js';
import { t } from './words.js';

/** Bounds of the random delay before a reconnection, in ms; it doubles from one to the other. */
const SOONEST = 500;
const LATEST = 20_000;

/** Whether a client that was closed with `code` is to stay away. */
const isFinal = (code) => (code >= 3500 && code < 4000) || (code >= 4500 && code < 5000);

/** How long to wait before the attempt behind `failed` others: what the server's Close asks for, or the own back-off. */
export function delay(failed, reason) {
  const asked = /reconnect after (\d+)\.\.(\d+) ms$/.exec(reason);
  if (asked) return Number(asked[1]) + Math.random() * (asked[2] - asked[1]);
  return Math.random() * Math.min(SOONEST * 2 ** failed, LATEST);
}

export class Listener {
  constructor(path, name, tell, changed) {
    this.path = path;
    this.name = name;
    this.tell = tell;
    this.changed = changed;
    this.failed = 0;
    this.isAlive = true;
    this.connect();
  }

  get isOpen() {
    return this.isAlive && this.socket.readyState === WebSocket.OPEN;
  }

  /** Behind the last message, if there was one or it was told where the channel stands. */
  connect() {
    const since = this.position ? `&since=${this.position}` : '';
    this.socket = new WebSocket(socketUrl(`${this.path}?meta=1${since}`));
    this.socket.onmessage = ({ data }) => this.take(JSON.parse(data));
    this.socket.onclose = ({ code, reason }) => this.lost(code, reason);
  }

  take({ event, epoch, offset, recovered, message, encoding }) {
    if (event === 'subscribed') {
      this.failed = 0;
      if (recovered === undefined) this.tell('note', t('opened'), this.name);
      else if (recovered) this.tell('note', t('recovered'), this.name);
      else this.tell('bad', t('gap', offset), this.name);
      this.changed();
    } else if (event === 'message') {
      const text = encoding === 'base64' ? readable(Uint8Array.from(atob(message), (c) => c.charCodeAt(0))) : message;
      this.tell('in', text, `${this.name} ${offset}`);
    } else return;
    this.position = `${epoch}-${offset}`;
  }

  lost(code, reason) {
    const before = this.position !== undefined;
    if (this.isAlive && before && !isFinal(code)) {
      const wait = delay(this.failed, reason);
      this.failed += 1;
      this.tell('note', t('lost', code, Math.round(wait)), this.name);
      this.timer = setTimeout(() => this.connect(), wait);
    } else {
      this.isAlive = false;
      if (before) this.tell('note', reason ? t('closedWhy', code, reason) : t('closed', code), this.name);
      else this.tell('bad', t('refused'), this.name);
    }
    this.changed();
  }

  close() {
    this.isAlive = false;
    clearTimeout(this.timer);
    if (this.socket.readyState === WebSocket.CLOSED) this.changed();
    else this.socket.close(1000);
  }
}
