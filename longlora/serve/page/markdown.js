// Shows Markdown while it is being written. Only nodes are made, never HTML: whatever a model writes stays text.
// A text is split into blocks; those that are as they were keep their nodes.

import {make, copyButton} from './dom.js';
import {formula} from './formula.js';
import {inline} from './inline.js';

const MAX_DEPTH = 12;  // of lists and quotations within one another
const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([\w+#.-]*)[^`]*$/;
const HEADING = /^ {0,3}(#{1,6})\s+(\S.*)$/;
const RULE = /^ {0,3}([-*_])(?:\s*\1){2,}\s*$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( {0,3}(?:([-*+])|(\d{1,9})[.)])\s+)(?=\S)/;
const DISPLAY = /^\s*(?:\$\$|\\\[)/;
const DELIMITER_ROW = /^\s*\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?\s*$/;

const isBlank = (line) => line.trim() === '';

const isTable = (lines, at) =>
  lines[at].includes('|') && at + 1 < lines.length && lines[at + 1].includes('-') && DELIMITER_ROW.test(lines[at + 1]);

const startsBlock = (lines, at) =>
  [FENCE, HEADING, RULE, QUOTE, ITEM, DISPLAY].some((form) => form.test(lines[at])) || isTable(lines, at);

/// The first line from `at` on for which `ends` holds, or the number of lines.
function find(lines, at, ends) {
  while (at < lines.length && !ends(lines[at], at)) at++;
  return at;
}

function fenceEnd(lines, at) {
  const mark = lines[at].match(FENCE)[1];
  const closing = new RegExp(`^ {0,3}\\${mark[0]}{${mark.length},}\\s*$`);
  return find(lines, at + 1, (line) => closing.test(line)) + 1;
}

function displayEnd(lines, at) {
  const closing = lines[at].trim().startsWith('$$') ? '$$' : '\\]';
  if (lines[at].trim().slice(2).includes(closing)) return at + 1;
  return find(lines, at + 1, (line) => line.includes(closing)) + 1;
}

const indentation = (line) => line.search(/\S|$/);

/// Whether a line is inside an item of the list that begins with `first`.
const isInside = (line, first) => indentation(line) >= indentation(first) + 2;

/// A list goes on over blank lines, as long as what follows is inside an item or another item of its kind.
function listEnd(lines, at) {
  const [, , bullet, number] = lines[at].match(ITEM);
  const belongs = (line) => {
    if (isInside(line, lines[at])) return true;
    const item = line.match(ITEM);
    return item !== null && (number ? Boolean(item[3]) : item[2] === bullet);
  };
  let end = at + 1;
  for (let line = end; line < lines.length; line++) {
    if (isBlank(lines[line])) continue;
    const isLazy = line === end && !startsBlock(lines, line);
    if (!belongs(lines[line]) && !isLazy) break;
    end = line + 1;
  }
  return end;
}

/// The blocks of a text: [{kind, lines}].
function split(lines) {
  const blocks = [];
  for (let at = 0; at < lines.length; ) {
    const line = lines[at];
    let kind = 'paragraph';
    let end = at + 1;
    if (isBlank(line)) {
      at = end;
      continue;
    }
    if (FENCE.test(line)) [kind, end] = ['code', fenceEnd(lines, at)];
    else if (HEADING.test(line)) kind = 'heading';
    else if (RULE.test(line)) kind = 'rule';
    else if (DISPLAY.test(line)) [kind, end] = ['display', displayEnd(lines, at)];
    else if (QUOTE.test(line)) [kind, end] = ['quote', find(lines, end, (next) => !QUOTE.test(next))];
    else if (ITEM.test(line)) [kind, end] = ['list', listEnd(lines, at)];
    else if (isTable(lines, at)) [kind, end] = ['table', find(lines, end, (next) => !next.includes('|'))];
    else end = find(lines, end, (next, place) => isBlank(next) || startsBlock(lines, place));
    blocks.push({kind, lines: lines.slice(at, end)});
    at = end;
  }
  return blocks;
}

function code({lines}) {
  const [, mark, language] = lines[0].match(FENCE);
  const isClosed = lines.length > 1 && lines.at(-1).trim().startsWith(mark);
  const text = lines.slice(1, isClosed ? -1 : undefined).join('\n');
  return make('figure.code', {}, make('figcaption', {}, make('span', {}, language || 'text'), copyButton(() => text)),
    make('pre', {dir: 'ltr', tabindex: '0'}, make('code', {}, text)));
}

function display({lines}) {
  const text = lines.join('\n').trim();
  return formula(text.slice(2).replace(/(\$\$|\\\])[^]*$/, '').trim(), true);
}

/// The cells of a table's row. "\|" and bars within code are no borders.
function cells(row) {
  const found = row.trim().replace(/^\|/, '').match(/(?:\\.|`[^`]*`|[^|\\])*\|?/g) ?? [];
  const texts = found.map((cell) => cell.replace(/\|$/, '').trim().replace(/\\\|/g, '|'));
  return row.trim().replace(/^\|/, '') && texts.at(-1) === '' ? texts.slice(0, -1) : texts;
}

function table({lines}) {
  const sides = cells(lines[1]).map((cell) => (/^:-+:$/.test(cell) ? 'center' : /^-+:$/.test(cell) ? 'end' : null));
  const row = (line, tag) =>
    make('tr', {}, cells(line).slice(0, sides.length).map((cell, column) =>
      make(sides[column] ? `${tag}.${sides[column]}` : tag, {dir: 'auto', scope: tag === 'th' ? 'col' : null}, inline(cell))));
  return make('div.scroll', {tabindex: '0', role: 'region', 'aria-label': 'Table'}, make('table', {},
    make('thead', {}, row(lines[0], 'th')), make('tbody', {}, lines.slice(2).map((line) => row(line, 'td')))));
}

function list({lines}, depth) {
  const items = [];
  let indent = 0;
  for (const line of lines) {
    const start = isInside(line, lines[0]) ? null : line.match(ITEM);
    if (start) {
      items.push([line.slice(start[0].length)]);
      indent = start[0].length;
    } else {
      items.at(-1).push(line.slice(Math.min(indent, indentation(line))));
    }
  }
  const number = lines[0].match(ITEM)[3];
  const isLoose = lines.some((line, at) => isBlank(line) && at + 1 < lines.length);
  const item = (content) => {
    const [first, ...rest] = blocks(content, depth + 1);
    // Items without blank lines between them are no paragraphs.
    const isBare = !isLoose && first?.tagName === 'P';
    return make('li', {dir: 'auto'}, isBare ? [...first.childNodes] : first ?? null, rest);
  };
  return make(number ? 'ol' : 'ul', {start: number && number !== '1' ? number : null}, items.map(item));
}

const MAKERS = {
  code,
  display,
  table,
  list,
  rule: () => make('hr'),
  // The page has a first heading, and each question is one of the second level.
  heading: ({lines: [line]}) => {
    const [, marks, text] = line.match(HEADING);
    return make(`h${Math.min(6, marks.length + 2)}`, {dir: 'auto'}, inline(text.trimEnd().replace(/\s#+$/, '')));
  },
  quote: ({lines}, depth) => make('blockquote', {dir: 'auto'}, blocks(lines.map((line) => line.replace(QUOTE, '')), depth + 1)),
  paragraph: ({lines}) => make('p', {dir: 'auto'}, inline(lines.join('\n').trim())),
};

function blocks(lines, depth) {
  if (depth > MAX_DEPTH) return [make('p', {dir: 'auto'}, lines.join('\n'))];
  return split(lines).map((block) => MAKERS[block.kind](block, depth));
}

/// A place that shows a text which grows.
export class MarkdownView {
  constructor(node) {
    this.node = node;
    this.sources = [];
  }

  /// Shows this text in place of the one before. Blocks that did not change are left alone.
  set(text) {
    const found = split(text.replace(/\r\n?/g, '\n').replace(/\t/g, '    ').split('\n'));
    const sources = found.map((block) => block.kind + block.lines.join('\n'));
    let same = 0;
    while (same < sources.length && sources[same] === this.sources[same]) same++;
    while (this.node.childNodes.length > same) this.node.lastChild.remove();
    for (const block of found.slice(same)) this.node.append(MAKERS[block.kind](block, 0));
    this.sources = sources;
  }
}
