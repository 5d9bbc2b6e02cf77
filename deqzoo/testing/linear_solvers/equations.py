"""Linear equations u = Ju + b whose solutions are known."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from deqzoo.core import linear_solver
from deqzoo.core.linear_solver import Answer, LinearSolver
from deqzoo.core.solution import Status
from deqzoo.testing.check import require
from deqzoo.testing.problems import numbers

N, B = 12, 3


def with_radius(radius: float, n: int = N, seed: int = 1) -> np.ndarray:
    """A random non-symmetric matrix with complex eigenvalues."""
    matrix = numbers(n, n, seed=seed)
    return radius * matrix / np.max(np.abs(np.linalg.eigvals(matrix)))


def rotations(radius: float = 0.95) -> np.ndarray:
    """All eigenvalues on a circle, none of them real."""
    blocks = np.zeros((N, N))
    for k in range(N // 2):
        angle = 0.5 + k / 3
        c, s = radius * np.cos(angle), radius * np.sin(angle)
        blocks[2 * k : 2 * k + 2, 2 * k : 2 * k + 2] = [[c, -s], [s, c]]
    return blocks


def nearly_singular(gap: float = 1e-3) -> np.ndarray:
    """I - J has singular values from ``gap`` to 1."""
    left, right = (np.linalg.qr(numbers(N, N, seed=seed))[0] for seed in (2, 3))
    return np.eye(N) - left * np.geomspace(gap, 1, N) @ right


MATRICES = {
    "contracting": with_radius(0.5),
    "slow": with_radius(0.95),
    "rotating": rotations(),
    "nilpotent": np.diag(np.ones(N - 1), 1),
    "zero": np.zeros((N, N)),
    "normal": np.diag(np.linspace(-0.9, 0.9, N)),
}


@partial(jax.jit, static_argnums=0)
def _solve(solver: LinearSolver, matrices: Any, b: Any, guess: Any = None) -> Answer:
    """Every example has its own matrix."""
    product = lambda u: jnp.einsum("bij,bj->bi", matrices, u)  # noqa: E731
    return linear_solver.solve(solver, product, b, guess)


def run(
    solver: LinearSolver, matrix: np.ndarray, b: np.ndarray, dtype: str = "float32", guess=None
) -> Answer:
    """The answer for one matrix, or one for every example."""
    matrices = np.broadcast_to(matrix, (len(b), *np.shape(matrix)[-2:])).astype(dtype)
    return _solve(solver, matrices, np.asarray(b, dtype), guess)


def measured(matrix: np.ndarray, b: np.ndarray, value: Any) -> np.ndarray:
    """||Ju + b - u|| in float64."""
    value = np.asarray(value, np.float64)
    return np.linalg.norm(value @ np.asarray(matrix, np.float64).T + b - value, axis=1)


def solution(matrix: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(I - J)^-1 b, by a dense factorisation."""
    return np.linalg.solve(np.eye(N) - matrix, b.T).T


def require_converged(answer: Answer) -> None:
    """Require that every example is solved and says so.

    Raises:
        AssertionError: one is or does not.
    """
    found = [Status(status) for status in answer.stats.status.tolist()]
    require(found == [Status.CONVERGED] * B, f"got {found}, residuals {answer.stats.residual}")
    require(np.all(answer.sound), f"CONVERGED but sound is {answer.sound}")
