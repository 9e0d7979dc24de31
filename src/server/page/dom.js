// Elements, without a framework. Text is always set as text, never as markup.

/** The element with this id. */
export const $ = (id) => document.getElementById(id);

/**
 * An element. Of `props`, `class`, `for`, `role` and what has a dash become attributes, `on…` listeners, the rest
 * properties; children are elements or texts.
 */
export function el(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith('on')) element.addEventListener(key.slice(2), value);
    else if (key === 'class' || key === 'for' || key === 'role' || key.includes('-')) element.setAttribute(key, value);
    else element[key] = value;
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/**
 * A row of buttons of which one is chosen: with the keyboard as radio buttons are. `options` are pairs of value and
 * text; `chosen(value)` is told of each choice. Gives the element and `set(value)`.
 */
export function choice(group, options, chosen) {
  group.setAttribute('role', 'radiogroup');
  const buttons = options.map(([value, text]) =>
    el('button', { type: 'button', role: 'radio', textContent: text, value, onclick: () => pick(value) }),
  );
  const set = (value) => {
    for (const button of buttons) {
      const is = button.value === value;
      button.setAttribute('aria-checked', is);
      button.tabIndex = is ? 0 : -1;
    }
  };
  const pick = (value) => {
    set(value);
    chosen(value);
  };
  group.onkeydown = (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const at = buttons.indexOf(document.activeElement);
    if (!step || at < 0) return;
    event.preventDefault();
    const next = buttons[(at + step + buttons.length) % buttons.length];
    pick(next.value);
    next.focus();
  };
  group.replaceChildren(...buttons);
  return { element: group, set };
}

/** A labelled field. */
export const field = (text, input) => el('label', {}, el('span', { textContent: text }), input);

/** A setting of this browser, or nothing where it keeps none. */
export function remembered(key) {
  try {
    return localStorage.getItem(`qyun.${key}`);
  } catch {
    return null;
  }
}

export function remember(key, value) {
  try {
    localStorage.setItem(`qyun.${key}`, value);
  } catch {
    // A browser that keeps nothing: the setting lasts as long as the page.
  }
}
