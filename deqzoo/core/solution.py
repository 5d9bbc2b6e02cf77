"""What a fixed-point solve returns: the value, statistics per example, advice on failure."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int

from deqzoo.shown import Shown, Table, kind_of


class Status(enum.IntEnum):
    """How the solve of one example ended; ``advice`` says what to do about it."""

    CONVERGED = 0
    MAX_STEPS = 1
    STAGNATED = 2
    DIVERGED = 3
    NONFINITE = 4
    FLOOR = 5
    MISSED = 6
    EXPLICIT = 7

    @property
    def advice(self) -> str:
        """One sentence: the likely cause and the remedy."""
        return _ADVICE[self]

    @property
    def is_failure(self) -> bool:
        """Whether a value that was looked for was not found."""
        return self not in (Status.CONVERGED, Status.EXPLICIT)


_ADVICE = {
    Status.CONVERGED: "the residual met rtol and atol.",
    Status.MAX_STEPS: (
        "the residual was still falling: raise max_steps, loosen rtol, or use solver='anderson' if "
        "the map "
        "contracts slowly; if the solution may be exactly zero, set atol."
    ),
    Status.STAGNATED: (
        "the residual stopped falling far above the rounding of the dtype: the map does not "
        "contract there (its Jacobian has spectral radius 1 or more); check L * ||W||_2 < 1, damp "
        "the solver, or use solver='newton_krylov'."
    ),
    Status.FLOOR: (
        "the residual has reached the rounding floor of the dtype: loosen rtol or compute in a "
        "wider dtype."
    ),
    Status.MISSED: (
        "the residual foretold for the last iterate was not quite reached: use "
        "picard(predict=False), which evaluates it, or tighten rtol a little."
    ),
    Status.EXPLICIT: (
        "no equation was solved: the value is that of a network of finite depth, and nothing had "
        "to converge."
    ),
    Status.DIVERGED: (
        "the residual grew: the map does not contract; reduce ||W||_2 below 1/L or damp the solver."
    ),
    Status.NONFINITE: "the map returned NaN or infinity: look for non-finite inputs or parameters.",
}


_RISES = (
    "the residual was rising when the steps were used up: the map does not contract there; reduce "
    "||W||_2 below 1/L, damp the solver, or use solver='newton_krylov'."
)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, repr=False)
class Stats(Shown):
    """Statistics of a solve, one entry per example.

    Attributes:
        steps: evaluations of the map until the example was finished.
        residual: ||f(z) - z|| of the returned value in the norm of the solver, at least float32.
        relative_residual: residual / ||f(z)||.
        status: a ``Status`` as int32.
        rate: residual of an evaluation over that of the one before, averaged geometrically over the
            last few; under Picard it estimates the spectral radius of the Jacobian. Infinite
            before the second evaluation.
    """

    steps: Int[Array, " batch"]
    residual: Float[Array, " batch"]
    relative_residual: Float[Array, " batch"]
    status: Int[Array, " batch"]
    rate: Float[Array, " batch"]

    @property
    def fraction_converged(self) -> Float[Array, ""]:
        """Share of the examples that were to be solved and met the tolerance; 1 of none."""
        count = jnp.sum(self.status != Status.EXPLICIT, dtype=jnp.float32)
        met = jnp.sum(self.status == Status.CONVERGED, dtype=jnp.float32)
        return jnp.where(count > 0, met / jnp.maximum(count, 1), 1)

    def shown(self) -> Table:
        """How many examples ended how, and after how many steps."""
        return Table(f"Stats of {kind_of(self.status)} solves", _told(self))


@jax.tree_util.register_dataclass
@dataclass(frozen=True, repr=False)
class Solution(Shown):
    """A fixed point and how it was found.

    Attributes:
        value: the best iterate of every example, in the structure and dtype of the start; NaN for
            an example whose very first evaluation was already non-finite.
        stats: per-example statistics; ``stats.residual`` belongs to exactly this value.
        residuals: with ``trace=True`` of the solver, what ``trace`` shows, negative where nothing
            was evaluated.
        trajectory: the iterates after the steps that ``trajectory`` of the solver names.
        aux: with ``has_aux=True``, what the map returned besides its state, at ``value``.
    """

    value: Any
    stats: Stats
    residuals: Float[Array, "steps batch"] | None = None
    trajectory: tuple[Any, ...] = ()
    aux: Any = None

    def shown(self) -> Table:
        """What was found, how the examples ended, and what to do where they failed."""
        return Table(f"Solution: {kind_of(self.value)}", _told(self.stats))

    @property
    def trace(self) -> Any:
        """With ``trace=True`` of the solver, the relative residual of every evaluation.

        Shape (max_steps, batch); NaN after the last evaluation, written on the host.
        """
        if self.residuals is None:
            return None
        where = jnp.where if isinstance(self.residuals, Tracer) else np.where
        return where(self.residuals < 0, np.nan, self.residuals)

    def check(self) -> Solution:
        """Return self if every example converged. For use on the host, outside ``jit``.

        Raises:
            FixedPointError: some example did not; the message counts the failures and gives advice.
        """
        _require_converged(self.stats)
        return self

    def throw(self) -> Solution:
        """``check`` inside ``jit``: a program in which some example did not converge fails.

        On the host it is ``check``. In a program it is a callback; JAX raises its own
        ``JaxRuntimeError`` with the text of the ``FixedPointError`` when a result is waited for.

        Example:
            >>> import jax, jax.numpy as jnp, deqzoo
            >>> cell = lambda z, x: 0.5 * z + x
            >>> root = lambda x: deqzoo.fixed_point(cell, jnp.zeros_like(x), x).throw().value
            >>> round(float(jax.jit(root)(jnp.ones((1, 1)))[0, 0]), 3)
            2.0
        """
        if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(self.stats)):
            jax.debug.callback(_require_converged, self.stats)
            return self
        return self.check()


def _require_converged(stats: Stats) -> None:
    failed = _failures(stats)
    if failed:
        raise FixedPointError("\n".join(_described(stats, *failure) for failure in failed))


def _described(stats: Stats, kind: Status, where: np.ndarray, advice: str) -> str:
    worst = np.max(np.asarray(stats.relative_residual)[where])
    steps = int(np.max(np.asarray(stats.steps)[where]))
    first = int(np.flatnonzero(where)[0])
    rate = np.asarray(stats.rate)[first]
    return (
        f"{int(where.sum())} of {where.size} examples ended {kind.name} (first: example {first}; "
        f"worst relative residual {worst:.1e} after {steps} steps; its residual last changed by a "
        f"factor of {rate:.3g} per step): {advice}"
    )


def _failures(stats: Stats) -> list[tuple[Status, np.ndarray, str]]:
    """How examples failed, which of them, and what to do: no more steps where residuals rise."""
    status, rises = np.asarray(stats.status), np.asarray(stats.rate) > 1
    rises &= np.isfinite(stats.rate) & (status == Status.MAX_STEPS)
    kinds = [(kind, (status == kind) & ~rises, kind.advice) for kind in Status]
    kinds.insert(Status.MAX_STEPS + 1, (Status.MAX_STEPS, rises, _RISES))
    return [kind for kind in kinds if kind[0].is_failure and np.any(kind[1])]


def _told(stats: Stats) -> tuple[tuple[str, str], ...]:
    if not isinstance(stats.status, Array) or isinstance(stats.status, Tracer):
        return (("statistics", "not known yet: inside a transformation"),)
    status, steps = np.asarray(stats.status), np.asarray(stats.steps)
    if status.size == 0:
        return (("examples", "none"),)
    counts = {kind: int(np.sum(status == kind)) for kind in Status if np.any(status == kind)}
    rows = [
        ("examples", ", ".join(f"{count} {kind.name}" for kind, count in counts.items())),
        ("steps", f"{np.mean(steps):.1f} in the mean, at most {np.max(steps)}"),
        ("worst residual", f"{np.max(np.asarray(stats.relative_residual)):.1e} (relative)"),
    ]
    return tuple(rows + [(kind.name, advice) for kind, _, advice in _failures(stats)])


class FixedPointError(RuntimeError):
    """A fixed point was not found; raised on the host, inside ``jit`` only by ``throw``."""
