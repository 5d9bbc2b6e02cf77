"""anchorax: Picard, Anderson and Broyden; its only gradients are approximations (JFB, GDEQ)."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import jax

from launch._benchmark.jax_peer import JaxPeer, Map, Root
from launch._benchmark.peer import Job

__all__ = ["Anchorax"]

equinox: Any = importlib.import_module("equinox")
backprop: Any = importlib.import_module("anchorax.backprop")
solvers: Any = importlib.import_module("anchorax.solvers")

_HISTORY = 10


class Anchorax(JaxPeer):
    """The relative test of the whole batch, as one state."""

    variants = {
        "solve": ("picard", "anderson", "broyden"),
        "gradient": ("broyden gdeq",),
        "train_step": ("broyden gdeq",),
        "startup": ("broyden gdeq",),
    }
    static_tolerance = True

    def root(self, job: Job) -> Root:
        """The solver, or the solver within GDEQ."""
        solver, _, gradient = job.variant.partition(" ")
        options: dict[str, Any] = {
            "max_depth": job.max_steps,
            "stop_mode": "rel",
            "LBFGS_thres": _HISTORY,
            "inference": not gradient,
            "key": jax.random.key(0),
        }
        solve = getattr(solvers, solver)

        def root(fn: Map, z0: jax.Array, parameters: Any, tolerance: Any) -> Any:
            leaves, structure = jax.tree.flatten(parameters)
            block = _Block(tuple(leaves), structure, fn)
            parameters, static = equinox.partition(block, equinox.is_array)
            if gradient:
                found = backprop.gdeq(
                    (parameters, z0), static, solver=solve, eps=tolerance, **options
                )
            else:
                found = solve(parameters, static, z0, eps=tolerance, **options)
            return found[0], found[2]

        return root


class _Block(equinox.Module):
    """The map in the form that anchorax calls; it must be hashable without its arrays."""

    leaves: tuple
    structure: Any = equinox.field(static=True)
    fn: Callable = equinox.field(static=True)

    def __call__(
        self, z: jax.Array, _: Any, *, inference: bool = False, key: Any = None
    ) -> jax.Array:
        """The next state."""
        return self.fn(z, self.structure.unflatten(self.leaves))
