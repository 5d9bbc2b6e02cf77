"""Second-order total variation of the learned activations: few kinks, and flat ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import jax.numpy as jnp
from jaxtyping import Array, Float

from deqzoo.core import trees
from deqzoo.core.map.program import Map
from deqzoo.core.regularizer import Learned, Regularizer
from deqzoo.core.solution import Solution
from deqzoo.settings import SettingError

__all__ = ["TotalVariation"]


@dataclass(frozen=True)
class TotalVariation(Regularizer):
    """Σ ∫ |φ''| dx over every activation that the model learns, the same for every example.

    Of a spline on a grid of spacing T it is ‖[1, -2, 1] * c‖₁/T, the sum of the jumps of φ', whose
    minimisers have few of them; with parameters per unit all units are added up.

    References:
        Aziznejad, Debarre and Unser, "Sparsest Univariate Learning Models Under Lipschitz
        Constraint", arXiv 2112.13542, where it is the penalty beside a bound of the slopes.
    """

    def of_activations(self, learned: Sequence[Learned]) -> Regularizer:
        """The penalty of these."""
        return _OfActivations(self.weight, tuple(learned))

    def penalty(self, fn: Map, solution: Solution, key: Array) -> Float[Array, " batch"]:
        """As of a model that learns no activation.

        Raises:
            SettingError: always; ``of_activations`` tells of them.
        """
        return _OfActivations(self.weight).penalty(fn, solution, key)


@dataclass(frozen=True)
class _OfActivations(Regularizer):
    learned: tuple = field(default=())

    def penalty(self, fn, solution, key):
        found = [act.slope_variation(**parameters) for act, parameters in self.learned]
        sums = [jnp.sum(variation) for variation in found if variation is not None]
        if not sums:
            raise SettingError(
                "total_variation is a penalty on learned activations, and the model learns none "
                "that declares slope_variation: use --activation=linear_spline or prelu, or "
                "another regularizer"
            )
        batch = trees.batch_size(solution.value)
        return jnp.full(batch, sum(sums[1:], start=sums[0]))
