"""How many ones so far, even or odd?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from deqzoo.data.sequences import Sequences

__all__ = ["Parity"]


@dataclass(frozen=True)
class Parity(Sequences):
    """Bits b_1 ... b_n with labels y_t = b_1 + ... + b_t mod 2: the word problem of Z_2.

    One bit of state that no position may forget. Other attributes as in ``Sequences``.
    """

    tokens: ClassVar[int] = 2
    classes: ClassVar[int] = 2

    def draw(self, rng, count, length):
        """Fair bits."""
        bits = rng.integers(0, 2, (count, length))
        return bits, np.cumsum(bits, axis=1) % 2
