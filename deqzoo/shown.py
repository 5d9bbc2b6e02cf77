"""How a result shows itself: some lines in a terminal, a table in a notebook."""

from __future__ import annotations

import abc
import html
import textwrap
from dataclasses import dataclass
from typing import Any

import jax

_WIDTH = 80
_LONGEST = 24  # rows, so that a result fits a screen


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
        indent = max((len(name) for name, _ in self.rows), default=0) + 4
        lines = [self.title]
        for name, text in self._few():
            wrapped = textwrap.wrap(text, max(_WIDTH - indent, 20)) or [""]
            lines.append(f"  {name:<{indent - 2}}{wrapped[0]}")
            lines += [" " * indent + line for line in wrapped[1:]]
        return "\n".join(line.rstrip() for line in lines)

    def to_html(self) -> str:
        """The same as an HTML table."""
        cells = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
            f"<td style='text-align:left'>{html.escape(text)}</td></tr>"
            for name, text in self._few()
        )
        return f"<b>{html.escape(self.title)}</b><table>{cells}</table>"

    def _few(self) -> tuple[tuple[str, str], ...]:
        if len(self.rows) <= _LONGEST:
            return self.rows
        return (*self.rows[: _LONGEST - 1], ("...", f"{len(self.rows) - _LONGEST + 1} more"))


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
