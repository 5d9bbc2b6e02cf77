"""Inputs as the theory sees them: rows in float64, their norms, and the angles between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from deqzoo.theory.error import TheoryError

_CLOSE = 1e-6  # 1 - |cos θ| below which the angle is formed from the difference itself
LARGEST = 1e70  # size of a number whose fourth power float64 still holds
_EQUAL = 1e-13  # relative spread of squared norms that is rounding


@dataclass(frozen=True)
class Inputs:
    """Rows x_i in float64.

    Attributes:
        rows: (n, d).
        squares: ‖x_i‖²/d.
        directions: x_i/‖x_i‖; zero for a zero input.
    """

    rows: Float[np.ndarray, "n d"]
    squares: Float[np.ndarray, " n"]
    directions: Float[np.ndarray, "n d"]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def dimension(self) -> int:
        """Numbers d of one input."""
        return self.rows.shape[1]

    def products(self, other: Inputs) -> Float[np.ndarray, "n m"]:
        """x_i · x'_j / d."""
        return self.rows @ other.rows.T / self.dimension

    def angles(self, other: Inputs) -> Float[np.ndarray, "n m"]:
        """θ in [0, π], with full precision near both ends."""
        cosines = np.clip(self.directions @ other.directions.T, -1, 1)
        angles = np.arccos(cosines)
        i, j = np.nonzero(1 - np.abs(cosines) < _CLOSE)
        for part in np.array_split(np.arange(len(i)), 1 + len(i) * self.dimension // 2**22):
            a, b = self.directions[i[part]], other.directions[j[part]]
            angles[i[part], j[part]] = 2 * np.arctan2(
                np.linalg.norm(a - b, axis=1), np.linalg.norm(a + b, axis=1)
            )
        return angles

    def __getitem__(self, part: slice) -> Inputs:
        return Inputs(self.rows[part], self.squares[part], self.directions[part])


def as_inputs(x) -> Inputs:
    """Flatten examples (n, ...) to rows.

    Raises:
        TheoryError: no examples, or values that are not finite or absurdly large.
    """
    x = as_float64("inputs", x)
    if x.ndim < 2 or x.size == 0:
        raise TheoryError(f"expected inputs of shape (n, d) with n, d >= 1, got {x.shape}")
    rows = x.reshape(len(x), -1)
    bad = np.flatnonzero(~np.all(np.isfinite(rows), axis=1))
    if len(bad):
        raise TheoryError(
            f"{len(bad)} of {len(rows)} inputs are not finite, the first is input {bad[0]}; "
            "repair or remove them"
        )
    unit = np.maximum(np.max(np.abs(rows), axis=1), LARGEST)
    with np.errstate(over="ignore"):  # an infinite norm is refused like any other
        norms = np.linalg.norm(rows / unit[:, None], axis=1) * unit
    if np.max(norms) > LARGEST:
        raise TheoryError(
            f"input {int(np.argmax(norms))} has a norm of {np.max(norms):.3g}, but float64 holds "
            f"no kernel of norms above {LARGEST:g}: scale the inputs"
        )
    directions = rows / np.where(norms > 0, norms, 1)[:, None]
    return Inputs(rows, norms**2 / rows.shape[1], directions)


def as_float64(name: str, values) -> np.ndarray:
    """Anything that NumPy takes for numbers.

    Raises:
        TheoryError: it takes them for none; the message names them.
    """
    try:
        return np.asarray(values, np.float64)
    except (OverflowError, TypeError, ValueError) as error:
        raise TheoryError(f"{name} must be an array of numbers: {error}") from None


def have_equal_norms(*inputs: Inputs) -> bool:
    """Whether all norms agree up to the rounding of float64 and none is zero."""
    squares = np.concatenate([each.squares for each in inputs])
    return bool(squares.min() > 0 and np.ptp(squares) <= _EQUAL * squares.max())
