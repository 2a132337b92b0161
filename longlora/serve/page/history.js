// The list of earlier conversations.

import {make, button, byId, tell, saveFile, confirmLoss} from './dom.js';
import * as store from './store.js';

const fileName = (title) => title.replace(/[^\p{L}\p{N}]+/gu, '-').replace(/^-|-$/g, '').slice(0, 60) || 'conversation';

export class HistoryList {
  /// `actions` are {open(id), begin(), forget(conversation)}; forget is told before a conversation is deleted.
  constructor(actions) {
    this.actions = actions;
    this.current = null;
    byId('new-conversation').addEventListener('click', () => {
      this.setOpen(false);
      actions.begin();
    });
    byId('export-all').addEventListener('click', async () => {
      saveFile('longlora-conversations.json', 'application/json', await store.everything());
    });
    byId('delete-all').addEventListener('click', () => this.deleteAll());
    byId('open-history').addEventListener('click', () => this.setOpen(!this.isOpen));
    document.addEventListener('pointerdown', ({target}) => {
      if (this.isOpen && !target.closest('#history, #open-history, dialog')) this.setOpen(false);
    });
  }

  /// Whether the list covers a narrow page. On a wide one it is always there.
  get isOpen() {
    return byId('history').classList.contains('open');
  }

  setOpen(isOpen) {
    byId('history').classList.toggle('open', isOpen);
    byId('open-history').setAttribute('aria-expanded', String(isOpen));
    if (isOpen) byId('new-conversation').focus();
  }

  async draw(current) {
    this.current = current;
    const records = await store.conversations();
    if (!(await store.keepsHistory())) {
      tell(byId('history-note'), 'This browser keeps nothing for this page: conversations are lost when it is closed. Export what you need.');
    }
    byId('conversations').replaceChildren(...records.map((record) => this.entry(record)));
    byId('export-all').disabled = byId('delete-all').disabled = records.length === 0;
  }

  entry(record) {
    const open = button(record.title, () => {
      this.setOpen(false);
      this.actions.open(record.id);
    }, 'entry', {dir: 'auto', 'aria-current': record.id === this.current ? 'true' : null});
    const date = new Date(record.updated).toLocaleDateString(undefined, {day: 'numeric', month: 'short', year: 'numeric'});
    const about = make('p.soft.small', {}, date, ' · ',
      button('Save', () => this.save(record), 'link', {'aria-label': `Save ${record.title} as Markdown`}), ' · ',
      button('Delete', () => this.delete(record), 'link', {'aria-label': `Delete ${record.title}`}));
    return make('li', {}, open, about);
  }

  async save(record) {
    const text = record.documentId ? await store.document(record.documentId) : null;
    saveFile(`${fileName(record.title)}.md`, 'text/markdown', store.asMarkdown(record, text?.name));
  }

  async delete(record) {
    if (!(await confirmLoss(`Delete “${record.title}”? Its questions and answers are lost.`))) return;
    await this.actions.forget(record);
    await store.deleteConversation(record.id);
    if (record.id === this.current) this.actions.begin();
    await this.draw(this.current === record.id ? null : this.current);
  }

  async deleteAll() {
    if (!(await confirmLoss('Delete all conversations and their texts from this browser?'))) return;
    for (const record of await store.conversations()) await this.actions.forget(record);
    await store.deleteAll();
    this.actions.begin();
    await this.draw(null);
  }
}
