"""The gradient to compare with: float64, by loops and linear solves far below every tolerance."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from launch._benchmark.jax_maps import jax_map
from launch._benchmark.jax_peer import by_name, fresh_start, on_device
from launch._benchmark.peers import hand
from launch._benchmark.problem import Problem

_TOLERANCE = 1e-12
_MAX_STEPS = 20_000


def write(problem: Problem, path: Path) -> float:
    """Save the gradient of ½‖z* - t‖²/n by parameter; float32 arrays are taken as they are.

    Returns:
        The relative residual of z*.
    """
    drawn = problem.draw()
    with jax.enable_x64(True):
        fn = jax_map(problem)
        parameters = jax.tree.map(lambda v: v.astype(np.float64), on_device(drawn.parameters))
        target = jnp.asarray(drawn.target, np.float64)
        z0 = jnp.zeros_like(fresh_start(drawn), np.float64)
        z, _ = jax.jit(lambda p: hand.anderson(_MAX_STEPS, lambda z: fn(z, p), z0, _TOLERANCE))(
            parameters
        )
        image, pull = jax.vjp(fn, z, parameters)
        cotangent = (z - target) / len(target)

        def equation(u: jax.Array) -> jax.Array:
            return u - pull(u)[0]

        u, _ = jax.jit(
            lambda c: jax.scipy.sparse.linalg.bicgstab(
                equation, c, tol=_TOLERANCE, maxiter=_MAX_STEPS
            )
        )(cotangent)
        np.savez(path, **by_name(pull(u)[1]))  # pyright: ignore[reportArgumentType]
        return float(jnp.linalg.norm(image - z) / jnp.linalg.norm(image))
