"""Windows of a text that are cut out when they are asked for."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np


class Windows:
    """The array whose row i is ``tokens[i stride + shift : i stride + shift + length]``.

    As many rows as there are windows with one more token behind them, so that with the same
    arguments and ``shift=1`` every row holds the tokens that follow: the labels of a text. Nothing
    is copied; the tokens may be a memory map.

    Args:
        tokens: whole numbers, (n,).
        length: of a window.
        stride: from window to window; ``length`` for windows that do not overlap, as an evaluation
            wants them.
        shift: of all windows, 0 or 1.

    Raises:
        ValueError: other numbers than whole ones in one row, or fewer than ``length`` + 1.
        IndexError: a row that there is not.

    Example:
        >>> import numpy as np
        >>> from deqzoo.data.windows import Windows
        >>> x, y = (Windows(np.arange(7), 3, stride=2, shift=shift) for shift in (0, 1))
        >>> x.shape, x[:].tolist(), y[1].tolist()
        ((2, 3), [[0, 1, 2], [2, 3, 4]], [3, 4, 5])
    """

    def __init__(self, tokens: Any, length: int, *, stride: int = 1, shift: int = 0):
        whole = tokens.dtype.kind in "iu" and tokens.ndim == 1
        if not whole or not 0 < length < len(tokens) or stride < 1 or shift not in (0, 1):
            raise ValueError(
                f"windows of length {length}, stride {stride} and shift {shift} need at least "
                f"{length + 1} whole numbers in a row, a length and stride of at least 1 and a "
                f"shift of 0 or 1, got tokens {tokens.dtype}{tokens.shape}"
            )
        self.tokens = tokens.view(np.ndarray)  # a memory map's own class makes small reads slow
        self.dtype: np.dtype = tokens.dtype
        self.length, self.stride, self.shift = length, stride, shift
        self.shape = ((len(tokens) - length - 1) // stride + 1, length)
        self.ndim = 2

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray:
        """Rows along axis 0: a whole number, a slice or an array of indices."""
        if not isinstance(index, slice) and np.ndim(index) == 0:
            return self[np.array([operator.index(index)])][0]
        starts = self._rows(index) * self.stride + self.shift
        cut = np.take(self.tokens, starts[:, None] + np.arange(self.length))
        return cut.astype(self.dtype, copy=False)

    def _rows(self, index: Any) -> np.ndarray:
        """Row numbers from 0."""
        if isinstance(index, slice):
            return np.arange(*index.indices(len(self)))
        chosen = np.asarray(index)
        if np.any((chosen < -len(self)) | (chosen >= len(self))):
            raise IndexError(f"there are {len(self)} windows, asked for number {index}")
        return chosen % len(self)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All rows, in memory."""
        if copy is False:
            raise ValueError("windows cannot become an array without a copy")
        return self[:].astype(dtype or self.dtype, copy=False)

    def astype(self, dtype: Any, copy: bool = True) -> Windows:
        """The same rows in another dtype."""
        del copy  # in the signature because numpy's has it
        found = Windows(self.tokens, self.length, stride=self.stride, shift=self.shift)
        found.dtype = np.dtype(dtype)
        return found

    def every(self, stride: int) -> Windows:
        """Each ``stride``-th row."""
        found = self.astype(self.dtype)
        found.stride = self.stride * stride
        found.shape = (-(-len(self) // stride), self.length)
        return found
