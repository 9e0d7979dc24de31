// One connection of each dialect. `tell(way, text, tag)` gets what happens: `in`, `out`, `note` or `bad`.
import { socketUrl } from './api.js';
import { DISPLACED, decode, displacement, encode, readable } from './packet.js';
import { t } from './words.js';

/** A WebSocket whose events are told; `message` gets each one that comes. */
class Socket {
  constructor(path, tag, tell, changed, message) {
    this.tell = (way, text, more = tag) => tell(way, text, more);
    this.changed = changed;
    this.socket = new WebSocket(socketUrl(path));
    this.socket.binaryType = 'arraybuffer';
    let opened = false;
    this.socket.onopen = () => {
      opened = true;
      this.tell('note', t('opened'));
      changed();
    };
    this.socket.onclose = ({ code, reason }) => {
      if (opened) this.tell('note', reason ? t('closedWhy', code, reason) : t('closed', code));
      else this.tell('bad', t('refused'));
      changed();
    };
    this.socket.onmessage = ({ data }) => message.call(this, data);
  }

  get isOpen() {
    return this.socket.readyState === WebSocket.OPEN;
  }

  get isAlive() {
    return this.isOpen || this.socket.readyState === WebSocket.CONNECTING;
  }

  close() {
    this.socket.close(1000);
  }
}

const shown = (data) => (typeof data === 'string' ? data : readable(new Uint8Array(data)));

/** A WebSocket that sends to a channel. */
export class Sender extends Socket {
  constructor(path, name, tell, changed) {
    super(path, name, tell, changed, () => {});
  }

  send(text) {
    this.socket.send(text);
    this.tell('out', text);
  }
}

/** Server-sent events of a channel. */
export class Events {
  constructor(path, name, tell, changed) {
    this.source = new EventSource(path);
    this.over = () => tell('note', t('ended'), name);
    this.source.onopen = () => {
      tell('note', t('opened'), name);
      changed();
    };
    this.source.onerror = () => {
      const over = this.source.readyState === EventSource.CLOSED;
      tell(over ? 'bad' : 'note', t(over ? 'refused' : 'retried'), name);
      changed();
    };
    this.source.onmessage = ({ data, lastEventId }) => tell('in', data, `${name} ${lastEventId.split('-')[1]}`);
    this.source.addEventListener('binary', ({ data }) => {
      tell('in', readable(Uint8Array.from(atob(data), (c) => c.charCodeAt(0))), name);
    });
  }

  get isOpen() {
    return this.source.readyState === EventSource.OPEN;
  }

  get isAlive() {
    return this.source.readyState !== EventSource.CLOSED;
  }

  close() {
    this.source.close();
    this.over();
  }
}

/** The session dialect: JSON requests and responses. */
export class Session extends Socket {
  constructor(path, tell, changed) {
    super(path, 'session', tell, changed, (data) => {
      const { type, id, data: told } = this.parse(data);
      if (told?.event === 'connected' && !this.id) this.id = told.connection_id;
      this.tell(type === 'error' ? 'bad' : 'in', shown(data), [type, id].filter(Boolean).join(' '));
      changed();
    });
    this.last = 0;
  }

  parse(data) {
    try {
      return JSON.parse(data) ?? {};
    } catch {
      return {};
    }
  }

  request(action, payload) {
    this.last += 1;
    this.sendText(JSON.stringify({ id: `msg-${this.last}`, type: 'request', action, payload }));
  }

  sendText(text) {
    this.socket.send(text);
    this.tell('out', text, 'session');
  }
}

/** The packet dialect. A request's `sn` is even; a response carries it back. The server's requests are echoed. */
export class Packets extends Socket {
  constructor(path, tell, changed) {
    super(path, 'packet', tell, changed, (data) => {
      if (typeof data === 'string') return this.tell('in', data);
      try {
        this.take(decode(data));
      } catch (error) {
        this.tell('bad', t('malformed', error.message));
      }
    });
    this.sn = 0;
  }

  take({ protocol, sn, data }) {
    if (protocol === DISPLACED && sn === 0) {
      const { oldIp, newIp } = displacement(data);
      return this.tell('bad', t('displaced', newIp, oldIp), `#${protocol}`);
    }
    this.tell('in', readable(data), `#${protocol} sn ${sn}`);
    if (sn % 2 === 1) this.write(protocol, sn, data);
  }

  request(protocol, text) {
    this.sn += 2;
    this.write(protocol, this.sn, text);
  }

  oneWay(protocol, text) {
    this.write(protocol, 0, text);
  }

  write(protocol, sn, data) {
    this.socket.send(encode(protocol, sn, data));
    this.tell('out', typeof data === 'string' ? data : readable(data), `#${protocol} sn ${sn}`);
  }
}

/** The gateway dialect: the first message is the client id. */
export class Gateway extends Socket {
  constructor(path, tell, changed) {
    super(path, 'gateway', tell, changed, (data) => {
      this.id ??= shown(data);
      this.tell('in', shown(data));
      changed();
    });
  }

  send(text) {
    this.socket.send(text);
    this.tell('out', text);
  }
}
