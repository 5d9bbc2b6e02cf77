"""A predictor that is no rectifier, where the best rectifier is poor."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from jaxtyping import Bool, Float

from deqzoo.identification.regress import regress
from deqzoo.settings import In, fitted

_MOST = 5000  # monomials


@dataclass(frozen=True)
class Improper:
    """0 where w·x < -width, a polynomial of x where |w·x| <= width, a linear form above.

    Attributes:
        w: of the rectifier that the matching loss finds.
        width: of the band, γ times the root mean square error of that rectifier.
        degree: of the polynomial.
        inside: its coefficients.
        above: the linear form.
    """

    w: Float[np.ndarray, " d"]
    width: float
    degree: int
    inside: Float[np.ndarray, " monomials"]
    above: Float[np.ndarray, " d"]

    def __call__(self, x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
        """The prediction."""
        x = np.asarray(x, np.float64)
        band, above = _parts(x @ self.w, self.width)
        found = np.zeros(len(x))
        found[band] = _monomials(x[band], self.degree) @ self.inside
        found[above] = x[above] @ self.above
        return found


def improper(x, y, *, degree: int = 3, gamma: float = 2.0) -> Improper:
    """Least squares apart: of a polynomial in the band |w·x| <= γ √loss(w), of a linear form above.

    The theorem is about subgaussian x: with a degree of about 1/η³ and a γ that it names the error
    is (1 + η) best + ε. Of a degree that is affordable nothing is proved; it may do better than
    the best rectifier, since it is none.

    Args:
        x: (n, d).
        y: (n,).
        degree: of the polynomial, which has (d + degree choose degree) monomials.
        gamma: γ; the default is ours.

    Raises:
        ValueError: other shapes, NaN, or more than 5000 monomials.

    References:
        Diakonikolas et al., "Approximation Schemes for ReLU Regression", arXiv 2005.12844,
        Algorithm 2; w by the matching loss and its own error for the best one's: deqzoo.

    Example:
        >>> import numpy as np
        >>> from deqzoo.identification import improper, regress
        >>> x = np.random.default_rng(0).standard_normal((2000, 2))
        >>> y = np.where(x[:, 0] < -1, 1.0, np.maximum(x[:, 0], 0))
        >>> rectifier = np.maximum(x @ regress("relu", x, y), 0)
        >>> bool(np.mean((improper(x, y)(x) - y) ** 2) < np.mean((rectifier - y) ** 2) / 2)
        True
    """
    degree = fitted("degree", degree, Annotated[int, In("[0, inf)")])
    gamma = fitted("gamma", gamma, Annotated[float, In("[0, inf)")])
    w = regress("relu", x, y)
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if math.comb(x.shape[1] + degree, degree) > _MOST:
        raise ValueError(
            f"a polynomial of degree {degree} of {x.shape[1]} numbers has more than {_MOST} "
            "monomials: lower the degree"
        )
    reached = x @ w
    width = gamma * math.sqrt(np.mean((np.maximum(reached, 0) - y) ** 2))
    band, above = _parts(reached, width)
    inside = np.linalg.lstsq(_monomials(x[band], degree), y[band])[0]
    return Improper(w, width, degree, inside, np.linalg.lstsq(x[above], y[above])[0])


def _parts(
    reached: Float[np.ndarray, " n"], width: float
) -> tuple[Bool[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    return np.abs(reached) <= width, reached > width


def _monomials(x: Float[np.ndarray, "n d"], degree: int) -> Float[np.ndarray, "n monomials"]:
    """All products of at most ``degree`` entries."""
    entries = range(x.shape[1])
    products = (
        np.prod(x[:, list(chosen)], axis=1)
        for k in range(degree + 1)
        for chosen in itertools.combinations_with_replacement(entries, k)
    )
    return np.stack([*products], axis=1)
