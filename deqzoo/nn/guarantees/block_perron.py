"""L ρ(N) < 1: a cell of several states contracts by the norms N of its convolutions."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from deqzoo.activation.contract import Activation
from deqzoo.activation.digits import at_least
from deqzoo.activation.measured import require_true_bounds
from deqzoo.core import convolution_norm, paths, row_sums
from deqzoo.core.paths import Path
from deqzoo.nn.guarantee import Guarantee, Limit, Parameters

__all__ = ["BlockPerron", "Link"]


@dataclass(frozen=True)
class Link:
    """What a state gives to another: a convolution, and how often a pixel of it is repeated.

    Attributes:
        to: i.
        source: j.
        path: of the kernel in the parameters.
        stride: of the convolution.
        repeats: along a side; each of them makes the norm ``repeats`` times larger at most.
    """

    to: int
    source: int
    path: Path
    stride: int = 1
    repeats: int = 1

    @property
    def strides(self) -> tuple[int, int]:
        """Along both sides."""
        return self.stride, self.stride


@dataclass(frozen=True)
class BlockPerron(Guarantee):
    """|f(z) - f(z')|_v <= L max_i (Nv)_i/v_i |z - z'|_v, |z|_v = max_i |z_i|₂/v_i.

    f_i(z) = φ(Σ_j K_ij z_j + b_i) and N_ij >= ‖K_ij‖₂: |f_i(z) - f_i(z')|₂ is at most
    L Σ_j N_ij |z_j - z_j'|₂ <= L (Nv)_i |z - z'|_v. Every v > 0 proves the bound, and the Perron
    vector of N makes it L ρ(N). The nearest kernels within a limit are not cheap to find: both
    ``project`` and ``rescale`` scale all kernels into a state whose sum is too large by the present
    v, then all kernels by what is left.

    Args:
        activation: φ, whose declared L = sup |φ'| is measured unless it is one of ours.
        links: the K_ij that are not zero, at most one for every i and j.

    Raises:
        ActivationError: φ declares what is not so.

    References:
        Perron and Frobenius; Collatz, "Einschließungssatz für die charakteristischen Zahlen von
        Matrizen", Mathematische Zeitschrift 48 (1942), has the bound for any v.

    Example:
        >>> import jax.numpy as jnp, activations
        >>> from deqzoo.nn.guarantees.block_perron import BlockPerron, Link
        >>> links = (Link(0, 1, ("up",)), Link(1, 0, ("down",), stride=2))
        >>> guarantee = BlockPerron(activations.get("tanh"), links)
        >>> parameters = {"up": jnp.full((1, 1, 1, 1), 9.0), "down": jnp.full((1, 1, 1, 1), 0.01)}
        >>> 0.3 <= float(guarantee.bound(parameters)) < 0.31
        True
    """

    activation: Activation
    links: tuple[Link, ...]

    quantity = "L ρ(‖K‖₂)"
    claim = "well posed"
    theorem = "the equilibrium exists and is unique for every image of every size"
    source = (
        "Banach's fixed-point theorem in a norm of Perron and Frobenius (the bounds ‖K_ij‖₂ of all "
        "blocks: deqzoo)"
    )

    def __post_init__(self):
        require_true_bounds(self.activation)

    @property
    def states(self) -> int:
        """How many there are."""
        return _states(self.links)

    @property
    def hypotheses(self) -> tuple[str, ...]:
        """L and the bounds of the kernels."""
        lipschitz = at_least(self.activation.lipschitz)
        return (
            f"|φ'| <= L = {lipschitz} for {self.activation}",
            f"ρ(N) < 1/L for the norms N_ij >= ‖K_ij‖₂ of {len(self.links)} convolutions between "
            f"{self.states} states",
        )

    def norms(self, parameters: Parameters) -> Float[Array, "states states"]:
        """N by cheap upper bounds."""
        return block_norms(self.links, parameters)

    def bound(self, parameters) -> Float[Array, ""]:
        """L times the largest (Nv)_i/v_i; NaN where a kernel is not finite."""
        return self._of(self.norms(parameters))

    def _of(self, norms: Float[Array, "states states"]) -> Float[Array, ""]:
        found = row_sums.largest_sum(norms, row_sums.perron_vector(norms))
        return found * (self.activation.lipschitz * (1 + 8 * float(jnp.finfo(found.dtype).eps)))

    def sharp_bound(self, parameters) -> float:
        """The same by singular values in float64, with the better one of two v."""
        norms = np.zeros((self.states, self.states))
        for link in self.links:
            kernel = np.asarray(paths.at(parameters, link.path))
            norms[link.to, link.source] = link.repeats * convolution_norm.proved_norm(
                kernel, link.strides
            )
        candidates = (np.asarray(row_sums.perron_vector(jnp.asarray(norms)), np.float64),)
        if np.all(np.isfinite(norms)):
            candidates += (_perron(norms),)
        found = min(float(np.max(norms @ v / v)) for v in candidates)
        return self.activation.lipschitz * found * (1 + 1e-12)

    def spectra(self, parameters):
        """L times (Nv)_i/v_i of every state."""
        norms = np.asarray(self.norms(parameters), np.float64)
        v = np.asarray(row_sums.perron_vector(jnp.asarray(norms)), np.float64)
        return {"states": self.activation.lipschitz * np.sort(norms @ v / v)[::-1]}

    def project(self, parameters: Parameters, limit: Limit) -> Parameters:
        """Kernels into a state scaled until its sum meets limit/L, then all of them."""
        norms = self.norms(parameters)
        low = limit / self.activation.lipschitz
        within = row_sums.shrink_rows(norms, row_sums.perron_vector(norms), low)
        # By the v of what has become of N the sums are other ones.
        bound = self._of(within)
        eps = float(jnp.finfo(norms.dtype).eps)
        aim = limit * (1 - 64 * eps)
        left = jnp.where(bound > aim, aim / jnp.where(bound > 0, bound, 1), 1)
        for link in self.links:
            place = link.to, link.source
            factor = left * within[place] / jnp.where(norms[place] > 0, norms[place], 1)
            factor = jnp.where(norms[place] > 0, factor, 1)
            change = lambda K, factor=factor: (K * factor.astype(norms.dtype)).astype(K.dtype)  # noqa: E731
            parameters = paths.changed(parameters, link.path, change)
        return parameters

    def rate(self, bound):
        """The bound itself, below 1, in the norm of v."""
        return bound if bound < 1 else None


def block_norms(links: tuple[Link, ...], parameters: Parameters) -> Float[Array, "states states"]:
    """N by cheap upper bounds; 0 where there is no link."""
    bounds = [
        convolution_norm.norm_upper_bound(paths.at(parameters, link.path), link.strides)
        * link.repeats
        for link in links
    ]
    places = tuple(np.array([(link.to, link.source) for link in links]).T)
    states = _states(links)
    none = jnp.zeros((states, states), jnp.result_type(*bounds))
    return none.at[places].set(jnp.stack(bounds))


def _states(links: tuple[Link, ...]) -> int:
    return 1 + max(max(link.to, link.source) for link in links)


def _perron(norms: Float[np.ndarray, "n n"]) -> Float[np.ndarray, " n"]:
    """A v > 0 near the Perron vector, closer than one of a fixed number of steps."""
    v = np.ones(len(norms))
    for _ in range(1000):
        image = norms @ v
        v = v + image / max(float(np.max(image)), 1e-300)
        v = np.maximum(v / np.max(v), 1e-6)
    return v
