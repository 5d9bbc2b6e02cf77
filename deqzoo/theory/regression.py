"""Kernel regression with the infinite-width kernels: the infinitely wide DEQ as a baseline."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from jaxtyping import Float

from deqzoo.theory.error import TheoryError
from deqzoo.theory.limit import WideLimit

KERNELS = ("nngp", "ntk")


@dataclass(frozen=True)
class Posterior:
    """Predictions at test inputs.

    Attributes:
        mean: (t, k).
        variance: (t,), of one output without noise; the same for every output.
        noise: the variance that was added to the training kernel's diagonal.
        log_evidence: log p(y) of the Gaussian process, summed over outputs; NaN for the tangent
            kernel, whose regression is no Gaussian process.
    """

    mean: Float[np.ndarray, "t k"]
    variance: Float[np.ndarray, " t"]
    noise: float
    log_evidence: float


def kernel_regression(
    limit: WideLimit,
    x: Float[np.ndarray, "n d"],
    y: Float[np.ndarray, "n k"],
    x_test: Float[np.ndarray, "t d"],
    *,
    kernel: str = "ntk",
    noise: float = 1e-6,
) -> Posterior:
    """The outputs of the infinitely wide DEQ on test inputs.

    ``nngp``: the Bayesian posterior with the network's prior, mean K_*ᵀ(K + σ²)⁻¹y and variance
    k_** - K_*ᵀ(K + σ²)⁻¹K_*. ``ntk``: gradient descent on all parameters run to the end from random
    weights; the mean is that of the tangent kernel Θ, and the variance that of the random start,
    N_** + A N Aᵀ - 2 A N_* with A = Θ_*(Θ + σ²)⁻¹ and N the NNGP kernel.

    Args:
        limit: activation and scales, s_a > 0.
        x: training inputs (n, ...).
        y: real targets (n,) or (n, k).
        x_test: test inputs (t, ...).
        kernel: ``nngp`` or ``ntk``.
        noise: σ² as a share of the mean of the training kernel's diagonal; positive.

    Raises:
        TheoryError: an unknown kernel, no noise, s_a = 0, or shapes that do not fit.

    Example:
        >>> import numpy as np, activations
        >>> from deqzoo.theory import WideLimit, kernel_regression
        >>> x = np.linspace(-2, 2, 9)[:, None] ** [0, 1]
        >>> limit = WideLimit(activations.get("erf"), s_w=0.3)
        >>> fit = kernel_regression(limit, x, np.sin(x[:, 1]), x)
        >>> bool(np.max(np.abs(fit.mean[:, 0] - np.sin(x[:, 1]))) < 1e-2)
        True

    References:
        Rasmussen and Williams, "Gaussian Processes for Machine Learning", algorithm 2.1. Lee et
        al., "Wide Neural Networks of Any Depth Evolve as Linear Models", arXiv 1902.06720.
    """
    y = np.asarray(y, np.float64)
    y = y[:, None] if y.ndim == 1 else y
    _require(limit, x, y, kernel, noise)
    train, cross = getattr(limit, kernel)(x), getattr(limit, kernel)(x_test, x)
    sigma = noise * float(np.mean(np.diag(train)))
    train[np.diag_indices_from(train)] += sigma
    factor = _factor(train, f"the {kernel} kernel of the training inputs", noise)
    mean = cross @ scipy.linalg.cho_solve(factor, y)
    prior = limit.s_a**2 * limit.variances(x_test).square
    if kernel == "nngp":
        half = scipy.linalg.solve_triangular(factor[0], cross.T, lower=True)
        variance = prior - np.sum(np.square(half), axis=0)
        evidence = _log_evidence(factor, y)
    else:
        weights = scipy.linalg.cho_solve(factor, cross.T).T
        spread = np.sum((weights @ limit.nngp(x)) * weights, axis=1)
        variance = prior + spread - 2 * np.sum(weights * limit.nngp(x_test, x), axis=1)
        evidence = float("nan")
    return Posterior(mean, np.maximum(variance, 0.0), sigma, evidence)


def _require(limit: WideLimit, x, y: np.ndarray, kernel: str, noise: float) -> None:
    if kernel not in KERNELS:
        raise TheoryError(f"kernel must be one of {', '.join(KERNELS)}; got {kernel!r}")
    if not noise > 0:
        raise TheoryError(f"noise must be positive, got {noise}: a small one such as 1e-6 will do")
    if limit.s_a == 0:
        raise TheoryError("the kernels vanish at s_a = 0: kernel regression needs s_a > 0")
    if y.ndim != 2 or len(y) != len(x) or not np.all(np.isfinite(y)):
        raise TheoryError(
            f"expected finite targets (n,) or (n, k) for {len(x)} inputs, got shape {y.shape}"
        )


def _factor(kernel: np.ndarray, name: str, noise: float):
    """The Cholesky factor, unless its smallest pivot is rounding."""
    floor = len(kernel) * np.finfo(float).eps * float(np.max(np.diag(kernel)))
    with contextlib.suppress(np.linalg.LinAlgError):
        factor = scipy.linalg.cho_factor(kernel, lower=True)
        if np.min(np.square(np.diag(factor[0]))) > floor:
            return factor
    raise TheoryError(
        f"{name} is singular beyond noise = {noise:g}: remove duplicate inputs or raise the noise"
    )


def _log_evidence(factor, y: np.ndarray) -> float:
    n, k = y.shape
    fit = float(np.sum(y * scipy.linalg.cho_solve(factor, y)))
    volume = 2 * float(np.sum(np.log(np.diag(factor[0]))))
    return -0.5 * (fit + k * volume + k * n * float(np.log(2 * np.pi)))
