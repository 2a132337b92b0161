// Nodes and the words for numbers. Nodes are made by their names alone; no text is ever read as HTML.

/// Makes an element, named as "tag.class.class". Attributes that are null or false are left out; "on…" are listeners.
/// Children are nodes, strings, null for none, or arrays of these, which may be longer than a call's arguments.
export function make(name, attributes = {}, ...children) {
  const [tag, ...classes] = name.split('.');
  const node = document.createElement(tag);
  if (classes.length > 0) node.className = classes.join(' ');
  // Children come first: with dir="auto" each that is added to a long text would have the whole of it looked through.
  for (const child of children.flat()) if (child !== null) node.append(child);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
    else if (value !== null && value !== false) node.setAttribute(key, value === true ? '' : value);
  }
  return node;
}

/// Makes a button that does not send a form.
export function button(text, onclick, classes = '', attributes = {}) {
  return make(`button${classes && '.' + classes.replaceAll(' ', '.')}`, {type: 'button', onclick, ...attributes}, text);
}

export const byId = (id) => document.getElementById(id);

/// Shows the text in the node, or hides the node where there is none.
export function tell(node, text) {
  node.textContent = text ?? '';
  node.hidden = !text;
}

/// 184203 → "184,203".
export const count = (number) => Math.round(number).toLocaleString('en-US');

export const tokens = (number) => `${count(number)} ${Math.round(number) === 1 ? 'token' : 'tokens'}`;

/// 7.25 → "7.3", 120.4 → "120".
export const rate = (number) => (number < 100 ? number.toFixed(1) : count(number));

/// Seconds in the two largest units: "24 s", "3 min 20 s", "1 h 5 min".
export function duration(seconds) {
  const whole = Math.max(0, Math.ceil(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

/// Bytes as "512 MiB" or "3.4 GiB".
export function size(bytes) {
  const mebibytes = bytes / 2 ** 20;
  return mebibytes < 1024 ? `${Math.ceil(mebibytes)} MiB` : `${(mebibytes / 1024).toFixed(1)} GiB`;
}

/// The place of a text within its own length that a reader would choose to cut at: after the last paragraph,
/// else sentence, else word that ends in the last twentieth before `end`.
export function cutPlace(text, end) {
  if (end >= text.length) return text.length;
  const from = Math.floor(end * 0.95);
  const tail = text.slice(from, end);
  for (const mark of [/\n\s*\n/g, /[.!?。！？]["'”’)\]]*\s/g, /\s/g]) {
    const last = [...tail.matchAll(mark)].at(-1);
    if (last) return from + last.index + last[0].length;
  }
  const code = text.charCodeAt(end);
  return code >= 0xdc00 && code <= 0xdfff ? end - 1 : end;
}

/// Gives the user a file of this content.
export function saveFile(name, type, content) {
  const address = URL.createObjectURL(new Blob([content], {type}));
  const link = make('a', {href: address, download: name});
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

/// Makes a button that copies what `text` gives, and says so.
export function copyButton(text) {
  const copy = button('Copy', async () => {
    // Browsers give the clipboard only to pages of this machine and of servers with TLS.
    if (navigator.clipboard) await navigator.clipboard.writeText(text());
    else copyBySelection(text());
    copy.textContent = 'Copied';
    setTimeout(() => (copy.textContent = 'Copy'), 2000);
  }, 'quiet small');
  return copy;
}

function copyBySelection(text) {
  const area = make('textarea.unseen', {readonly: true});
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand('copy');
  area.remove();
}

/// Asks before something is lost. Resolves to whether it may be.
export function confirmLoss(text, yes = 'Delete') {
  const dialog = byId('confirm');
  byId('confirm-text').textContent = text;
  byId('confirm-yes').textContent = yes;
  dialog.returnValue = 'no';
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => resolve(dialog.returnValue === 'yes'), {once: true});
  });
}
