"""Measure every fact an activation declares: bounds, kinks, primitive, Hermite coefficients, dual."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from deqzoo import catalog, gaussian
from deqzoo.activation import Activation

_SCALES = (0.6, 1.0, 1.5)
_DEGREE = 24
_CORRELATIONS = (-1.0, -0.9, -0.3, 0.0, 0.5, 0.95, 1.0)
_VARIANCES = ((1.0, 1.0), (0.5, 2.0))
_JUMP = 1e-6  # a change of φ' or φ'' that survives at a distance of 1e-9


class ActivationError(ValueError):
    """A declared fact differs from what is measured; the message names the fact."""


class Fact(NamedTuple):
    """One declared fact beside its measurement."""

    name: str
    declared: float | str
    measured: float | str
    holds: bool


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
            f"  {'ok   ' if fact.holds else 'WRONG'} {fact.name:<28} declared {_show(fact.declared):<24} "
            f"measured {_show(fact.measured)}"
            for fact in self.facts
        ]
        return "\n".join(rows)


def check(activation: Activation | str) -> Report:
    """Measure each declared fact of an activation in float64.

    φ and its derivatives are sampled on a dense grid with far tails and maximised by refinement; jumps of φ' and φ''
    are located by bisection and must be declared kinks; integrals are compared with quadrature.

    Args:
        activation: an activation or its recipe.

    Returns:
        The report, in which every fact holds.

    Raises:
        ActivationError: some fact does not hold; the message names each with its declared and measured value.

    Example:
        >>> import activations
        >>> activations.check("tanh").wrong
        ()
    """
    activation = catalog.activations.get(activation)
    with jax.enable_x64(True):
        report = Report(activation, tuple(_facts(activation)))
    if report.wrong:
        lines = [
            f"  {fact.name}: declared {_show(fact.declared)}, measured {_show(fact.measured)}" for fact in report.wrong
        ]
        raise ActivationError("\n".join([f"{activation} declares what is not so:", *lines]))
    return report


def _facts(activation: Activation):
    yield from _shape_facts(activation)
    probe = _Probe(activation)
    yield from _range_facts(probe)
    yield from _bound_facts(probe)
    yield from _kink_facts(probe)
    yield from _primitive_facts(probe)
    yield from _hermite_facts(activation)
    yield from _dual_facts(activation)


class _Probe:
    """φ, φ', φ'' on the host, with a grid that is dense near the origin and the kinks and reaches far."""

    def __init__(self, activation: Activation):
        self.activation = activation
        self.value = jax.jit(activation.__call__)
        self.first = jax.jit(_derivative(activation.__call__))
        self.second = jax.jit(_derivative(_derivative(activation.__call__)))
        near = np.linspace(-40, 40, 80_001) + 1e-7 * math.pi  # off the round numbers where kinks like to sit
        far = np.geomspace(40, 1e8, 400)
        self.grid = np.sort(np.concatenate([near, far, -far]))

    def supremum(self, function: Callable) -> float:
        """max of ``function`` over the grid, refined three times around the best point.

        Points within rounding of a kink are left out: there a derivative of the sampled formula means nothing.
        """
        best = self._best(function, self.grid)
        for width in (2e-3, 1e-5, 1e-7):
            best = self._best(function, np.append(best + width * np.linspace(-1, 1, 2001), best))
        return float(np.asarray(function(np.asarray([best])))[0])

    def _best(self, function: Callable, points: np.ndarray) -> float:
        for kink in self.activation.kinks:
            points = points[np.abs(points - kink) > 1e-12]
        return float(points[np.argmax(np.asarray(function(points)))])

    def jumps(self, function: Callable) -> list[float]:
        """Where ``function`` changes by more than ``_JUMP`` however close one looks."""
        grid = self.grid[np.abs(self.grid) <= 40]
        changes = np.abs(np.diff(np.asarray(function(grid))))
        suspects = np.argsort(changes)[-64:]
        left, right = grid[suspects], grid[suspects + 1]
        for _ in range(21):  # 1e-3 / 2^21 = 5e-10
            middle = (left + right) / 2
            at = [np.asarray(function(points)) for points in (left, middle, right)]
            go_left = np.abs(at[1] - at[0]) >= np.abs(at[2] - at[1])
            left, right = np.where(go_left, left, middle), np.where(go_left, middle, right)
        change = np.abs(np.asarray(function(right)) - np.asarray(function(left)))
        return sorted({round(float(x), 6) for x in ((left + right) / 2)[change > _JUMP]})


def _derivative(function: Callable) -> Callable:
    return lambda x: jax.jvp(function, (x,), (jnp.ones_like(x),))[1]


def _shape_facts(activation: Activation):
    for dtype in (jnp.bfloat16, jnp.float32, jnp.float64):
        x = jnp.linspace(-3, 3, 6).astype(dtype).reshape(2, 3)
        y = activation(x)
        yield Fact(
            f"keeps shape and dtype ({x.dtype})", f"{x.dtype}{x.shape}", f"{y.dtype}{y.shape}",
            (y.shape, y.dtype) == (x.shape, x.dtype),
        )


def _range_facts(probe: _Probe):
    functions = {"φ": probe.value, "φ'": probe.first}
    for name, function in functions.items():
        bad = probe.grid[~np.isfinite(np.asarray(function(probe.grid)))]
        shown = "finite" if not len(bad) else f"not finite at x = {bad[np.argmin(np.abs(bad))]:.6g}"
        yield Fact(f"{name} finite up to |x| = 1e8", "finite", shown, not len(bad))


def _bound_facts(probe: _Probe):
    low, high = probe.activation.slope
    yield _bound("slope infimum", low, -probe.supremum(lambda x: -probe.first(x)))
    yield _bound("slope supremum", high, probe.supremum(probe.first))
    declared = probe.activation.curvature
    jumps = probe.jumps(probe.first)
    if jumps:
        shown = f"inf (φ' jumps at x = {jumps[0]:g})"
        yield Fact("curvature", declared, shown, math.isinf(declared))
    else:
        yield _bound("curvature", declared, probe.supremum(lambda x: jnp.abs(probe.second(x))))


def _bound(name: str, declared: float, measured: float) -> Fact:
    """A bound holds if it is tight: neither exceeded nor missed by more than 1e-12 (1e-8 in a limit at infinity)."""
    difference = abs(declared - measured)
    return Fact(name, declared, measured, bool(difference <= 1e-12 * max(1.0, abs(declared))))


def _kink_facts(probe: _Probe):
    declared = probe.activation.kinks
    found = sorted({*probe.jumps(probe.value), *probe.jumps(probe.first), *probe.jumps(probe.second)})
    missing = [x for x in found if all(abs(x - kink) > 2e-6 for kink in declared)]
    yield Fact("kinks", str(declared), f"also x = {missing[0]:g}" if missing else str(declared), not missing)


def _primitive_facts(probe: _Probe):
    act = probe.activation
    x = np.linspace(-6, 6, 97)
    points, weights = gaussian.legendre(40)
    measured = np.array([_integral(act, 0.0, float(end), points, weights) for end in x])
    declared = np.asarray(act.primitive(jnp.asarray(x)))
    yield _worst("primitive", declared, measured, x, "x", 1e-12 * max(1.0, float(np.max(np.abs(measured)))))


def _integral(act: Activation, start: float, end: float, points: np.ndarray, weights: np.ndarray) -> float:
    """∫ φ from start to end, in panels of length at most 1/2 split at the kinks."""
    low, high = min(start, end), max(start, end)
    edges = np.linspace(low, high, 2 * math.ceil(high - low) + 2)
    edges = np.unique(np.append(edges, [kink for kink in act.kinks if low < kink < high]))
    half = np.diff(edges)[:, None] / 2
    values = act.in_float64(edges[:-1, None] + half * (1 + points))
    return math.copysign(1.0, end - start) * float(np.sum(half * weights * values))


def _hermite_facts(activation: Activation):
    for scale in _SCALES:
        measured = gaussian.hermite_coefficients(activation.in_float64, _DEGREE, scale, activation.kinks)
        declared = np.asarray(activation.hermite(_DEGREE, scale))
        yield _worst(f"Hermite coefficients, s = {scale:g}", declared, measured, np.arange(_DEGREE + 1), "k", 1e-12)


def _dual_facts(activation: Activation):
    rho = np.array(_CORRELATIONS)
    for q1, q2 in _VARIANCES:
        c = rho * math.sqrt(q1 * q2)
        args = (c, np.full_like(c, q1), np.full_like(c, q2))
        for name, declared, measured in (
            ("dual", activation.dual_covariance, Activation.dual_covariance),
            ("dual slope", activation.dual_slope, Activation.dual_slope),
        ):
            label = f"{name}, q = {q1:g}, {q2:g}"
            arrays = [jnp.asarray(value) for value in args]
            yield _worst(label, np.asarray(declared(*arrays)), measured(activation, *args), rho, "rho", 1e-10)


def _worst(name: str, declared, measured, where, symbol: str, tolerance: float) -> Fact:
    if np.shape(declared) != np.shape(measured):
        return Fact(name, f"shape {np.shape(declared)}", f"shape {np.shape(measured)}", False)
    error = np.abs(declared - measured)
    i = int(np.argmax(np.where(np.isfinite(error), error, np.inf)))
    at = f" at {symbol} = {where[i]:g}"
    return Fact(name, f"{declared[i]:.15g}{at}", f"{measured[i]:.15g}{at}", bool(error[i] <= tolerance))


def _show(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.15g}"
