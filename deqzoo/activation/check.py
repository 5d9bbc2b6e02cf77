"""Measure what an activation declares: bounds, kinks, primitive, Hermite coefficients, dual."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from deqzoo import catalog
from deqzoo.activation import derivative, gaussian
from deqzoo.activation.contract import Activation
from deqzoo.activation.fact import Fact
from deqzoo.activation.learnable import Learnable
from deqzoo.activation.learnable_facts import learnable_facts

_SAMPLES = 2**14  # every call to φ has this many points, so that an activation is compiled once
_NEAR = 20.0  # kinks are looked for in [-20, 20]
_PLAIN = np.arange(-6.0, 7.0)  # formulas with |x| or max(x, 0) can go wrong in a single such point
_JUMP = 1e-6  # the share of sup |φ'| by which φ' must change over 1e-12 to jump; φ and φ'' likewise
_SUSPECTS = 24
_SCALES = (0.6, 1.0, 1.5)
_DEGREE = 24
_CORRELATIONS = (-1.0, -0.99, -0.3, 0.0, 0.5, 0.9, 0.999, 1.0)
_VARIANCES = ((1.0, 1.0), (0.5, 2.0))


class ActivationError(ValueError):
    """A declared fact differs from what is measured; the message names the fact."""


@dataclass(frozen=True)
class Report:
    """All facts of one activation; prints as a table."""

    activation: Activation
    facts: tuple[Fact, ...]

    @property
    def wrong(self) -> tuple[Fact, ...]:
        """The facts that do not hold."""
        return tuple(fact for fact in self.facts if not fact.holds)

    def __str__(self) -> str:
        rows = [f"{self.activation}"]
        rows += [
            f"  {'ok   ' if fact.holds else 'WRONG'} {fact.name:<30} "
            f"declared {_show(fact.declared):<34} measured {_show(fact.measured)}"
            for fact in self.facts
        ]
        return "\n".join(rows)


def check(activation: Activation | str) -> Report:
    """Measure each declared fact of an activation in float64.

    φ and its derivatives are sampled on a grid with far tails and beside the declared kinks, and
    maximised by refinement; jumps of φ, φ' and φ'' are enclosed ever closer and must be declared
    kinks; integrals and closed forms of the dual are compared with quadrature on finer panels than
    the defaults use. φ' is integrated and compared with differences of φ, so that a derivative
    written by hand, or stopped, hides no slope. A learnable activation is measured at its start and
    at many parameters, some of them extreme.

    Args:
        activation: an activation or its recipe.

    Returns:
        The report, in which every fact holds.

    Raises:
        ActivationError: some fact does not hold; the message names each with its declared and
            measured value.

    Example:
        >>> import activations
        >>> activations.check("tanh").wrong
        ()
    """
    act = catalog.activations.get(activation)
    with jax.enable_x64(True):
        learned = isinstance(act, Learnable)
        report = Report(act, tuple(learnable_facts(act, _facts) if learned else _facts(act)))
    if report.wrong:
        lines = [
            f"  {fact.name}: declared {_show(fact.declared)}, measured {_show(fact.measured)}"
            for fact in report.wrong
        ]
        raise ActivationError("\n".join([f"{act} declares what is not so:", *lines]))
    return report


def _facts(activation: Activation) -> Iterator[Fact]:
    """Dtypes, then finiteness, then the rest: a group means something only if those before hold."""
    rest = (_bound_facts, _primitive_facts, _hermite_facts, _dual_facts)
    for group in ((_dtype_facts,), (_range_facts,), rest, (_derivative_facts,)):
        facts = [fact for measure in group for fact in measure(activation)]
        yield from facts
        if not all(fact.holds for fact in facts):
            return


# Sampling.


@functools.partial(jax.jit, static_argnums=0)
def _derivatives(activation: Activation, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """φ, φ' and φ'' at x, by reverse mode first: there NaN of an unused branch would appear."""
    along = jnp.ones_like(x)

    def first(x):
        value, pull = jax.vjp(activation, x)
        return value, pull(jnp.ones_like(value))[0]

    (value, slope), (_, bend) = jax.jvp(first, (x,), (along,))
    return value, slope, bend


def _sample(activation: Activation, points: np.ndarray) -> np.ndarray:
    """φ, φ' and φ'' on the host, (3, *shape), in calls of ``_SAMPLES`` points."""
    padded = np.zeros(-(-points.size // _SAMPLES) * _SAMPLES, points.dtype)
    padded[: points.size] = points.ravel()
    parts = [np.stack(_derivatives(activation, part)) for part in padded.reshape(-1, _SAMPLES)]
    return np.concatenate(parts, axis=1)[:, : points.size].reshape(3, *points.shape)


def _grid(activation: Activation) -> np.ndarray:
    """Even near 0, geometric up to 1e8, a few round numbers, and the two sides of each kink."""
    near = np.linspace(-_NEAR, _NEAR, 15_000) + 1e-7 * math.pi
    far = np.geomspace(_NEAR, 1e8, 600)
    sides = [kink + side * 4 * _rounding(kink) for kink in activation.kinks for side in (-1, 1)]
    return np.concatenate([near, far, -far, _PLAIN, sides])


def _rounding(x: float) -> float:
    return np.finfo(float).eps * max(1.0, abs(x))


# Facts.


def _dtype_facts(activation: Activation) -> Iterator[Fact]:
    for dtype in (jnp.bfloat16, jnp.float32, jnp.float64):
        x = jax.ShapeDtypeStruct((2, 3), dtype)
        try:
            y = jax.eval_shape(activation, x)
            measured = f"{y.dtype}{list(y.shape)}"
        except TypeError as error:
            measured = f"TypeError: {error}"
        declared = f"{x.dtype}{list(x.shape)}"
        yield Fact(f"dtype and shape of {x.dtype}", declared, measured, measured == declared)


def _range_facts(activation: Activation) -> Iterator[Fact]:
    points = np.concatenate([_grid(activation), activation.kinks])
    for dtype, limit in ((np.float64, 1e8), (np.float32, 1e4)):
        x = points[np.abs(points) <= limit].astype(dtype)
        for name, values in zip(("φ", "φ'", "φ''"), _sample(activation, x), strict=True):
            bad = x[~np.isfinite(values)]
            shown = f"not finite at x = {bad[np.argmin(np.abs(bad))]:.6g}" if len(bad) else "finite"
            yield Fact(f"{name} in {x.dtype}", f"finite up to {limit:g}", shown, not len(bad))


def _bound_facts(activation: Activation) -> Iterator[Fact]:
    breaks, bends, twists = _jumps(activation)
    low, high, bend = _extremes(activation)
    if breaks:
        yield Fact("continuity", "continuous", f"φ jumps at x = {breaks[0]:g}", False)
    yield _bound("slope infimum", activation.slope[0], low)
    yield _bound("slope supremum", activation.slope[1], high)
    if bends:
        declared, shown = activation.curvature, f"inf (φ' jumps at x = {bends[0]:g})"
        yield Fact("curvature", declared, shown, math.isinf(declared))
    else:
        yield _bound("curvature", activation.curvature, bend)
    yield _kink_fact(activation.kinks, sorted({*breaks, *bends, *twists}))


def _bound(name: str, declared: float, measured: float) -> Fact:
    """A bound holds if it is tight: neither exceeded nor missed by more than 1e-12."""
    holds = math.isclose(declared, measured, rel_tol=1e-12, abs_tol=1e-12)
    return Fact(name, declared, measured, holds)


def _kink_fact(declared: tuple[float, ...], found: list[float]) -> Fact:
    missing = [x for x in found if all(abs(x - kink) > 2e-6 for kink in declared)]
    shown = f"also x = {missing[0]:g}" if missing else str(declared)
    return Fact("kinks", str(declared), shown, not missing)


def _primitive_facts(activation: Activation) -> Iterator[Fact]:
    inner = [kink for kink in activation.kinks if -6 < kink < 6]
    x = np.union1d(np.linspace(-6, 6, 97), inner)
    nodes, weights = gaussian.legendre(20)
    half = np.diff(x)[:, None] / 2
    values = _sample(activation, x[:-1, None] + half * (1 + nodes))[0]
    measured = np.append(0.0, np.cumsum((half * values) @ weights))
    measured -= measured[x == 0]
    declared = np.asarray(activation.primitive(jnp.asarray(x)))
    size = max(1.0, float(np.max(np.abs(measured))))
    yield _worst("primitive", declared, measured, x, "x", size)


def _hermite_facts(activation: Activation) -> Iterator[Fact]:
    """Against panels half as long as the default's, so that the default is tested as well."""
    k, size = np.arange(_DEGREE + 1), max(1.0, activation.lipschitz)
    for scale in _SCALES:
        z, weights = gaussian.nodes([3 * kink / scale for kink in activation.kinks], 3.0)
        values = _sample(activation, scale * z)[0]
        measured = gaussian.hermite_basis(z, _DEGREE) @ (weights * values)
        declared = np.asarray(activation.hermite(_DEGREE, scale))
        yield _worst(f"Hermite coefficients, s = {scale:g}", declared, measured, k, "k", size)


def _dual_facts(activation: Activation) -> Iterator[Fact]:
    """Closed forms against quadrature; without a closed form there is nothing to compare."""
    rho, size = np.array(_CORRELATIONS), max(1.0, activation.lipschitz**2)
    for method, name in (("dual_covariance", "dual"), ("dual_slope", "dual slope")):
        default = getattr(Activation, method)
        if getattr(type(activation), method) is default:
            continue
        for q1, q2 in _VARIANCES:
            args = (rho * math.sqrt(q1 * q2), np.full_like(rho, q1), np.full_like(rho, q2))
            declared = np.asarray(getattr(activation, method)(*map(jnp.asarray, args)))
            label = f"{name}, q = {q1:g}, {q2:g}"
            yield _worst(label, declared, default(activation, *args), rho, "rho", size)


def _derivative_facts(activation: Activation) -> Iterator[Fact]:
    """Values alone against φ', which a custom rule or ``stop_gradient`` may have made another's."""
    sample, size = functools.partial(_sample, activation), max(1.0, activation.lipschitz)
    where, error = derivative.mismatch(sample, activation.kinks)
    shown = f"differs by {error:.3g} near x = {where:.3g}" if error > 1e-11 * size else "equal"
    yield Fact("φ(b) - φ(a)", "equal to ∫ φ'", shown, shown == "equal")
    low, high = derivative.quotients(sample, _grid(activation))
    declared, slack = activation.slope, 1e-12 * size
    within = declared[0] - slack <= low and high <= declared[1] + slack
    named = f"in [{_show(declared[0])}, {_show(declared[1])}]"
    yield Fact("difference quotients of φ", named, f"[{low:.6g}, {high:.6g}]", within)


# Measuring.


def _extremes(activation: Activation) -> tuple[float, float, float]:
    """(inf φ', sup φ', sup |φ''|): the best of the grid, then twice of a finer one around it."""
    points = np.tile(_grid(activation), (3, 1))
    for width in (4e-3, 4e-6):
        best = np.argmax(_scores(activation, points), axis=1)[:, None]
        points = np.take_along_axis(points, best, 1) + width * np.linspace(-1, 1, 4001)
    low, high, bend = np.max(_scores(activation, points), axis=1).tolist()
    return -low, high, bend


def _scores(activation: Activation, points: np.ndarray) -> np.ndarray:
    """-φ', φ' and |φ''| at the three rows of points; -inf within rounding of a kink."""
    _, first, second = _sample(activation, points)
    scores = np.stack([-first[0], first[1], np.abs(second[2])])
    for kink in activation.kinks:
        scores[np.abs(points - kink) < 3 * _rounding(kink)] = -np.inf
    return scores


def _jumps(activation: Activation) -> list[list[float]]:
    """Where φ, φ' and φ'' change within 1e-12, at suspect or plain points."""
    left, right, size = _suspects(activation)
    for _ in range(4):  # 2.7e-3 / 200^4 = 1.7e-12
        inside = np.linspace(left, right, 201, axis=-1)
        largest = np.argmax(np.abs(np.diff(_diagonal(activation, inside))), axis=-1)[..., None]
        left, right = (np.take_along_axis(inside, largest + k, -1)[..., 0] for k in (0, 1))
    plain = np.tile(_PLAIN, (3, 1))
    left = np.concatenate([left, plain - 1e-12, plain], axis=1)
    right = np.concatenate([right, plain, plain + 1e-12], axis=1)
    ends = _diagonal(activation, np.stack([left, right], axis=-1))
    jumps = np.abs(ends[..., 1] - ends[..., 0]) > _JUMP * np.maximum(1, size)[:, None]
    return [
        sorted({round(x, 6) + 0.0 for x in row[at]}) for row, at in zip(left, jumps, strict=True)
    ]


def _suspects(activation: Activation) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ends of the cells where φ, φ' and φ'' change unlike in both neighbours, and their sizes."""
    x = np.linspace(-_NEAR, _NEAR, 15_000) + 1e-7 * math.pi
    values = _sample(activation, x)
    steps = np.diff(values)
    excess = np.abs(steps[:, 1:-1] - (steps[:, :-2] + steps[:, 2:]) / 2)
    cells = 1 + np.argsort(excess, axis=1)[:, -_SUSPECTS:]
    return x[cells], x[cells + 1], np.max(np.abs(values), axis=1)


def _diagonal(activation: Activation, points: np.ndarray) -> np.ndarray:
    """φ at points[0], φ' at points[1], φ'' at points[2]."""
    return _sample(activation, points)[range(3), range(3)]


def _worst(name: str, declared, measured, where, symbol: str, size: float) -> Fact:
    """The entry that differs most; it may differ by 1e-12 of the size of such values."""
    if np.shape(declared) != np.shape(measured):
        return Fact(name, f"shape {np.shape(declared)}", f"shape {np.shape(measured)}", False)
    error = np.abs(declared - measured)
    i = int(np.argmax(np.where(np.isfinite(error), error, np.inf)))
    at = f" at {symbol} = {where[i]:g}"
    holds = bool(error[i] <= 1e-12 * size)
    return Fact(name, f"{declared[i]:.15g}{at}", f"{measured[i]:.15g}{at}", holds)


def _show(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.15g}"
