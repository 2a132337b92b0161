// Answers that are being written: each is followed from its first event to its last, whether or not it is seen.

import * as api from './api.js';
import * as store from './store.js';

const KEEP_MS = 2000;
const running = new Map();  // by the job's id: {conversation, turn, answer, view, control, kept}

/// The conversation as it is in memory where one of its answers is being written.
export function runningConversation(id) {
  for (const job of running.values()) if (job.conversation.id === id) return job.conversation;
  return null;
}

/// The id of the job that writes an answer of this conversation, or null.
export function runningJob(conversation) {
  for (const [id, job] of running) if (job.conversation.id === conversation.id) return id;
  return null;
}

/// Shows a job in this view from now on; null: nowhere.
export function watch(id, view) {
  if (running.has(id)) running.get(id).view = view;
}

const REASONS = {stop: null, length: 'length', context: 'context'};

function finish(job, data) {
  const {answer} = job;
  answer.usage = data.usage ?? null;
  answer.tokensPerSecond = data.tokens_per_second ?? null;
  answer.reason = REASONS[data.reason] ?? data.reason ?? null;
  answer.state = ['cancelled', 'unread'].includes(data.reason) ? 'stopped' : 'done';
}

function fail(job, message) {
  job.answer.error = message;
  job.answer.state = 'failed';
}

function hear(job, name, data) {
  const {answer, view} = job;
  if (name === 'waiting') view?.waiting(data.ahead);
  else if (name === 'reading') view?.reading(data);
  else if (name === 'text') {
    job.text += data.delta;
    // A job that is heard again begins with what is there already.
    if (job.text.length > answer.text.length) answer.text = job.text;
    view?.grew();
  } else if (name === 'lost') view?.lost();
  else if (name === 'done') finish(job, data);
  else if (name === 'error') fail(job, data.error?.message ?? data.message);
  job.onEvent(name, data);
  if (name === 'text' && Date.now() - job.kept > KEEP_MS) keep(job);
}

function keep(job) {
  job.kept = Date.now();
  return store.keepTurn(job.conversation.id, job.turn).catch(() => {});
}

/// Follows the job that writes `answer` until it ends. `onEvent(name, data)` hears what the view does, `onEnd()`
/// that the answer is whole.
export async function follow({conversation, turn, answer, view, onEvent, onEnd}) {
  const job = {conversation, turn, answer, view, onEvent, text: '', kept: Date.now(), control: new AbortController()};
  running.set(answer.job, job);
  try {
    await api.followJob(answer.job, (name, data) => hear(job, name, data), job.control.signal);
    if (answer.state === 'running') answer.state = 'stopped';
  } catch (error) {
    if (error.status === 404) fail(job, 'The server does not know this answer any more: it was restarted, or nobody read the answer for too long. Ask again.');
    else fail(job, error.message);
  } finally {
    running.delete(answer.job);
  }
  await keep(job);
  job.view?.ended();
  onEnd();
}

/// Stops a job at the server. Its last event, which says how far it came, is waited for a moment.
export async function stop(id) {
  const job = running.get(id);
  if (!job) return;
  try {
    await api.endJob(id);
    setTimeout(() => job.control.abort(), 3000);
  } catch {
    // Nobody answers: the reader stops, and the server soon does because nobody reads.
    job.control.abort();
  }
}
