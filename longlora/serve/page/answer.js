// One question with its answers: what the reader sees of a turn from the queue to the last word.

import {make, button, copyButton, count, tokens, rate, duration} from './dom.js';
import {MarkdownView} from './markdown.js';

const RENDER_MS = 100;
const SENTENCE = /[^]*?(?:[.!?]+["'”’)\]]*(?=\s)|[。！？]+|\n)/gy;

/// Says a text aloud by sentences, through a live region, as it is written.
class Announcer {
  constructor(region) {
    this.region = region;
    this.said = 0;
  }

  hear(text, isWhole) {
    SENTENCE.lastIndex = this.said;
    let end = this.said;
    while (SENTENCE.exec(text)) end = SENTENCE.lastIndex;
    if (isWhole) end = text.length;
    const sentences = text.slice(this.said, end).replace(/[*_`#$|\\]+/g, '').trim();
    this.said = end;
    if (sentences) this.region.textContent = sentences;
  }
}

const ENDS = {
  length: 'The answer reached its longest length; Settings can allow more.',
  context: 'The window is full: the model can take no more.',
};

const STATES = {
  stopped: 'Stopped.',
  unread: 'Stopped: nobody was reading. Ask again to go on.',
};

/// The line below an answer, in words.
function summary(answer) {
  const {usage, tokensPerSecond: written, reason} = answer;
  const parts = [];
  if (usage) {
    const cached = usage.prompt_tokens_details?.cached_tokens ?? 0;
    parts.push(`${tokens(usage.completion_tokens)}${written ? ` at ${rate(written)} tokens/s` : ''}`);
    parts.push(cached > 0 ? `${count(cached)} of ${tokens(usage.prompt_tokens)} were in the cache`
      : `${tokens(usage.prompt_tokens)} read`);
  }
  if (answer.seed !== undefined && answer.temperature > 0) parts.push(`seed ${answer.seed}`);
  if (ENDS[reason]) parts.push(ENDS[reason]);
  if (answer.state === 'stopped') parts.push(STATES[reason] ?? STATES.stopped);
  return parts.join(' · ');
}

/// Draws a turn into `node`. `actions` are {again(), show(index)}.
export class TurnView {
  constructor(turn, actions, live) {
    this.turn = turn;
    this.actions = actions;
    this.live = live;
    this.timer = null;
    this.isLast = false;
    this.status = make('p.status', {});
    this.bar = make('progress.reading', {max: '1', value: '0', 'aria-label': 'Reading', hidden: true});
    this.text = make('div.answer', {});
    this.problem = make('p.problem', {role: 'alert', hidden: true});
    this.foot = make('div.foot', {});
    this.node = make('article.turn', {}, make('h2.question', {dir: 'auto'}, turn.question), this.status, this.bar,
      this.text, this.problem, this.foot);
    this.draw();
  }

  get answer() {
    return this.turn.answers[this.turn.shown];
  }

  /// Draws everything anew: another answer is shown, or its state has changed.
  draw() {
    clearTimeout(this.timer);
    this.timer = null;
    this.markdown = new MarkdownView(this.text);
    this.text.replaceChildren();
    this.announcer = new Announcer(this.live);
    this.announcer.said = this.answer.text.length;
    this.bar.hidden = true;
    this.show();
  }

  /// Draws what may have changed since the last time.
  show() {
    const {answer} = this;
    const isRunning = answer.state === 'running';
    this.markdown.set(answer.text);
    this.node.classList.toggle('running', isRunning);
    this.text.setAttribute('aria-busy', String(isRunning));
    this.status.hidden = !isRunning || answer.text !== '';
    if (!isRunning) this.bar.hidden = true;
    this.problem.textContent = answer.error ?? '';
    this.problem.hidden = !answer.error;
    this.foot.replaceChildren(...(isRunning ? [] : this.footParts()));
  }

  footParts() {
    const {answer, turn} = this;
    const parts = [];
    if (answer.text) parts.push(copyButton(() => answer.text));
    if (this.isLast) {
      parts.push(button(answer.state === 'done' ? 'Another answer' : 'Try again', () => this.actions.again(), 'quiet small'));
    }
    if (turn.answers.length > 1) {
      const go = (step) => () => this.actions.show(turn.shown + step);
      parts.push(make('span.pager', {role: 'group', 'aria-label': 'Answers'},
        button('‹', go(-1), 'quiet small', {'aria-label': 'Answer before', disabled: turn.shown === 0}),
        `${turn.shown + 1} of ${turn.answers.length}`,
        button('›', go(1), 'quiet small', {'aria-label': 'Answer after', disabled: turn.shown + 1 === turn.answers.length})));
    }
    parts.push(make('span.summary', {}, summary(answer)));
    return parts;
  }

  setLast(isLast) {
    this.isLast = isLast;
    this.show();
  }

  waiting(ahead) {
    this.bar.hidden = true;
    this.tell(ahead > 0 ? `In the queue: ${count(ahead)} before you.` : 'Beginning …');
  }

  reading({done, total, cached, rate: speed, seconds_left: left}) {
    this.bar.hidden = this.answer.text !== '';
    this.bar.value = total > 0 ? done / total : 0;
    this.bar.textContent = `${Math.round(this.bar.value * 100)} %`;
    const parts = [`Reading: ${count(done)} of ${tokens(total)}`];
    if (cached > 0) parts.push(`${count(cached)} in the cache`);
    if (speed > 0 && done < total) parts.push(`${count(speed)} tokens/s`);
    if (left > 0 && done < total) parts.push(`${duration(left)} left`);
    this.tell(parts.join(' · '));
  }

  lost() {
    this.status.hidden = false;
    this.status.textContent = 'The connection broke; trying again …';
  }

  tell(text) {
    this.status.textContent = text;
    this.status.hidden = false;
  }

  /// More of the answer is there. It is drawn at most ten times a second.
  grew() {
    this.timer ??= setTimeout(() => {
      this.timer = null;
      this.bar.hidden = true;
      this.show();
      this.announcer.hear(this.answer.text, false);
    }, RENDER_MS);
  }

  ended() {
    clearTimeout(this.timer);
    this.timer = null;
    this.show();
    this.announcer.hear(this.answer.text, true);
    if (this.answer.error) this.live.textContent = this.answer.error;
  }
}
