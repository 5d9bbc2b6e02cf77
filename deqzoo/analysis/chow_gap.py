"""How far a fit is from the first-order condition of its matching loss."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class ChowGap(NamedTuple):
    """‖χ - χ_w‖² beside what bounds it.

    Attributes:
        gap: ‖E (y - ŷ) x‖²: zero at a minimum of the matching loss over w, ŷ = φ(w·x), and at one
            of the square loss of an affine read-out.
        loss: E (y - ŷ)².
        bound: λ_max(E x xᵀ) · loss, which gap does not exceed; for isotropic x it is the loss.
    """

    gap: float
    loss: float
    bound: float


def chow_gap(x, predictions, targets) -> ChowGap:
    """The Chow parameters E y x of targets and of predictions, apart from one another.

    A gap near its bound says that what is wrong with the predictions is linear in the features, and
    that a better read-out would mend it; a gap near zero, that no read-out will.

    Args:
        x: features (n, d), such as the equilibria under a read-out.
        predictions: ŷ, (n,) or (n, k); of several outputs the gaps and losses are summed.
        targets: y, alike.

    Raises:
        ValueError: other shapes.

    References:
        Diakonikolas et al., "Approximation Schemes for ReLU Regression", arXiv 2005.12844, Lemma 5
        and Corollary 6, for isotropic x; the factor of other x: deqzoo.

    Example:
        >>> import numpy as np
        >>> from deqzoo.analysis.chow_gap import chow_gap
        >>> x = np.random.default_rng(0).standard_normal((100, 3))
        >>> found = chow_gap(x, np.zeros(100), x @ [1.0, 2.0, 3.0])
        >>> 0 < found.gap <= found.bound
        True
    """
    x, error = np.asarray(x, np.float64), np.asarray(targets, np.float64) - predictions
    error = error[:, None] if error.ndim == 1 else error
    if x.ndim != 2 or error.ndim != 2 or len(x) != len(error) or not len(x):
        raise ValueError(
            f"expected features (n, d) and predictions and targets (n,) or (n, k), got {x.shape}, "
            f"{np.shape(predictions)} and {np.shape(targets)}"
        )
    loss = float(np.sum(error**2)) / len(x)
    steepest = float(np.linalg.norm(x, 2)) ** 2 / len(x)
    return ChowGap(float(np.sum((x.T @ error / len(x)) ** 2)), loss, steepest * loss)
