"""One picture, a pixel an example: from its place to its colour."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
from jaxtyping import Float

from deqzoo.data.arrays import held_out
from deqzoo.data.carving import Share
from deqzoo.data.examples import Data, Split, TaskError
from deqzoo.data.regular_file import opener
from deqzoo.data.scaling import SCALINGS
from deqzoo.data.task import Task
from deqzoo.local_path import local_path
from deqzoo.settings import In, OneOf

__all__ = ["Picture"]

_WRITE = "write it with np.save(path, picture), (height, width) or (height, width, channels)"
_BYTE = 255
_TEST = 0.25


@dataclass(frozen=True)
class Picture(Task):
    """Places x (n, 2) in [-1, 1]² of the centres of pixels, row first, and colours y in [0, 1].

    A quarter of the pixels, drawn by a fixed seed, is the test split: what a model makes of the
    places in between. The longer side of a picture goes from -1 to 1. By default the picture is
    drawn: discs, a shade and a grating of waves that become shorter, in three colours. One of your
    own is an npy file, ``picture:mine.npy``, whose licence is yours to know.

    Attributes:
        path: the file, bytes or real numbers in [0, 1]; ``~`` is the home folder. None draws one.
        size: pixels along a side of what is drawn.
        scaling: as in ``Task``, of the places.
        validation: as in ``Task``; by default nothing is carved out.

    Example:
        >>> from deqzoo import catalog
        >>> data = catalog.tasks.get("picture(size=16)").load()
        >>> data.train.x.shape, data.train.y.shape, data.test.x.shape
        ((192, 2), (192, 3), (64, 2))
    """

    path: str | None = None
    size: Annotated[int, In("[2, 4096]")] = 128
    scaling: Annotated[str, OneOf(*SCALINGS)] = field(default="none", kw_only=True)
    validation: Share = field(default=0.0, kw_only=True)

    metrics = ("psnr",)

    def read(self) -> Data:
        """The pixels in rows."""
        colours = drawn(self.size) if self.path is None else _stored(local_path(self.path))
        places = _places(*colours.shape[:2])
        every = Split(places.reshape(-1, 2), colours.reshape(-1, colours.shape[2]))
        return Data(*held_out(every, _TEST), classes=None)


def drawn(size: int) -> Float[np.ndarray, "size size 3"]:
    """The picture without a file.

    Example:
        >>> from deqzoo.tasks.picture import drawn
        >>> drawn(8).shape, bool((drawn(8) >= 0).all() and (drawn(8) <= 1).all())
        ((8, 8, 3), True)
    """
    down, across = np.moveaxis(_places(size, size), 2, 0)
    shade = (down + 1) / 2
    waves = (1 + np.sin(6 * (across + 1.5) ** 2)) / 2
    picture = np.stack([shade, 0.3 + 0.5 * waves * shade, 1 - shade], axis=2)
    for top, left, radius, colour in _DISCS:
        inside = (down - top) ** 2 + (across - left) ** 2 < radius**2
        picture[inside] = 0.25 * picture[inside] + 0.75 * np.array(colour)
    return picture


_DISCS = (
    (-0.4, -0.3, 0.45, (0.9, 0.8, 0.1)),
    (0.3, 0.4, 0.35, (0.1, 0.6, 0.3)),
    (0.5, -0.6, 0.2, (0.8, 0.1, 0.2)),
    (-0.6, 0.6, 0.12, (1.0, 1.0, 1.0)),
)


def _places(height: int, width: int) -> Float[np.ndarray, "height width 2"]:
    longer = max(height, width)
    sides = ((2 * np.arange(side) + 1 - side) / longer for side in (height, width))
    return np.stack(np.meshgrid(*sides, indexing="ij"), axis=2)


def _stored(path: Path) -> Float[np.ndarray, "height width channels"]:
    """The picture of a file.

    Raises:
        TaskError: there is none, or it holds something else.
    """
    try:
        with open(path, "rb", opener=opener) as file:
            picture = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise TaskError(f"cannot read the picture {path}: {error}; {_WRITE}") from error
    if not isinstance(picture, np.ndarray) or picture.ndim not in (2, 3) or picture.size < 2:
        raise TaskError(f"{path} is no picture, it has shape {np.shape(picture)}; {_WRITE}")
    if picture.dtype == np.uint8:
        picture = picture / _BYTE
    if picture.dtype.kind != "f" or not (np.all(picture >= 0) and np.all(picture <= 1)):
        raise TaskError(
            f"{path} must hold bytes, or real numbers in [0, 1]; got {picture.dtype} in "
            f"[{picture.min()}, {picture.max()}]; {_WRITE}"
        )
    return picture.reshape(*picture.shape[:2], -1)
