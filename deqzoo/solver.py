"""The one fixed-point loop: stopping per example, best iterate, NaN isolation and statistics.

A solver is only an update rule. Everything that decides *when* an example is finished lives here,
once.
"""

from __future__ import annotations

import abc
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from deqzoo import trees
from deqzoo.solution import Solution, Stats, Status
from deqzoo.trees import State

Map = Callable[[State], State]

_GROWTH_LIMIT = 1e6  # residual / best residual beyond which an example is lost
_PATIENCE = 60  # evaluations without a new best residual before an example is called stagnated
_FLOOR_PATIENCE = 8  # the same, once the residual is within _FLOOR_FACTOR roundings of the value
_FLOOR_FACTOR = 64.0


class Evaluation(NamedTuple):
    """What an update rule may look at.

    Attributes:
        z: current iterate.
        fz: f(z).
        residual: f(z) - z.
        norm: ||f(z) - z||_2 per example.
        best_norm: smallest norm so far per example, this evaluation included.
        step: how many evaluations came before this one.
    """

    z: State
    fz: State
    residual: State
    norm: Float[Array, " batch"]
    best_norm: Float[Array, " batch"]
    step: Int[Array, ""]


@dataclass(frozen=True)
class Solver(abc.ABC):
    """An update rule z_{k+1} = step(z_k, f(z_k)) with its stopping rule.

    An example is CONVERGED once ``||f(z) - z||_2 <= atol + rtol * ||f(z)||_2``; it is then frozen
    bit for bit. To write a solver, derive a frozen dataclass in a file of ``deqzoo/solvers`` and
    define ``init`` and ``step``.

    Attributes:
        rtol: relative tolerance; None stands for 1e-5 in float32, 1e-10 in float64, 2e-2 in
            bfloat16.
        atol: absolute tolerance on the Euclidean norm of an example's residual.
        max_steps: evaluations of the map at most.
    """

    rtol: float | None = None
    atol: float = 0.0
    max_steps: int = 200

    def __post_init__(self):
        if self.rtol is not None and not self.rtol >= 0:
            raise ValueError(f"rtol must be >= 0, got {self.rtol}")
        if not self.atol >= 0:
            raise ValueError(f"atol must be >= 0, got {self.atol}")
        if not (isinstance(self.max_steps, int) and self.max_steps >= 1):
            raise ValueError(f"max_steps must be a whole number >= 1, got {self.max_steps!r}")

    @abc.abstractmethod
    def init(self, z0: State) -> Any:
        """The rule's memory before the first evaluation."""

    @abc.abstractmethod
    def step(self, evaluation: Evaluation, memory: Any) -> tuple[State, Any]:
        """The next iterate and memory. Must treat every example by itself."""


class _Carry(NamedTuple):
    z: State
    memory: Any
    best: State
    best_norm: Float[Array, " batch"]
    best_scale: Float[Array, " batch"]
    best_step: Int[Array, " batch"]
    steps: Int[Array, " batch"]
    status: Int[Array, " batch"]
    step: Int[Array, ""]


_RUNNING = -1


def solve(solver: Solver, fn: Map, z0: State, *, differentiable: bool = False) -> Solution:
    """Iterate ``solver`` on z = fn(z) from ``z0`` until every example is finished.

    Args:
        solver: the update rule and its tolerances.
        fn: the map; keeps structure, shapes and dtypes of ``z0`` and the examples apart.
        z0: start, a pytree with the batch on axis 0.
        differentiable: run ``max_steps`` steps of a ``scan`` (frozen once finished) instead of a
            ``while_loop``, so that reverse mode can pass through. Values are the same.

    Returns:
        The best iterate of every example with its statistics.
    """
    rtol = _resolve_rtol(solver.rtol, z0)
    carry = _start(solver, z0)
    body = lambda carry: _advance(solver, fn, rtol, carry)  # noqa: E731
    if differentiable:
        carry, _ = lax.scan(lambda carry, _: (body(carry), None), carry, length=solver.max_steps)
    else:
        carry = lax.while_loop(lambda carry: _unfinished(solver, carry), body, carry)
    return _finish(carry)


def _resolve_rtol(rtol: float | None, z0: State) -> float:
    eps = trees.coarsest_eps(z0)
    if rtol is None:
        return 2e-2 if eps > 1e-4 else 1e-5 if eps > 1e-10 else 1e-10
    if 0 < rtol < eps:
        warnings.warn(
            f"rtol={rtol:g} is below the rounding {eps:.1e} of the state's dtype and cannot be met "
            "reliably; loosen it or use a wider dtype",
            stacklevel=2,
        )
    return rtol


def _start(solver: Solver, z0: State) -> _Carry:
    batch = trees.batch_size(z0)
    zeros = jnp.zeros(batch, jnp.int32)
    infinite = jnp.full(batch, jnp.inf, trees.reduction_dtype(z0))
    return _Carry(
        z=z0,
        memory=solver.init(z0),
        best=z0,
        best_norm=infinite,
        best_scale=jnp.ones_like(infinite),
        best_step=zeros,
        steps=zeros,
        status=jnp.full(batch, _RUNNING, jnp.int32),
        step=jnp.zeros((), jnp.int32),
    )


def _unfinished(solver: Solver, carry: _Carry) -> Bool[Array, ""]:
    return (carry.step < solver.max_steps) & jnp.any(carry.status == _RUNNING)


def _advance(solver: Solver, fn: Map, rtol: float, carry: _Carry) -> _Carry:
    fz = fn(carry.z)
    residual = trees.subtract(fz, carry.z)
    norm, scale = trees.norm(lax.stop_gradient(residual)), trees.norm(lax.stop_gradient(fz))
    running = carry.status == _RUNNING
    converged = jnp.isfinite(scale) & (norm <= solver.atol + rtol * scale)  # inf <= rtol * inf
    better = running & (converged | (norm < carry.best_norm))
    best_norm = jnp.where(better, norm, carry.best_norm)
    best_scale = jnp.where(better, scale, carry.best_scale)
    best_step = jnp.where(better, carry.step, carry.best_step)
    evaluation = Evaluation(carry.z, fz, residual, norm, best_norm, carry.step)
    z, memory = solver.step(evaluation, carry.memory)
    at_floor = best_norm <= _FLOOR_FACTOR * trees.coarsest_eps(carry.z) * best_scale
    status = jnp.where(converged, Status.CONVERGED.value, _judge(evaluation, at_floor, best_step))
    return _Carry(
        z=trees.select(running & (status == _RUNNING), z, carry.z),
        memory=memory,
        best=trees.select(better, carry.z, carry.best),
        best_norm=best_norm,
        best_scale=best_scale,
        best_step=best_step,
        steps=carry.steps + running,
        status=jnp.where(running, status, carry.status).astype(jnp.int32),
        step=carry.step + 1,
    )


def _judge(
    evaluation: Evaluation, at_floor: Bool[Array, " batch"], best_step: Int[Array, " batch"]
) -> Int[Array, " batch"]:
    """Status of an example whose residual does not meet the tolerance."""
    norm, best_norm = evaluation.norm, evaluation.best_norm
    waited = evaluation.step - best_step
    stagnated = waited >= jnp.where(at_floor, _FLOOR_PATIENCE, _PATIENCE)
    status = jnp.where(stagnated, Status.STAGNATED.value, _RUNNING)
    status = jnp.where(norm > _GROWTH_LIMIT * best_norm, Status.DIVERGED.value, status)
    return jnp.where(jnp.isfinite(norm), status, Status.NONFINITE.value)


def _finish(carry: _Carry) -> Solution:
    measured = jnp.isfinite(carry.best_norm)
    value = jax.tree.map(
        lambda leaf: jnp.where(trees.per_example(measured, leaf), leaf, jnp.nan), carry.best
    )
    status = jnp.where(carry.status == _RUNNING, Status.MAX_STEPS.value, carry.status)
    residual = jnp.where(measured, carry.best_norm, jnp.nan)
    tiny = jnp.finfo(residual.dtype).tiny
    relative = residual / jnp.maximum(carry.best_scale, tiny)
    return Solution(value, Stats(carry.steps, residual, relative, status))
