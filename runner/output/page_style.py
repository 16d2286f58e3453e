"""How a page looks: one style sheet, and the hash by which the page's policy lets in this one alone."""

import base64
import hashlib
from typing import Final

__all__ = ["POLICY", "STYLE"]

STYLE: Final = """
:root { color-scheme: light dark;
  --paper: #ffffff; --wash: #f5f6f8; --line: #e1e4e8; --ink: #16191d; --soft: #5a626c;
  --data: #2b6cb0; --area: #2b6cb01f; --bars: #6d9ccd; --ok: #2a7d4c; --bad: #c0342b; --doubt: #9a6200;
  --idle: #868d96; --pause: #f7e3b0; --pause-ink: #7a5200; --next: #eef4fb; }
@media (prefers-color-scheme: dark) { :root {
  --paper: #121417; --wash: #1b1e23; --line: #2c3138; --ink: #e8eaed; --soft: #a0a8b2;
  --data: #79b0ee; --area: #79b0ee26; --bars: #4f7fb3; --ok: #58b982; --bad: #f2766b; --doubt: #e0a64b;
  --idle: #7f8791; --pause: #4d3d17; --pause-ink: #f0cf85; --next: #1a2532; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.55 system-ui, -apple-system,
  "Segoe UI", Roboto, "Noto Sans", "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", sans-serif; }
main { max-width: 66rem; margin: 0 auto; padding: 2.5rem 1.5rem 4rem; }
h1, h2, h3 { line-height: 1.25; margin: 0; font-weight: 650; letter-spacing: -.01em; overflow-wrap:
  anywhere; }
h1 { font-size: 1.9rem; }
h2 { font-size: 1.05rem; margin: 2.75rem 0 .75rem; }
h3 { font-size: .95rem; font-weight: 600; letter-spacing: 0; }
p { margin: .5rem 0; }
a { color: var(--data); }
code { font: .92em/1.45 ui-monospace, "SF Mono", Menlo, Consolas, "Noto Sans Mono", monospace;
  overflow-wrap: anywhere; }
.soft { color: var(--soft); }
.eyebrow { margin: 0 0 .35rem; color: var(--soft); font-size: .85rem; }
.outcome { font-size: 1.2rem; line-height: 1.45; margin: .6rem 0 0; max-width: 48rem; overflow-wrap:
  anywhere; }
.pill { display: inline-block; border: 1.5px solid currentColor; border-radius: 1rem; padding: 0 .6rem;
  font-size: .8rem; font-weight: 600; line-height: 1.5rem; vertical-align: .12em; margin-right: .5rem;
  white-space: nowrap; }
.pill.complete { color: var(--ok); } .pill.partial { color: var(--doubt); } .pill.running,
.pill.open, .pill.waiting { color: var(--data); }
.pill.stopped, .pill.killed { color: var(--bad); }
.figures { display: flex; flex-wrap: wrap; row-gap: .9rem; margin: 1.75rem 0 .9rem; }
.figures div { flex: 1 1 auto; padding: 0 .7rem; border-left: 1px solid var(--line); }
.figures div:first-child { padding-left: 0; border-left: 0; }
.figures dt { color: var(--soft); font-size: .85rem; white-space: nowrap; }
.figures dd { margin: 0; font-size: 1.35rem; font-weight: 600; line-height: 1.3; letter-spacing: -.02em;
  font-variant-numeric: tabular-nums; white-space: nowrap; }
.figures .zero dd { color: var(--soft); font-weight: 400; }
.dot { display: inline-block; width: .6rem; height: .6rem; border-radius: 50%; margin-right: .4rem; }
.dot.deleted { background: var(--ok); } .dot.failed { background: var(--bad); }
.dot.unknown { background: var(--doubt); } .dot.not_sent { background: var(--idle); }
svg { display: block; }
.bar { width: 100%; height: 14px; border-radius: 3px; }
.deleted { fill: var(--ok); } .failed { fill: var(--bad); }
.unknown { fill: var(--doubt); } .not_sent { fill: var(--idle); }
.bar rect { stroke: var(--paper); stroke-width: 1px; }
.next { background: var(--next); border-radius: 6px; padding: .7rem 1rem; margin: 1.5rem 0 0; }
.notes { margin: 1rem 0 0; padding: 0; list-style: none; color: var(--soft); }
figure { margin: 0 0 1.75rem; break-inside: avoid; }
figcaption { display: flex; flex-wrap: wrap; gap: .1rem .75rem; align-items: baseline; margin-bottom: .5rem; }
figcaption span { color: var(--soft); font-size: .88rem; }
.key::before { content: ""; display: inline-block; width: .8rem; height: .6rem; margin-right: .35rem; }
.key.k-pause::before { background: var(--pause); } .key.k-rug::before { background: var(--bad); width: 3px; }
.key.k-allowed::before { height: 0; width: 1.1rem; border-top: 2px dashed var(--ink); vertical-align: .25em; }
.plot { display: grid; grid-template-columns: 3.4rem 1fr; grid-template-rows: 9rem 1.6rem; font-size: 12px; }
.plot.tall { grid-template-rows: 12rem 1.6rem; }
.plot svg { overflow: visible; width: 100%; }
.plot text { fill: var(--soft); font-size: 12px; font-variant-numeric: tabular-nums; }
.plot .y { height: 100%; width: calc(100% - .6rem); } .plot .y text { text-anchor: end; }
.plot .in { height: 100%; } .plot .in > svg { overflow: hidden; }
.plot .x { grid-column: 2; height: 1.6rem; padding-top: .3rem; } .plot .x text { text-anchor: middle; }
.plot text.start { text-anchor: start; } .plot text.end { text-anchor: end; }
.plot .in > text { fill: var(--ink); paint-order: stroke; stroke: var(--paper);
  stroke-width: 3px; }
.plot path { vector-effect: non-scaling-stroke; }
.grid { stroke: var(--line); stroke-width: 1px; fill: none; }
.line { stroke: var(--data); stroke-width: 2px; fill: none; stroke-linejoin: round; } .area { fill:
  var(--area); }
.bars { fill: var(--bars); }
.goal { stroke: var(--soft); stroke-width: 1px; stroke-dasharray: 2 3; fill: none; }
.allowed { stroke: var(--ink); stroke-width: 1.5px; stroke-dasharray: 5 3; fill: none; }
.mark { stroke: var(--ink); stroke-width: 1px; fill: none; }
.break { stroke: var(--soft); stroke-width: 1px; stroke-dasharray: 1 3; fill: none; }
.pause { fill: var(--pause); } .pause.light { fill-opacity: .55; }
.plot .in > .name { fill: var(--pause-ink); stroke: none; font-weight: 700; text-anchor: middle; }
.rug { fill: var(--bad); width: 3px; height: 9px; transform: translate(-1.5px, -9px); }
.pauses { columns: 2; column-gap: 2.5rem; margin: 0; padding-left: 1.3rem; font-size: .88rem; color:
  var(--soft); }
.pauses li { break-inside: avoid; overflow-wrap: anywhere; } .pauses li::marker { color: var(--pause-ink);
  font-weight: 700; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th, td { padding: .45rem 1rem .45rem 0; text-align: left; vertical-align: baseline;
  border-bottom: 1px solid var(--line); overflow-wrap: anywhere; }
th { color: var(--soft); font-weight: 500; font-size: .85rem; overflow-wrap: normal; }
th.n, td.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
th:last-child, td:last-child { padding-right: 0; }
tr.total td { border-bottom: 0; font-weight: 600; }
.whole { white-space: nowrap; }
.facts { display: grid; grid-template-columns: 10rem 1fr; margin: 0; font-size: .92rem; }
.facts dt, .facts dd { padding: .4rem 0; border-bottom: 1px solid var(--line); margin: 0; }
.facts dt { color: var(--soft); } .facts dd { overflow-wrap: anywhere; min-width: 0; }
.facts .pair { display: inline-block; margin-right: 1.1rem; } .facts .pair b { font-weight: 500; }
article + article, .overview + article { margin-top: 3.5rem; padding-top: 3rem; border-top: 2px solid
  var(--ink); }
footer { margin-top: 3rem; color: var(--soft); font-size: .85rem; }
@media (max-width: 56rem) { .figures { display: grid; grid-template-columns: repeat(4, 1fr); }
  .figures div:nth-child(4n+1) { padding-left: 0; border-left: 0; } }
@media (max-width: 40rem) {
  main { padding: 1.5rem 1rem 3rem; } h1 { font-size: 1.5rem; } .outcome { font-size: 1.08rem; }
  .figures { grid-template-columns: repeat(2, 1fr); }
  .figures div:nth-child(n) { padding: 0 0 0 .9rem; border-left: 1px solid var(--line); }
  .figures div:nth-child(2n+1) { padding-left: 0; border-left: 0; }
  .minor { display: none; } .pauses { columns: 1; } .facts { grid-template-columns: 1fr; }
  .plot { grid-template-columns: 2.9rem 1fr; }
  .facts dt { border: 0; padding-bottom: 0; } .facts dd { padding-top: 0; }
  thead { display: none; } table, tbody, tr, td { display: block; } tr { padding: .6rem 0;
    border-bottom: 1px solid var(--line); } td, tr.total td { border: 0; padding: .1rem 0; }
  td[data-l] { display: grid; grid-template-columns: 7.5rem 1fr; } td[data-l]::before { content: attr(data-l);
    color: var(--soft); font-weight: 400; } td.n { text-align: left; white-space: normal; } }
@media (max-width: 40rem) { .runs tr { display: grid; grid-template-columns: 1fr 1fr 1fr; gap: .3rem .75rem; }
  .runs td[data-l] { display: block; } .runs td[data-l]::before { display: block; font-size: .8rem; }
  .runs td:first-child { grid-column: 1 / 4; font-weight: 600; } .runs td:first-child::before { display:
  none; }
  .runs td:nth-child(2) { grid-column: 1 / 3; } }
@media print { :root { --paper: #ffffff; --wash: #ffffff; --line: #cccccc; --ink: #000000; --soft: #444444;
    --data: #2b6cb0; --area: #2b6cb01f; --bars: #6d9ccd; --ok: #2a7d4c; --bad: #c0342b; --doubt: #9a6200;
    --idle: #868d96; --pause: #f7e3b0; --pause-ink: #7a5200; --next: #ffffff; }
  body { font-size: 11pt; -webkit-print-color-adjust: exact; print-color-adjust: exact; }
  main { max-width: none; padding: 0; } .next { border: 1px solid var(--line); } tr, .facts dd {
  break-inside: avoid; }
  h2 { break-after: avoid; } article + article, .overview + article { break-before: page; border: 0;
  padding: 0; } }
"""

_HASH: Final = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()

POLICY: Final = f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'"
"""The page's content security policy: nothing is loaded or run, and no style but this one applies."""
