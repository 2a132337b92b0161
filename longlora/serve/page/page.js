// The page: which conversation is open, what is asked, and what the keys do.

import {button, byId, tell, count, tokens, size} from './dom.js';
import * as api from './api.js';
import * as store from './store.js';
import * as jobs from './jobs.js';
import {TurnView} from './answer.js';
import {DocumentPanel} from './document.js';
import {HistoryList} from './history.js';
import {settings, answerTokens, openableSettings, switchableTheme} from './settings.js';

const LONG_PASTE = 2000;  // characters from which a pasted text is something to ask about, not a question
const CHIPS = {
  text: ['Summarise the whole text in ten sentences.', 'Who are the people in it, and what does each of them want?',
    'How does it end, and what earlier made that happen?'],
  sample: ['Who stopped the pear-wood clock, and how does Ilse know?', 'What did Aron believe for forty years, and why?',
    'Why does the smallest clock run eleven days slow?'],
  none: [],
};

let conversation = null;  // the open one; null before its first question
let views = [];
let model = {window: Infinity, name: ''};

// --- What the open conversation looks like ---------------------------------------------------------------

const question = byId('question');
const panel = new DocumentPanel({changed: () => (drawAsk(), focusQuestion()), begin});
const history = new HistoryList({open: openConversation, begin: () => begin(null), forget: stopConversation});

const runningJob = () => (conversation ? jobs.runningJob(conversation) : null);

/// Goes to the question, except where that would bring up a keyboard on the screen.
function focusQuestion() {
  if (matchMedia('(pointer: fine)').matches) question.focus({preventScroll: true});
}

function grow() {
  question.style.height = 'auto';
  question.style.height = `${question.scrollHeight + 2}px`;
}

/// The place for the question: chips, buttons, and how much room is left.
function drawAsk() {
  const job = runningJob();
  const {document} = panel;
  const isStart = !conversation;
  // In a conversation its title is the page's heading, for those who hear the page.
  byId('start').classList.toggle('unseen', !isStart);
  byId('heading').textContent = conversation?.title ?? 'Ask about a whole book';
  byId('start').querySelector('.lead').hidden = !isStart || document !== null;
  byId('send').hidden = job !== null;
  byId('stop').hidden = job === null;
  byId('send').disabled = !question.value.trim() || !panel.fits;
  const kind = !document ? 'none' : document.name === 'The Clockmaker of Varn.txt' ? 'sample' : 'text';
  byId('chips').replaceChildren(...(isStart && panel.fits ? CHIPS[kind] : []).map((text) => button(text, () => ask(text), 'chip')));
  question.placeholder = document ? 'Ask about this text' : 'Ask a question';
  byId('budget').textContent = budget(document);
}

function budget(document) {
  if (!Number.isFinite(model.window)) return '';
  if (document && !panel.fits) return 'Cut the text, or choose a shorter one, to ask about it.';
  const used = conversation ? lastAnswer()?.usage?.total_tokens : document?.tokens;
  return used ? `${tokens(Math.max(0, model.window - used))} are left for questions and answers.` : '';
}

function lastAnswer() {
  const turn = conversation?.turns.at(-1);
  return turn ? shownAnswer(turn) : null;
}

function setFragment() {
  const job = runningJob();
  const parts = conversation ? [`chat=${conversation.id}`, ...(job ? [`job=${job}`] : [])] : [];
  window.history.replaceState(null, '', parts.length > 0 ? `#${parts.join('&')}` : location.pathname + location.search);
}

function setTitle(progress = null) {
  const name = conversation?.title ?? 'longlora';
  document.title = progress === null ? name : `${progress} · ${name}`;
}

function addView(turn) {
  const view = new TurnView(turn, {again: () => again(turn), show: (index) => showAnswer(turn, view, index)}, byId('live'));
  views.at(-1)?.setLast(false);
  views.push(view);
  view.setLast(true);
  byId('turns').append(view.node);
  return view;
}

/// Takes the open conversation off the page; what is being written goes on.
function close() {
  const job = runningJob();
  if (job) jobs.watch(job, null);
  views = [];
  byId('turns').replaceChildren();
  tell(byId('problem'), null);
}

/// An empty page, with this text where there is one.
function begin(text) {
  close();
  conversation = null;
  panel.set(text, false);
  setFragment();
  setTitle();
  history.draw(null);
}

async function openConversation(id) {
  const record = jobs.runningConversation(id) ?? (await store.conversation(id));
  if (!record) return begin(null);
  close();
  conversation = record;
  panel.set(record.documentId ? ((await store.document(record.documentId)) ?? null) : null, true);
  record.turns.forEach(addView);
  attach();
  drawAsk();
  setFragment();
  setTitle();
  history.draw(id);
  window.scrollTo(0, document.body.scrollHeight);
}

/// Goes on showing an answer that is being written, also after the page was loaded anew.
function attach() {
  const job = runningJob();
  const view = views.at(-1);
  if (job) jobs.watch(job, view);
  else if (view?.answer.state === 'running') follow(view.turn, view.answer, view);
}

// --- Asking ----------------------------------------------------------------------------------------------

const shownAnswer = (turn) => turn.answers[turn.shown];

/// What the model is sent: the text stands before the first question, as in the released scripts.
function messages(turn) {
  const earlier = settings.remember ? conversation.turns.slice(0, conversation.turns.indexOf(turn)) : [];
  const list = [];
  for (const one of earlier.filter((before) => shownAnswer(before).text)) {
    list.push({role: 'user', content: one.question}, {role: 'assistant', content: shownAnswer(one).text});
  }
  list.push({role: 'user', content: turn.question});
  if (panel.document) list[0].content = `${panel.document.text}\n${list[0].content}`;
  return list;
}

function request(turn) {
  const {temperature, top_p} = settings;
  const max_tokens = answerTokens(model.window);
  // Seeds are drawn here, so that each answer can say its own. Another answer to a question takes the next seed.
  const seed = settings.seed === null ? crypto.getRandomValues(new Uint32Array(1))[0] : settings.seed + turn.answers.length;
  return {messages: messages(turn), temperature, top_p, max_tokens, seed, stream: true};
}

/// Makes an answer of a job that begins, and follows it.
async function answer(turn) {
  const body = request(turn);
  const job = await api.beginJob(body);
  const fresh = {text: '', job, state: 'running', seed: body.seed, temperature: body.temperature, error: null};
  turn.answers.push(fresh);
  turn.shown = turn.answers.length - 1;
  return fresh;
}

function follow(turn, fresh, view) {
  const owner = conversation;
  const onEvent = (name, data) => {
    if (conversation !== owner) return;
    if (name === 'reading' && data.total > 0) setTitle(`${Math.floor((100 * data.done) / data.total)} %`);
    if (name === 'text') setTitle();
    followDown();
  };
  const onEnd = () => {
    if (conversation === owner) setTitle();
    drawAsk();
    setFragment();
    history.draw(conversation?.id ?? null);
  };
  const following = jobs.follow({conversation: owner, turn, answer: fresh, view, onEvent, onEnd});
  drawAsk();
  setFragment();
  return following;
}

/// Keeps the end of the answer in sight, unless the reader has gone back.
function followDown() {
  const root = document.documentElement;
  if (root.scrollHeight - root.scrollTop - root.clientHeight < 160) root.scrollTop = root.scrollHeight;
}

async function keepConversation() {
  try {
    if (panel.document && !conversation.documentId) {
      await store.keepDocument(panel.document);
      conversation.documentId = panel.document.id;
    }
    await store.keepConversation(conversation);
  } catch (error) {
    tell(byId('problem'), `This browser has no room to keep the conversation (${error.name}); delete older ones. It is lost when the page is closed.`);
  }
}

let isSending = false;

/// Asks a question. What was written stays in its place until the server has taken it.
async function ask(text) {
  if (!text.trim() || !panel.fits || isSending) return;
  if (runningJob()) return tell(byId('problem'), 'An answer is being written. Stop it, or wait for its end.');
  isSending = true;
  tell(byId('problem'), null);
  const isFirst = !conversation;
  if (isFirst) conversation = {id: store.newId(), title: text.trim().slice(0, 80), created: Date.now(), updated: Date.now(), documentId: null, turns: []};
  const turn = {id: store.newId(), question: text.trim(), answers: [], shown: 0};
  conversation.turns.push(turn);
  byId('send').disabled = true;
  try {
    const fresh = await answer(turn);
    if (isFirst) panel.set(panel.document, true);
    if (question.value.trim() === turn.question) question.value = '';
    grow();
    conversation.updated = Date.now();
    await keepConversation();
    follow(turn, fresh, addView(turn));
    window.scrollTo(0, document.body.scrollHeight);
    history.draw(conversation.id);
  } catch (error) {
    conversation.turns.pop();
    if (isFirst) conversation = null;
    question.value ||= text;
    grow();
    refused(error, isFirst);
  } finally {
    isSending = false;
    drawAsk();
  }
}

/// Says why a question was not taken. Where it was too long, the server's counts are the true ones.
function refused(error, isFirst) {
  const {promptTokens} = error;
  if (!promptTokens) return tell(byId('problem'), error.message);
  const window = error.window ?? model.window;
  tell(byId('problem'), `Text, questions and answers so far have ${tokens(promptTokens)}, and with the new answer ` +
    `(up to ${count(answerTokens(window))}) the model takes ${count(window)}. ` +
    (isFirst ? 'Ask for shorter answers in Settings, or cut the text.' : 'Begin a new conversation, or ask for shorter answers in Settings.'));
  if (isFirst && panel.document) panel.needForQuestion(promptTokens - panel.document.tokens);
}

/// Another answer to the last question, beside those that are there.
async function again(turn) {
  const before = shownAnswer(turn);
  if (runningJob() || isSending) return;
  if (settings.temperature === 0 && before.state === 'done') {
    return tell(byId('problem'), 'At temperature 0 the answer would be the same again; Settings can raise it.');
  }
  tell(byId('problem'), null);
  isSending = true;
  try {
    const fresh = await answer(turn);
    await store.keepTurn(conversation.id, turn).catch(() => {});
    const view = views.find((one) => one.turn === turn);
    view.draw();
    follow(turn, fresh, view);
  } catch (error) {
    refused(error, false);
  } finally {
    isSending = false;
    drawAsk();
  }
}

function showAnswer(turn, view, index) {
  if (runningJob()) return;
  turn.shown = index;
  view.draw();
  store.keepTurn(conversation.id, turn).catch(() => {});
}

const stopOpen = () => runningJob() && jobs.stop(runningJob());

async function stopConversation(record) {
  const job = jobs.runningJob(record);
  if (job) await jobs.stop(job);
}

// --- Keys, paste, beginning ------------------------------------------------------------------------------

function listen() {
  byId('composer').addEventListener('submit', (event) => {
    event.preventDefault();
    ask(question.value);
  });
  byId('stop').addEventListener('click', stopOpen);
  question.addEventListener('input', () => (grow(), drawAsk()));
  question.addEventListener('keydown', (event) => {
    // The Enter that chooses a word of an input method does not send.
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    ask(question.value);
  });
  question.addEventListener('paste', (event) => {
    const text = event.clipboardData.getData('text/plain');
    if (text.length < LONG_PASTE || conversation || panel.document) return;
    event.preventDefault();
    panel.take('Pasted text', new Blob([text]));
  });
  document.addEventListener('keydown', (event) => {
    if (document.querySelector('dialog[open]')) return;
    if (event.key === 'Escape' && history.isOpen) {
      history.setOpen(false);
      byId('open-history').focus();
    } else if (event.key === 'Escape') stopOpen();
    const isWriting = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName);
    if (event.key === '/' && !isWriting && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      question.focus();
    }
  });
  // What went wrong where nobody waited for it is said, too.
  window.addEventListener('unhandledrejection', (event) => tell(byId('problem'), event.reason?.message ?? String(event.reason)));
  document.addEventListener('visibilitychange', () => document.visibilityState === 'visible' && !model.name && meetServer());
  store.onChangeElsewhere(async (id) => {
    if (conversation && (id === conversation.id || id === null) && !runningJob()) await openConversation(conversation.id);
    else history.draw(conversation?.id ?? null);
  });
}

function askForKey() {
  const dialog = byId('key-dialog');
  if (!dialog.open) dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => {
      const value = byId('key').value.trim();
      if (dialog.returnValue === 'take' && value) api.setKey(value);
      byId('key').value = '';
      resolve(dialog.returnValue === 'take' && value !== '');
    }, {once: true});
  });
}

/// The line about the model: its name, window, numbers and memory.
function describe(properties) {
  const parts = [properties.model];
  if (properties.window) parts.push(`${count(properties.window)} tokens`);
  if (properties.dtype) parts.push(properties.dtype);
  if (properties.memory_bytes) parts.push(size(properties.memory_bytes));
  return parts.join(' · ');
}

async function meetServer() {
  try {
    const properties = await api.properties();
    model = {name: properties.model, window: properties.window ?? Infinity};
    byId('model').textContent = describe(properties);
    byId('window-words').textContent = properties.window ? `, up to ${tokens(properties.window)}` : '';
    byId('open-reports').hidden = !properties.reports;
    panel.setRoom(model.window, answerTokens(model.window));
  } catch (error) {
    byId('model').textContent = 'No connection';
    tell(byId('problem'), error.message);
  }
  drawAsk();
}

async function start() {
  switchableTheme();
  openableSettings(() => {
    panel.setRoom(model.window, answerTokens(model.window));
    drawAsk();
  });
  api.onKeyWanted(askForKey);
  listen();
  const fragment = new URLSearchParams(location.hash.slice(1));
  if (fragment.get('chat')) await openConversation(fragment.get('chat'));
  else begin(null);
  await meetServer();
}

await start();
