"""A network of finite depth in the place of an equilibrium, which says that it is none."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from deqzoo.core import trees
from deqzoo.core.adjoint import Backward
from deqzoo.core.solution import Solution, Stats, Status
from deqzoo.core.trees import State
from deqzoo.nn.deq import DEQ


class Explicit(DEQ):
    """value = cell(start, x), evaluated once; the cell does not look at its state.

    What trains and judges models takes it as the equilibrium of a map that forgets z, which it is;
    its ``Solution`` claims no convergence: every status is EXPLICIT, and of such examples
    ``fraction_converged`` counts none. It is differentiated as it is computed.

    Args:
        cell: as for ``DEQ``.
        solver: without effect, like the adjoint: nothing is solved.
        adjoint: without effect.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from deqzoo.nn.explicit import Explicit
        >>> class Cell(nnx.Module):
        ...     def __call__(self, z, x):
        ...         return jnp.tanh(x)
        ...
        ...     def start(self, x):
        ...         return jnp.zeros_like(x)
        >>> print(Explicit(Cell())(jnp.ones((5, 2))).stats)
        Stats of int32(5,) solves
          examples        5 EXPLICIT
          steps           1.0 in the mean, at most 1
          worst residual  0.0e+00 (relative)
    """

    def __call__(
        self,
        x: Any,
        z0: State | None = None,
        *,
        guess: State | None = None,
        backward: Backward | None = None,
    ) -> Solution:
        """Evaluate the cell at input ``x``; a start, a guess and ``backward`` tell it nothing."""
        del guess, backward
        own = self.cell.start(x)
        start = own if z0 is None else z0
        wide = jax.tree.map(lambda leaf: leaf.astype(trees.reduction_dtype(leaf)), start)
        value = self.map(x)(wide)
        self._advance_streams(nnx.clone(self.cell), own, x)
        return Solution(value, _stats(trees.norm(value)))


def _stats(like: Float[Array, " batch"]) -> Stats:
    """Of one evaluation."""
    zeros = jnp.zeros_like(like)
    return Stats(
        steps=jnp.ones_like(like, jnp.int32),
        residual=zeros,
        relative_residual=zeros,
        status=jnp.full_like(like, Status.EXPLICIT.value, jnp.int32),
        rate=zeros,
    )
