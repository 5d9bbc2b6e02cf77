"""Products of even permutations of five things."""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Int

from deqzoo.data.sequences import Sequences

__all__ = ["A5"]

_ORDER = 60


@dataclass(frozen=True)
class A5(Sequences):
    """Elements g_1 ... g_n of A_5, labels y_t = g_t ∘ ... ∘ g_1: the word problem of A_5.

    The smallest group that is not solvable, and its word problem as hard as any in NC¹. Token k and
    label k are the k-th even permutation in lexicographic order, 0 the identity. Attributes as in
    ``Sequences``.

    References:
        Barrington, "Bounded-width polynomial-size branching programs recognize exactly those
        languages in NC¹", Journal of Computer and System Sciences 38 (1989).
    """

    tokens: ClassVar[int] = _ORDER
    classes: ClassVar[int] = _ORDER

    def draw(self, rng, count, length):
        """Uniform elements."""
        drawn, table = rng.integers(0, _ORDER, (count, length)), _products()
        return drawn, np.stack([*itertools.accumulate(drawn.T, lambda h, g: table[g, h])], axis=1)


@functools.cache
def _products() -> Int[np.ndarray, "60 60"]:
    """The number of g ∘ h, which takes i to g[h[i]]."""
    every = np.array([*itertools.permutations(range(5))])
    inversions = sum(every[:, i] > every[:, j] for i, j in itertools.combinations(range(5), 2))
    even = every[inversions % 2 == 0]
    number = {tuple(g): k for k, g in enumerate(even.tolist())}
    return np.array([[number[tuple(g[h].tolist())] for h in even] for g in even])
