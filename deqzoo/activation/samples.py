"""φ, φ' and φ'' of one activation at many points, dense where φ may turn."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from deqzoo.activation.contract import Activation

NEAR, FAR, FARTHEST = 20.0, 1e3, 1e8
_BLOCK = 2**14  # every call to φ has this many points, so that an activation is compiled once
_CONSTANTS = 32
# Formulas with |x| or max(x, 0) can go wrong in a single such point.
_ROUND = np.unique(np.concatenate([np.arange(-60, 61) / 10, np.arange(-48, 49) / 8]))


@dataclass(frozen=True)
class Samples:
    """What φ and its derivatives are on a grid, kept, and at any other points.

    The grid has parts of even or geometric spacing: even in [-20, 20] and on to ±1e3, geometric up
    to ±1e8, and geometric away from every centre, where φ may vary on any scale.
    """

    activation: Activation

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """φ, φ' and φ'', (3, *shape)."""
        padded = np.zeros(-(-points.size // _BLOCK) * _BLOCK, points.dtype)
        padded[: points.size] = points.ravel()
        parts = [
            np.stack(_derivatives(self.activation, part)) for part in padded.reshape(-1, _BLOCK)
        ]
        return np.concatenate(parts, axis=1)[:, : points.size].reshape(3, *points.shape)

    @functools.cached_property
    def parts(self) -> list[np.ndarray]:
        """The grid, each part increasing, the one in [-20, 20] first."""
        near = np.linspace(-NEAR, NEAR, 15_000) + 1e-7 * math.pi
        far = np.linspace(NEAR, FAR, 24_000) + 1e-7 * math.pi
        farthest = np.geomspace(FAR, FARTHEST, 400)
        around = [_around(centre) for centre in (0.0, *self.activation.kinks, *self.constants)]
        flanks = [part for away in around for part in away]
        return [near, far, -far[::-1], farthest, -farthest[::-1], *flanks]

    @functools.cached_property
    def values(self) -> list[np.ndarray]:
        """φ, φ' and φ'' on every part, (3, points)."""
        ends = np.cumsum([len(part) for part in self.parts])
        return np.split(self(np.concatenate(self.parts)), ends[:-1], axis=1)

    @functools.cached_property
    def single(self) -> np.ndarray:
        """Points where a formula may go wrong alone: round ones, kinks and constants of φ."""
        own = np.array([*self.activation.kinks, *self.constants])
        return np.unique(np.concatenate([_ROUND, own]))

    @functools.cached_property
    def constants(self) -> tuple[float, ...]:
        """Settings, and numbers in the program of φ, ± each: thresholds and offsets are there."""
        fields = dataclasses.fields(self.activation)
        settings = [getattr(self.activation, field.name) for field in fields]
        numbers = [*settings, *_literals(jax.make_jaxpr(self.activation)(0.5).jaxpr)]
        sizes = {abs(float(n)) for n in numbers if isinstance(n, int | float | np.number)}
        plain = sorted(size for size in sizes if 0 < size < FARTHEST)[:_CONSTANTS]
        return tuple(sign * size for size in plain for sign in (-1, 1))

    @functools.cached_property
    def bend(self) -> float:
        """Sup |φ'|/sup |φ''|, over which φ' may change by its size; infinite where φ is straight.

        Of φ between the kinks.
        """
        _, slope, bend = np.max(np.abs(self.values[0]), axis=1)
        return float(slope / bend) if bend else math.inf


@functools.partial(jax.jit, static_argnums=0)
def _derivatives(activation: Activation, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """φ, φ' and φ'' at x, by reverse mode first: there NaN of an unused branch would appear."""
    along = jnp.ones_like(x)

    def first(x):
        value, pull = jax.vjp(activation, x)
        return value, pull(jnp.ones_like(value))[0]

    (value, slope), (_, bend) = jax.jvp(first, (x,), (along,))
    return value, slope, bend


def rounding(x: float) -> float:
    """The spacing of numbers at x, and at 1 where x is smaller."""
    return np.finfo(float).eps * max(1.0, abs(x))


def _around(centre: float) -> tuple[np.ndarray, np.ndarray]:
    """Left and right of a centre, from its very side on, each increasing."""
    away = np.append(4 * rounding(centre), np.geomspace(1e-7 * max(1.0, abs(centre)), NEAR, 400))
    away = np.unique(away)
    return centre - away[::-1], centre + away


def _literals(jaxpr: core.Jaxpr) -> Iterator[object]:
    """The numbers in a program and in those that it calls."""
    for equation in jaxpr.eqns:
        for variable in equation.invars:
            if isinstance(variable, core.Literal) and np.ndim(variable.val) == 0:
                yield np.asarray(variable.val)[()]
        inner = jax.tree.leaves([*equation.params.values()], is_leaf=_is_program)
        for program in filter(_is_program, inner):
            yield from _literals(getattr(program, "jaxpr", program))


def _is_program(value: Any) -> bool:
    return isinstance(value, core.Jaxpr | core.ClosedJaxpr)


def level(activation: Activation) -> float:
    """|φ(0)|, to whose roundings φ is known: what is learned may lie far from 0."""
    return float(np.abs(activation.in_float64(0.0)))
