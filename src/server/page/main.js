// The frame of the page: tabs, language, theme, and whether the server is there.
import { call } from './api.js';
import { startConsole } from './console.js';
import { $, remember, remembered } from './dom.js';
import { startTest } from './test.js';
import { currentLanguage, onLanguage, setLanguage, t, translate } from './words.js';

const TABS = ['test', 'console'];
const THEMES = ['auto', 'light', 'dark'];

let version = '';
let state = '';
let theme = THEMES.includes(remembered('theme')) ? remembered('theme') : 'auto';

function showTab(name, focus) {
  for (const tab of TABS) {
    const button = $(`tab-${tab}`);
    button.setAttribute('aria-selected', tab === name);
    button.tabIndex = tab === name ? 0 : -1;
    if (tab === name && focus) button.focus();
    $(tab).hidden = tab !== name;
  }
  // No element is called so: the browser does not scroll to it.
  if (location.hash !== `#/${name}`) history.replaceState(null, '', `#/${name}`);
  panel.show(name === 'console');
}

function showTheme() {
  if (theme === 'auto') document.documentElement.removeAttribute('data-theme');
  else document.documentElement.dataset.theme = theme;
  const icons = { auto: '◐', light: '☀', dark: '☾' };
  $('theme').textContent = icons[theme];
  $('theme').title = t(`theme${theme}`);
  $('theme').setAttribute('aria-label', t(`theme${theme}`));
  panel.redraw();
}

function showState() {
  $('state').className = `state ${{ ready: 'good', '': '' }[state] ?? 'bad'}`;
  $('state').textContent = state === '' ? '' : t(state);
  $('state').title = state === '' ? '' : t(state);
  $('version').textContent = version ? t('version', version) : '';
}

async function watch() {
  const { status } = await call('GET', '/ready');
  state = { 200: 'ready', 0: 'gone' }[status] ?? 'unready';
  if (status !== 0 && version === '') version = (await call('GET', '/health')).json.version ?? '';
  showState();
  setTimeout(watch, 5000);
}

const panel = startConsole();
startTest();
for (const [at, tab] of TABS.entries()) {
  const button = $(`tab-${tab}`);
  button.onclick = () => showTab(tab);
  button.onkeydown = (event) => {
    if (event.key !== 'ArrowLeft' && event.key !== 'ArrowRight') return;
    showTab(TABS[(at + 1) % TABS.length], true);
  };
}
for (const button of document.querySelectorAll('[data-language]')) {
  button.onclick = () => setLanguage(button.dataset.language);
}
$('theme').onclick = () => {
  theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
  remember('theme', theme);
  showTheme();
};
onLanguage(() => {
  translate();
  showState();
  showTheme();
  for (const button of document.querySelectorAll('[data-language]')) {
    button.setAttribute('aria-pressed', button.dataset.language === currentLanguage());
  }
});
window.onhashchange = () => showTab(TABS.find((tab) => location.hash === `#/${tab}`) ?? 'test');
window.onhashchange();
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => panel.redraw());
watch();
