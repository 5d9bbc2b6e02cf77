"""A figure in the house style, saved when the block ends."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deqzoo.analysis.plots import _STYLE, _save, plt

_DPI = 110


@contextlib.contextmanager
def figure(
    path: Path, rows: int, columns: int, size: tuple[float, float], **options: Any
) -> Iterator[tuple[Any, Any]]:
    """A figure and its axes as an array (rows, columns).

    Args:
        path: where the picture goes.
        rows: of panels.
        columns: of panels.
        size: width and height in inches.
        **options: passed to ``plt.subplots``.
    """
    with plt.rc_context({**_STYLE, "savefig.dpi": _DPI}):
        drawn, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, **options)
        try:
            yield drawn, axes
            _save(drawn, path)
        finally:
            plt.close(drawn)
