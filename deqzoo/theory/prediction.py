"""What the linearisation at initialisation predicts of gradient descent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from jaxtyping import Float


@dataclass(frozen=True)
class TangentPrediction:
    """Φ(τ) ≈ ½ Σ_k (1 - ημ_k)^(2τ) (v_k·r_0)², (μ_k, v_k) the eigenpairs of the tangent kernel.

    A prediction, not a certificate: it holds up to the drift of the kernel, which vanishes with the
    width.

    Attributes:
        eigenvalues: μ_k, increasing.
        weights: ½ (v_k·r_0)².

    References:
        Jacot et al., "Neural Tangent Kernel", arXiv 1806.07572.
    """

    eigenvalues: Float[np.ndarray, " n"]
    weights: Float[np.ndarray, " n"]

    @property
    def learning_rate(self) -> float:
        """1/μ_max; the linearised descent is stable below twice this step."""
        return float(1 / self.eigenvalues[-1])

    def loss(self, steps, learning_rate: float) -> Float[np.ndarray, " steps"]:
        """The predicted loss at every step of the sequence."""
        factors = (1 - learning_rate * self.eigenvalues) ** 2
        return factors[None, :] ** np.asarray(steps, np.float64)[:, None] @ self.weights

    def rate(self, learning_rate: float) -> float:
        """The factor per step that the loss tends to: max_k (1 - ημ_k)²."""
        return float(np.max((1 - learning_rate * self.eigenvalues) ** 2))


def predict(
    kernel: Float[np.ndarray, "n n"], error: Float[np.ndarray, "n ..."]
) -> TangentPrediction:
    """From the tangent kernel and r_0 = ŷ - y, raveled alike.

    Outputs of their own axis share the kernel and have their losses added up.
    """
    eigenvalues, vectors = scipy.linalg.eigh(kernel)
    parts = (vectors.T @ error).reshape(len(kernel), -1)
    return TangentPrediction(eigenvalues, np.sum(np.square(parts), axis=1) / 2)
