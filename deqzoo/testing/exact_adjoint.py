"""Every adjoint that is exact, perhaps in a limit of its settings: a dense solve says the same.

An approximation such as ``phantom`` passes with the settings that make it exact:
``check_exact_adjoint("phantom(steps=80)")``.
"""

from __future__ import annotations

import chex
import jax
import numpy as np

from deqzoo import catalog
from deqzoo.core.adjoint import Adjoint, TangentAdjoint
from deqzoo.core.solver import Solver
from deqzoo.testing.check import Check, asked, require
from deqzoo.testing.gradients import B, M, arguments, exact_gradient, gradient, loss_of, solver_for
from deqzoo.testing.problems import numbers

__all__ = ["check_exact_adjoint"]

# How near a solve gets.
NEAR = {"float64": ("rtol=1e-13, max_steps=200", 1e-9), "float32": ("max_steps=100", 1e-3)}


def has_the_exact_gradient(solver: Solver, adjoint: Adjoint, dtype: str, rtol: float) -> None:
    """Compare with the dense solve, relative to the largest entry of each leaf.

    Raises:
        AssertionError: it differs by more than ``rtol``.
    """
    found = gradient(arguments(dtype), solver, adjoint)
    chex.assert_type(list(found), dtype)
    for ours, exact in zip(found, exact_gradient(arguments(dtype)), strict=True):
        atol = rtol * float(np.max(np.abs(exact)))
        chex.assert_trees_all_close(np.asarray(ours, float), exact, rtol=0, atol=atol)


def _the_gradient_is_that_of_a_dense_solve(dtype: str, adjoint: Adjoint) -> None:
    settings, rtol = NEAR[dtype]
    with jax.enable_x64(True):
        has_the_exact_gradient(solver_for(adjoint, settings), adjoint, dtype, rtol)


def _forward_mode_is_the_transpose_of_reverse_mode(adjoint: Adjoint) -> None:
    if not isinstance(adjoint, TangentAdjoint):
        return
    with jax.enable_x64(True):
        args, solver = arguments(), solver_for(adjoint, NEAR["float64"][0])
        direction = numbers(M, M, seed=4), numbers(B, M, seed=5)
        loss = lambda args: loss_of(args, solver, adjoint)  # noqa: E731
        _, along = jax.jit(lambda args: jax.jvp(loss, (args,), (direction,)))(args)
        pairs = list(zip(jax.jit(jax.grad(loss))(args), direction, strict=True))
        reverse = sum(float(np.vdot(g, d)) for g, d in pairs)
        bound = 1e-10 * sum(np.linalg.norm(g) * np.linalg.norm(d) for g, d in pairs)
        gap = abs(float(along) - reverse)
    require(gap <= bound, f"forward mode gives {along}, reverse mode {reverse}")


check_exact_adjoint = Check(
    "exact adjoint",
    catalog.adjoints.get,
    (
        *(asked(_the_gradient_is_that_of_a_dense_solve, dtype) for dtype in NEAR),
        _forward_mode_is_the_transpose_of_reverse_mode,
    ),
)
