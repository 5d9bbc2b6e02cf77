"""What is measured of a learnable activation: its declared bounds, at many parameters."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from deqzoo.activation.contract import Activation
from deqzoo.activation.fact import Fact
from deqzoo.activation.learnable import Learnable

_FAR = 1e6  # a parameter of this size lies beyond what any range is clipped to
_DRAWS = 8  # of every size
_SIZES = (0.1, 1.0, 10.0, 1e3, _FAR)
_SLACK = 1e-12

Values = dict[str, float]


def learnable_facts(
    activation: Learnable, facts: Callable[[Activation], Iterator[Fact]]
) -> Iterator[Fact]:
    """Those of φ(·; p) at the start and with all p far above and far below, then those of every p.

    Args:
        activation: the learnable activation.
        facts: what is measured of an ordinary one.
    """
    yield from facts(activation.at_start)
    for far, label in ((_FAR, "far above"), (-_FAR, "far below")):
        values = dict.fromkeys(activation.start, far)
        for fact in facts(activation.frozen(values)):
            yield fact._replace(name=f"{fact.name}, parameters {label}")
    every = [*_draws(activation), dict(activation.start)]
    yield _dtypes(activation)
    yield _slopes(activation, every)
    yield _curvature(activation, every)
    yield _frozen_values(activation, every)
    if activation.is_prox:
        yield _frozen_prox(activation, every)


def _draws(activation: Learnable) -> Iterator[Values]:
    """Numbers of every size around 0 and around the start, and every sign of the far ones."""
    rng, start = np.random.default_rng(0), activation.start
    for size in _SIZES:
        for centre in (0.0, 1.0):
            for _ in range(_DRAWS):
                drawn = size * rng.standard_normal(len(start))
                yield {n: centre * start[n] + v for n, v in zip(start, drawn, strict=True)}


def _points() -> np.ndarray:
    far = np.geomspace(20, 1e8, 200)
    return np.concatenate([np.linspace(-20, 20, 4001) + 1e-7 * np.pi, far, -far])


@functools.partial(jax.jit, static_argnums=0)
def _derivatives(activation: Learnable, values: Values, x: jax.Array) -> jax.Array:
    """φ, φ' and φ'' at x."""
    ones = jnp.ones_like(x)
    of = functools.partial(activation.evaluate, values)
    first = lambda x: jax.jvp(of, (x,), (ones,))[1]  # noqa: E731
    return jnp.stack([of(x), *jax.jvp(first, (x,), (ones,))])


def _sampled(activation: Learnable, every: list[Values]) -> np.ndarray:
    x = jnp.asarray(_points())
    return np.stack([_derivatives(activation, values, x) for values in every])


def _dtypes(activation: Learnable) -> Fact:
    x, shapes = jax.ShapeDtypeStruct((2, 3), jnp.bfloat16), ((), (3,))
    of = [jax.eval_shape(activation.evaluate, activation.initial(shape), x) for shape in shapes]
    seen = ", ".join(f"{each.dtype}{list(each.shape)}" for each in of)
    wanted = "bfloat16[2, 3], bfloat16[2, 3]"
    return Fact("dtype and shape, per layer and unit", wanted, seen, seen == wanted)


def _slopes(activation: Learnable, every: list[Values]) -> Fact:
    slopes, (low, high) = _sampled(activation, every)[:, 1], activation.slope
    frozen = np.array([activation.frozen(values).slope for values in every])
    least, most = min(np.min(slopes), np.min(frozen)), max(np.max(slopes), np.max(frozen))
    holds = low - _SLACK <= least and most <= high + _SLACK  # False for NaN
    seen = f"[{least:.15g}, {most:.15g}]"
    return Fact("slopes, every parameter", f"in [{low:.15g}, {high:.15g}]", seen, bool(holds))


def _curvature(activation: Learnable, every: list[Values]) -> Fact:
    declared = activation.curvature
    bends = np.max(np.abs(_sampled(activation, every)[:, 2]))
    most = max(float(bends), *(activation.frozen(values).curvature for values in every))
    return Fact("curvature, every parameter", declared, most, most <= declared * (1 + _SLACK))


def _frozen_values(activation: Learnable, every: list[Values]) -> Fact:
    x = _points()
    found = _sampled(activation, every)[:, 0]
    wanted = np.stack([activation.frozen(values).in_float64(x) for values in every])
    error = float(np.max(np.abs(found - wanted) / np.maximum(1, np.abs(wanted))))
    return Fact("φ(x; p) of every parameter", "frozen(p)(x)", f"{error:.3g} apart", error <= 1e-12)


def _frozen_prox(activation: Learnable, every: list[Values]) -> Fact:
    u, step_sizes = jnp.linspace(-20, 20, 401)[None], np.array([0.01, 0.7, 30.0])[:, None]
    u = u + np.zeros_like(step_sizes)
    prox = jax.jit(activation.evaluate_prox)
    frozen = [activation.frozen(values) for values in every]
    sound = [(v, each) for v, each in zip(every, frozen, strict=True) if each.is_prox]
    name, declared = "prox of φ(·; p), every parameter", "that of frozen(p)"
    if not sound:
        return Fact(name, declared, "no frozen(p) has one", False)
    found = np.stack([prox(values, u, step_sizes) for values, _ in sound])
    wanted = np.stack([each.prox(u, step_sizes) for _, each in sound])
    error = float(np.max(np.abs(found - wanted) / np.maximum(1, np.abs(wanted))))
    return Fact(name, declared, f"{error:.3g} apart", error <= 1e-12)
