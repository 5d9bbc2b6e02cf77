"""What one writes by hand in JAX, and the bare map: the floor."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from launch._benchmark.jax_maps import jax_map
from launch._benchmark.jax_peer import JaxPeer, Map, Root, on_device
from launch._benchmark.peer import Case, Job, Outcome

__all__ = ["Hand"]

_CHAIN = 10  # evaluations in one call of the floor, so that dispatch does not count
_WINDOW = 5
_RIDGE = 1e-8

_BOTH = ("picard", "anderson")


class Hand(JaxPeer):
    """Picard and tutorial-style Anderson loops with an implicit gradient by the same loop."""

    variants = {
        "solve": ("floor", *_BOTH),
        "gradient": ("floor", *_BOTH),
        "train_step": ("floor", *_BOTH),
        "conv": ("floor", "anderson"),
        "memory": (*_BOTH, "unrolled", "unrolled checkpoint"),
        "startup": _BOTH,
    }

    def make(self, job: Job) -> Case:
        """The job, or a chain of bare evaluations."""
        return _floor(job) if job.variant == "floor" else super().make(job)

    def root(self, job: Job) -> Root:
        """The loop of a variant."""
        if job.variant.startswith("unrolled"):
            return partial(_unrolled, job.max_steps, job.variant.endswith("checkpoint"))
        loop = partial({"picard": picard, "anderson": anderson}[job.variant], job.max_steps)
        return lambda *args: _implicit(loop, args[0], job.backward_tolerance, *args[1:])


def _floor(job: Job) -> Case:
    drawn = job.problem.draw()
    fn, parameters = jax_map(job.problem), on_device(drawn.parameters)

    def chain(z: jax.Array, parameters: Any) -> jax.Array:
        for _ in range(_CHAIN):
            z = fn(z, parameters)
        return z

    program, z0 = jax.jit(chain), jnp.asarray(drawn.target)

    def run() -> Any:
        return jax.block_until_ready(program(z0, parameters))

    def look(tolerance: float) -> Outcome:
        return Outcome(np.asarray(run()), _CHAIN)

    return Case(run=run, look=look, evaluations=_CHAIN)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _implicit(loop: Any, fn: Map, backward_tolerance: float, z0, parameters, tolerance) -> Any:
    return loop(lambda z: fn(z, parameters), z0, tolerance)


def _forward(loop: Any, fn: Map, backward_tolerance: float, z0, parameters, tolerance):
    found: Any = _implicit(loop, fn, backward_tolerance, z0, parameters, tolerance)
    return found, (found[0], parameters, tolerance)


def _backward(loop: Any, fn: Map, backward_tolerance: float, saved: Any, cotangents: Any):
    z, parameters, tolerance = saved
    _, pull = jax.vjp(fn, z, parameters)
    u, _ = loop(lambda u: pull(u)[0] + cotangents[0], cotangents[0], backward_tolerance)
    return jnp.zeros_like(z), pull(u)[1], jnp.zeros_like(tolerance)


_implicit.defvjp(_forward, _backward)


def picard(max_steps: int, fn: Callable, z0: jax.Array, tolerance: Any) -> tuple[Any, Any]:
    def body(carry: Any) -> Any:
        z, _, step = carry
        image = fn(z)
        return image, _relative(image, z), step + 1

    start = (z0, jnp.asarray(jnp.inf, z0.dtype), 0)
    z, _, steps = lax.while_loop(lambda c: (c[1] > tolerance) & (c[2] < max_steps), body, start)
    return z, steps


def anderson(max_steps: int, fn: Callable, z0: jax.Array, tolerance: Any) -> tuple[Any, Any]:
    """Per-sample coefficients, absolute ridge, the oldest point replaced, as in the tutorials."""
    n, m = len(z0), _WINDOW
    window = jnp.zeros((n, m, z0[0].size), z0.dtype)

    def body(carry: Any) -> Any:
        Z, F, step, z, _ = carry
        image = fn(z.reshape(z0.shape)).reshape(n, -1)
        slot, error = step % m, _relative(image, z)
        Z, F = Z.at[:, slot].set(z), F.at[:, slot].set(image)
        weights = _coefficients(F - Z, jnp.minimum(step + 1, m))
        return Z, F, step + 1, jnp.einsum("nm,nmd->nd", weights, F), error

    start = (window, window, 0, z0.reshape(n, -1), jnp.asarray(jnp.inf, z0.dtype))
    _, F, steps, _, _ = lax.while_loop(
        lambda c: (c[4] > tolerance) & (c[2] < max_steps), body, start
    )
    return F[:, (steps - 1) % m].reshape(z0.shape), steps


def _coefficients(residuals: jax.Array, filled: Any) -> jax.Array:
    n, m, _ = residuals.shape
    is_filled = jnp.arange(m) < filled
    gram = jnp.einsum("nid,njd->nij", residuals, residuals)
    gram += jnp.where(is_filled, _RIDGE, 1.0)[None, :, None] * jnp.eye(m, dtype=gram.dtype)[None]
    ones = jnp.broadcast_to(is_filled.astype(gram.dtype)[None, :, None], (n, m, 1))
    raw = jnp.linalg.solve(gram, ones)[:, :, 0]
    return raw / jnp.sum(raw, axis=1, keepdims=True)


def _unrolled(max_steps: int, saves: bool, fn: Map, z0: jax.Array, parameters: Any, _: Any) -> Any:
    def step(z: jax.Array, __: None) -> tuple[jax.Array, None]:
        return fn(z, parameters), None

    return lax.scan(jax.checkpoint(step) if saves else step, z0, None, length=max_steps)[0], None


def _relative(image: jax.Array, z: jax.Array) -> jax.Array:
    return jnp.linalg.norm(image - z) / (jnp.linalg.norm(image) + 1e-30)
