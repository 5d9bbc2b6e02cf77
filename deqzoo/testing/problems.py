"""Maps whose fixed points are known, in every shape that a solver may meet."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from deqzoo.core.fixed_point import fixed_point
from deqzoo.core.map.split import Split
from deqzoo.core.solution import Solution
from deqzoo.core.solver import Solver


class Problem(NamedTuple):
    """z = fn(z, args).

    Attributes:
        fn: the map; a ``Split`` where its affine part is known.
        z0: the start.
        args: what else the map takes.
        exact: the fixed point, where it is known.
    """

    fn: Any
    z0: Any
    args: Any = None
    exact: Any = None

    def fits(self, solver: Solver) -> bool:
        """Whether the solver knows what it needs of the map."""
        return isinstance(self.fn, Split) or not solver.needs_split

    def fn_for(self, solver: Solver) -> Callable:
        """The map as a split where the solver needs one, else as a plain function."""
        return self.fn if solver.needs_split else lambda z, args: self.fn(z, args)

    def in_dtype(self, dtype: Any) -> Problem:
        """The same with all arrays in another precision."""
        kind = jnp.dtype(dtype)
        z0, args = jax.tree.map(lambda a: np.asarray(a).astype(kind), (self.z0, self.args))
        return self._replace(z0=z0, args=args)

    def solve(self, solver: Solver) -> Solution:
        """The solution, found inside ``jit``."""
        return self.solver(solver)(self.z0, self.args)

    def solver(self, solver: Solver) -> Callable[[Any, Any], Solution]:
        """(z0, args) -> solution, compiled once."""
        fn = self.fn_for(solver)
        return jax.jit(lambda z0, args: fixed_point(fn, z0, args, solver=solver))


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    """Standard normal numbers, the same on every call."""
    return np.random.default_rng(seed).standard_normal(shape)


def orthogonal(n: int) -> np.ndarray:
    """A random orthogonal matrix."""
    return np.linalg.qr(numbers(n, n))[0]


def matrix(n: int, norm: float, seed: int = 1) -> np.ndarray:
    """A random matrix of this spectral norm."""
    weight = numbers(n, n, seed=seed)
    return norm * weight / np.linalg.norm(weight, 2)


def affine(weight: np.ndarray, b: np.ndarray) -> Problem:
    """Z -> Wz + b."""
    exact = np.linalg.solve(np.eye(len(weight)) - weight, b.T).T
    return Problem(Split("identity", _affine), np.zeros_like(b), (weight, b), exact)


def linear(scale: float = 1.0) -> Problem:
    """A contraction by 0.8 of six unknowns, with loads of this size."""
    return affine(matrix(6, 0.8), scale * numbers(3, 6))


def rotation(radius: float = 0.9) -> Problem:
    """Two complex eigenvalues of this modulus."""
    c, s = radius * math.cos(1), radius * math.sin(1)
    return affine(np.array([[c, -s], [s, c]]), numbers(3, 2))


def cosine() -> Problem:
    """The fixed point of the cosine."""
    exact = np.full((2, 1), 0.7390851332151607)
    return Problem(lambda z, _: jnp.cos(z), np.zeros((2, 1)), None, exact)


def wide(norm: float = 0.8, width: int = 16) -> Problem:
    """The papers' cell z -> relu(Wz + x)."""
    x, weight = numbers(4, width), matrix(width, norm)
    return Problem(Split("relu", _affine), np.zeros_like(x), (weight, x))


def coupled() -> Problem:
    """Three leaves of rank 1, 2 and 3 that act on each other."""

    def fn(z, x):
        mean = jnp.mean(z["image"], axis=(1, 2))
        return {
            "number": 0.4 * jnp.sin(mean) + 0.5,
            "row": 0.3 * jnp.tanh(z["row"] + z["number"][:, None]) + x,
            "image": 0.5 * jnp.cos(z["image"]) + 0.2 * z["row"][:, :, None],
        }

    z0 = {"number": np.zeros(3), "row": np.zeros((3, 2)), "image": np.zeros((3, 2, 4))}
    return Problem(fn, z0, numbers(3, 2))


def stiff() -> Problem:
    """Fast and slow directions of both signs, and loads of very different size."""
    q, speeds = orthogonal(6), [0.8, 0.5, 1e-4, 0.0, -0.3, -0.8]
    return affine(q @ np.diag(speeds) @ q.T, np.logspace(-3, 3, 3)[:, None] * numbers(3, 6))


def expanding() -> Problem:
    """Z -> 3Qz + b with Q orthogonal: no short history of residuals spans the space."""
    return affine(3 * orthogonal(32), numbers(3, 32))


def _affine(z: Any, args: Any) -> Any:
    return z @ args[0].T + args[1]
