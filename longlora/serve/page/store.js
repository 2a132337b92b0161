// Keeps conversations and their texts in this browser (IndexedDB), or, where it refuses, until the page is left.
//
// A conversation is {id, title, created, updated, documentId, turns}; a turn is {id, question, answers, shown}; an
// answer is {text, job, state, …} with the states "running", "done", "stopped", "failed". A document is
// {id, name, text, tokens, cut, whole}: where it was cut, `cut` says what was kept and `whole` what it was before.

const STORES = ['conversations', 'documents'];
const memory = {conversations: new Map(), documents: new Map()};
let isKept = true;

const opened = new Promise((resolve) => {
  const refuse = () => {
    isKept = false;
    resolve(null);
  };
  try {
    const opening = indexedDB.open('longlora', 1);
    opening.onupgradeneeded = () => STORES.forEach((name) => opening.result.createObjectStore(name, {keyPath: 'id'}));
    opening.onsuccess = () => resolve(opening.result);
    opening.onerror = refuse;
  } catch {
    refuse();
  }
});

const tabs = 'BroadcastChannel' in window ? new BroadcastChannel('longlora') : null;

/// Calls the function with a conversation's id, or null for all, when another tab has changed it.
export const onChangeElsewhere = (changed) => tabs?.addEventListener('message', (event) => changed(event.data));

/// Whether conversations outlive the page.
export const keepsHistory = async () => (await opened, isKept);

export const newId = () => Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, '0')).join('');

const result = (operation) =>
  new Promise((resolve, reject) => {
    operation.onsuccess = () => resolve(operation.result);
    operation.onerror = () => reject(operation.error);
  });

const ended = (transaction) =>
  new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error);
  });

async function read(store, id) {
  const database = await opened;
  if (!database) return structuredClone(memory[store].get(id));
  return result(database.transaction(store).objectStore(store).get(id));
}

async function readAll(store) {
  const database = await opened;
  if (!database) return structuredClone([...memory[store].values()]);
  return result(database.transaction(store).objectStore(store).getAll());
}

async function write(store, record) {
  const database = await opened;
  if (!database) return void memory[store].set(record.id, structuredClone(record));
  const transaction = database.transaction(store, 'readwrite');
  transaction.objectStore(store).put(record);
  return ended(transaction);
}

async function remove(store, id) {
  const database = await opened;
  if (!database) return void memory[store].delete(id);
  const transaction = database.transaction(store, 'readwrite');
  transaction.objectStore(store).delete(id);
  return ended(transaction);
}

/// Conversations, the one that was used last first.
export const conversations = async () => (await readAll('conversations')).sort((a, b) => b.updated - a.updated);

export const conversation = (id) => read('conversations', id);
export const document = (id) => read('documents', id);
export const keepDocument = (record) => write('documents', record);

export async function keepConversation(record) {
  await write('conversations', record);
  tabs?.postMessage(record.id);
}

/// Keeps one turn of a conversation. It is written into what is kept now, so that turns which another tab added
/// stay; a conversation that was deleted meanwhile stays deleted.
export async function keepTurn(conversationId, turn) {
  const change = (record) => {
    const at = record.turns.findIndex((one) => one.id === turn.id);
    record.turns.splice(at < 0 ? record.turns.length : at, at < 0 ? 0 : 1, structuredClone(turn));
    record.updated = Date.now();
  };
  const database = await opened;
  if (!database) {
    const record = memory.conversations.get(conversationId);
    if (record) change(record);
    return;
  }
  const transaction = database.transaction('conversations', 'readwrite');
  const store = transaction.objectStore('conversations');
  const record = await result(store.get(conversationId));
  if (record) {
    change(record);
    store.put(record);
  }
  await ended(transaction);
  tabs?.postMessage(conversationId);
}

/// Deletes a conversation, and its text where no other has it.
export async function deleteConversation(id) {
  const {documentId} = (await conversation(id)) ?? {};
  await remove('conversations', id);
  const others = await conversations();
  if (documentId && !others.some((one) => one.documentId === documentId)) await remove('documents', documentId);
  tabs?.postMessage(id);
}

export async function deleteAll() {
  for (const store of STORES) for (const {id} of await readAll(store)) await remove(store, id);
  tabs?.postMessage(null);
}

/// All that is kept, as JSON.
export async function everything() {
  const kept = {program: 'longlora', exported: new Date().toISOString(), conversations: await conversations(), documents: await readAll('documents')};
  return JSON.stringify(kept, null, 1);
}

/// A conversation as Markdown.
export function asMarkdown(record, name) {
  const parts = [`# ${record.title}\n`, name ? `About: ${name}\n` : ''];
  for (const {question, answers, shown} of record.turns) parts.push(`## ${question}\n`, `${answers[shown].text}\n`);
  return parts.filter(Boolean).join('\n');
}
