"""Optimistix: fixed-point iteration with an implicit gradient by GMRES."""

from __future__ import annotations

import importlib
from typing import Any

import jax

from launch._benchmark.jax_peer import JaxPeer, Map, Root
from launch._benchmark.peer import Job

__all__ = ["Optimistix"]

lineax: Any = importlib.import_module("lineax")
optimistix: Any = importlib.import_module("optimistix")


class Optimistix(JaxPeer):
    """The tolerance is both rtol and atol of every entry, as Optimistix measures it."""

    variants = {
        "solve": ("fpi",),
        "gradient": ("fpi gmres",),
        "train_step": ("fpi gmres",),
        "memory": ("fpi checkpointed",),
        "startup": ("fpi gmres",),
    }

    def root(self, job: Job) -> Root:
        """The loop; nothing is raised inside it, the residual is judged by the benchmark."""
        tolerance = job.backward_tolerance
        # Without an absolute tolerance it raises "iterative breakdown" when it has converged.
        linear = lineax.GMRES(rtol=tolerance, atol=1e-3 * tolerance, max_steps=job.max_steps)
        adjoint = optimistix.ImplicitAdjoint(linear_solver=linear)
        if job.variant.endswith("checkpointed"):
            adjoint = optimistix.RecursiveCheckpointAdjoint()

        def root(fn: Map, z0: jax.Array, parameters: Any, tolerance: Any) -> Any:
            found = optimistix.fixed_point(
                fn,
                optimistix.FixedPointIteration(rtol=tolerance, atol=tolerance),
                z0,
                parameters,
                adjoint=adjoint,
                max_steps=job.max_steps,
                throw=False,
            )
            return found.value, found.stats["num_steps"]

        return root
