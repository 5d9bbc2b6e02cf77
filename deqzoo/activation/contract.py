"""The contract of an activation plug-in: an elementwise function that carries its guarantees."""

from __future__ import annotations

import abc
import dataclasses
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from deqzoo.activation import declared, gaussian, panels, quadrature
from deqzoo.activation.digits import at_least, at_most
from deqzoo.activation.preimage import middle, preimage
from deqzoo.settings import fitted, quoted, validate

_REACH = 1e3  # up to where the panels of the default primitive are laid out
_TRACED = 4.0  # the variance for which the panels of traced duals are laid out
_LARGEST = 1e15  # parameter
_COSINE = 16  # units of rounding by which a computed cosine may exceed 1
_Values = Float[Array | np.ndarray, "*shape"]


class Hypothesis(NamedTuple):
    """Whether an activation meets what a theorem asks of it, and why."""

    theorem: str
    met: bool
    reason: str


def _of_a_positive_scale(hermite: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """The same coefficients, of no other scale: closed forms are wrong or undefined elsewhere."""

    @functools.wraps(hermite)
    def checked(self: Activation, degree: int, scale: float = 1.0) -> np.ndarray:
        degree, scale = fitted("degree", degree, int), fitted("scale", scale, float)
        if not (degree >= 0 and scale > 0 and scale * scale < math.inf):
            raise ValueError(
                f"expected degree >= 0 and a positive, finite scale, got {degree} and {scale}: "
                "a_k(-s) is (-1)^k a_k(s), and a constant has a_0 alone"
            )
        return hermite(self, degree, scale)

    return checked


@dataclass(frozen=True)
class Activation(abc.ABC):
    """An elementwise φ with exact bounds on φ' and φ''.

    To add one, write a frozen dataclass in a file of ``activations/`` (its name is the activation's
    name) and define

    * ``__call__(x)``: elementwise in ``jax.numpy``, keeping shape and dtype;
    * ``slope``: (inf φ', sup φ') to full precision, attained or not;
    * ``curvature``: sup |φ''|, ``math.inf`` where φ' jumps;
    * ``kinks``: where φ is not smooth, so that integrals can be split there.

    A φ that is bounded, does not fall and is concave on [0, ∞) may say so by ``saturation``, its
    supremum.

    Override ``primitive``, ``hermite``, ``dual_covariance`` and ``dual_slope`` where a closed form
    exists; the defaults are quadrature. Parameters are dataclass fields, and the bounds are
    functions of them. ``activations.check(act)`` measures every declared fact.
    """

    slope: ClassVar[tuple[float, float]]
    curvature: ClassVar[float]
    kinks: ClassVar[tuple[float, ...]] = ()
    saturation: ClassVar[float | None] = None

    def __init_subclass__(cls) -> None:
        missing = [name for name in ("slope", "curvature") if not hasattr(cls, name)]
        if missing:
            raise TypeError(
                f"{cls.__name__} must declare {' and '.join(missing)}: slope = (inf φ', sup φ'), "
                "curvature = sup |φ''| (math.inf where φ' jumps), as class attributes or properties"
            )
        if "hermite" in vars(cls):
            setattr(cls, "hermite", _of_a_positive_scale(vars(cls)["hermite"]))  # noqa: B010

    def __post_init__(self) -> None:
        """Numbers become Python's, of the declared kind; beyond any use they are refused."""
        validate(self)
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float) and value and not 1 / _LARGEST <= abs(value) <= _LARGEST:
                raise ValueError(
                    f"{field.name} must be of a size between {1 / _LARGEST:g} and {_LARGEST:g}, "
                    f"got {value}: beyond, φ is lost in rounding"
                )

    @abc.abstractmethod
    def __call__(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """φ(x), elementwise, in the dtype of x."""

    # What can be derived, with closed forms welcome.

    def primitive(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """∫₀ˣ φ. Default: quadrature split at kinks, and where φ bends fast."""
        x = jnp.asarray(x)
        return quadrature.from_zero(self, x, panels.outwards(self, _REACH))

    def prox(self, u: Float[Array, "*shape"], step_size) -> Float[Array, "*shape"]:
        """The proximal operator of step_size · ψ, where φ = prox of ψ.

        prox(u) = φ(s) with (1 - α)φ(s) + αs = u for the step size α. Default: Newton's method in s,
        kept in a bracket; the left side rises with a slope between 1 and α.

        Args:
            u: any shape.
            step_size: α > 0, a number or an array that broadcasts to u.

        Raises:
            ValueError: φ is not the proximal operator of a convex function.
        """
        self.require_prox()
        step_size = jnp.broadcast_to(jnp.asarray(step_size, u.dtype), u.shape)
        formula = lambda s, _: self(s)  # noqa: E731
        start = middle(formula, self.slope, u, step_size, {})
        return preimage(formula, self.slope, 0.0, u, step_size, {}, start).value

    @_of_a_positive_scale
    def hermite(self, degree: int, scale: float = 1.0) -> Float[np.ndarray, " {degree}+1"]:
        """a_k = E φ(scale Z) h_k(Z), h_k = He_k/√k!, k = 0 ... degree. Default: quadrature.

        Raises:
            ValueError: a degree below 0, or a scale that is not positive and finite.
        """
        cuts = (*self.kinks, *panels.edges(self, scale**2).tolist())
        return gaussian.hermite_coefficients(self.in_float64, degree, scale, cuts)

    def dual_covariance(self, c: _Values, q1: _Values, q2: _Values) -> _Values:
        """E φ(u)φ(v) for (u, v) ~ N(0, [[q1, c], [c, q2]]). Default: quadrature split at kinks."""
        return self._mean(c, q1, q2, derivative=False)

    def dual_slope(self, c: _Values, q1: _Values, q2: _Values) -> _Values:
        """E φ'(u)φ'(v) = d/dc ``dual_covariance`` (Price). Default: quadrature split at kinks."""
        return self._mean(c, q1, q2, derivative=True)

    def dual(self, rho, q: float = 1.0) -> Float[np.ndarray, "*shape"]:
        """The dual activation E φ(u)φ(v), (u, v) ~ N(0, q [[1, ρ], [ρ, 1]]).

        Computed in float64 whatever the global flag.

        Args:
            rho: correlations in [-1, 1], any shape; what the rounding of computed cosines adds to
                ±1 is taken off.
            q: the common variance, positive.

        Returns:
            A numpy array of the shape of rho.

        Raises:
            ValueError: a correlation outside [-1, 1] or q <= 0.
        """
        rho, q = np.asarray(rho), fitted("q", q, float)
        if rho.dtype.kind not in "iuf":
            raise ValueError(f"expected correlations in [-1, 1], got {quoted(rho)}")
        eps = np.finfo(rho.dtype if np.issubdtype(rho.dtype, np.floating) else float).eps
        rho = rho.astype(np.float64)
        if np.any(np.abs(rho) > 1 + _COSINE * float(eps)) or not 0 < q < math.inf:
            raise ValueError(
                "expected correlations in [-1, 1] and a positive, finite q, got max |rho| = "
                f"{np.max(np.abs(rho))}, q = {q}"
            )
        rho = np.clip(rho, -1, 1)
        with jax.enable_x64(True):
            variance = np.full_like(rho, q)
            return np.asarray(self.dual_covariance(np.asarray(rho * q), variance, variance))

    # Derived from the declared bounds; nothing to override.

    @property
    def lipschitz(self) -> float:
        """L = sup |φ'|.

        Raises:
            ValueError: what is declared are no numbers that could be true.
        """
        declared.require(self)
        return max(abs(bound) for bound in self.slope)

    @property
    def is_monotone(self) -> bool:
        """φ' >= 0 everywhere."""
        declared.require(self)
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
    def has_closed_prox(self) -> bool:
        """Whether ``prox`` is more than Newton's method."""
        return type(self).prox is not Activation.prox

    def require_prox(self) -> None:
        """Raise ValueError unless ``is_prox``."""
        if not self.is_prox:
            low, high = self.slope
            raise ValueError(
                f"{self} is no proximal operator of a convex function: its slopes "
                f"[{low:.6g}, {high:.6g}] leave [0, 1]; use relu, tanh or another activation with "
                "is_prox, or a solver that does not need it, such as 'anderson'"
            )

    @property
    def is_affine(self) -> bool:
        """φ'' = 0: the only Lipschitz functions with finitely many Hermite coefficients."""
        declared.require(self)
        return self.curvature == 0

    @property
    def max_sigma_w2(self) -> float:
        """Ling's σ_w² below which 2 s_w L < 1 with s_w² = 2 σ_w²: 1/(8 L²)."""
        return 1 / (8 * self.lipschitz**2)

    @property
    def default_s_w(self) -> float:
        """0.4/L, the scale of W at which L‖W‖₂ is near 0.8.

        σ_w² = 0.08 of Ling et al., arXiv 2205.13814, gives the same for L = 1.
        """
        return 0.4 / self.lipschitz

    def max_weight_norm(self, margin: float = 0.0) -> float:
        """The ‖W‖₂ below which z -> φ(Wz + b) contracts: (1 - margin)/L.

        Args:
            margin: share of the contraction factor kept free, in [0, 1).
        """
        margin = fitted("margin", margin, float)
        if not 0 <= margin < 1:
            raise ValueError(f"margin must lie in [0, 1), got {margin}")
        return (1 - margin) / self.lipschitz

    @property
    def hypotheses(self) -> tuple[Hypothesis, ...]:
        """Which theorem's hypotheses on the activation are met, and why or why not."""
        declared.require(self)
        low, high = self.slope
        return (
            Hypothesis(
                "contraction (unique equilibrium)",
                True,
                f"L = {at_least(self.lipschitz)}: needs ‖W‖₂ < {at_most(1 / self.lipschitz)}",
            ),
            Hypothesis("Theorem A (deqzoo)", True, "φ is Lipschitz; kinks are allowed"),
            Hypothesis(
                "Truong, arXiv 2302.05797",
                math.isfinite(self.curvature),
                f"|φ'| <= {at_least(self.lipschitz)}, "
                + (
                    f"|φ''| <= {at_least(self.curvature)}"
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
                self.is_prox or not self.is_affine,
                f"slopes [{at_most(low)}, {at_least(high)}] {self._splits}",
            ),
        )

    @property
    def _splits(self) -> str:
        if self.is_prox:
            return "lie in [0, 1]"
        if self.is_affine:
            return "leave [0, 1], and φ is affine"
        return "leave [0, 1], those of its sector (φ - ax)/(b - a) do not"

    def in_float64(self, x) -> Float[np.ndarray, "*shape"]:
        """φ on the host in float64, whatever the global flag."""
        with jax.enable_x64(True):
            return np.asarray(self(jnp.asarray(np.asarray(x, np.float64))))

    def slope_in_float64(self, x) -> Float[np.ndarray, "*shape"]:
        """φ' on the host in float64, by forward-mode differentiation of ``__call__``."""
        with jax.enable_x64(True):
            x = jnp.asarray(np.asarray(x, np.float64))
            return np.asarray(jax.jvp(self, (x,), (jnp.ones_like(x),))[1])

    def _mean(self, c, q1, q2, *, derivative: bool) -> _Values:
        """The default dual; concrete arguments are computed in float64 whatever the flag.

        Traced ones are meant for variances up to 4.
        """
        values = (c, q1, q2)
        if any(isinstance(value, Tracer) for value in values):
            edges = panels.edges(self, _TRACED)
            if derivative:
                return _product_means(self, *values, edges, derivative=True)
            return _dual_of_price(self, *values, edges)
        edges = panels.edges(self, float(np.max(np.maximum(q1, q2), initial=0.0)))
        with jax.enable_x64(True):
            values = tuple(np.asarray(value, np.float64) for value in values)
            return np.asarray(_product_means(self, *values, edges, derivative=derivative))


@functools.partial(jax.jit, static_argnames=("act", "derivative"))
def _product_means(act: Activation, c, q1, q2, edges, *, derivative: bool) -> Array:
    c, q1, q2 = jnp.broadcast_arrays(c, q1, q2)
    function = _derivative(act) if derivative else act
    means = quadrature.product_means(function, c.ravel(), q1.ravel(), q2.ravel(), act.kinks, edges)
    return means.reshape(c.shape)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _dual_of_price(act: Activation, c, q1, q2, edges) -> Array:
    """The default dual, with Price's derivative in c: quadrature has no slope at ρ = ±1."""
    return _product_means(act, c, q1, q2, edges, derivative=False)


@_dual_of_price.defjvp
def _dual_of_price_jvp(act, primals, tangents):
    c, q1, q2, edges = primals
    variances = functools.partial(_product_means, act, c, edges=edges, derivative=False)
    value, by_variance = jax.jvp(variances, (q1, q2), tangents[1:3])
    slope = _product_means(act, c, q1, q2, edges, derivative=True)
    return value, by_variance + slope * tangents[0]


def _derivative(act: Activation):
    return lambda x: jax.jvp(act, (x,), (jnp.ones_like(x),))[1]
