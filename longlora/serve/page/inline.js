// Markdown within a paragraph: code, formulas, links, emphasis. What is not recognised stays as it was written;
// HTML is text like any other, and images are shown as links.

import {make} from './dom.js';
import {formula} from './formula.js';

const ESCAPABLE = /[!-/:-@[-`{-~]/;
const PLAIN = /[^\\`$*_~[!h\n]+/y;
const LINK = /!?\[((?:[^[\]\\]|\\.)*)\]\(\s*<?([^\s<>()]*(?:\([^\s<>()]*\)[^\s<>()]*)*)>?(?:\s+"[^"]*")?\s*\)/y;
const ADDRESS = /https?:\/\/[^\s<>()"'`*]+(?:\([^\s<>()]*\)[^\s<>()"'`*]*)*/y;
const PARENTHESISED_FORMULA = /\\\(([^]{1,2000}?)\\\)/y;
const DOLLAR_FORMULA = /\$(?![\s$])((?:[^$\\]|\\[^]){1,1000})\$(?!\d)/y;
const DELIMITERS = /\*+|_+|~~/y;
const WORD = /[\p{L}\p{N}]/u;

/// What a pattern finds exactly at a place, or null.
function at(pattern, text, place) {
  pattern.lastIndex = place;
  return pattern.exec(text);
}

/// The address if following it can do no harm, or null: only http, https and mailto, never javascript or data.
export function safeAddress(text) {
  try {
    const url = new URL(text);
    return ['http:', 'https:', 'mailto:'].includes(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

function link(words, target) {
  const href = safeAddress(target);
  if (!href) return null;
  return make('a', {href, rel: 'noopener noreferrer nofollow', target: '_blank'}, words);
}

/// A code span that begins at a place: [node, its end], or null. `unclosed` remembers lengths of runs that no
/// later run closes, so that many of them take no longer than one.
function codeSpan(text, place, unclosed) {
  const ticks = at(/`+/y, text, place)[0];
  if (unclosed.has(ticks.length)) return null;
  let end = place + ticks.length;
  for (;;) {
    end = text.indexOf(ticks, end);
    if (end < 0) return unclosed.add(ticks.length), null;
    const run = at(/`+/y, text, end)[0].length;
    if (run === ticks.length) break;
    end += run;
  }
  const code = text.slice(place + ticks.length, end).replace(/\n/g, ' ');
  return [make('code', {dir: 'ltr'}, code.replace(/^ (.*[^ ].*) $/, '$1')), end + ticks.length];
}

/// What is written at a place that is neither plain text nor emphasis: [node or string, its end], or null.
function special(text, place, unclosed) {
  const character = text[place];
  let found = null;
  if (character === '\\') {
    found = at(PARENTHESISED_FORMULA, text, place);
    if (found) return [formula(found[1], false), place + found[0].length];
    if (text[place + 1] === '\n') return [make('br'), place + 2];
    if (ESCAPABLE.test(text[place + 1] ?? ' ')) return [text[place + 1], place + 2];
  } else if (character === '\n') {
    return [make('br'), place + 1];
  } else if (character === '`') {
    return codeSpan(text, place, unclosed);
  } else if (character === '$') {
    found = at(DOLLAR_FORMULA, text, place);
    if (found && !/\s$/.test(found[1])) return [formula(found[1], false), place + found[0].length];
  } else if (character === '[' || character === '!') {
    found = at(LINK, text, place);
    const node = found && link(found[1].replace(/\\(.)/g, '$1') || found[2], found[2]);
    if (node) return [node, place + found[0].length];
  } else if (character === 'h' && !WORD.test(text[place - 1] ?? ' ')) {
    found = at(ADDRESS, text, place);
    const words = found?.[0].replace(/[.,;:!?]+$/, '');
    const node = found && link(words, words);
    if (node) return [node, place + words.length];
  }
  return null;
}

/// A run of delimiters with what it may do, by CommonMark's rules for runs that flank a word.
function delimiterRun(text, place, run) {
  const before = text[place - 1] ?? ' ';
  const after = text[place + run.length] ?? ' ';
  const blank = /\s/;
  const sign = /[\p{P}\p{S}]/u;
  const left = !blank.test(after) && (!sign.test(after) || blank.test(before) || sign.test(before));
  const right = !blank.test(before) && (!sign.test(before) || blank.test(after) || sign.test(after));
  const inWord = run[0] === '_' && WORD.test(before) && WORD.test(after);
  return {mark: run[0], length: run.length, opens: left && !inWord, closes: right && !inWord};
}

const TAGS = {'*': ['em', 'strong'], '_': ['em', 'strong'], '~': ['del', 'del']};

/// Puts what stands between two runs into emphasis, for as long as both have marks left.
function closeRun(pieces, open, closer) {
  const opener = pieces[open];
  const used = opener.mark === '~' ? 2 : Math.min(2, opener.length, closer.length);
  const inside = pieces.splice(open + 1).map((piece) => piece.node ?? piece.mark.repeat(piece.length));
  const node = make(TAGS[opener.mark][used - 1], {}, inside);
  opener.length -= used;
  closer.length -= used;
  if (opener.length === 0) pieces.pop();
  pieces.push({node});
}

/// Meets a run of delimiters: it closes what it can and opens what is left of it.
function meetRun(pieces, run) {
  while (run.closes && run.length > 0) {
    let open = pieces.length - 1;
    // Farther back nobody would see that two marks belong together; the limit keeps long texts quick.
    const limit = Math.max(0, pieces.length - 200);
    while (open >= limit && !(pieces[open].mark === run.mark && pieces[open].opens)) open--;
    if (open < limit) break;
    closeRun(pieces, open, run);
  }
  if (run.length > 0) pieces.push(run);
}

/// The nodes of a text without blocks.
export function inline(text) {
  const pieces = [];
  const unclosed = new Set();
  let plain = '';
  const flush = () => {
    if (plain) pieces.push({node: plain});
    plain = '';
  };
  for (let place = 0; place < text.length; ) {
    const words = at(PLAIN, text, place);
    const run = words ? null : at(DELIMITERS, text, place);
    const found = words || run ? null : special(text, place, unclosed);
    if (run) {
      flush();
      meetRun(pieces, delimiterRun(text, place, run[0]));
    } else if (found && typeof found[0] !== 'string') {
      flush();
      pieces.push({node: found[0]});
    } else {
      plain += words?.[0] ?? found?.[0] ?? text[place];
    }
    place = found ? found[1] : place + (words ?? run ?? ' ')[0].length;
  }
  flush();
  return pieces.map((piece) => piece.node ?? piece.mark.repeat(piece.length));
}
