"""Banax: Picard, Anderson and Broyden, implicit gradients by a second solver of the same kind."""

from __future__ import annotations

import importlib
from typing import Any

import jax

from launch._benchmark.jax_peer import JaxPeer, Map, Root
from launch._benchmark.peer import Job

__all__ = ["Banax"]

adjoint: Any = importlib.import_module("banax.adjoint")
solver: Any = importlib.import_module("banax.solver")

_SOLVERS = {"picard": solver.Picard, "anderson": solver.Anderson, "broyden": solver.Broyden}


class Banax(JaxPeer):
    """The relative test of the whole batch, as one state."""

    variants = {
        "solve": tuple(_SOLVERS),
        "gradient": tuple(_SOLVERS),
        "train_step": tuple(_SOLVERS),
        "conv": ("anderson",),
        "memory": tuple(_SOLVERS),
        "startup": ("picard", "anderson"),
    }
    static_tolerance = True

    def root(self, job: Job) -> Root:
        """The solver within its implicit adjoint."""
        make = _SOLVERS[job.variant]

        def root(fn: Map, z0: jax.Array, parameters: Any, tolerance: float) -> Any:
            forward = make(rtol=tolerance, max_steps=job.max_steps)
            backward = make(rtol=job.backward_tolerance, max_steps=job.max_steps)
            found = adjoint.Implicit(solver=forward, b_solver=backward)((fn, (parameters,)), z0)
            return found.value, found.stats.steps

        return root
