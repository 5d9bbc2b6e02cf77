"""Flat linear DEQs have a small nuclear norm end to end."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
from jaxtyping import Float

from deqzoo.settings import In, fitted


def least_trace(M: Float[np.ndarray, "outputs inputs"], kappa: float) -> float:
    """Min tr Hess over all linear DEQs C(I - A)⁻¹B = M with ‖A‖₂ <= κ: 2(s² + 2√(d_in d_out) s).

    s = ‖M‖_*/(1 + κ), ‖·‖_* the nuclear norm; the loss is E|C(I - A)⁻¹Bx - Mx|² with E xxᵀ = I.
    With R = (I - A)⁻¹

        tr Hess = 2(‖CR‖_F²‖RB‖_F² + d_in‖CR‖_F² + d_out‖RB‖_F²),

    and M = (CR)(I - A)(RB) gives ‖CR‖_F‖RB‖_F >= ‖M‖_*/(1 + κ); the rest is the inequality of the
    means. It is attained at A = -κI on the signal space with balanced factors, for every hidden
    width from the rank of M on. So a flat minimum is one of small nuclear norm, as of products of
    matrices, and it makes A negative where the signal is.

    Args:
        M: what the DEQ computes.
        kappa: κ in [0, 1).

    References:
        The theorem: deqzoo. For products of matrices: "The Inductive Bias of Flatness
        Regularization for Deep Matrix Factorization", arXiv 2306.13239.

    Example:
        >>> import numpy as np
        >>> from deqzoo.theory.linear_flatness import least_trace
        >>> least_trace(np.eye(1), kappa=0.0)
        6.0
    """
    kappa = fitted("kappa", kappa, Annotated[float, In("[0, 1)")])
    size = float(np.linalg.norm(np.asarray(M, np.float64), "nuc")) / (1 + kappa)
    return 2 * (size**2 + 2 * math.sqrt(M.shape[0] * M.shape[1]) * size)
