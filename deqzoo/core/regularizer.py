"""What a penalty on a fixed point is."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from jaxtyping import Array, Float

from deqzoo.activation.learnable import Learnable, Parameters
from deqzoo.core.map.program import Map
from deqzoo.core.solution import Solution
from deqzoo.settings import In, validate

Learned = tuple[Learnable, Parameters]
Outputs = Callable[[Any], Float[Array, "batch ..."]]


@dataclass(frozen=True)
class Regularizer(abc.ABC):
    """A penalty that makes a fixed point easier to find; it is added to the loss.

    To write one, derive a frozen dataclass in a file of ``deqzoo/regularizers`` and define
    ``penalty``.

    Attributes:
        weight: factor of the mean penalty, at least 0.
    """

    weight: Annotated[float, In("[0, inf)")] = 1.0

    def __post_init__(self):
        validate(self)

    def __call__(self, fn: Map, solution: Solution, key: Array) -> Float[Array, ""]:
        """The weighted mean of the penalty over the examples.

        Args:
            fn: the map z -> f(z) whose fixed point was found.
            solution: what was found; its value carries derivatives.
            key: for estimates that need random directions.
        """
        return self.weight * self.penalty(fn, solution, key).mean()

    def of_activations(self, learned: Sequence[Learned]) -> Regularizer:
        """The penalty, told what activations the model learns: itself, unless it looks at them."""
        del learned
        return self

    def of_outputs(self, outputs: Outputs, parameters: Any) -> Regularizer:
        """The penalty, told what the parameters make of the batch: itself, unless it looks at that.

        Args:
            outputs: parameters -> outputs of the batch, solved anew; keeps examples apart.
            parameters: of the model, which carry derivatives.
        """
        del outputs, parameters
        return self

    @abc.abstractmethod
    def penalty(self, fn: Map, solution: Solution, key: Array) -> Float[Array, " batch"]:
        """The penalty of every example."""

    def trajectory(self) -> tuple[int, ...]:
        """The steps of the solver whose iterates the penalty needs."""
        return ()
