"""A function of straight pieces: everything that is asked of an activation in closed form."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from deqzoo.activation import gaussian
from deqzoo.activation.contract import Activation
from deqzoo.settings import fitted

Numbers = tuple[float, ...]


@dataclass(frozen=True)
class PiecewiseLinear(Activation):
    """φ(x) = φ(0) + Σ_i s_i |[0, x] ∩ I_i| sign x, I_i the pieces between neighbouring knots.

    The first and the last piece go on for ever. A plug-in of a file of its own is a subclass whose
    fields have defaults; ``launch.distill`` writes such files.

    Attributes:
        knots: where the slope may change, increasing.
        slopes: of the pieces from left to right, one more than there are knots.
        offset: φ(0).

    Raises:
        ValueError: knots that do not increase, another number of slopes, or what is not finite.

    Example:
        >>> from deqzoo.activation.piecewise_linear import PiecewiseLinear
        >>> hat = PiecewiseLinear(knots=(-1.0, 1.0), slopes=(0.0, 1.0, 0.0))
        >>> hat.slope, hat.is_prox, hat.in_float64([-3.0, 0.5, 3.0]).tolist()
        ((0.0, 1.0), True, [-1.0, 0.5, 1.0])
    """

    knots: Numbers
    slopes: Numbers
    offset: float = 0.0

    def __post_init__(self):
        """Numbers of any size: what was learned may lie next to 0."""
        for name, hint in (("knots", Numbers), ("slopes", Numbers), ("offset", float)):
            object.__setattr__(self, name, fitted(name, getattr(self, name), hint))
        knots, slopes = np.array(self.knots), np.array(self.slopes)
        finite = np.all(np.isfinite([*knots, *slopes, self.offset]))
        if not (finite and np.all(np.diff(knots) > 0) and len(slopes) == len(knots) + 1):
            raise ValueError(
                "expected finite knots that increase and one slope more than knots, got "
                f"{len(knots)} knots {self.knots} and {len(slopes)} slopes {self.slopes}"
            )

    def __call__(self, x):
        """φ(0) + Σ_i s_i |[0, x] ∩ I_i| sign x."""
        x = jnp.asarray(x)
        knots, slopes, offset = self._like(x)
        return evaluate(x, knots, slopes, offset)

    @property
    def slope(self):
        """The least and the largest of the slopes."""
        return min(self.slopes), max(self.slopes)

    @property
    def curvature(self):
        """0 of a straight line, else infinite: φ' jumps."""
        return math.inf if self.kinks else 0.0

    @property
    def kinks(self):
        """The knots at which the slope changes."""
        sides = zip(self.knots, self.slopes[:-1], self.slopes[1:], strict=True)
        return tuple(knot for knot, left, right in sides if left != right)

    def primitive(self, x):
        """∫₀ˣ φ: of every piece that of a clipped line."""
        x = jnp.asarray(x)
        knots, slopes, offset = self._like(x)
        knots, slopes = _at_rank(knots, x.ndim + 1), _at_rank(slopes, x.ndim + 1)
        now, start = _clip(x[..., None], knots), _clip(jnp.zeros_like(knots[..., :1]), knots)
        areas = (now - start) * (x[..., None] - (now + start) / 2)
        return offset * x + jnp.sum(slopes * areas, -1)

    def prox(self, u, step_size):
        """As ``prox``: its pieces are those of φ, mapped by s -> (1 - α)φ(s) + αs."""
        self.require_prox()
        u = jnp.asarray(u)
        return prox(u, jnp.asarray(step_size, u.dtype), *self._like(u))

    def hermite(self, degree, scale=1.0):
        """Of the line through 0 and, at every knot, of a rectifier that bends away from 0."""
        knots, jumps = np.array(self.knots), np.diff(self.slopes)
        middle = self.slopes[int(np.searchsorted(knots, 0.0))]
        coefficients = np.zeros(degree + 1)
        line = (self.offset, middle * scale)
        coefficients[:2] = line[: degree + 1]
        signs = (-1.0) ** np.arange(degree + 1)
        for knot, jump in zip(knots, jumps, strict=True):
            away = gaussian.rectified_hermite(degree, scale, abs(knot))
            coefficients += jump * (away if knot >= 0 else signs * away)
        return coefficients

    def _like(self, x: Array) -> tuple[Array, Array, Array]:
        numbers = (self.knots, self.slopes, self.offset)
        return tuple(jnp.asarray(each, x.dtype) for each in numbers)  # type: ignore[return-value]


def evaluate(
    x: Float[Array, "*shape"],
    knots: Float[Array, "*#shape knots"],
    slopes: Float[Array, "*#shape pieces"],
    offset: Float[Array, "*#shape"],
    anchor: Float[Array, "*#shape"] | float = 0.0,
) -> Float[Array, "*shape"]:
    """The function with these slopes that is ``offset`` at ``anchor``, elementwise in x."""
    knots, slopes = _at_rank(knots, x.ndim + 1), _at_rank(slopes, x.ndim + 1)
    start = _at_rank(jnp.asarray(anchor, x.dtype)[..., None], x.ndim + 1)
    return offset + jnp.sum(slopes * (_clip(x[..., None], knots) - _clip(start, knots)), -1)


def prox(
    u: Float[Array, "*shape"],
    step_size: Float[Array, "*#shape"],
    knots: Float[Array, " knots"],
    slopes: Float[Array, "*#shape pieces"],
    offset: Float[Array, "*#shape"],
) -> Float[Array, "*shape"]:
    """φ(s) where (1 - α)φ(s) + αs = u, of a φ with slopes in [0, 1].

    The left side is piecewise linear and rises with slopes m_i = (1 - α)s_i + α, so that φ(s) is
    piecewise linear in u with slopes s_i/m_i.
    """
    knots, slopes = _at_rank(knots, u.ndim + 1), _at_rank(slopes, u.ndim + 1)
    alpha = _at_rank(step_size[..., None], u.ndim + 1)
    steepness = (1 - alpha) * slopes + alpha
    level = _at_rank(offset[..., None], u.ndim + 1)
    values = evaluate(knots, knots[..., None, :], slopes[..., None, :], level)
    images = (1 - alpha) * values + alpha * knots
    start = (1 - step_size) * offset
    return evaluate(u, images, slopes / steepness, offset, start)


def _clip(x: Array, knots: Array) -> Array:
    """x, kept in every one of the pieces: (..., pieces)."""
    edge = jnp.full((*knots.shape[:-1], 1), jnp.inf, knots.dtype)
    left, right = jnp.concatenate([-edge, knots], -1), jnp.concatenate([knots, edge], -1)
    return jnp.clip(x, left, right)


def _at_rank(array: Array, ndim: int) -> Array:
    """With axes of length 1 in front."""
    return array.reshape((1,) * (ndim - array.ndim) + array.shape)
