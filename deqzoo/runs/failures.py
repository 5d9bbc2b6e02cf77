"""The examples of a solve that did not converge, and what to do about them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deqzoo.core.solution import Stats, Status


@dataclass(frozen=True)
class Failure:
    """The examples whose solve ended in one status that is a failure.

    Attributes:
        status: its name.
        examples: how many.
        first: the index of the first one.
        residual: the worst relative residual among them.
        advice: what to do about it.
    """

    status: str
    examples: int
    first: int
    residual: float
    advice: str


def failures(stats: Stats) -> tuple[Failure, ...]:
    """One entry per status of a failure that occurs, the most frequent first.

    Example:
        >>> import jax.numpy as jnp, deqzoo
        >>> from deqzoo.runs.failures import failures
        >>> short = "picard(max_steps=2)"
        >>> fn = lambda z, x: x * z + 1
        >>> rates = jnp.array([[0.0], [0.9]])
        >>> solution = deqzoo.fixed_point(fn, jnp.zeros((2, 1)), rates, solver=short)
        >>> [failure] = failures(solution.stats)
        >>> failure.status, failure.examples, failure.first
        ('MAX_STEPS', 1, 1)
    """
    status, residual = np.asarray(stats.status), np.asarray(stats.relative_residual)
    found = []
    for kind in Status:
        where = np.flatnonzero(status == kind)
        if kind.is_failure and len(where):
            worst = float(np.max(residual[where]))
            found.append(Failure(kind.name, len(where), int(where[0]), worst, kind.advice))
    return tuple(sorted(found, key=lambda failure: -failure.examples))
