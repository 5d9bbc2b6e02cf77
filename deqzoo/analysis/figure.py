"""Figures in the house style, saved when their block ends."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from matplotlib.ticker import LogLocator, NullFormatter
from PIL import Image

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
    if path.suffix == ".png":  # 256 colours are enough, and half the size
        Image.open(path).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path)


def label_plainly(panel: Any) -> None:
    """On logarithmic axes of less than two decades, label 1, 2 and 5 times powers of ten."""
    for axis, (low, high) in ((panel.xaxis, panel.get_xlim()), (panel.yaxis, panel.get_ylim())):
        if high < 100 * low:
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter("{x:g}")
            axis.set_minor_formatter(NullFormatter())
