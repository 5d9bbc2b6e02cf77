"""Figures in the house style, saved when their block ends; no backend is chosen or changed."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FixedFormatter, FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from PIL import Image

from deqzoo.storage import files

_STYLE: Any = {
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.use": True,
    "font.size": 9,
    "grid.alpha": 0.3,
    "lines.linewidth": 1.4,
    "savefig.dpi": 120,
}


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
        **options: passed to ``Figure.subplots``.
    """
    with matplotlib.rc_context(_STYLE):
        drawn = Figure(figsize=size)
        yield drawn, drawn.subplots(rows, columns, squeeze=False, **options)
        _take_literally(drawn)
        picture = io.BytesIO()
        drawn.savefig(picture, format=path.suffix[1:])
    files.write(path, _small(picture) if path.suffix == ".png" else picture.getvalue())


def _take_literally(drawn: Figure) -> None:
    """A name may hold signs that would be read as TeX; numbers along an axis are written in it.

    Bytes of a path that are no UTF-8 have no glyphs.
    """
    for text in drawn.findobj(Text):
        text.set_parse_math(False)  # type: ignore[attr-defined]
        text.set_text(files.writable(text.get_text()))  # type: ignore[attr-defined]
    for panel in drawn.axes:
        for axis in (panel.xaxis, panel.yaxis):
            names = axis.get_major_formatter()
            if isinstance(names, FixedFormatter | FuncFormatter):
                axis.set_major_formatter(_writable(names))
            else:
                for number in (*axis.get_ticklabels(which="both"), axis.get_offset_text()):
                    number.set_parse_math(True)


def _writable(names: Any) -> FuncFormatter:
    return FuncFormatter(lambda x, place: files.writable(names(x, place)))


def _small(picture: io.BytesIO) -> bytes:
    """256 colours are enough, and half the size."""
    smaller = io.BytesIO()
    image = Image.open(picture).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    image.save(smaller, format="png")
    return smaller.getvalue()


def count_along(axis: Any) -> None:
    """Whole numbers only on an axis that counts."""
    axis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))


def label_plainly(panel: Any) -> None:
    """On logarithmic axes of less than two decades, label 1, 2 and 5 times powers of ten."""
    for axis, (low, high) in ((panel.xaxis, panel.get_xlim()), (panel.yaxis, panel.get_ylim())):
        if high < 100 * low:
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter("{x:g}")
            axis.set_minor_formatter(NullFormatter())
