"""A page that stands alone: style, tables and pictures in one file, nothing to fetch or to run."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from deqzoo.analysis.finding import shown

_STYLE = """
:root { --ink: #1d2433; --soft: #5b6475; --line: #e3e6ec; --tint: #f6f7fa; --blue: #1f5fa8; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1.1rem 3rem; max-width: 62rem; background: #fff;
  color: var(--ink); font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .3rem; overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; margin: 2.6rem 0 .6rem; padding-top: .8rem;
  border-top: 2px solid var(--ink); overflow-wrap: anywhere; }
h3 { font-size: 1.08rem; margin: 2rem 0 .5rem; }
p { margin: .4rem 0; }
.lead, .quiet, figcaption { color: var(--soft); }
nav { display: flex; flex-wrap: wrap; gap: .35rem .5rem; margin: 1rem 0; }
nav a { color: var(--blue); background: var(--tint); border: 1px solid var(--line);
  border-radius: 1rem; padding: .1rem .7rem; text-decoration: none; font-size: .9rem; }
.wide { overflow-x: auto; margin: .6rem 0; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: .25rem 1.2rem .25rem 0;
  border-bottom: 1px solid var(--line); overflow-wrap: break-word; }
th { font-weight: 600; }
tbody th { font-weight: 400; color: var(--soft); }
dl { columns: 2 21rem; column-gap: 2.5rem; font-size: .92rem; }
dl div { display: flex; justify-content: space-between; gap: 1rem; padding: .2rem 0;
  border-bottom: 1px solid var(--line); break-inside: avoid; }
dt { color: var(--soft); }
dd { margin: 0; text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
figure { margin: .8rem 0; padding: .8rem; border: 1px solid var(--line); border-radius: .5rem; }
figure img { display: block; width: 100%; min-width: 36rem; height: auto; }
figcaption { font-size: .92rem; margin-top: .6rem; }
figcaption b { color: var(--ink); }
.note, .failed { border-left: 4px solid #d9a400; background: #fff9e6; padding: .5rem .8rem;
  margin: .6rem 0; overflow-wrap: anywhere; }
.failed { border-color: #c0392b; background: #fdf0ee; }
@media print { nav { display: none; } body { max-width: none; padding: 0; font-size: 10pt; }
  figure img { min-width: 0; } figure, tr { break-inside: avoid; } h2, h3 { break-after: avoid; } }
"""


def document(title: str, body: Sequence[str]) -> str:
    """The whole page."""
    parts = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>",
        *body,
        "</main>\n</body>\n</html>\n",
    )
    return "\n".join(parts)


def heading(level: int, text: str, anchor: str) -> str:
    """A heading that links can point to."""
    return f'<h{level} id="{escape(anchor)}">{escape(text)}</h{level}>'


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph; ``kind`` is lead, quiet, note or failed."""
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def contents(links: Sequence[tuple[str, str]]) -> str:
    """Links within the page: (anchor, text)."""
    each = (f'<a href="#{escape(anchor)}">{escape(text)}</a>' for anchor, text in links)
    return f'<nav aria-label="Contents">{"".join(each)}</nav>'


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table whose first column names the rows; without ``head`` it has no first line."""
    top = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    lines = (
        f'<tr><th scope="row">{escape(str(name))}</th>'
        + "".join(f"<td>{escape(_cell(value))}</td>" for value in values)
        + "</tr>"
        for name, *values in rows
    )
    header = f"<thead><tr>{top}</tr></thead>" if head else ""
    return f'<div class="wide"><table>{header}<tbody>{"".join(lines)}</tbody></table></div>'


def pairs(values: Sequence[tuple[str, Any]]) -> str:
    """Names with their values, in two columns where there is room."""
    rows = (
        f"<div><dt>{escape(name)}</dt><dd>{escape(_cell(value))}</dd></div>"
        for name, value in values
    )
    return f"<dl>{''.join(rows)}</dl>"


def picture(path: Path, alt: str, seen: str, healthy: str) -> str:
    """A PNG inside the page, with what it shows and what would be healthy."""
    data = base64.b64encode(path.read_bytes()).decode()
    image = f'<img alt="{escape(alt)}" src="data:image/png;base64,{data}">'
    return (
        f'<figure><div class="wide">{image}</div>'
        f"<figcaption>{escape(seen)} <b>Healthy:</b> {escape(healthy)}.</figcaption></figure>"
    )


def _cell(value: Any) -> str:
    return "-" if value is None else shown(value)
