"""What the kernels of a wide DEQ come to in high dimension: four numbers and two moments of data.

The theorem, its hypotheses and the proof are in docs/theory.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from deqzoo.activation import gaussian, panels
from deqzoo.theory.error import TheoryError
from deqzoo.theory.inputs import as_inputs
from deqzoo.theory.limit import WideLimit
from deqzoo.theory.variances import solve_variances

KERNELS = ("gram", "ntk")
_NO_MEAN = 1e-10  # relative to the root of E φ²


@dataclass(frozen=True)
class Equivalent:
    """G̃ = α_1 XXᵀ/d + α_2 χχᵀ + α_3 (T_ab/d)_ij + (γ - α_1 t) I.

    X (n, d) holds the inputs in rows, χ_i = ‖x_i‖²/d - t, and T_ab = tr(C_a C_b)/d for the classes
    a, b of the inputs i, j. With V = [the indicators of the classes, χ], the two middle terms are
    V diag((T_ab) α_3/d, α_2) Vᵀ: beside XXᵀ/d a matrix of rank at most classes + 1.

    Attributes:
        square: t.
        diagonal: γ, the kernel of an input of this norm with itself.
        linear: α_1, its derivative in x·x'/d between such inputs that are orthogonal.
        norms: α_2, its mixed derivative in ‖x‖²/d and ‖x'‖²/d there.
        quadratic: α_3, half its second derivative in x·x'/d.
    """

    square: float
    diagonal: float
    linear: float
    norms: float
    quadratic: float

    def matrix(
        self,
        x: Float[np.ndarray, "n ..."],
        labels: Int[np.ndarray, " n"] | None = None,
    ) -> Float[np.ndarray, "n n"]:
        """G̃ with T measured: the mean of (x_i·x_j)²/d over the pairs i ≠ j of two classes.

        Args:
            x: inputs (n, ...).
            labels: (n,), whole numbers; all inputs are of one class by default.

        Raises:
            TheoryError: labels that do not fit.
        """
        inputs = as_inputs(x)
        products = inputs.products(inputs)
        chi = inputs.squares - self.square
        moments = _class_means(np.square(products), _codes(labels, len(inputs)))
        result = self.linear * products + self.norms * np.outer(chi, chi) + self.quadratic * moments
        result[np.diag_indices_from(result)] += self.diagonal - self.linear * self.square
        return result


def equivalent(limit: WideLimit, square: float, kernel: str = "gram") -> Equivalent:
    """The numbers of the Gram matrix or the tangent kernel near ‖x‖²/d = t.

    With q = s_w² E φ² + s_u² t, all means at √q ξ, D = 1 - s_w² (E φ')² and
    D_q = 1 - s_w² E φ² (ξ² - 1)/(2q),

        γ = E φ²,                            α_1 = s_u² (E φ')²/D,
        α_2 = s_u⁴ (E φ'')²/(4 D D_q²),      α_3 = s_u⁴ (E φ'')²/(2 D³),

    and for the tangent kernel s_a² times (1 + D) α_1/D, α_2/D and 3α_3/D. E φ'' is √2 E φ h_2/q, so
    that φ may have kinks.

    Args:
        limit: activation and scales; φ has no mean at q, see ``centred``.
        square: t > 0; the mean of ‖x‖²/d will do.
        kernel: ``gram`` or ``ntk``.

    Raises:
        TheoryError: an unknown kernel, a t that is not positive, or a φ with a mean.

    Example:
        >>> import activations
        >>> from deqzoo.theory import WideLimit, centred, equivalent
        >>> limit = centred(WideLimit(activations.get("relu"), s_w=0.4), 1.0)
        >>> round(equivalent(limit, 1.0).linear, 12)  # (2/4)/(1 - 0.16/4)
        0.520833333333

    References:
        The form, for Gaussian mixtures: Ling, Li, Feng, Zhang, Zhou, Qiu and Liao, "Deep
        Equilibrium Models are Almost Equivalent to Not-so-deep Explicit Models for High-dimensional
        Gaussian Mixtures", arXiv 2402.02697. These numbers and their proof: deqzoo.
    """
    if kernel not in KERNELS:
        raise TheoryError(f"kernel must be one of {', '.join(KERNELS)}; got {kernel!r}")
    if not 0 < square < math.inf:
        raise TheoryError(f"expected ‖x‖²/d to be positive and finite, got {square}")
    act, w, u = limit.activation, limit.s_w**2, limit.s_u**2
    at = solve_variances(act, np.array([square]), limit.s_w, limit.s_u)
    q, gamma = float(at.q[0]), float(at.square[0])
    mean, *slopes = act.hermite(2, math.sqrt(q)) / np.array([1, math.sqrt(q), q / math.sqrt(2)])
    if abs(mean) > _NO_MEAN * math.sqrt(gamma):
        raise TheoryError(
            f"the activation must have no mean at the variance {q:.6g} of its equilibrium, but "
            f"E φ = {mean:.6g}: use centred(limit, {square:g})"
        )
    first, second = np.square(slopes).tolist()
    rest = 1 - w * first
    found = Equivalent(
        square,
        gamma,
        u * first / rest,
        u**2 * second / (4 * rest * (1 - w * _growth(limit, q)) ** 2),
        u**2 * second / (2 * rest**3),
    )
    return found if kernel == "gram" else _tangent(found, limit, rest, q, float(at.slope_square[0]))


def _growth(limit: WideLimit, q: float) -> float:
    """d/dq E φ(√q ξ)² = E φ² (ξ² - 1)/(2q), by the heat equation."""
    act = limit.activation
    cuts = (*act.kinks, *panels.edges(act, q).tolist())
    return gaussian.expectation(
        lambda x: act.in_float64(x) ** 2 * (x * x / q - 1) / (2 * q), math.sqrt(q), cuts
    )


def _tangent(of: Equivalent, limit: WideLimit, rest: float, q: float, slope: float) -> Equivalent:
    """Of K + C K̇/(1 - s_w² K̇), C = s_w² K + s_u² ρ, to second order in ρ."""
    gamma = of.diagonal + q * slope / (1 - limit.s_w**2 * slope)
    readout = limit.s_a**2
    return Equivalent(
        of.square,
        readout * gamma,
        readout * of.linear * (1 + 1 / rest),
        readout * of.norms / rest,
        readout * 3 * of.quadratic / rest,
    )


def _codes(labels: Int[np.ndarray, " n"] | None, count: int) -> Int[np.ndarray, " n"]:
    labels = np.zeros(count, int) if labels is None else np.asarray(labels)
    if labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer):
        raise TheoryError(
            f"expected labels ({count},) of whole numbers, got {labels.shape} of {labels.dtype}"
        )
    return np.unique(labels, return_inverse=True)[1]


def _class_means(
    values: Float[np.ndarray, "n n"], codes: Int[np.ndarray, " n"]
) -> Float[np.ndarray, "n n"]:
    """Every entry replaced by the mean of those off the diagonal of its two classes."""
    hot = np.eye(int(codes.max()) + 1)[codes]
    own = np.diag(np.diag(values) @ hot)
    sizes = hot.sum(axis=0)
    counts = np.outer(sizes, sizes) - np.diag(sizes)
    means = (hot.T @ values @ hot - own) / np.maximum(counts, 1)
    return means[codes][:, codes]
