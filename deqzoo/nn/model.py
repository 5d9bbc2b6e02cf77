"""What every model of the zoo promises."""

from __future__ import annotations

import abc

from flax import nnx
from jaxtyping import Array, Float

from deqzoo.activation import Activation
from deqzoo.solution import Solution
from deqzoo.theory.network import Network


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

    def network(self) -> Network | None:
        """The model as the wide DEQ of the theorems, in float64; None if it is not one."""
        return None

    def load_network(self, network: Network) -> None:
        """Take these weights, in the model's own dtype.

        Raises:
            ValueError: the model is no wide DEQ.
        """
        raise ValueError(f"{type(self).__name__} is not the wide DEQ z = φ(Wz + Ux), ŷ = a z")

    @abc.abstractmethod
    def norm_limits(self) -> dict[tuple[str, ...], float]:
        """Parameter path -> the spectral norm below which the equilibrium is unique."""
