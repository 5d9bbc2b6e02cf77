"""Functions of the angle between two inputs, as Chebyshev series on [0, π].

Kernels with kinks behave like |θ|³ near parallel inputs: smooth in θ, but not in cos θ.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import scipy.fft
from jaxtyping import Float

_DEGREES = (32, 64, 128, 256, 512)
_ENOUGH = 2e-15


@dataclass(frozen=True)
class AngleTable:
    """Σ_k c_k T_k(2θ/π - 1) for several functions at once.

    Attributes:
        coefficients: (functions, degree + 1).
        error: the largest coefficient of the last eighth, per function: an estimate of what is
            left out.
    """

    coefficients: Float[np.ndarray, "functions degree+1"]
    error: float

    def __call__(self, angles: Float[np.ndarray, "*shape"]) -> list[Float[np.ndarray, "*shape"]]:
        """Every function at the angles in [0, π]."""
        with jax.enable_x64(True):
            return [np.asarray(value) for value in _clenshaw(self.coefficients, angles)]


def tabulate(functions: Callable[[np.ndarray], np.ndarray]) -> AngleTable:
    """Interpolate at Chebyshev points, doubled until the coefficients have died out.

    Args:
        functions: increasing angles (n,) in [0, π] to values (functions, n).
    """
    values = functions(_angles(_DEGREES[0]))
    for degree in _DEGREES:
        if degree > values.shape[1]:  # every second point is known
            finer = np.empty((len(values), degree + 1))
            finer[:, ::2], finer[:, 1::2] = values, functions(_angles(degree)[1::2])
            values = finer
        coefficients = _coefficients(values)
        size = np.max(np.abs(values), axis=1, keepdims=True)
        last = np.abs(coefficients[:, -degree // 8 :]) / np.where(size > 0, size, 1)
        if np.max(last) <= _ENOUGH:
            break
    return AngleTable(coefficients, float(np.max(last)))


def _angles(degree: int) -> np.ndarray:
    return math.pi / 2 * (1 - np.cos(math.pi * np.arange(degree + 1) / degree))


def _coefficients(values: np.ndarray) -> np.ndarray:
    """Chebyshev coefficients from values at t = -1 ... 1 (a cosine transform of type 1)."""
    degree = values.shape[1] - 1
    coefficients = scipy.fft.dct(values[:, ::-1], type=1, axis=1) / degree
    coefficients[:, [0, -1]] /= 2
    return coefficients


@functools.partial(jax.jit)
def _clenshaw(coefficients, angles):
    t = 2 / math.pi * angles - 1

    def step(carry, column):
        one, two = carry
        return (2 * t * one - two + column[:, *(None,) * angles.ndim], one), None

    zero = jnp.zeros((len(coefficients), *angles.shape))
    t = t[None]
    columns = coefficients[:, 1:].T[::-1]
    (one, two), _ = jax.lax.scan(step, (zero, zero), columns)
    return t * one - two + coefficients[:, 0].reshape(-1, *(1,) * angles.ndim)
