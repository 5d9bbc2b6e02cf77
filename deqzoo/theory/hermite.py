"""Truncated Hermite series of a dual activation, with a bound on what the truncation leaves out.

For (u, v) ~ N(0, q [[1, R], [R, 1]]), E φ(u)φ(v) = Σ a_k² R^k and
E φ'(u)φ'(v) = Σ k a_k² R^(k-1)/q with a_k = E φ(√q Z) h_k(Z). By Parseval the terms beyond degree N
sum to E φ² - Σ_{k<=N} a_k² at R = 1, so at any R they are at most |R|^(N+1) times that.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from deqzoo.activation import gaussian, panels, quadrature
from deqzoo.activation.contract import Activation

_LARGEST_DEGREE = 400
_BATCH = 64  # variances at a time
_ENOUGH = 1e-15  # relative tail at which more terms only add rounding


@dataclass(frozen=True)
class HermiteSeries:
    """Σ_{k<=N} a_k² R^k with its tail.

    Attributes:
        q: the variance.
        coefficients: a_0 ... a_N.
        tail: E φ² - Σ a_k², what is left out at R = 1.
        slope_tail: E φ'² - Σ k a_k²/q, the same for the dual of φ'.

    Example:
        >>> import activations
        >>> from deqzoo.theory import hermite_series
        >>> series = hermite_series(activations.get("tanh"), 1.0)
        >>> abs(float(series.dual(0.5) - activations.get("tanh").dual(0.5))) < 1e-14
        True
    """

    q: float
    coefficients: Float[np.ndarray, " degree+1"]
    tail: float
    slope_tail: float

    @property
    def degree(self) -> int:
        """N."""
        return len(self.coefficients) - 1

    def dual(self, correlation) -> Float[np.ndarray, "*shape"]:
        """Σ_{k<=N} a_k² R^k."""
        return np.polynomial.polynomial.polyval(correlation, self.coefficients**2)

    def dual_slope(self, correlation) -> Float[np.ndarray, "*shape"]:
        """Σ_{k<=N} k a_k² R^(k-1)/q."""
        terms = np.arange(self.degree + 1) * self.coefficients**2 / self.q
        return np.polynomial.polynomial.polyval(correlation, terms[1:])

    def error(self, correlation) -> Float[np.ndarray, "*shape"]:
        """|E φ(u)φ(v) - dual| <= |R|^(N+1) tail."""
        return np.abs(correlation) ** (self.degree + 1) * self.tail

    def slope_error(self, correlation) -> Float[np.ndarray, "*shape"]:
        """|E φ'(u)φ'(v) - dual_slope| <= |R|^N slope_tail."""
        return np.abs(correlation) ** self.degree * self.slope_tail


def hermite_series(activation: Activation, q: float, degree: int | None = None) -> HermiteSeries:
    """The series at variance q, as long as it needs to be, up to degree 400.

    Args:
        activation: φ.
        q: the variance, positive.
        degree: N; by default the first at which the relative tail is below 1e-15, at most 400.
    """
    scale = math.sqrt(q)
    cuts = (*activation.kinks, *panels.edges(activation, q).tolist())
    square = gaussian.expectation(lambda x: activation.in_float64(x) ** 2, scale, cuts)
    slope_square = gaussian.expectation(lambda x: activation.slope_in_float64(x) ** 2, scale, cuts)
    coefficients = activation.hermite(_LARGEST_DEGREE if degree is None else degree, scale)
    if degree is None:
        coefficients = coefficients[: _sufficient(coefficients, square) + 1]
    terms = coefficients**2
    slope_sum = float(np.sum(np.arange(len(terms)) * terms)) / q
    return HermiteSeries(
        q,
        coefficients,
        max(square - float(terms.sum()), 0.0),
        max(slope_square - slope_sum, 0.0),
    )


def _sufficient(coefficients: np.ndarray, square: float) -> int:
    terms = coefficients**2
    rest = np.append(np.cumsum(terms[::-1])[::-1][1:], 0.0)
    return int(np.argmax(rest <= _ENOUGH * square))


def coefficient_table(
    activation: Activation, variances: Float[np.ndarray, " n"], degree: int
) -> Float[np.ndarray, "n degree+1"]:
    """a_k(q) for many variances at once, by quadrature."""
    edges = panels.edges(activation, float(np.max(variances, initial=0.0)))
    cuts = np.array([*activation.kinks, *edges])
    with jax.enable_x64(True):
        values = jnp.asarray(variances, jnp.float64)
        return np.asarray(_coefficients(activation, values, degree, cuts))


@functools.partial(jax.jit, static_argnums=(0, 2))
def _coefficients(activation: Activation, variances, degree: int, cuts):
    def one(q):
        z, weights = quadrature.split_nodes(cuts, jnp.sqrt(q))
        weighted = weights * activation(jnp.sqrt(q) * z)

        def advance(carry, k):
            before, row = carry
            after = (z * row - jnp.sqrt(k) * before) / jnp.sqrt(k + 1)
            return (row, after), row @ weighted

        start = (jnp.zeros_like(z), jnp.ones_like(z))
        return jax.lax.scan(advance, start, jnp.arange(degree + 1.0))[1]

    return jax.lax.map(one, variances, batch_size=_BATCH)
