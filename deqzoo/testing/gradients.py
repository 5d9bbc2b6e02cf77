"""A small DEQ whose gradients are known from a dense solve."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from deqzoo import catalog
from deqzoo.core import combination
from deqzoo.core.adjoint import Adjoint
from deqzoo.core.fixed_point import fixed_point
from deqzoo.core.solver import Solver
from deqzoo.testing.check import require
from deqzoo.testing.problems import matrix, numbers

M, B = 12, 3
CONTRACTION = 0.7

Args = tuple[Any, Any]


def cell(z: Any, args: Args) -> Any:
    """Z -> tanh(Wz + b)."""
    return jnp.tanh(z @ args[0].T + args[1])


def arguments(dtype: str = "float64") -> tuple[np.ndarray, np.ndarray]:
    """W with ‖W‖₂ = 0.7, and b for three examples."""
    return matrix(M, CONTRACTION).astype(dtype), numbers(B, M, seed=2).astype(dtype)


def value_of(args: Args, solver: Solver, adjoint: Adjoint) -> Any:
    """The fixed point."""
    return fixed_point(cell, jnp.zeros_like(args[1]), args, solver=solver, adjoint=adjoint).value


def loss_of(args: Args, solver: Solver, adjoint: Adjoint) -> Any:
    """A scalar that weighs every number of the solution differently and is not linear in it."""
    value = value_of(args, solver, adjoint)
    return jnp.sum(jnp.asarray(_weights(), value.dtype) * value + value**2)


def gradient(args: Args, solver: Solver, adjoint: Adjoint) -> Args:
    """The gradient of the loss for W and b."""
    return jax.jit(jax.grad(lambda args: loss_of(args, solver, adjoint)))(args)


def exact_gradient(args: Args) -> Args:
    """The same by (I - J)ᵀ u = c and a dense solve, in float64.

    With D the slopes, J = D W: λ = (I - WᵀD)⁻¹ c, γ = D λ, and the gradients are γᵀz and γ.
    """
    weight, b = (np.asarray(leaf, np.float64) for leaf in args)
    z = np.zeros_like(b)
    for _ in range(200):  # 0.7^200 = 1e-31
        z = np.tanh(z @ weight.T + b)
    slope, cotangent = 1 - z**2, _weights() + 2 * z
    gamma = np.stack(
        [
            d * np.linalg.solve(np.eye(M) - weight.T * d, c)
            for d, c in zip(slope, cotangent, strict=True)
        ]
    )
    return gamma.T @ z, gamma


def keeps_examples_apart(solver: Solver, adjoint: Adjoint) -> None:
    """The solution and the gradient of an example are the same whatever its batch-mates are.

    Raises:
        AssertionError: they are not, or a NaN input does not give a NaN gradient.
    """
    weight, x = arguments("float32")
    both = _value_and_slope(weight, solver, adjoint)
    plain = both(x)
    changed = plain
    for mate in (0 * x[2], 100 * x[0], np.full_like(x[0], np.nan)):
        changed = both(np.stack([x[0], x[1], mate]))
        chex.assert_trees_all_equal(*([leaf[:2] for leaf in pair] for pair in (changed, plain)))
    lost = all(np.all(np.isnan(leaf[2])) for leaf in changed)
    require(lost, "the NaN example must have a NaN value and a NaN gradient")


def _value_and_slope(weight: Any, solver: Solver, adjoint: Adjoint) -> Callable:
    def both(x):
        loss = lambda x: jnp.sum(jnp.sin(value_of((weight, x), solver, adjoint)))  # noqa: E731
        return value_of((weight, x), solver, adjoint), jax.grad(loss)(x)

    return jax.jit(both)


def solver_for(adjoint: Adjoint, settings: str = "max_steps=60") -> Solver:
    """The first solver that the adjoint takes."""
    fitting = combination.solvers(type(adjoint))
    name = "picard" if "picard" in fitting else fitting[0]
    return catalog.solvers.get(f"{name}({settings})")


def _weights() -> np.ndarray:
    return numbers(B, M, seed=3)
