"""How a result shows itself: some lines in a terminal, a table in a notebook."""

from __future__ import annotations

import abc
import html
import itertools
import textwrap
from dataclasses import dataclass
from typing import Any

import jax

_WIDTH = 80
_NAME = 30  # columns of a name; a longer one has a line of its own
_LONGEST = 24  # lines, so that a result fits a screen
_TALLEST = 5  # lines of a row


@dataclass(frozen=True)
class Table:
    """A title over rows of a name and what it is.

    Example:
        >>> print(Table("a solve", (("steps", "12"), ("residual", "1e-6"))))
        a solve
          steps     12
          residual  1e-6
    """

    title: str
    rows: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        head = _lines(self.title, _WIDTH, 2)
        indent = min(max((len(name) for name, _ in self.rows), default=0), _NAME) + 4
        rows = [_row(name, text, indent) for name, text in self.rows]
        kept = _that_fit([len(row) for row in rows], _LONGEST - len(head))
        if kept < len(rows):
            rows[kept:] = [_row("...", f"{len(rows) - kept} more", indent)]
        return "\n".join([*head, *(line for row in rows for line in row)])

    def to_html(self) -> str:
        """The same as an HTML table."""
        rows = self.rows
        if len(rows) > _LONGEST:
            kept = _LONGEST - 1
            rows = (*rows[:kept], ("...", f"{len(rows) - kept} more"))
        cells = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
            f"<td style='text-align:left'>{html.escape(text)}</td></tr>"
            for name, text in rows
        )
        return f"<b>{html.escape(self.title)}</b><table>{cells}</table>"


def _row(name: str, text: str, indent: int) -> list[str]:
    """A name, and beside or below it what it is."""
    lines = [" " * indent + line for line in _lines(text, _WIDTH - indent, _TALLEST)]
    if len(name) > indent - 4:
        return [f"  {textwrap.shorten(name, _WIDTH - 2, placeholder=' ...')}", *lines]
    return [f"  {name:<{indent - 2}}{lines[0].strip()}".rstrip(), *lines[1:]]


def _lines(text: str, width: int, most: int) -> list[str]:
    return textwrap.wrap(text, width, max_lines=most, placeholder=" ...") or [""]


def _that_fit(heights: list[int], room: int) -> int:
    """How many rows fit, with a line to spare for saying how many do not."""
    if sum(heights) <= room:
        return len(heights)
    ends = itertools.accumulate(heights)
    return sum(end < room for end in ends)


class Shown(abc.ABC):
    """A result that shows itself as ``shown()``; derive a dataclass with ``repr=False``."""

    @abc.abstractmethod
    def shown(self) -> Table:
        """What a reader wants to know first."""

    def __repr__(self) -> str:
        return str(self.shown())

    def _repr_html_(self) -> str:
        return self.shown().to_html()


def kind_of(tree: Any) -> str:
    """Shapes and dtypes of the arrays of a tree.

    Example:
        >>> import jax.numpy as jnp
        >>> kind_of({"u": jnp.zeros((3, 2)), "v": jnp.zeros(3, int)})
        'float32(3, 2), int32(3,)'
    """
    leaves = jax.tree.leaves(tree)
    described = [f"{leaf.dtype}{leaf.shape}" for leaf in leaves[:4]]
    return ", ".join([*described, *(["..."] if len(leaves) > 4 else [])])
