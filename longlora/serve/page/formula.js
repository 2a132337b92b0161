// Formulas in TeX, shown by KaTeX as MathML, which browsers draw themselves. KaTeX is fetched with the first formula.

import {make} from './dom.js';

let katex = null;

const loaded = () =>
  (katex ??= import('./katex.js').then(
    () => window.katex,
    () => null,
  ));

/// A node that shows the formula, at first and where KaTeX refuses it as it was written.
export function formula(tex, isDisplayed) {
  const node = make(isDisplayed ? 'div.formula' : 'span.formula', {dir: 'ltr'}, tex);
  loaded().then((library) => {
    try {
      library?.render(tex, node, {output: 'mathml', displayMode: isDisplayed, trust: false, maxExpand: 200, maxSize: 20, strict: 'ignore'});
    } catch {
      node.textContent = tex;
    }
  });
  return node;
}
