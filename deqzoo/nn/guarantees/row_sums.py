"""The cell z -> φ(Wz + b) contracts in a maximum norm: the rows of |W| sum to less than 1/L."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from deqzoo.activation.contract import Activation
from deqzoo.activation.digits import at_least
from deqzoo.activation.measured import require_true_bounds
from deqzoo.core import paths, row_sums
from deqzoo.core.paths import Path
from deqzoo.nn.guarantee import Guarantee
from deqzoo.nn.nearness import nearness


@dataclass(frozen=True)
class RowSums(Guarantee):
    """|φ(Wz + b) - φ(Wz' + b)|_v <= L max_i Σ_j |W_ij| v_j/v_i |z - z'|_v, |x|_v = max_i |x_i|/v_i.

    A member says which v > 0 it takes; every one proves the bound.

    Args:
        activation: φ, whose declared L = sup |φ'| is measured unless it is one of ours.
        path: of W in the parameters of the model.

    Raises:
        ActivationError: φ declares what is not so.
    """

    activation: Activation
    path: Path

    claim = "well posed"
    theorem = "the equilibrium exists and is unique for every input"
    source = (
        "Banach's fixed-point theorem; El Ghaoui, Gu, Travacca, Askari and Tsai, Implicit Deep "
        "Learning, arXiv 1908.06315"
    )
    norm: ClassVar[str]

    def __post_init__(self):
        require_true_bounds(self.activation)

    @abc.abstractmethod
    def weights(self, weight: Float[Array, "n n"]) -> Float[Array, " n"]:
        """V."""

    @property
    def hypotheses(self) -> tuple[str, ...]:
        """L and the bound of W."""
        lipschitz = at_least(self.activation.lipschitz)
        return (
            f"|φ'| <= L = {lipschitz} for {self.activation}",
            f"{self.norm} < 1/L for {'/'.join(self.path)}",
        )

    def bound(self, parameters) -> Float[Array, ""]:
        """L times the largest row sum, roundings included; NaN where W is not finite."""
        weight = paths.at(parameters, self.path)
        found = row_sums.largest_sum(weight, self.weights(weight))
        return found * (self.activation.lipschitz * (1 + 4 * float(jnp.finfo(found.dtype).eps)))

    def project(self, parameters, limit):
        """Every row to the nearest one whose weighted sum is at most limit/L."""
        return self._changed(parameters, limit, row_sums.project_rows)

    def rescale(self, parameters, limit):
        """Rows scaled down to limit/L."""
        return self._changed(parameters, limit, row_sums.shrink_rows)

    def _changed(self, parameters, limit, change):
        low = limit / self.activation.lipschitz

        def within(weight):
            changed = change(weight, self.weights(weight), low)
            # By the v of what has become of W the sums are other ones.
            largest = row_sums.largest_sum(changed, self.weights(changed))
            aim = low * (1 - 32 * float(jnp.finfo(largest.dtype).eps))
            factor = jnp.where(largest > low, aim / largest, 1)
            return (changed * factor).astype(weight.dtype)

        return paths.changed(parameters, self.path, within)

    def spectra(self, parameters):
        """L times the row sums of |W|."""
        weight = np.abs(np.asarray(paths.at(parameters, self.path), np.float64))
        v = np.asarray(self.weights(jnp.asarray(weight)), np.float64)
        sums = np.sort(weight @ v / v)[::-1]
        return {"/".join(self.path): self.activation.lipschitz * sums}

    def rate(self, bound):
        """The bound itself, below 1."""
        return bound if bound < 1 else None

    def nearness(self, parameters):
        """Banach's in the norm of v: 1/(1 - bound), and L/(1 - bound)."""
        weight = jnp.asarray(paths.at(parameters, self.path))
        v, bound = np.asarray(self.weights(weight), np.float64), float(self.bound(parameters))
        if not bound < 1:
            return None
        return nearness(1 / (1 - bound), self.activation.lipschitz / (1 - bound), v)
