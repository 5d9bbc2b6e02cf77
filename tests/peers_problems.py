"""Nonlinear systems that other solvers' suites are tested with, each stated twice.

The 23 systems of Burkardt's test_nonlin and SciML's NonlinearProblemLibrary, most of them from
Moré, Garbow and Hillstrom, "Testing Unconstrained Optimization Software", ACM Trans. Math. Softw. 7
(1981). ``g`` is made of JAX arrays; ``rows`` is written equation by equation in NumPy, for complex
numbers as well, so that it gives residuals and Jacobians that owe nothing to JAX.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

ALBEDO = 0.9  # of the H-equation; 1 is the double root


class Problem(NamedTuple):
    """g(z) = 0.

    Attributes:
        g: one state of shape (n,) to its n equations, for JAX.
        rows: the same for NumPy.
        start: the usual one.
        roots: those that are known.
    """

    g: Callable
    rows: Callable
    start: np.ndarray
    roots: tuple[np.ndarray, ...] = ()


def residual(problem: Problem, z: np.ndarray) -> np.ndarray:
    """g(z) in NumPy."""
    return np.array(problem.rows(z))


def jacobian(problem: Problem, z: np.ndarray) -> np.ndarray:
    """dg/dz of ``rows``: an imaginary step is free of cancellation, hence exact to rounding."""
    steps = 1e-30j * np.eye(len(z))
    return np.stack([residual(problem, z + step).imag / 1e-30 for step in steps], axis=1)


def rosenbrock(z):
    return jnp.concatenate([1 - z[:1], 10 * (z[1:] - z[:-1] ** 2)])


def rosenbrock_rows(z):
    return [1 - z[0]] + [10 * (z[i] - z[i - 1] * z[i - 1]) for i in range(1, len(z))]


def powell_singular(z):
    far, near = z[0] - z[3], z[1] - 2 * z[2]
    linear = z[0] + 10 * z[1], math.sqrt(5) * (z[2] - z[3])
    return jnp.stack([*linear, near**2, math.sqrt(10) * far**2])


def powell_singular_rows(z):
    a, b, c, d = z
    return a + 10 * b, 5**0.5 * (c - d), (b - 2 * c) * (b - 2 * c), 10**0.5 * (a - d) * (a - d)


def powell_badly_scaled(z):
    return jnp.stack([1e4 * jnp.prod(z) - 1, jnp.sum(jnp.exp(-z)) - 1.0001])


def powell_badly_scaled_rows(z):
    a, b = z
    return 10000 * a * b - 1, np.exp(-a) + np.exp(-b) - 1.0001


def wood(z):
    (a, c), (b, d) = z[::2], z[1::2] - 1
    u, v = b + 1 - a**2, d + 1 - c**2
    odd, even = a - 1 - 200 * a * u, 200 * u + 20.2 * b + 19.8 * d
    return jnp.stack([odd, even, c - 1 - 180 * c * v, 180 * v + 20.2 * d + 19.8 * b])


def wood_rows(z):
    a, b, c, d = z
    return (
        -200 * a * (b - a * a) - (1 - a),
        200 * (b - a * a) + 20.2 * (b - 1) + 19.8 * (d - 1),
        -180 * c * (d - c * c) - (1 - c),
        180 * (d - c * c) + 20.2 * (d - 1) + 19.8 * (b - 1),
    )


def helical_valley(z):
    # Turned by a quarter, atan2 is cut along the negative second axis and not through the start.
    turns = jnp.arctan2(-z[0], z[1]) / (2 * jnp.pi) + 0.25
    return jnp.stack([10 * z[2] - 100 * turns, 10 * jnp.hypot(z[0], z[1]) - 10, z[2]])


def helical_valley_rows(z):
    a, b, c = z
    if a.real == 0:
        turns = 0.25 * np.sign(b.real)
    else:
        turns = np.arctan(b / a) / (2 * np.pi) + (0.5 if a.real < 0 else 0)
    return 10 * (c - 10 * turns), 10 * (np.sqrt(a * a + b * b) - 1), c


def watson(z):
    # The gradient of half the sum of 31 squares.
    t, powers = jnp.arange(1, 30) / 29, jnp.arange(len(z))

    def squares(z):
        value = jnp.polyval(z[::-1], t)
        slope = jnp.polyval((powers * z)[:0:-1], t)
        return jnp.sum((slope - value**2 - 1) ** 2) + z[0] ** 2 + (z[1] - z[0] ** 2 - 1) ** 2

    return jax.grad(squares)(z) / 2


def watson_rows(z):
    n, last = len(z), z[1] - z[0] * z[0] - 1
    rows = [z[0] - 2 * z[0] * last, last] + [0] * (n - 2)
    for t in (i / 29 for i in range(1, 30)):
        value = sum(z[j] * t**j for j in range(n))
        miss = sum(j * z[j] * t ** (j - 1) for j in range(1, n)) - value * value - 1
        for j in range(n):
            slope = j * t ** (j - 1) if j else 0
            rows[j] = rows[j] + miss * (slope - 2 * value * t**j)
    return rows


def chebyquad(z):
    below, now, means = jnp.ones_like(z), z, []
    for _ in z:
        means.append(jnp.mean(now))
        below, now = now, 2 * z * now - below
    integrals = [0 if i % 2 else -1 / (i * i - 1) for i in range(1, len(z) + 1)]
    return jnp.stack(means) - jnp.array(integrals)


def chebyquad_rows(z):
    n = len(z)
    coefficients = np.eye(n + 1)
    means = [np.mean(np.polynomial.chebyshev.chebval(z, row)) for row in coefficients]
    return [means[i] + (1 / ((i - 1) * (i + 1)) if i % 2 == 0 else 0) for i in range(1, n + 1)]


def brown_almost_linear(z):
    return (z + jnp.sum(z) - len(z) - 1).at[-1].set(jnp.prod(z) - 1)


def brown_almost_linear_rows(z):
    n, total = len(z), sum(z)
    return [z[i] + total - (n + 1) for i in range(n - 1)] + [math.prod(z) - 1]


def boundary_value(z):
    n = len(z)
    cubes = (z + jnp.arange(1, n + 1) / (n + 1) + 1) ** 3
    return 2 * z - jnp.pad(z, (1, 0))[:-1] - jnp.pad(z, (0, 1))[1:] + cubes / (2 * (n + 1) ** 2)


def boundary_value_rows(z):
    n, h, padded = len(z), 1 / (len(z) + 1), [0, *z, 0]
    cube = [(padded[k] + k * h + 1) ** 3 for k in range(n + 1)]
    return [
        2 * padded[k] - padded[k - 1] - padded[k + 1] + h * h / 2 * cube[k] for k in range(1, n + 1)
    ]


def integral_equation(z):
    n = len(z)
    t = jnp.arange(1, n + 1) / (n + 1)
    green = jnp.minimum(t[:, None], t[None]) * (1 - jnp.maximum(t[:, None], t[None]))
    return z + green @ (z + t + 1) ** 3 / (2 * (n + 1))


def integral_equation_rows(z):
    n, h = len(z), 1 / (len(z) + 1)
    t = [(i + 1) * h for i in range(n)]
    cube = [(z[i] + t[i] + 1) ** 3 for i in range(n)]
    left = [(1 - t[i]) * sum(t[j] * cube[j] for j in range(i + 1)) for i in range(n)]
    right = [t[i] * sum((1 - t[j]) * cube[j] for j in range(i + 1, n)) for i in range(n)]
    return [z[i] + h / 2 * (left[i] + right[i]) for i in range(n)]


def trigonometric(z):
    weights = jnp.arange(1, len(z) + 1)
    return jnp.sum(1 - jnp.cos(z)) + weights * (1 - jnp.cos(z)) - jnp.sin(z)


def trigonometric_rows(z):
    n, cosines = len(z), sum(np.cos(x) for x in z)
    return [n - cosines + (i + 1) * (1 - np.cos(z[i])) - np.sin(z[i]) for i in range(n)]


def variably_dimensioned(z):
    weights = jnp.arange(1.0, len(z) + 1)
    tilt = weights @ (z - 1)
    return z - 1 + weights * (tilt + 2 * tilt**3)


def variably_dimensioned_rows(z):
    n = len(z)
    tilt = sum((i + 1) * (z[i] - 1) for i in range(n))
    return [z[i] - 1 + (i + 1) * tilt * (1 + 2 * tilt * tilt) for i in range(n)]


def broyden_tridiagonal(z):
    return (3 - 2 * z) * z - jnp.pad(z, (1, 0))[:-1] - 2 * jnp.pad(z, (0, 1))[1:] + 1


def broyden_tridiagonal_rows(z):
    x = [0, *z, 0]
    return [(3 - 2 * x[i]) * x[i] - x[i - 1] - 2 * x[i + 1] + 1 for i in range(1, len(z) + 1)]


def broyden_banded(z):
    ones = jnp.ones((len(z), len(z)))
    band = jnp.tril(jnp.triu(ones, -5), 1) - jnp.eye(len(z))
    return z * (2 + 5 * z**2) + 1 - band @ (z + z**2)


def broyden_banded_rows(z):
    n, rows = len(z), []
    for i in range(n):
        near = [j for j in range(max(0, i - 5), min(n, i + 2)) if j != i]
        rows.append(z[i] * (2 + 5 * z[i] * z[i]) + 1 - sum(z[j] * (1 + z[j]) for j in near))
    return rows


def hammarling(z):
    side = math.isqrt(len(z))
    root = z.reshape(side, side)
    return (root @ root - 1e-4 * jnp.eye(side)).at[0, 1].add(-1).ravel()


def hammarling_rows(z):
    n = math.isqrt(len(z))
    square = [
        sum(z[n * i + k] * z[n * k + j] for k in range(n)) for i in range(n) for j in range(n)
    ]
    return [x - (i == 1) - 1e-4 * (i % (n + 1) == 0) for i, x in enumerate(square)]


def dennis_schnabel(z):
    return jnp.stack([jnp.sum(z) - 3, z @ z - 9])


def dennis_schnabel_rows(z):
    return z[0] + z[1] - 3, z[0] ** 2 + z[1] ** 2 - 9


def sample_18(z):
    safe = jnp.where(z == 0, 1, z)
    a, b = jnp.where(z == 0, 0, -jnp.expm1(-safe * safe) / safe)
    return jnp.stack([z[1] ** 2 * a, z[0] * b])


def sample_18_rows(z):
    a, b = (x and -np.expm1(-(x**2)) / x for x in z)
    return z[1] * z[1] * a, z[0] * b


def sample_19(z):
    return z * (z @ z)


def sample_19_rows(z):
    return z[0] ** 3 + z[0] * z[1] ** 2, z[1] * z[0] ** 2 + z[1] ** 3


def scalar(z):
    return z * (z - 5) ** 2


def scalar_rows(z):
    return [z[0] ** 3 - 10 * z[0] ** 2 + 25 * z[0]]


def freudenstein_roth(z):
    a, b = z
    return jnp.stack([a - 13 + ((5 - b) * b - 2) * b, a - 29 + ((b + 1) * b - 14) * b])


def freudenstein_roth_rows(z):
    a, b = z
    return a - b**3 + 5 * b**2 - 2 * b - 13, a + b**3 + b**2 - 14 * b - 29


def boggs(z):
    return jnp.stack([z[0] ** 2 - z[1] + 1, z[0] - jnp.cos(jnp.pi / 2 * z[1])])


def boggs_rows(z):
    return z[0] * z[0] - z[1] + 1, z[0] - np.cos(0.5 * np.pi * z[1])


def chandrasekhar(z):
    mu = (jnp.arange(len(z)) + 0.5) / len(z)
    kernel = mu[:, None] / (mu[:, None] + mu[None])
    return z - 1 / (1 - ALBEDO / (2 * len(z)) * (kernel @ z))


def chandrasekhar_rows(z):
    n, rows = len(z), []
    mu = [(2 * i + 1) / (2 * n) for i in range(n)]
    for i in range(n):
        integral = sum(mu[i] * z[j] / (mu[i] + mu[j]) for j in range(n)) / n
        rows.append(z[i] - 1 / (1 - ALBEDO / 2 * integral))
    return rows


_T = np.arange(1, 11) / 11
_BROWN = np.array([0.9794303033498647] * 9 + [1.2056969665013529])
_CHEBYSHEV = np.array([0.8838617008, 0.5296567753, 0.3239118105])
_WATSON = [-0.0157250864, 1.0124348694, -0.2329916259, 1.2604300877, -1.5137289226, 0.9929964324]
_POWELL = np.array([1.0981593296997896e-05, 9.106146739866755])
_SADDLE = np.array(
    [-0.9679740249375939, 0.9471391408178435, -0.9695163103315904, 0.9512476657923237]
)  # of Wood's function
_JORDAN = np.array([0.01, 50, 0, 0, 0.01, 0, 0, 0, 0.01])

PROBLEMS = {
    "rosenbrock": Problem(
        rosenbrock, rosenbrock_rows, np.array([-1.2] + 9 * [1.0]), (np.ones(10),)
    ),
    "powell_singular": Problem(
        powell_singular, powell_singular_rows, np.array([3.0, -1, 0, 1]), (np.zeros(4),)
    ),
    "powell_badly_scaled": Problem(
        powell_badly_scaled,
        powell_badly_scaled_rows,
        np.array([0.0, 1]),
        (_POWELL, _POWELL[::-1]),
    ),
    "wood": Problem(wood, wood_rows, np.array([-3.0, -1, -3, -1]), (np.ones(4), _SADDLE)),
    "helical_valley": Problem(
        helical_valley, helical_valley_rows, np.array([-1.0, 0, 0]), (np.array([1.0, 0, 0]),)
    ),
    "watson_2": Problem(watson, watson_rows, np.zeros(2)),
    "watson_6": Problem(watson, watson_rows, np.zeros(6), (np.array(_WATSON),)),
    "chebyquad_2": Problem(
        chebyquad,
        chebyquad_rows,
        np.array([-1, 1]) / 3,
        (np.array([-1, 1]) / 3**0.5, np.array([1, -1]) / 3**0.5),
    ),
    "chebyquad_7": Problem(
        chebyquad,
        chebyquad_rows,
        np.arange(-3, 4) / 4,
        (np.concatenate([-_CHEBYSHEV, [0], _CHEBYSHEV[::-1]]),),
    ),
    "brown_almost_linear": Problem(
        brown_almost_linear, brown_almost_linear_rows, np.full(10, 0.5), (np.ones(10), _BROWN)
    ),
    "boundary_value": Problem(boundary_value, boundary_value_rows, _T * (_T - 1)),
    "integral_equation": Problem(integral_equation, integral_equation_rows, _T * (_T - 1)),
    "trigonometric": Problem(trigonometric, trigonometric_rows, np.full(10, 0.1)),
    "variably_dimensioned": Problem(
        variably_dimensioned,
        variably_dimensioned_rows,
        1 - np.arange(1, 11) / 10,
        (np.ones(10),),
    ),
    "broyden_tridiagonal": Problem(broyden_tridiagonal, broyden_tridiagonal_rows, -np.ones(10)),
    "broyden_banded": Problem(broyden_banded, broyden_banded_rows, -np.ones(10)),
    "hammarling_2": Problem(
        hammarling, hammarling_rows, np.eye(2).ravel(), (np.array([0.01, 50, 0, 0.01]),)
    ),
    "hammarling_3": Problem(hammarling, hammarling_rows, np.eye(3).ravel(), (_JORDAN,)),
    "dennis_schnabel": Problem(
        dennis_schnabel,
        dennis_schnabel_rows,
        np.array([1.0, 5]),
        (np.array([0.0, 3]), np.array([3.0, 0])),
    ),
    "sample_18": Problem(sample_18, sample_18_rows, np.array([2.0, 2])),
    "sample_19": Problem(sample_19, sample_19_rows, np.array([3.0, 3]), (np.zeros(2),)),
    "scalar": Problem(scalar, scalar_rows, np.ones(1), (np.zeros(1), np.full(1, 5.0))),
    "freudenstein_roth": Problem(
        freudenstein_roth, freudenstein_roth_rows, np.array([0.5, -2]), (np.array([5.0, 4]),)
    ),
    "boggs": Problem(
        boggs,
        boggs_rows,
        np.array([1.0, 0]),
        (np.array([0.0, 1]), np.array([-1.0, 2]), np.array([-(0.5**0.5), 1.5])),
    ),
    "chandrasekhar": Problem(chandrasekhar, chandrasekhar_rows, np.ones(10)),
}
