#include "longlora/report/html_style.h"

namespace longlora::report {

const char* const kStyleSheet = R"css(
:root {
  color-scheme: light dark;
  --paper: #ffffff; --ink: #1c2126; --soft: #5b6570; --line: #dfe3e8;
  --panel: #f5f7f9; --accent: #0072b2; --best: #00684b; --best-back: #e3f4ee;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14181c; --ink: #e6e9ec; --soft: #9aa5b1; --line: #2e353d;
    --panel: #1c2228; --accent: #56b4e9; --best: #7fe0bd; --best-back: #16332a;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0 auto; padding: 2.2rem 1.2rem 3rem; max-width: 62rem;
  background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif;
}
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 1.2rem; overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; margin: 2.6rem 0 .8rem; padding-bottom: .3rem; border-bottom: 1px solid var(--line); }
p { margin: .6rem 0; max-width: 48rem; overflow-wrap: anywhere; }
.summary { background: var(--panel); border-left: 4px solid var(--accent); border-radius: 0 8px 8px 0; padding: .5rem 1.2rem; }
.summary p { max-width: none; }
.scroll { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; min-width: min(100%, 36rem); font-size: .93rem; font-variant-numeric: tabular-nums; }
.caption { color: var(--soft); font-size: .88rem; margin: 1.2rem 0 -.6rem; break-after: avoid; }
th, td { padding: .38rem .8rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
thead th { border-bottom: 2px solid var(--line); color: var(--soft); font-weight: 600; vertical-align: bottom; }
tbody th { font-weight: 500; min-width: 8.5rem; }
th.number, td.number { text-align: right; white-space: nowrap; }
td strong { color: var(--best); background: var(--best-back); border-radius: 4px; padding: .05rem .35rem; margin-right: -.35rem; }
figure { margin: 1.3rem 0 1.6rem; }
figure .scroll { margin: 0; }
figure img { display: block; width: 100%; height: auto; background: #fff; border: 1px solid var(--line); border-radius: 8px; }
figcaption { color: var(--soft); font-size: .88rem; margin-top: .5rem; max-width: 48rem; }
.notes { color: var(--soft); font-size: .88rem; padding-left: 1.2rem; overflow-wrap: anywhere; }
details { margin: 2.4rem 0 1rem; border: 1px solid var(--line); border-radius: 8px; padding: .6rem 1rem; }
summary { cursor: pointer; font-weight: 600; }
details td { overflow-wrap: anywhere; }
pre { background: var(--panel); border-radius: 6px; padding: .8rem 1rem; overflow-x: auto; font-size: .85rem; line-height: 1.45; }
footer { margin-top: 2.5rem; color: var(--soft); font-size: .82rem; }
@media (max-width: 40rem) {
  body { padding: 1.2rem .8rem 2rem; font-size: 15px; }
  h1 { font-size: 1.5rem; }
  th, td { padding: .35rem .5rem; }
  figure img { min-width: 36rem; }
}
@media print {
  :root { --paper: #fff; --ink: #000; --soft: #444; --line: #bbb; --panel: #f5f5f5; --best: #00543c; --best-back: #eee; }
  body { max-width: none; padding: 0; font-size: 10.5pt; }
  figure img { min-width: 0; }
  figure, table, .summary { break-inside: avoid; }
  h2 { break-after: avoid; }
  .scroll { overflow: visible; }
  pre { white-space: pre-wrap; overflow-wrap: anywhere; }
  details::details-content { content-visibility: visible; block-size: auto; }
}
)css";

}  // namespace longlora::report
