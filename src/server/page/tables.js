// The console's tables: a page of rows at a time, found by a beginning, with actions on each row.
import { call, segment } from './api.js';
import { $, el, field } from './dom.js';
import { moment, onLanguage, t, whole } from './words.js';

const PAGE = 20;

/** Asks before something is done. Gives what the form held, or nothing. */
function confirm(text, act, fields = []) {
  const dialog = $('dialog');
  const form = el('form', { method: 'dialog' },
    el('p', { textContent: text }),
    ...fields.map(({ name, label, ...props }) => field(t(label), el('input', { name, ...props }))),
    el('div', { class: 'row' },
      el('button', { value: '', textContent: t('cancel'), formNoValidate: true }),
      el('button', { value: 'yes', class: 'danger', textContent: act })));
  dialog.replaceChildren(form);
  dialog.returnValue = '';
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.onclose = () => resolve(dialog.returnValue === 'yes' ? Object.fromEntries(new FormData(form)) : null);
  });
}

/** What a connection that is kicked is told, unless the user says something else. */
const KICK = [
  { name: 'code', label: 'code', type: 'number', value: 3500, min: 3000, max: 4999, required: true },
  { name: 'reason', label: 'reason', maxLength: 100, value: '' },
];

const TABLES = [
  {
    name: 'connections',
    empty: 'noConnections',
    search: 'searchConnections',
    path: ({ after, search }) =>
      `/api/v1/connections?limit=${PAGE}${after ? `&after=${segment(after)}` : ''}${search ? `&user=${segment(search)}` : ''}`,
    key: (row) => row.id,
    columns: [
      ['id', (row) => row.id, 'name'],
      ['dialect', (row) => t(row.dialect), 'wide'],
      ['user', (row) => row.user ?? ''],
      ['channels', (row) => row.channels.slice(0, 3).join(', ') + (row.channels.length > 3 ? ` +${row.channels.length - 3}` : ''), 'wide'],
      ['remote', (row) => row.remote, 'wide'],
      ['since', (row) => moment(row.connected_ms), 'wide'],
      ['in', (row) => whole(row.messages_in), 'number'],
      ['out', (row) => whole(row.messages_out), 'number'],
    ],
    action: 'kick',
    async act({ id }) {
      const told = await confirm(t('kickConnection', id), t('kick'), KICK);
      if (!told) return;
      const reason = told.reason ? `&reason=${segment(told.reason)}` : '';
      await call('DELETE', `/api/v1/connections/${segment(id)}?code=${told.code}${reason}`);
    },
  },
  {
    name: 'channels',
    empty: 'noChannels',
    search: 'search',
    path: ({ after, search }) =>
      `/channels?limit=${PAGE}${after ? `&after=${segment(after)}` : ''}${search ? `&prefix=${segment(search)}` : ''}`,
    key: (row) => row.name,
    columns: [
      ['name', (row) => row.name, 'name'],
      ['subscribers', (row) => whole(row.subscribers), 'number'],
      ['offset', (row) => whole(row.offset), 'number'],
      ['created', (row) => moment(row.created_ms), 'wide'],
    ],
    action: 'delete',
    async act({ name }) {
      if (await confirm(t('deleteChannel', name), t('delete'))) await call('DELETE', `/channel/${segment(name)}`);
    },
  },
];

class Table {
  constructor(spec) {
    this.spec = spec;
    this.search = '';
    /** What the pages before this one began behind. */
    this.afters = [];
    this.after = '';
    this.rows = [];
    this.total = 0;
    this.section = el('section', { class: 'card', id: `table-${spec.name}`, hidden: true });
  }

  build() {
    const { spec } = this;
    this.input = el('input', {
      type: 'search', value: this.search, placeholder: t(spec.search), 'aria-label': t(spec.search), name: `search-${spec.name}`,
      oninput: () => {
        this.search = this.input.value;
        this.go('', []);
      },
    });
    this.count = el('span', { class: 'count' });
    this.body = el('tbody');
    this.empty = el('p', { class: 'empty', textContent: t(spec.empty) });
    this.previous = el('button', { type: 'button', class: 'quiet', textContent: t('previous'), onclick: () => this.go(this.afters.at(-1), this.afters.slice(0, -1)) });
    this.next = el('button', { type: 'button', class: 'quiet', textContent: t('next'), onclick: () => this.go(spec.key(this.rows.at(-1)), [...this.afters, this.after]) });
    const head = spec.columns.map(([name, , kind]) => el('th', { scope: 'col', class: kind !== 'name' && kind, textContent: t(name) }));
    this.table = el('div', { class: 'scroll' },
      el('table', { 'aria-label': t(spec.name) },
        el('thead', {}, el('tr', {}, ...head, el('th', { scope: 'col' }, el('span', { class: 'unseen', textContent: t('actions') })))), this.body));
    this.pager = el('div', { class: 'pager' }, this.previous, this.next);
    this.section.replaceChildren(
      el('div', { class: 'card-head' }, el('h2', { textContent: t(spec.name) }), this.count, el('span', { class: 'grow' }), this.input),
      this.table, this.empty, this.pager);
    this.draw();
  }

  go(after, afters) {
    this.after = after ?? '';
    this.afters = afters;
    return this.refresh();
  }

  async refresh() {
    const asked = { after: this.after, search: this.search };
    const { status, json } = await call('GET', this.spec.path(asked));
    // Somebody has turned the page meanwhile.
    if (asked.after !== this.after || asked.search !== this.search) return;
    this.section.hidden = status !== 200;
    if (status !== 200) return;
    this.rows = json[this.spec.name];
    this.total = json.total;
    // The page's rows are gone: back to the first.
    if (this.rows.length === 0 && this.after) return this.go('', []);
    this.draw();
  }

  draw() {
    const { spec } = this;
    this.count.textContent = t('total', whole(this.total));
    this.table.hidden = this.rows.length === 0;
    this.empty.hidden = this.rows.length > 0;
    this.previous.disabled = this.afters.length === 0;
    this.next.disabled = this.rows.length < PAGE;
    this.pager.hidden = this.previous.disabled && this.next.disabled;
    this.body.replaceChildren(...this.rows.map((row) => this.row(spec, row)));
  }

  row(spec, row) {
    const key = spec.key(row);
    const old = this.body.querySelector(`tr[data-key="${CSS.escape(key)}"]`);
    const cells = spec.columns.map(([, text]) => text(row));
    if (old) {
      // The row stays, and what is focused in it.
      cells.forEach((text, n) => {
        if (old.children[n].textContent !== text) old.children[n].textContent = text;
      });
      return old;
    }
    const act = el('button', {
      type: 'button', class: 'quiet danger', textContent: t(spec.action), 'aria-label': `${t(spec.action)} ${key}`,
      onclick: async () => {
        await spec.act(row);
        await this.refresh();
      },
    });
    return el('tr', { 'data-key': key },
      ...cells.map((text, n) => el('td', { class: spec.columns[n][2], textContent: text })),
      el('td', { class: 'number' }, act));
  }
}

export function startTables() {
  const tables = TABLES.map((spec) => new Table(spec));
  $('tables').replaceChildren(...tables.map(({ section }) => section));
  onLanguage(() => tables.forEach((table) => table.build()));
  return { refresh: () => Promise.all(tables.map((table) => table.refresh())) };
}
