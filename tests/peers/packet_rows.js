// A client of the packet dialect for Node and browsers, written from its table, and what it finds out in each row.
//
//   rows(open, refused)   open(query) gives a promise of an open WebSocket (binaryType arraybuffer); refused(query)
//                         one of what a refusal looks like
globalThis.rows = async (open, refused) => {
  const LIMIT = 512 * 1024;
  const text = (data) => new TextDecoder().decode(data);
  const hex = (data) => [...data].map((byte) => byte.toString(16).padStart(2, '0')).join('');

  const pack = (protocol, sn, data) => {
    const body = typeof data === 'string' ? new TextEncoder().encode(data) : data;
    const bytes = new Uint8Array(14 + body.length);
    const view = new DataView(bytes.buffer);
    bytes.set([0xfe, 0xef]);
    view.setUint32(2, 8 + body.length, true);
    view.setUint32(6, protocol, true);
    view.setUint32(10, sn, true);
    bytes.set(body, 14);
    return bytes;
  };

  const join = async (query) => {
    const socket = await open(query);
    const came = [];
    let wake = () => {};
    socket.onmessage = ({ data }) => {
      const view = new DataView(data);
      if (view.getUint16(0) !== 0xfeef || view.getUint32(2, true) !== data.byteLength - 6) throw new Error('no packet');
      came.push({ protocol: view.getUint32(6, true), sn: view.getUint32(10, true), data: new Uint8Array(data, 14) });
      wake();
    };
    const closed = new Promise((resolve) => (socket.onclose = (event) => resolve(event.code)));
    return {
      socket,
      closed,
      send: (protocol, sn, data = '') => socket.send(pack(protocol, sn, data)),
      receive: async () => {
        while (came.length === 0) await new Promise((resolve) => (wake = resolve));
        return came.shift();
      },
    };
  };

  const found = {};
  const client = await join('uid=100&type=2&device=D&source=%E7%BD%91&version=3&charset=utf8');
  let sn = 0;
  const ask = async (protocol, data) => {
    sn += 2;
    client.send(protocol, sn, data);
    const packet = await client.receive();
    if (packet.sn !== sn || packet.protocol !== protocol) throw new Error(`answered ${packet.protocol} ${packet.sn}`);
    return packet.data;
  };
  found.extensions = client.socket.extensions;
  found.echo = text(await ask(1, '青云'));
  found.empty = (await ask(1, '')).length;
  found.identity = JSON.parse(text(await ask(8, '')));

  client.send(2, 0, 'abc');
  const oneWay = await client.receive();
  found.oneWay = [oneWay.protocol, oneWay.sn, text(oneWay.data)];

  // The server asks; the answer may have a protocol id of its own.
  client.send(4, 0);
  const asked = await client.receive();
  found.asked = [asked.protocol, asked.sn % 2, text(asked.data)];
  client.send(50, asked.sn, 'me');
  found.told = text((await client.receive()).data);

  // It asks and does not wait long; the late answer disturbs nobody.
  client.send(7, 0);
  const brief = await client.receive();
  found.timeout = text((await client.receive()).data);
  client.send(5, brief.sn, 'late');

  // Nobody answers what has no handler, nor what is text.
  sn += 2;
  client.send(99, sn);
  client.socket.send('text');
  client.socket.send(JSON.stringify({ protocol: 1, sn: 2 }));
  found.after = text(await ask(1, 'still here'));

  const whole = new Uint8Array(LIMIT - 14).map((_, at) => at % 251);
  found.whole = hex(await ask(1, whole)) === hex(whole);
  client.socket.send(pack(1, 2, new Uint8Array(LIMIT - 13)));
  found.tooLarge = await client.closed;

  found.malformed = [];
  const good = pack(1, 2, 'data');
  const changed = (at, to) => Uint8Array.from(good, (byte, index) => (index === at ? to : byte));
  for (const bytes of [new Uint8Array(0), good.slice(0, 13), changed(0, 0), changed(2, 11), changed(2, 13)]) {
    const bad = await join('uid=bad');
    bad.socket.send(bytes);
    found.malformed.push(await bad.closed);
  }

  const first = await join('uid=7&device=phone');
  const second = await join('uid=7&device=phone');
  const notice = await first.receive();
  found.displaced = [notice.protocol, notice.sn, hex(notice.data), await first.closed];
  second.send(1, 2, 'mine now');
  found.second = text((await second.receive()).data);

  found.refused = [];
  for (const query of ['', 'device=1', 'uid=1&type=x']) found.refused.push(await refused(query));
  second.socket.close(1000);
  found.closed = await second.closed;
  return found;
};
