"""The features of a row, made alike: what does not touch ‖A‖₂ is whitened."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

_RANK = 1e-10  # of the largest singular value, below which a direction is no feature


def whitened(
    x: Float[np.ndarray, "n d"],
) -> tuple[Float[np.ndarray, "n rank"], Float[np.ndarray, "d rank"]]:
    """Features with the identity as their mean square, and the matrix that makes them: x @ back."""
    U, values, V = np.linalg.svd(x, full_matrices=False)
    kept = values > _RANK * np.max(values, initial=0.0)
    size = np.sqrt(len(x))
    return U[:, kept] * size, (V[kept].T / values[kept]) * size


@dataclass(frozen=True)
class Features:
    """Az + Bx + b in the features (z - what x tells of it)/scale, and x and 1 whitened.

    A stays A, so that its norm is that of the first columns over ``scale``.

    Attributes:
        F: one row per example, of the largest mean square 1.
        scale: of the states.
        units: h, the first columns.
        told: what x and 1 tell of z.
        back: from weights of whitened features to (B, b).
    """

    F: Float[np.ndarray, "n features"]
    scale: float
    units: int
    told: Float[np.ndarray, "rank h"]
    back: Float[np.ndarray, "inputs+1 rank"]

    @classmethod
    def of(cls, Z: Float[np.ndarray, "n h"], X: Float[np.ndarray, "n d"]) -> Features:
        """Of states and inputs."""
        white, back = whitened(np.concatenate([X, np.ones((len(X), 1))], axis=1))
        told = white.T @ Z / len(Z)
        rest = Z - white @ told
        scale = float(np.linalg.norm(rest, 2) / np.sqrt(len(Z)))
        if scale <= _RANK * np.linalg.norm(Z) / np.sqrt(len(Z)):  # x tells all of z
            rest, scale = np.zeros_like(Z), 1.0
        F = np.concatenate([rest / scale, white], axis=1)
        return cls(F, scale, Z.shape[1], told, back)

    def weights(
        self, P: Float[np.ndarray, "h features"]
    ) -> tuple[Float[np.ndarray, "h h"], Float[np.ndarray, "h inputs"], Float[np.ndarray, " h"]]:
        """A, B and b."""
        A = P[:, : self.units] / self.scale
        inputs = (P[:, self.units :] - A @ self.told.T) @ self.back.T
        return A, inputs[:, :-1], inputs[:, -1]
