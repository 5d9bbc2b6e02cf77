"""jaxopt: fixed-point iteration and Anderson acceleration, implicit gradients by linear solvers."""

from __future__ import annotations

import importlib
from functools import partial
from typing import Any

import jax

from launch._benchmark.jax_peer import JaxPeer, Map, Root
from launch._benchmark.peer import Job

__all__ = ["Jaxopt"]

jaxopt: Any = importlib.import_module("jaxopt")

_SOLVERS = {"fpi": jaxopt.FixedPointIteration, "anderson": jaxopt.AndersonAcceleration}
_LINEAR = {
    "normal_cg": jaxopt.linear_solve.solve_normal_cg,
    "bicgstab": jaxopt.linear_solve.solve_bicgstab,
}


class Jaxopt(JaxPeer):
    """A variant is a solver and the linear solver of its gradient; the default is normal_cg."""

    variants = {
        "solve": ("fpi", "anderson"),
        "gradient": ("fpi normal_cg", "fpi bicgstab", "anderson bicgstab"),
        "train_step": ("fpi normal_cg", "fpi bicgstab", "anderson bicgstab"),
        "conv": ("anderson bicgstab",),
        "memory": ("fpi bicgstab", "anderson bicgstab"),
        "startup": ("fpi bicgstab", "anderson bicgstab"),
    }

    def root(self, job: Job) -> Root:
        """The loop, with the error that jaxopt measures: the norm of the change."""
        solver, _, linear = job.variant.partition(" ")
        limits = {"maxiter": job.max_steps, "tol": job.backward_tolerance}
        solve = partial(_LINEAR[linear], **limits) if linear else None

        def root(fn: Map, z0: jax.Array, parameters: Any, tolerance: Any) -> Any:
            loop = _SOLVERS[solver](
                fn, maxiter=job.max_steps, tol=tolerance, implicit_diff_solve=solve
            )
            found = loop.run(z0, parameters)
            return found.params, found.state.iter_num

        return root
