"""Noise on the targets, which drives training along a valley towards where it is flat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from deqzoo.core.map.program import Map
from deqzoo.core.regularizer import Regularizer
from deqzoo.core.solution import Solution
from deqzoo.settings import In, SettingError

__all__ = ["LabelNoise"]


@dataclass(frozen=True)
class LabelNoise(Regularizer):
    """|f(x_i) - c_i - δ r_i|² with c_i = f(x_i) held constant and fresh random signs r_i.

    Its value is δ² an output and tells nothing; its gradient is what noise δ r on the targets adds
    to that of a mean square (of ``square``, half a sum over n examples, with ``weight`` n/2), and
    has the mean zero. Where the targets are fitted the noise drives plain gradient descent, slowly,
    towards a smaller trace of the Hessian: ``flatness`` without its second derivatives.

    Attributes:
        delta: δ.

    References:
        Damian, Ma and Lee, "Label Noise SGD Provably Prefers Flat Global Minimizers", arXiv
        2106.06530.
    """

    delta: Annotated[float, In("(0, inf)")] = 0.1

    def of_outputs(self, outputs, parameters):
        """The penalty of these."""
        return _OfOutputs(self.weight, self.delta, lambda: outputs(parameters))

    def penalty(self, fn: Map, solution: Solution, key: Array) -> Float[Array, " batch"]:
        """The squared distances of every example.

        Raises:
            SettingError: always; ``of_outputs`` tells of the parameters.
        """
        raise SettingError(
            "label_noise is a penalty on the outputs of a batch: call of_outputs(outputs, "
            "parameters) first, as training does"
        )


@dataclass(frozen=True)
class _OfOutputs(Regularizer):
    delta: float = 0.1
    outputs: Any = None

    def penalty(self, fn, solution, key):
        found = self.outputs()
        noise = self.delta * jax.random.rademacher(key, found.shape, found.dtype)
        squares = jnp.square(found - lax.stop_gradient(found) - noise)
        return jnp.sum(squares.reshape(len(found), -1), axis=1)
