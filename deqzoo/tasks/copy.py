"""Letters that are to be said again after a pause."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from deqzoo.data.sequences import Sequences
from deqzoo.settings import In

__all__ = ["Copy"]

_LETTERS = 8
_BLANK, _GO = 0, _LETTERS + 1


@dataclass(frozen=True)
class Copy(Sequences):
    """``memory`` letters, ``length`` - 1 blanks, a sign to begin, blanks: the letters once more.

    Tokens are 0, the blank, 1 ... 8, the letters, and 9, the sign; labels 0 ... 7 stand where the
    letters are to be said again, from the sign on, and nowhere else. Other attributes as in
    ``Sequences``: with a ``test_length`` the pause is a longer one.

    Attributes:
        memory: how many letters.

    References:
        After the copying problem of Hochreiter and Schmidhuber, "Long short-term memory", Neural
        Computation 9 (1997).
    """

    tokens: ClassVar[int] = _LETTERS + 2
    classes: ClassVar[int] = _LETTERS

    memory: Annotated[int, In("[1, inf)")] = 8

    def draw(self, rng, count, length):
        """Uniform letters."""
        letters = rng.integers(1, _LETTERS + 1, (count, self.memory))
        tokens = np.full((count, 2 * self.memory + length - 1), _BLANK)
        tokens[:, : self.memory] = letters
        tokens[:, self.memory + length - 1] = _GO
        labels = np.full(tokens.shape, -1)
        labels[:, -self.memory :] = letters - 1
        return tokens, labels
