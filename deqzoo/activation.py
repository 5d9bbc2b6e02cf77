"""The contract of an activation plug-in: an elementwise function that carries its guarantees."""

from __future__ import annotations

import abc
import functools
import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from deqzoo import gaussian

_SERIES_DEGREE = 400
_Values = Float[Array | np.ndarray, "*shape"]


class Hypothesis(NamedTuple):
    """Whether an activation meets what a theorem asks of it, and why."""

    theorem: str
    met: bool
    reason: str


@dataclass(frozen=True)
class Activation(abc.ABC):
    """An elementwise φ with exact bounds on φ' and φ''.

    To add one, write a frozen dataclass in a file of ``activations/`` (its name is the activation's
    name) and define

    * ``__call__(x)``: elementwise in ``jax.numpy``, keeping shape and dtype;
    * ``slope``: (inf φ', sup φ') to full precision, attained or not;
    * ``curvature``: sup |φ''|, ``math.inf`` where φ' jumps;
    * ``kinks``: where φ is not smooth, so that integrals can be split there.

    Override ``primitive``, ``hermite``, ``dual_covariance`` and ``dual_slope`` where a closed form
    exists; the defaults are quadrature and the Hermite series. Parameters are dataclass fields, and
    the bounds are functions of them. ``activations.check(act)`` measures every declared fact.
    """

    slope: ClassVar[tuple[float, float]]
    curvature: ClassVar[float]
    kinks: ClassVar[tuple[float, ...]] = ()

    def __init_subclass__(cls) -> None:
        missing = [name for name in ("slope", "curvature") if not hasattr(cls, name)]
        if missing:
            raise TypeError(
                f"{cls.__name__} must declare {' and '.join(missing)}: slope = (inf φ', sup φ'), "
                "curvature = sup |φ''| (math.inf where φ' jumps), as class attributes or properties"
            )

    @abc.abstractmethod
    def __call__(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """φ(x), elementwise, in the dtype of x."""

    # What can be derived, with closed forms welcome.

    def primitive(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """∫₀ˣ φ. Default: 40-point Gauss-Legendre on [0, x]."""
        points, weights = gaussian.legendre(40)
        x = jnp.asarray(x)
        terms = (
            w / 2 * self(x * ((1 + p) / 2))
            for p, w in zip(points.tolist(), weights.tolist(), strict=True)
        )
        return x * functools.reduce(jnp.add, terms)

    def hermite(self, degree: int, scale: float = 1.0) -> Float[np.ndarray, " {degree}+1"]:
        """a_k = E φ(scale Z) h_k(Z), h_k = He_k/√k!, k = 0 ... degree. Default: quadrature."""
        return gaussian.hermite_coefficients(self.in_float64, degree, scale, self.kinks)

    def dual_covariance(self, c: _Values, q1: _Values, q2: _Values) -> _Values:
        """E φ(u)φ(v) for (u, v) ~ N(0, [[q1, c], [c, q2]]). Default: Hermite series, no tracers."""
        return self._series(c, q1, q2, derivative=False)

    def dual_slope(self, c: _Values, q1: _Values, q2: _Values) -> _Values:
        """E φ'(u)φ'(v) = d/dc ``dual_covariance`` (Price). Default: Hermite series, no tracers."""
        return self._series(c, q1, q2, derivative=True)

    def dual(self, rho, q: float = 1.0) -> Float[np.ndarray, "*shape"]:
        """The dual activation E φ(u)φ(v), (u, v) ~ N(0, q [[1, ρ], [ρ, 1]]).

        Computed in float64 whatever the global flag.

        Args:
            rho: correlations in [-1, 1], any shape.
            q: the common variance, positive.

        Returns:
            A numpy array of the shape of rho.

        Raises:
            ValueError: a correlation outside [-1, 1] or q <= 0.
        """
        rho = np.asarray(rho, np.float64)
        if np.any(np.abs(rho) > 1) or not q > 0:
            raise ValueError(
                "expected correlations in [-1, 1] and q > 0, got max |rho| = "
                f"{np.max(np.abs(rho))}, q = {q}"
            )
        with jax.enable_x64(True):
            variance = np.full_like(rho, q)
            return np.asarray(self.dual_covariance(np.asarray(rho * q), variance, variance))

    # Derived from the declared bounds; nothing to override.

    @property
    def lipschitz(self) -> float:
        """L = sup |φ'|."""
        return max(abs(bound) for bound in self.slope)

    @property
    def is_monotone(self) -> bool:
        """φ' >= 0 everywhere."""
        return self.slope[0] >= 0

    @property
    def is_nonexpansive(self) -> bool:
        """|φ'| <= 1 everywhere."""
        return self.lipschitz <= 1

    @property
    def is_prox(self) -> bool:
        """Slopes in [0, 1]: φ is the proximal operator of a convex function."""
        return self.is_monotone and self.slope[1] <= 1

    @property
    def is_affine(self) -> bool:
        """φ'' = 0: the only Lipschitz functions with finitely many Hermite coefficients."""
        return self.curvature == 0

    @property
    def max_sigma_w2(self) -> float:
        """Ling's σ_w² below which 2 s_w L < 1 with s_w² = 2 σ_w²: 1/(8 L²)."""
        return 1 / (8 * self.lipschitz**2)

    def max_weight_norm(self, margin: float = 0.0) -> float:
        """The ‖W‖₂ below which z -> φ(Wz + b) contracts: (1 - margin)/L.

        Args:
            margin: share of the contraction factor kept free, in [0, 1).
        """
        if not 0 <= margin < 1:
            raise ValueError(f"margin must lie in [0, 1), got {margin}")
        return (1 - margin) / self.lipschitz

    @property
    def hypotheses(self) -> tuple[Hypothesis, ...]:
        """Which theorem's hypotheses on the activation are met, and why or why not."""
        low, high = self.slope
        return (
            Hypothesis(
                "contraction (unique equilibrium)",
                True,
                f"L = {self.lipschitz:.6g}: needs ‖W‖₂ < {1 / self.lipschitz:.6g}",
            ),
            Hypothesis("Theorem A (deqzoo)", True, "φ is Lipschitz; kinks are allowed"),
            Hypothesis(
                "Truong, arXiv 2302.05797",
                math.isfinite(self.curvature),
                f"|φ'| <= {self.lipschitz:.6g}, "
                + (
                    f"|φ''| <= {self.curvature:.6g}"
                    if math.isfinite(self.curvature)
                    else "but φ' jumps: φ'' is not bounded"
                ),
            ),
            Hypothesis(
                "positive definite population Gram matrix",
                not self.is_affine,
                "φ is affine: finitely many Hermite coefficients"
                if self.is_affine
                else "φ is Lipschitz and not affine: infinitely many Hermite coefficients differ "
                "from zero",
            ),
            Hypothesis(
                "monotone operator methods (monDEQ)",
                self.is_prox,
                f"slopes [{low:.6g}, {high:.6g}] "
                + ("lie in [0, 1]" if self.is_prox else "leave [0, 1]: φ is no proximal operator"),
            ),
        )

    def in_float64(self, x) -> Float[np.ndarray, "*shape"]:
        """φ on the host in float64, whatever the global flag."""
        with jax.enable_x64(True):
            return np.asarray(self(jnp.asarray(np.asarray(x, np.float64))))

    def slope_in_float64(self, x) -> Float[np.ndarray, "*shape"]:
        """φ' on the host in float64, by forward-mode differentiation of ``__call__``."""
        with jax.enable_x64(True):
            x = jnp.asarray(np.asarray(x, np.float64))
            return np.asarray(jax.jvp(self, (x,), (jnp.ones_like(x),))[1])

    def _series(self, c, q1, q2, *, derivative: bool) -> np.ndarray:
        """Σ a_k(q1) a_k(q2) R^k or its c-derivative, R = c/√(q1 q2); exact at |R| = 1."""
        c, q1, q2 = np.broadcast_arrays(*(np.asarray(value, np.float64) for value in (c, q1, q2)))
        result = np.empty(c.shape)
        pairs = np.stack([q1.ravel(), q2.ravel()], axis=1)
        for low, high in np.unique(pairs, axis=0):
            chosen = (q1 == low) & (q2 == high)
            correlation = np.clip(c[chosen] / math.sqrt(low * high), -1, 1)
            result[chosen] = self._series_at(correlation, float(low), float(high), derivative)
        return result

    def _series_at(
        self, correlation: np.ndarray, q1: float, q2: float, derivative: bool
    ) -> np.ndarray:
        s1, s2 = math.sqrt(q1), math.sqrt(q2)
        terms = self.hermite(_SERIES_DEGREE, s1) * self.hermite(_SERIES_DEGREE, s2)
        if derivative:
            terms = np.arange(1, _SERIES_DEGREE + 1) * terms[1:] / (s1 * s2)
        function = self.slope_in_float64 if derivative else self.in_float64
        same, opposite = (self._product_mean(function, s1, sign * s2) for sign in (1, -1))
        return np.polynomial.polynomial.polyval(correlation, _complete(terms, same, opposite))

    def _product_mean(self, function, s1: float, s2: float) -> float:
        size = max(s1, abs(s2))
        kinks = [size * kink / s for kink in self.kinks for s in (s1, s2)]
        z, weights = gaussian.nodes(kinks, size)
        return float(weights @ (function(s1 * z) * function(s2 * z)))


def _complete(terms: np.ndarray, same: float, opposite: float) -> np.ndarray:
    """Append the two next powers so that the series takes its exact values at R = 1 and R = -1.

    All that a truncated series misses sits in its tail; its two sums by parity follow from the end
    points.
    """
    signs = (-1.0) ** np.arange(len(terms))
    missing_same, missing_opposite = same - terms.sum(), opposite - signs @ terms
    even, odd = (missing_same + missing_opposite) / 2, (missing_same - missing_opposite) / 2
    return np.append(terms, (even, odd) if len(terms) % 2 == 0 else (odd, even))
