"""What every model of the zoo promises."""

from __future__ import annotations

import abc

from flax import nnx
from jaxtyping import Array, Float

from deqzoo.activation import Activation
from deqzoo.solution import Solution


class Model(nnx.Module):
    """A stem, an equilibrium and a head: ``model(x) -> (outputs, solution)``.

    To write a model, derive from this class in a file of ``deqzoo/models`` with the constructor
    ``(input_shape, outputs, *, ..., rngs)``, every other argument having a laptop-sized default.

    Attributes:
        activation: the activation whose declared bounds the guarantees rest on.
    """

    activation: Activation

    @abc.abstractmethod
    def __call__(
        self, x: Float[Array, "batch ..."]
    ) -> tuple[Float[Array, "batch outputs"], Solution]:
        """Outputs and the solve they rest on."""

    @abc.abstractmethod
    def norm_limits(self) -> dict[tuple[str, ...], float]:
        """Parameter path -> the spectral norm below which the equilibrium is unique."""
