// The text that is asked about: how it is chosen, whether the model can take it, and how it is cut where it cannot.

import {make, button, byId, tell, count, tokens, cutPlace} from './dom.js';
import * as api from './api.js';
import {newId} from './store.js';

const QUESTION_TOKENS = 96;  // left for the question and for what the prompt's form adds, until one needs more
const CUTS = {
  beginning: 'The beginning, without the end',
  end: 'The end, without the beginning',
  both: 'Beginning and end, without the middle',
};

/// The part of a text with about this many characters that a cut keeps.
function part(text, length, cut) {
  if (cut === 'beginning') return text.slice(0, cutPlace(text, length));
  if (cut === 'end') return text.slice(cutPlace(text, text.length - length));
  const half = Math.floor(length / 2);
  return `${text.slice(0, cutPlace(text, half))}\n\n[…]\n\n${text.slice(cutPlace(text, text.length - half))}`;
}

/// The largest part of a document that a cut keeps within so many tokens: {text, tokens}.
async function cutToFit(document, limit, cut) {
  let best = null;
  let length = Math.floor((document.text.length * limit) / document.tokens);
  for (let round = 0; round < 8 && length > 0; round++) {
    const text = part(document.text, length, cut);
    const found = await api.countTokens(text);
    if (found <= limit && found > (best?.tokens ?? 0)) best = {text, tokens: found};
    if (best && best.tokens >= 0.97 * limit) break;
    length = Math.floor(((length * limit) / found) * (best ? 0.998 : 0.985));
  }
  if (!best) throw new Error('The text could not be cut to fit. Choose a shorter text.');
  return best;
}

/// What a cut has left out, in words.
function leftOut({cut, text, tokens: kept, whole}) {
  const share = `${count(kept)} of ${tokens(whole.tokens)}`;
  const words = (piece) => piece.replace(/\s+/g, ' ').trim();
  if (cut === 'beginning') return `Cut: the model reads the first ${share}, up to “…${words(text.slice(-200)).slice(-60)}”.`;
  if (cut === 'end') return `Cut: the model reads the last ${share}, from “${words(text.slice(0, 200)).slice(0, 60)}…” on.`;
  return `Cut: the model reads ${share}, from the beginning and the end. The middle is left out.`;
}

/// The part of the page where the text is chosen. `actions` are {changed(), begin(document)}: another text, or none,
/// is there; a new conversation about this text shall begin.
export class DocumentPanel {
  constructor(actions) {
    this.actions = actions;
    this.document = null;
    this.isFixed = false;
    this.window = Infinity;
    this.answerTokens = 512;
    this.questionTokens = QUESTION_TOKENS;
    this.listen();
  }

  /// How many tokens of a text leave room for a question and its answer.
  get limit() {
    return Math.max(1, this.window - this.answerTokens - this.questionTokens);
  }

  get fits() {
    return !this.document || this.document.tokens <= this.limit;
  }

  /// Sets what the model can take. A new limit is seen at once.
  setRoom(window, answerTokens) {
    this.window = window;
    this.answerTokens = answerTokens;
    this.draw();
  }

  /// Leaves more room for a question that was too long.
  needForQuestion(tokens) {
    this.questionTokens = Math.max(QUESTION_TOKENS, tokens);
    this.draw();
  }

  /// Shows a document, or the place to choose one. A fixed one belongs to questions that were asked.
  set(document, isFixed) {
    this.document = document;
    this.isFixed = isFixed;
    tell(byId('document-problem'), null);
    this.draw();
    this.actions.changed();
  }

  listen() {
    const drop = byId('drop');
    const file = byId('file');
    file.addEventListener('change', () => {
      if (file.files.length > 0) this.take(file.files[0].name, file.files[0]);
      file.value = '';
    });
    // The whole page takes a file, so that missing the field does not open the file in place of the page.
    window.addEventListener('dragover', (event) => {
      event.preventDefault();
      drop.classList.toggle('over', event.dataTransfer.types.includes('Files'));
    });
    window.addEventListener('dragleave', (event) => {
      if (!event.relatedTarget) drop.classList.remove('over');
    });
    window.addEventListener('drop', (event) => {
      event.preventDefault();
      drop.classList.remove('over');
      this.dropped(event.dataTransfer);
    });
    byId('sample').addEventListener('click', () => this.takeSample());
    byId('paste').addEventListener('click', () => byId('paste-dialog').showModal());
    byId('cancel-paste').addEventListener('click', () => byId('paste-dialog').close());
    byId('take-paste').addEventListener('click', () => {
      const text = byId('paste-text').value;
      if (!text.trim()) return byId('paste-text').focus();
      byId('paste-dialog').close();
      byId('paste-text').value = '';
      this.take(byId('paste-name').value.trim() || 'Pasted text', new Blob([text]));
    });
  }

  dropped(data) {
    if (this.isFixed) {
      tell(byId('document-problem'), 'These questions belong to the text above. Begin a new conversation to ask about another.');
    } else if (data.files.length > 1) {
      tell(byId('document-problem'), `One text at a time, please: ${data.files.length} files were dropped.`);
    } else if (data.files.length === 1) {
      this.take(data.files[0].name, data.files[0]);
    } else if (data.getData('text/plain').trim()) {
      this.take('Dropped text', new Blob([data.getData('text/plain')]));
    }
  }

  async takeSample() {
    const response = await fetch(new URL('sample.txt', document.baseURI));
    await this.take('The Clockmaker of Varn.txt', await response.blob());
  }

  /// Sends a text to the server to be read and counted. Of several the last one counts.
  async take(name, content) {
    const ticket = (this.ticket = {});
    tell(byId('document-problem'), null);
    byId('drop').setAttribute('aria-busy', 'true');
    byId('drop').querySelector('.drop-title').textContent = `Counting the words of ${name} …`;
    try {
      const {text, tokens: found} = await api.readDocument(name, content);
      if (ticket !== this.ticket) return;
      if (!text.trim()) throw new Error(`${name} holds no text. A scanned PDF has pictures of words alone.`);
      this.set({id: newId(), name, text, tokens: found, cut: null, whole: null}, false);
    } catch (error) {
      if (ticket === this.ticket) tell(byId('document-problem'), `${name}: ${error.message}`);
    } finally {
      if (ticket === this.ticket) {
        byId('drop').removeAttribute('aria-busy');
        byId('drop').querySelector('.drop-title').textContent = 'Drop a text here';
      }
    }
  }

  draw() {
    const {document} = this;
    byId('drop').hidden = document !== null || this.isFixed;
    byId('card').hidden = document === null;
    if (document) byId('card').replaceChildren(...this.cardParts(document));
  }

  cardParts(document) {
    const isFinite = Number.isFinite(this.window);
    const over = document.tokens - this.limit;
    let words = tokens(document.tokens);
    if (isFinite) words += ` of ${count(this.window)}`;
    if (over > 0) words += `: too long by ${count(over)}`;
    const fill = make('div.fill');
    fill.style.width = `${Math.min(100, (100 * document.tokens) / this.window)}%`;
    const parts = [
      make('div.card-head', {}, make('strong.name', {dir: 'auto'}, document.name),
        this.isFixed ? button('New conversation on it', () => this.actions.begin({...document}), 'quiet small')
          : button('Remove', () => this.set(null, false), 'quiet small', {'aria-label': `Remove ${document.name}`})),
      make('div.gauge', {'aria-hidden': 'true'}, fill),
      make('p.tokens', {role: 'status'}, words),
    ];
    byId('card').classList.toggle('over', over > 0);
    if (document.cut) {
      parts.push(make('p.cut', {}, leftOut(document), ' ',
        this.isFixed ? null : button('Undo the cut', () => this.uncut(), 'quiet small')));
    }
    if (over > 0 && !this.isFixed) parts.push(this.cutForm(document));
    return parts;
  }

  uncut() {
    this.set({...this.document, ...this.document.whole, cut: null, whole: null}, false);
  }

  cutForm(document) {
    const answer = `The answer may take ${count(this.answerTokens)} tokens, and the question needs room, too. `;
    const choice = (cut) => make('label.choice', {}, make('input', {type: 'radio', name: 'cut', value: cut, checked: cut === 'beginning'}), CUTS[cut]);
    const busy = button('Cut the text', () => this.cut(document, form), 'primary');
    const form = make('div.cut-form', {}, make('p', {}, `${answer}Nothing is cut unless you choose it:`),
      make('fieldset', {}, make('legend', {}, 'What shall the model read?'), ...Object.keys(CUTS).map(choice)), make('p.row', {}, busy));
    return form;
  }

  async cut(document, form) {
    const {value} = form.querySelector('input:checked');
    const cutButton = form.querySelector('button');
    cutButton.disabled = true;
    cutButton.textContent = 'Cutting …';
    try {
      const kept = await cutToFit(document, this.limit, value);
      const whole = document.whole ?? {text: document.text, tokens: document.tokens};
      if (this.document === document) this.set({...document, ...kept, id: newId(), cut: value, whole}, false);
    } catch (error) {
      if (this.document === document) tell(byId('document-problem'), error.message);
      this.draw();
    }
  }
}
