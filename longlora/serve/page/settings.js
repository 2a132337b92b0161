// What the user may set: how answers are drawn, and the colours of the page.

import {byId} from './dom.js';

const KEY = 'longlora.settings';
const DEFAULTS = {temperature: 0.6, top_p: 0.9, max_tokens: null, seed: null, remember: true};
const FIELDS = ['temperature', 'top_p', 'max_tokens', 'seed'];

function load() {
  try {
    return JSON.parse(localStorage.getItem(KEY)) ?? {};
  } catch {
    return {};
  }
}

function keep(name, value) {
  try {
    localStorage.setItem(name, value);
  } catch {
    // They hold until the page is left.
  }
}

export const settings = {...DEFAULTS, ...load()};

/// How long an answer may be in a window of so many tokens, where the user left it to us.
export const answerTokens = (window) => settings.max_tokens ?? Math.max(1, Math.min(512, Math.floor(window / 4)));

function fill(values) {
  for (const field of FIELDS) byId(field).value = values[field] ?? '';
  byId('remember').checked = values.remember;
}

/// Makes the dialog work. `changed` is called after new settings were taken.
export function openableSettings(changed) {
  const dialog = byId('settings');
  byId('open-settings').addEventListener('click', () => {
    fill(settings);
    dialog.showModal();
  });
  byId('default-settings').addEventListener('click', () => fill(DEFAULTS));
  byId('cancel-settings').addEventListener('click', () => dialog.close());
  byId('settings-form').addEventListener('submit', () => {
    for (const field of FIELDS) settings[field] = byId(field).value === '' ? null : Number(byId(field).value);
    settings.remember = byId('remember').checked;
    keep(KEY, JSON.stringify(settings));
    changed();
  });
}

/// Makes the button for light and dark work.
export function switchableTheme() {
  const toggle = byId('theme');
  const system = matchMedia('(prefers-color-scheme: dark)');
  const isDark = () => (document.documentElement.dataset.theme ?? (system.matches ? 'dark' : 'light')) === 'dark';
  const name = () => (toggle.textContent = isDark() ? 'Light' : 'Dark');
  toggle.addEventListener('click', () => {
    document.documentElement.dataset.theme = isDark() ? 'light' : 'dark';
    keep('longlora.theme', document.documentElement.dataset.theme);
    name();
  });
  system.addEventListener('change', name);
  name();
}
