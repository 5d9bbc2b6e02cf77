"""A cell in two parts, affine and proximal, for solvers of monotone operators."""

from __future__ import annotations

import abc
from typing import Any

import jax
from flax import nnx
from jaxtyping import Array, Float

from deqzoo.activation.contract import Activation
from deqzoo.activation.learnable import Parameters
from deqzoo.core.map.split import applied
from deqzoo.core.trees import State


class SplitCell(nnx.Module):
    """v -> σ(affine(v, x)) with σ the proximal operator of a convex function.

    ``DEQ`` tells the solver of both parts (``deqzoo.Split``). To write one, define ``proximal``,
    ``affine`` and ``start``, and ``learned`` if σ is learnable.
    """

    @property
    @abc.abstractmethod
    def proximal(self) -> Activation:
        """σ, the same for every leaf of the state."""

    def learned(self) -> Parameters:
        """The parameters of a learnable σ as they are; none by default."""
        return {}

    @abc.abstractmethod
    def affine(self, v: State, x: Any, weight: Float[Array, "n n"] | None) -> State:
        """Wv + x, in the structure of v; ``weight`` is what the method of that name gives."""

    def weight(self) -> Float[Array, "n n"] | None:
        """W, where the state is one array (batch, n) and W one matrix; None otherwise.

        It is made once a solve, and not in every step.
        """
        return None

    @abc.abstractmethod
    def start(self, x: Any) -> State:
        """Where a solve begins."""

    def __call__(self, v: State, x: Any) -> State:
        """σ(affine(v, x)) for every example."""
        sigma = applied(self.proximal, self.learned())
        return jax.tree.map(sigma, self.affine(v, x, self.weight()))
