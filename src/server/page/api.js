// Calls to the server. The admin token, if there is one, lasts as long as the browser's tab.

let token = '';
try {
  token = sessionStorage.getItem('qyun.token') ?? '';
} catch {
  // A browser that keeps nothing.
}

export function setToken(text) {
  token = text;
  try {
    sessionStorage.setItem('qyun.token', text);
  } catch {
    // It lasts as long as the page.
  }
}

export const hasToken = () => token !== '';

/** What the server answered: the HTTP status and the JSON. Status 0: it did not. */
export async function call(method, path, { body, type } = {}) {
  const headers = {};
  if (type) headers['content-type'] = type;
  if (token && path.startsWith('/api/')) headers.authorization = `Bearer ${token}`;
  try {
    const answer = await fetch(path, { method, body, headers, cache: 'no-store' });
    return { status: answer.status, json: await answer.json() };
  } catch {
    return { status: 0, json: {} };
  }
}

/** One segment of a path. Browsers cannot send "." and "..", however they are written. */
export const segment = encodeURIComponent;

/** A WebSocket's URL on this server. */
export const socketUrl = (path) => `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}${path}`;
