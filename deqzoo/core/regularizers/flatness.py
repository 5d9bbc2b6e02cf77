"""The trace of the Hessian of the square loss, so that training ends in a flat minimum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from deqzoo.core import flatness, trees
from deqzoo.core.map.program import Map
from deqzoo.core.regularizer import Regularizer
from deqzoo.core.solution import Solution
from deqzoo.settings import In, SettingError

__all__ = ["Flatness"]


@dataclass(frozen=True)
class Flatness(Regularizer):
    """(2/n) Σ_i ‖∂f(x_i)/∂θ‖_F² of a batch: tr Hess of its mean square where f fits the targets.

    Elsewhere, and of other losses, it is how far the outputs move with the weights, the
    Gauss-Newton part of that trace. In training the gradient of an implicit gradient: a second
    solve of the equilibria, a backward solve a probe, and the derivatives of both.

    Attributes:
        probes: random directions of Hutchinson's estimator; one is enough for training.
        exact: a direction for every number of the outputs instead.

    References:
        Gatmiry et al., "The Inductive Bias of Flatness Regularization for Deep Matrix
        Factorization", arXiv 2306.13239, for products of matrices; of equilibria: deqzoo
        (``deqzoo.theory.linear_flatness``).
    """

    probes: Annotated[int, In("[1, inf)")] = 1
    exact: bool = False

    def of_outputs(self, outputs, parameters):
        """The penalty of these."""
        return _OfOutputs(self.weight, lambda key: self._trace(outputs, parameters, key))

    def penalty(self, fn: Map, solution: Solution, key: Array) -> Float[Array, " batch"]:
        """The same for every example.

        Raises:
            SettingError: always; ``of_outputs`` tells of the parameters.
        """
        raise SettingError(
            "flatness is a penalty on what parameters make of a batch: call of_outputs(outputs, "
            "parameters) first, as training does"
        )

    def _trace(self, outputs: Any, parameters: Any, key: Array) -> Float[Array, ""]:
        if self.exact:
            return flatness.trace(outputs, parameters)
        return flatness.trace_estimate(outputs, parameters, key, self.probes)


@dataclass(frozen=True)
class _OfOutputs(Regularizer):
    trace: Any = None

    def penalty(self, fn, solution, key):
        return jnp.full(trees.batch_size(solution.value), self.trace(key))
