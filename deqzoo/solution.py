"""What a fixed-point solve returns: the value, statistics per example, advice on failure."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


class Status(enum.IntEnum):
    """How the solve of one example ended; ``advice`` says what to do about it."""

    CONVERGED = 0
    MAX_STEPS = 1
    STAGNATED = 2
    DIVERGED = 3
    NONFINITE = 4

    @property
    def advice(self) -> str:
        """One sentence: the likely cause and the remedy."""
        return _ADVICE[self]


_ADVICE = {
    Status.CONVERGED: "the residual met rtol and atol.",
    Status.MAX_STEPS: (
        "the residual was still falling: raise max_steps, loosen rtol, or use solver='anderson' if "
        "the map "
        "contracts slowly; if the solution may be exactly zero, set atol."
    ),
    Status.STAGNATED: (
        "the residual stopped falling: it has reached the rounding floor of the dtype (loosen rtol "
        "or compute in a "
        "wider dtype), or the map does not contract (check L * ||W||_2 < 1, or damp the solver)."
    ),
    Status.DIVERGED: (
        "the residual grew: the map does not contract; reduce ||W||_2 below 1/L or damp the solver."
    ),
    Status.NONFINITE: "the map returned NaN or infinity: look for non-finite inputs or parameters.",
}


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Stats:
    """Statistics of a solve, one entry per example.

    Attributes:
        steps: evaluations of the map until the example was finished.
        residual: ||f(z) - z||_2 of the returned value, in at least float32.
        relative_residual: residual / ||f(z)||_2.
        status: a ``Status`` as int32.
    """

    steps: Int[Array, " batch"]
    residual: Float[Array, " batch"]
    relative_residual: Float[Array, " batch"]
    status: Int[Array, " batch"]

    @property
    def fraction_converged(self) -> Float[Array, ""]:
        """Share of examples that met the tolerance."""
        return jnp.mean(self.status == Status.CONVERGED, dtype=jnp.float32)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Solution:
    """A fixed point and how it was found.

    Attributes:
        value: the best iterate of every example, in the structure and dtype of the start; NaN for
            an example whose very first evaluation was already non-finite.
        stats: per-example statistics; ``stats.residual`` belongs to exactly this value.
    """

    value: Any
    stats: Stats

    def check(self) -> Solution:
        """Return self if every example converged. For use on the host, outside ``jit``.

        Raises:
            FixedPointError: some example did not; the message counts the failures and gives advice.
        """
        status = np.asarray(self.stats.status)
        failed = [kind for kind in Status if kind != Status.CONVERGED and np.any(status == kind)]
        if failed:
            raise FixedPointError(
                "\n".join(self._describe(kind, status == kind) for kind in failed)
            )
        return self

    def _describe(self, kind: Status, where: np.ndarray) -> str:
        worst = np.max(np.asarray(self.stats.relative_residual)[where])
        steps = int(np.max(np.asarray(self.stats.steps)[where]))
        first = int(np.flatnonzero(where)[0])
        return (
            f"{int(where.sum())} of {where.size} examples ended {kind.name} (first: example "
            f"{first}; worst relative "
            f"residual {worst:.1e} after {steps} steps): {kind.advice}"
        )


class FixedPointError(RuntimeError):
    """A fixed point was not found; raised on the host only, never inside ``jit``."""
