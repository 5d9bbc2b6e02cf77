"""L(‖W‖₂ + √Σ‖V_h‖₂²) < 1: attention with weights of the input contracts."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from deqzoo.activation.contract import Activation
from deqzoo.activation.digits import at_least
from deqzoo.activation.measured import require_true_bounds
from deqzoo.core import paths, spectral
from deqzoo.core.paths import Path
from deqzoo.nn.guarantee import Guarantee

__all__ = ["CausalContraction"]


@dataclass(frozen=True)
class CausalContraction(Guarantee):
    """|f(z) - f(z')| <= L(‖W‖₂ + √Σ_h‖V_h‖₂²) |z - z'| with |z| = max_t ‖z_t‖₂.

    f(z)_t = φ(Wz_t + concat_h(V_hᵀ Σ_s A_h[t, s] z_s) + u_t). The rows of A_h are convex weights
    that do not depend on z, so ‖Σ_s A_h[t, s] (z_s - z_s')‖₂ <= |z - z'|, and heads side by side
    add up in squares. The nearest parameters within a limit are not cheap to find: ``project`` cuts
    the singular values of all matrices off, those of each at the same share of its norm;
    ``rescale`` makes all of them smaller by that share.

    Args:
        activation: φ, whose declared L = sup |φ'| is measured unless it is one of ours.
        weight: path of W in the parameters of the model.
        values: path of V, (heads, width, width/heads).
        length: of the longest sequence, whose rounded weights sum to more than 1 at most.

    Raises:
        ActivationError: φ declares what is not so.

    Example:
        >>> import jax.numpy as jnp, activations
        >>> from deqzoo.nn.guarantees.causal_contraction import CausalContraction
        >>> guarantee = CausalContraction(activations.get("tanh"), ("W",), ("V",), 8)
        >>> V = jnp.stack([jnp.eye(2)[:, :1], jnp.eye(2)[:, :1]])
        >>> 0.924 < float(guarantee.bound({"W": 0.5 * jnp.eye(2), "V": 0.3 * V})) < 0.93
        True
    """

    activation: Activation
    weight: Path
    values: Path
    length: int

    quantity = "L(‖W‖₂ + √Σ‖V_h‖₂²)"
    claim = "well posed"
    theorem = "the equilibrium exists and is unique for every sequence"
    source = "Banach's fixed-point theorem in max_t ‖z_t‖₂ (the bound of attention: deqzoo)"

    def __post_init__(self):
        require_true_bounds(self.activation)

    @property
    def hypotheses(self) -> tuple[str, ...]:
        """L, the bound of the matrices, and that of attention."""
        lipschitz = at_least(self.activation.lipschitz)
        return (
            f"|φ'| <= L = {lipschitz} for {self.activation}",
            f"‖W‖₂ + √Σ‖V_h‖₂² < 1/L for {'/'.join(self.weight)} and {'/'.join(self.values)}",
            "weights of attention are those of the input: convex, and not of the state",
        )

    def bound(self, parameters) -> Float[Array, ""]:
        """By cheap upper bounds of all norms; NaN where an entry is not finite."""
        W, V = self._norms(parameters)
        found = W + jnp.sqrt(jnp.sum(jnp.square(V)))
        return found * (self.activation.lipschitz * self._rounded(found.dtype))

    def sharp_bound(self, parameters) -> float:
        """By bounds of all norms that are proved in float64."""
        V = np.asarray(paths.at(parameters, self.values))
        heads = np.array([spectral.proved_norm(head) for head in V])
        W = spectral.proved_norm(np.asarray(paths.at(parameters, self.weight)))
        rounded = 1 + (self.length + 8) * float(jnp.finfo(V.dtype).eps)
        return self.activation.lipschitz * (W + float(np.linalg.norm(heads))) * rounded

    def project(self, parameters, limit):
        """The singular values of W and of every V_h are cut off."""
        share, (W, V) = self._share(parameters, limit), self._norms(parameters)
        cut = lambda matrix: spectral.project_norm(matrix, share * W)  # noqa: E731
        parameters = paths.changed(parameters, self.weight, cut)
        heads = lambda each: jax.vmap(spectral.project_norm)(each, share * V)  # noqa: E731
        return paths.changed(parameters, self.values, heads)

    def rescale(self, parameters, limit):
        """All matrices times one number."""
        share = self._share(parameters, limit)
        for path in (self.weight, self.values):
            change = lambda matrix: (matrix * share).astype(matrix.dtype)  # noqa: E731
            parameters = paths.changed(parameters, path, change)
        return parameters

    def rate(self, bound):
        """The bound itself, below 1, in max_t ‖z_t‖₂."""
        return bound if bound < 1 else None

    def _norms(self, parameters) -> tuple[Float[Array, ""], Float[Array, " heads"]]:
        W, V = (paths.at(parameters, path) for path in (self.weight, self.values))
        return spectral.norm_upper_bound(W), jax.vmap(spectral.norm_upper_bound)(V)

    def _share(self, parameters, limit) -> Float[Array, ""]:
        bound = self.bound(parameters)
        aim = limit * (1 - 8 * float(jnp.finfo(bound.dtype).eps))
        return jnp.where(bound > aim, aim / jnp.where(bound > 0, bound, 1), 1)

    def _rounded(self, dtype) -> float:
        return 1 + (self.length + 8) * float(jnp.finfo(dtype).eps)
