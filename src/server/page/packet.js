// The packet dialect's bytes.

const MAGIC = [0xfe, 0xef];
const HEADER = 14;
export const DISPLACED = 2147483647;

/** A packet; `data` is a text. */
export function encode(protocol, sn, data) {
  const body = typeof data === 'string' ? new TextEncoder().encode(data) : data;
  const packet = new Uint8Array(HEADER + body.length);
  const view = new DataView(packet.buffer);
  packet.set(MAGIC);
  view.setUint32(2, 8 + body.length, true);
  view.setUint32(6, protocol, true);
  view.setUint32(10, sn, true);
  packet.set(body, HEADER);
  return packet;
}

/** What a WebSocket message (an ArrayBuffer) holds; throws when that is no packet. */
export function decode(buffer) {
  const packet = new Uint8Array(buffer);
  const view = new DataView(buffer);
  if (packet.length < HEADER || packet[0] !== MAGIC[0] || packet[1] !== MAGIC[1]) throw new Error('FE EF …');
  if (view.getUint32(2, true) !== packet.length - 6) throw new Error(`${view.getUint32(2, true)} ≠ ${packet.length - 6}`);
  return { protocol: view.getUint32(6, true), sn: view.getUint32(10, true), data: packet.slice(HEADER) };
}

/** Bytes as text where they are one, else in hex. */
export function readable(data) {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(data);
  } catch {
    return [...data].map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
  }
}

/** The notice of a displacement: protobuf `{ bytes old_ip = 1; bytes new_ip = 2; int64 ts = 3; }`. */
export function displacement(data) {
  const notice = { oldIp: '', newIp: '' };
  let at = 0;
  const varint = () => {
    let [value, shift] = [0n, 0n];
    for (;;) {
      if (at >= data.length || shift > 63n) throw new Error('protobuf');
      const byte = data[at++];
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return value;
      shift += 7n;
    }
  };
  while (at < data.length) {
    const key = Number(varint());
    if ((key & 7) === 0) {
      const value = varint();
      if (key >> 3 === 3) notice.ts = value;
    } else if ((key & 7) === 2) {
      const end = Number(varint()) + at;
      const value = readable(data.slice(at, end));
      at = end;
      if (key >> 3 === 1) notice.oldIp = value;
      if (key >> 3 === 2) notice.newIp = value;
    } else {
      throw new Error('protobuf');
    }
  }
  return notice;
}
