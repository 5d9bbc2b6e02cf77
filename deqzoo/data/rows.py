"""Arrays of examples that stay as they are stored: rows are scaled when they are asked for."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Int

from deqzoo.data.windows import Windows

_VALUES = 2**20  # of a block: 8 MB in float64


class Rows:
    """The array ``scale(stored)``, of which nothing is computed but the rows that are asked for.

    Args:
        stored: a memory map, or an array of small numbers, (n, ...).
        scale: rows as stored -> rows as used, of the same shape; it treats every row by itself.
            None for the rows as stored.
        chosen: indices of the rows that there are; None for all.

    Example:
        >>> import numpy as np
        >>> rows = Rows(np.arange(6).reshape(3, 2), lambda x: x / 2)
        >>> rows.shape, rows.dtype, rows[1:].tolist()
        ((3, 2), dtype('float64'), [[1.0, 1.5], [2.0, 2.5]])
    """

    def __init__(
        self,
        stored: np.ndarray,
        scale: Callable[[np.ndarray], np.ndarray] | None = None,
        chosen: Int[np.ndarray, " rows"] | None = None,
    ):
        # Without its own class: a memory map's makes every small read slow.
        self._stored, self._chosen = stored.view(np.ndarray), chosen
        self.scale = scale
        self.shape: tuple[int, ...] = (len(self), *stored.shape[1:])
        self.ndim = stored.ndim
        self.dtype: np.dtype = self._scaled(self._stored[:0]).dtype

    def __len__(self) -> int:
        return len(self._stored if self._chosen is None else self._chosen)

    def __getitem__(self, index: Any) -> np.ndarray:
        """Rows along axis 0: a whole number, a slice or an array of indices."""
        if not isinstance(index, slice) and np.ndim(index) == 0:
            return self[np.array([operator.index(index)])][0]
        return self._scaled(self._read(index))

    def changed(self, index: Any, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """``scale(change(stored))`` of the rows of a slice or an array of indices."""
        return self._scaled(change(self._read(index)))

    def _read(self, index: Any) -> np.ndarray:
        """Rows as they are stored."""
        if isinstance(index, slice) and self._chosen is None:
            return self._stored[index]
        chosen = np.asarray(index) if self._chosen is None else self._chosen[index]
        return np.take(self._stored, chosen, axis=0)  # without Python's global lock

    def _scaled(self, stored: np.ndarray) -> np.ndarray:
        return stored if self.scale is None else self.scale(stored)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All rows, in memory."""
        if copy is False:
            raise ValueError("rows on disk cannot become an array without a copy")
        return self[:].astype(dtype or self.dtype, copy=False)

    def astype(self, dtype: Any, copy: bool = True) -> Rows:
        """The same rows in another dtype, still on disk."""
        del copy  # in the signature because numpy's has it
        before = self._scaled
        return self.through(lambda stored: before(stored).astype(dtype, copy=False))

    def through(self, scale: Callable[[np.ndarray], np.ndarray]) -> Rows:
        """The same stored rows under another scale."""
        return Rows(self._stored, scale, self._chosen)

    def take(self, chosen: Int[np.ndarray, " rows"]) -> Rows:
        """Some of the rows, still on disk."""
        own = chosen if self._chosen is None else self._chosen[chosen]
        return Rows(self._stored, self.scale, own)

    def every(self, stride: int) -> Rows:
        """Each ``stride``-th row, still on disk."""
        if self._chosen is None:
            return Rows(self._stored[::stride], self.scale)
        return Rows(self._stored, self.scale, self._chosen[::stride])


def values_of(array: Any) -> Any:
    """Where the values of an array stand: of windows the tokens that they are cut from."""
    return array.tokens if isinstance(array, Windows) else array


def blocks(array: np.ndarray | Rows, most: int | None = None) -> Iterator[tuple[int, np.ndarray]]:
    """Pieces of about a million values: (index of the first row, rows).

    Args:
        array: read piece by piece, (n, ...).
        most: with more pieces than this, so many of them, evenly spread; None for all.

    Example:
        >>> import numpy as np
        >>> [(first, piece.shape) for first, piece in blocks(np.zeros((3, 2**19)))]
        [(0, (2, 524288)), (2, (1, 524288))]
    """
    size = max(1, _VALUES // max(1, math.prod(array.shape[1:])))
    starts = np.arange(0, len(array), size)
    if most is not None and len(starts) > most:
        starts = starts[np.linspace(0, len(starts) - 1, most).round().astype(int)]
    for start in starts.tolist():
        yield start, array[start : start + size]


def thinned(array: Any, most: int) -> Any:
    """At most ``most`` evenly spread rows; nothing is read."""
    stride = -(-len(array) // most)
    return array.every(stride) if isinstance(array, Rows | Windows) else array[::stride]
