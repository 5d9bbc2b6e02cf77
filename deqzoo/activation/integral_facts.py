"""Primitive, Hermite coefficients and dual, each against quadrature of φ on panels of its own."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np

from deqzoo.activation import gaussian, panels
from deqzoo.activation.contract import Activation
from deqzoo.activation.fact import Fact
from deqzoo.activation.samples import Samples, level

_LINE = 18.0
_SCALES = (0.1, 0.6, 1.0, 1.5, 2.5, 6.0, 30.0)
_DEGREE = 400  # as far as kernels go; 0.9^400 = 5e-19
# Both functions of a pair, E f(u)g(v): the product of two variances, ρ its correlation.
_VARIANCES = ((1.0, 1.0), (0.5, 2.0), (2.5, 2.5), (0.1, 9.0), (100.0, 100.0))
_CORRELATIONS = (-1.0, -0.9, -0.3, 0.0, 0.5, 0.9, 1.0)
_CLOSE = (-0.999, 0.999)  # where the series is too long: the default's quadrature
_TOLERANCE = 1e-12


def primitive_facts(samples: Samples) -> Iterator[Fact]:
    """∫₀ˣ φ on [-18, 18]."""
    activation = samples.activation
    x = np.union1d(np.linspace(-_LINE, _LINE, 289), panels.outwards(activation, _LINE))
    x = x[np.abs(x) <= _LINE]
    nodes, weights = gaussian.legendre(20)
    half = np.diff(x)[:, None] / 2
    values = samples(x[:-1, None] + half * (1 + nodes))[0]
    measured = np.append(0.0, np.cumsum((half * values) @ weights))
    measured -= measured[x == 0]
    declared = np.asarray(activation.primitive(jnp.asarray(x)))
    yield _worst("primitive", declared, measured, x, "x", np.maximum(1, np.abs(measured)))


def hermite_facts(samples: Samples) -> Iterator[Fact]:
    """a_0 ... a_400 at small and large scales, wherever the panels resolve φ."""
    activation, k = samples.activation, np.arange(_DEGREE + 1)
    for scale in _SCALES:
        if not panels.resolves(activation, scale**2):
            continue
        measured = _series(samples, scale, 0, _DEGREE)
        declared = np.asarray(activation.hermite(_DEGREE, scale))
        size = max(1.0, level(activation) + scale * activation.lipschitz)
        yield _worst(f"Hermite coefficients, s = {scale:g}", declared, measured, k, "k", size)


def dual_facts(samples: Samples) -> Iterator[Fact]:
    """Closed forms against Σ a_k b_k ρ^k; without a closed form there is nothing to compare."""
    activation = samples.activation
    for order, method, name in ((0, "dual_covariance", "dual"), (1, "dual_slope", "dual slope")):
        if getattr(type(activation), method) is getattr(Activation, method):
            continue
        series = functools.cache(functools.partial(_series, samples, order=order, degree=_DEGREE))
        for q1, q2 in _VARIANCES:
            if not panels.resolves(activation, max(q1, q2)):
                continue
            rho, measured = _mean_products(samples, q1, q2, order, series)
            args = (rho * math.sqrt(q1 * q2), np.full_like(rho, q1), np.full_like(rho, q2))
            declared = np.asarray(getattr(activation, method)(*map(jnp.asarray, args)))
            size = max(1.0, activation.lipschitz**2 * (math.sqrt(q1 * q2) if order == 0 else 1))
            yield _worst(f"{name}, q = {q1:g}, {q2:g}", declared, measured, rho, "rho", size)


def _mean_products(samples: Samples, q1: float, q2: float, order: int, series):
    """Correlations and E f(u)f(v) there, f = φ or φ'; at ±1 an integral over one variable."""
    rho = np.array(_CORRELATIONS)
    terms = series(math.sqrt(q1)) * series(math.sqrt(q2))
    measured = np.polynomial.polynomial.polyval(rho, terms)
    for end in (0, -1):
        measured[end] = _on_a_line(samples, math.sqrt(q1), rho[end] * math.sqrt(q2), order)
    if q1 != q2 or q1 > 1 or len(panels.edges(samples.activation, q1)) > 0:
        return rho, measured
    close = np.array(_CLOSE)
    method = Activation.dual_slope if order else Activation.dual_covariance
    one = np.full_like(close, q1)
    between = method(samples.activation, q1 * close, one, one)
    return np.append(rho, close), np.append(measured, between)


def _on_a_line(samples: Samples, first: float, second: float, order: int) -> float:
    """E f(first Z) f(second Z)."""
    places = [cut / scale for cut in _cuts(samples, first) for scale in (first, second)]
    z, weights = gaussian.nodes([3 * place for place in places], 3.0)
    values = samples(np.stack([first * z, second * z]))[order]
    return float(weights @ (values[0] * values[1]))


def _series(samples: Samples, scale: float, order: int, degree: int) -> np.ndarray:
    """E f(scale Z) h_k(Z), f = φ or φ', on panels half as long as the default's."""
    places = [3 * cut / scale for cut in _cuts(samples, scale)]
    f = lambda x: samples(x * scale / 3)[order]  # noqa: E731
    return gaussian.hermite_coefficients(f, degree, 3.0, places)


def _cuts(samples: Samples, scale: float) -> list[float]:
    activation = samples.activation
    return [*activation.kinks, *panels.edges(activation, scale**2).tolist()]


def _worst(name: str, declared, measured, where, symbol: str, size) -> Fact:
    """The entry that differs most; it may differ by 1e-12 of the size of such values."""
    if np.shape(declared) != np.shape(measured):
        return Fact(name, f"shape {np.shape(declared)}", f"shape {np.shape(measured)}", False)
    error = np.abs(declared - measured) / size
    i = int(np.argmax(np.where(np.isfinite(error), error, np.inf)))
    at = f" at {symbol} = {where[i]:g}"
    holds = bool(error[i] <= _TOLERANCE)
    return Fact(name, f"{declared[i]:.15g}{at}", f"{measured[i]:.15g}{at}", holds)
