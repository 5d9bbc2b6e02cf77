"""λ_* = λ_min(K) and what bounds it from below.

With a_k² the smallest of a_k(q_i)² over the inputs (one q on a sphere), R = C/√(q q') and
K = Σ_k D_k R^∘k D_k, D_k = diag a_k(q_i):

    B1  λ_* >= Σ_k a_k² max(0, 1 - (n-1) β^k),  β = max_{i≠j} |R_ij|        (Gershgorin)
    B2  λ_* >= λ_min(R^∘r) Σ_{k>=r} a_k²  for every r                        (Schur)
    B3  λ_* >= Σ_k a_k² max(0, λ_min(R^∘k))
    B4  λ_* >= μ_0 V s_u²/(s_u² b + s_w² a_0²),  inputs of norm √(bd), V = E φ² - a_0²,
        μ_0 = λ_min(XXᵀ/d)

Derived for deqzoo; the idea of B1 is in Ling et al., arXiv 2205.13814, proof of Theorem 3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from jaxtyping import Float

from deqzoo.activation.digits import at_least, at_most
from deqzoo.theory.error import TheoryError
from deqzoo.theory.hermite import coefficient_table, hermite_series
from deqzoo.theory.inputs import Inputs, as_inputs, have_equal_norms
from deqzoo.theory.limit import WideLimit

_EVERY = 128  # inputs up to which every Hadamard power is decomposed
_SPARSE = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
_NEGLIGIBLE = 1e-3  # Gershgorin's radius below which it replaces a decomposition
_DEGREE = 400
_SURE = 1 - 1e-12  # beyond the rounding of the coefficients


@dataclass(frozen=True)
class GramBounds:
    """Eigenvalues of the population Gram matrix with lower bounds of the smallest.

    Attributes:
        lambda_min: λ_*, computed; its rounding error is about n times 2e-16 of ``lambda_max``.
        lambda_max: the largest eigenvalue.
        beta: the largest |R_ij| of two different inputs.
        b1: Gershgorin's bound.
        b2: Schur's bound with the best r.
        r: that r.
        b3: the sum over all Hadamard powers.
        b4: the bound for full-rank data; None unless the inputs lie on a sphere and n <= d.
        residual: the largest relative defect of the covariance equations.
        truncation: what approximating the dual costs, relative to the largest variance.
        steps: Newton steps.
        method: how the dual was evaluated.
    """

    lambda_min: float
    lambda_max: float
    beta: float
    b1: float
    b2: float
    r: int
    b3: float
    b4: float | None
    residual: float
    truncation: float
    steps: int
    method: str

    def __str__(self) -> str:
        rows = {
            "λ_min(K), computed": f"{self.lambda_min:.6g}",
            "λ_max(K)": f"{self.lambda_max:.6g}",
            "B1 (Gershgorin) <= λ_min": at_most(self.b1),
            f"B2 (Schur, r = {self.r}) <= λ_min": at_most(self.b2),
            "B3 (Hadamard powers) <= λ_min": at_most(self.b3),
            "B4 (full-rank data) <= λ_min": "-" if self.b4 is None else at_most(self.b4),
            "largest |R_ij|": f"{self.beta:.6g}",
            "defect of the equations": at_least(self.residual),
            "truncation of the dual": at_least(self.truncation),
        }
        lines = [f"  {name:<34}{value}" for name, value in rows.items()]
        return "\n".join([*lines, f"  {self.method}, {self.steps} Newton steps"])


def gram_bounds(limit: WideLimit, x) -> GramBounds:
    """λ_min(K), λ_max(K) and the bounds B1-B4 for inputs (n, ...).

    Up to 128 inputs every Hadamard power is decomposed; beyond, a dozen, and the powers between
    them count with the one before (λ_min(R^∘k) does not decrease in k): B2 and B3 stay bounds, a
    little smaller. The decompositions take O(n³) each.

    Example:
        >>> import numpy as np, activations
        >>> from deqzoo.theory import WideLimit, gram_bounds
        >>> x = np.random.default_rng(0).standard_normal((6, 8))
        >>> bounds = gram_bounds(WideLimit(activations.get("tanh"), s_w=0.4), x)
        >>> 0 < bounds.b1 <= bounds.b3 <= bounds.lambda_min
        True
    """
    inputs = as_inputs(x)
    if np.any(inputs.squares == 0):
        raise TheoryError(
            f"input {int(np.argmin(inputs.squares))} is zero: the bounds need inputs with a "
            "direction; remove it"
        )
    K, defect = limit.assemble(lambda block: block.K, x)
    C = limit.s_w**2 * K + limit.s_u**2 * inputs.products(inputs)
    scale = np.sqrt(np.diag(C))
    R = C / scale[:, None] / scale[None, :]
    beta = _largest_off_diagonal(R)
    floor = _coefficient_floor(limit, inputs)
    smallest = _smallest_of_powers(R, len(floor))
    b2, r = _schur(floor, smallest)
    eigenvalues = scipy.linalg.eigvalsh(K)
    return GramBounds(
        lambda_min=float(eigenvalues[0]),
        lambda_max=float(eigenvalues[-1]),
        beta=beta,
        b1=float(floor @ np.maximum(0, 1 - (len(R) - 1) * beta ** np.arange(len(floor)))),
        b2=b2,
        r=r,
        b3=float(floor @ np.maximum(0, smallest)),
        b4=_full_rank(limit, x),
        residual=defect.residual,
        truncation=defect.truncation,
        steps=defect.steps,
        method=defect.method,
    )


def _largest_off_diagonal(R: np.ndarray) -> float:
    if len(R) == 1:
        return 0.0
    off = np.abs(R)
    np.fill_diagonal(off, 0.0)
    return float(min(1.0, off.max()))


def _coefficient_floor(limit: WideLimit, inputs: Inputs) -> Float[np.ndarray, " degree+1"]:
    """min_i a_k(q_i)²; on a sphere all that lies beyond the last degree counts at the next one."""
    act, variances = limit.activation, np.unique(limit.variances(inputs.rows).q)
    if have_equal_norms(inputs):
        series = hermite_series(act, float(variances[0]), _DEGREE)
        return _SURE * np.append(series.coefficients**2, series.tail)
    degree = hermite_series(act, float(variances[-1])).degree
    return _SURE * np.min(coefficient_table(act, variances, degree) ** 2, axis=0)


def _smallest_of_powers(R: np.ndarray, count: int) -> Float[np.ndarray, " count"]:
    """A lower bound of λ_min(R^∘k) for k = 0 ... count - 1; where decomposed, but for rounding."""
    n, off = len(R), _largest_off_diagonal(R)
    rounding = 4 * n * np.finfo(float).eps
    bounds, before = np.zeros(count), 0.0
    for k in range(count):
        gershgorin = 1 - (n - 1) * off**k
        before = max(before, gershgorin - rounding)
        if k > 0 and gershgorin < 1 - _NEGLIGIBLE and (n <= _EVERY or k in _SPARSE):
            decomposed = scipy.linalg.eigvalsh(R**k, subset_by_index=[0, 0])[0]
            before = max(before, float(decomposed) - rounding)
        bounds[k] = before
    return bounds


def _schur(floor: np.ndarray, smallest: np.ndarray) -> tuple[float, int]:
    """The best λ_min(R^∘r) Σ_{k>=r} a_k² over r >= 1."""
    products = (np.cumsum(floor[::-1])[::-1] * np.maximum(0, smallest))[1:]
    r = int(np.argmax(products)) + 1
    return float(products[r - 1]), r


def _full_rank(limit: WideLimit, x) -> float | None:
    inputs = as_inputs(x)
    if not have_equal_norms(inputs) or len(inputs) > inputs.dimension:
        return None
    smallest = max(0.0, float(scipy.linalg.eigvalsh(inputs.products(inputs))[0]))
    variances = limit.variances(x)
    mean = float(limit.activation.hermite(0, math.sqrt(variances.q[0]))[0])
    spread = float(variances.square[0]) - mean**2
    s_w, s_u = limit.s_w, limit.s_u
    norm = s_u**2 * float(inputs.squares.mean()) + s_w**2 * mean**2
    return smallest * spread * s_u**2 / norm
