"""L‖W‖₂ < 1: the cell z -> φ(Wz + b) contracts."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from deqzoo.activation.contract import Activation
from deqzoo.activation.digits import at_least, at_most
from deqzoo.activation.measured import require_true_bounds
from deqzoo.core import paths, spectral
from deqzoo.core.paths import Path
from deqzoo.nn.guarantee import Guarantee
from deqzoo.nn.nearness import nearness

__all__ = ["Contraction"]

_LARGEST = 4096


@dataclass(frozen=True)
class Contraction(Guarantee):
    """|φ(Wz + b) - φ(Wz' + b)| <= L‖W‖₂ |z - z'|.

    Args:
        activation: φ, whose declared L = sup |φ'| is measured unless it is one of ours.
        path: of W in the parameters of the model.

    Raises:
        ActivationError: φ declares what is not so.

    References:
        Banach's fixed-point theorem; Ling et al., "Global Convergence of Over-parameterized Deep
        Equilibrium Models", arXiv 2205.13814, Lemma 1.

    Example:
        >>> import jax.numpy as jnp, activations
        >>> from deqzoo.nn.guarantees.contraction import Contraction
        >>> guarantee = Contraction(activations.get("tanh"), ("W",))
        >>> parameters = {"W": 2.0 * jnp.eye(3)}
        >>> guarantee.bound(parameters) < 1
        Array(False, dtype=bool)
        >>> guarantee.bound(guarantee.rescale(parameters, 0.95)) < 1
        Array(True, dtype=bool)
    """

    activation: Activation
    path: Path

    quantity = "L‖W‖₂"
    claim = "well posed"
    theorem = "the equilibrium exists and is unique for every input"
    euclidean = True
    source = (
        "Banach's fixed-point theorem; Ling et al., Global Convergence of Over-parameterized Deep "
        "Equilibrium Models, arXiv 2205.13814, Lemma 1"
    )

    def __post_init__(self):
        require_true_bounds(self.activation)

    @property
    def hypotheses(self) -> tuple[str, ...]:
        """L and the bound of W."""
        lipschitz = at_least(self.activation.lipschitz)
        return (
            f"|φ'| <= L = {lipschitz} for {self.activation}",
            f"‖W‖₂ < 1/L = {at_most(self.activation.max_weight_norm())} for {'/'.join(self.path)}",
        )

    def bound(self, parameters) -> Float[Array, ""]:
        """L times a cheap upper bound of ‖W‖₂: at most 2.2 % too large at width 256."""
        norm = spectral.norm_upper_bound(paths.at(parameters, self.path))
        return norm * (self.activation.lipschitz * (1 + 4 * float(jnp.finfo(norm.dtype).eps)))

    def sharp_bound(self, parameters) -> float:
        """L times a bound of ‖W‖₂ that a Cholesky factorisation in float64 proves."""
        norm = spectral.proved_norm(np.asarray(paths.at(parameters, self.path)))
        return self.activation.lipschitz * norm * (1 + 4 * float(np.finfo(float).eps))

    def spectra(self, parameters):
        """L times the singular values of W, up to 4096 rows."""
        weight = np.asarray(paths.at(parameters, self.path), np.float64)
        if max(weight.shape) > _LARGEST:
            return {}
        values = np.linalg.svd(weight, compute_uv=False)
        return {"/".join(self.path): self.activation.lipschitz * values}

    def project(self, parameters, limit):
        """The singular values of W above limit/L are clipped."""
        change = lambda W: spectral.project_norm(W, limit / self.activation.lipschitz)  # noqa: E731
        return paths.changed(parameters, self.path, change)

    def rescale(self, parameters, limit):
        """W times the number that brings its cheap bound to limit/L."""
        change = lambda W: spectral.shrink_to(W, limit / self.activation.lipschitz)  # noqa: E731
        return paths.changed(parameters, self.path, change)

    def rate(self, bound):
        """The bound itself, below 1."""
        return bound if bound < 1 else None

    def nearness(self, parameters):
        """Banach's: 1/(1 - bound), and L/(1 - bound)."""
        bound = self.sharp_bound(parameters)
        if not bound < 1:
            return None
        return nearness(1 / (1 - bound), self.activation.lipschitz / (1 - bound))
