"""L‖K‖₂ < 1: the cell z -> φ(Kz + u) contracts, K a Fourier multiplier."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from deqzoo.activation.contract import Activation
from deqzoo.activation.digits import at_least, at_most
from deqzoo.activation.measured import require_true_bounds
from deqzoo.core import paths, spectral
from deqzoo.core.fourier_multiplier import blocks
from deqzoo.core.paths import Path
from deqzoo.nn.guarantee import Guarantee

__all__ = ["FourierContraction"]


@dataclass(frozen=True)
class FourierContraction(Guarantee):
    """|φ(Kz + u) - φ(Kz' + u)| <= L‖K‖₂ |z - z'|, ‖K‖₂ = max(‖P‖₂, max_k ‖A_k + iB_k‖₂) exactly.

    The matrices do not depend on the grid, and neither does the bound.

    Args:
        activation: φ, whose declared L = sup |φ'| is measured unless it is one of ours.
        path: of the cell, which holds A and B, in the parameters of the model.

    Raises:
        ActivationError: φ declares what is not so.

    Example:
        >>> import jax.numpy as jnp, activations
        >>> from deqzoo.nn.guarantees.fourier_contraction import FourierContraction
        >>> guarantee = FourierContraction(activations.get("tanh"), ("cell",))
        >>> parameters = {"cell": {"A": jnp.full((6, 1, 1), 0.3), "B": jnp.full((4, 1, 1), 0.4)}}
        >>> round(guarantee.sharp_bound(parameters), 6)
        0.5
        >>> bool(guarantee.bound(guarantee.project(parameters, 0.25)) < 0.26)
        True
    """

    activation: Activation
    path: Path

    quantity = "L‖K‖₂"
    claim = "well posed"
    theorem = "the equilibrium exists and is unique for every field on every grid"
    euclidean = True
    source = "Banach's fixed-point theorem and Parseval's (deqzoo)"

    def __post_init__(self):
        require_true_bounds(self.activation)

    @property
    def hypotheses(self) -> tuple[str, ...]:
        """L and the bound of K."""
        lipschitz = at_least(self.activation.lipschitz)
        return (
            f"|φ'| <= L = {lipschitz} for {self.activation}",
            f"‖A_k + iB_k‖₂ < 1/L = {at_most(self.activation.max_weight_norm())} for every wave k "
            f"of {'/'.join(self.path)}",
        )

    def bound(self, parameters) -> Float[Array, ""]:
        """L times the largest of cheap upper bounds, about 2 % too large."""
        norm = jnp.max(jax.vmap(spectral.norm_upper_bound)(self._blocks(parameters)))
        return norm * (self.activation.lipschitz * (1 + 4 * float(jnp.finfo(norm.dtype).eps)))

    def sharp_bound(self, parameters) -> float:
        """L times the largest of the bounds that Cholesky factorisations in float64 prove."""
        matrices = np.asarray(self._blocks(parameters))
        norm = float(np.max([spectral.proved_norm(matrix) for matrix in matrices]))
        return self.activation.lipschitz * norm * (1 + 4 * float(np.finfo(float).eps))

    def spectra(self, parameters):
        """L times the singular values of all matrices."""
        matrices = np.asarray(self._blocks(parameters), np.float64)
        values = np.linalg.svd(matrices, compute_uv=False)[:, ::2]
        return {"/".join(self.path): self.activation.lipschitz * np.sort(values, None)[::-1]}

    def project(self, parameters, limit):
        """The singular values above limit/L are clipped."""
        return self._changed(parameters, limit, spectral.project_norm)

    def rescale(self, parameters, limit):
        """Every matrix by itself times the number that brings its cheap bound to limit/L."""
        return self._changed(parameters, limit, spectral.shrink_to)

    def rate(self, bound):
        """The bound itself, below 1."""
        return bound if bound < 1 else None

    def _blocks(self, parameters) -> Float[Array, "matrices twice twice"]:
        cell = paths.at(parameters, self.path)
        return blocks(jnp.asarray(cell["A"]), jnp.asarray(cell["B"]))

    def _changed(self, parameters, limit, change):
        low = limit / self.activation.lipschitz

        def within(cell):
            c = cell["A"].shape[-1]
            new = jax.vmap(lambda each: change(each, low))(self._blocks(parameters))
            return {**cell, "A": new[:, :c, :c], "B": new[2:, c:, :c]}

        return paths.changed(parameters, self.path, within)
