"""An equilibrium is the one minimiser of a strongly convex function of the state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from deqzoo.activation.contract import Activation
from deqzoo.activation.digits import at_least, at_most
from deqzoo.activation.measured import require_true_bounds
from deqzoo.core import paths, spectral
from deqzoo.core.paths import Path
from deqzoo.nn.guarantee import Guarantee
from deqzoo.nn.guarantees.monotone import of_monotone
from deqzoo.nn.nearness import Nearness, nearness

__all__ = ["Convex"]


@dataclass(frozen=True)
class Convex(Guarantee):
    """Φ(z) = |z|²/2 - s 1ᵀP(Wz + u), P' = φ, has Hessians I - s Wᵀ diag(φ') W > 0.

    With (a, b) the slopes of sφ and w = ‖W‖₂ the Hessians lie between 1 - max(b, 0) w² and
    1 + max(-a, 0) w². An averaged step (1 - α)z + α s Wᵀφ(Wz + u) = z - α∇Φ(z) contracts where the
    largest one is below 2/α, and so does a composition of such steps.

    Args:
        activation: φ, whose declared slopes are measured unless it is one of ours.
        sign: s, 1 or -1.
        path: of W, (hidden, width) or several (layers, hidden, width), in the parameters.
        averaging: α in (0, 1] where steps are averaged; None where only Φ has to be convex.
        slopes: bounds of φ'; by default its least and its largest value.

    Raises:
        ActivationError: φ declares what is not so.
        ValueError: s is neither 1 nor -1.

    Example:
        >>> import jax.numpy as jnp, activations
        >>> from deqzoo.nn.guarantees.convex import Convex
        >>> guarantee = Convex(activations.get("tanh"), 1, ("W",))
        >>> parameters = {"W": 3.0 * jnp.eye(2)}
        >>> float(guarantee.bound(parameters)) < 1
        False
        >>> Convex(activations.get("tanh"), -1, ("W",)).by_construction
        True
    """

    activation: Activation
    sign: int
    path: Path
    averaging: float | None = None
    slopes: tuple[float, float] | None = None

    claim = "well posed"
    source = (
        "Xie et al., Optimization Induced Equilibrium Networks, arXiv 2105.13228, has s = 1 and "
        "φ that do not fall; the other cases: deqzoo"
    )

    def __post_init__(self):
        if self.sign not in (1, -1):
            raise ValueError(f"sign must be 1 or -1, got {self.sign!r}")
        require_true_bounds(self.activation)

    @property
    def quantity(self) -> str:
        """A slope times ‖W‖₂²."""
        return "‖W‖₂² sup sφ'" if self.averaging is None else "‖W‖₂² max(sup sφ', -q inf sφ')"

    @property
    def theorem(self) -> str:
        """What is minimised."""
        if self.averaging is None:
            return "the equilibrium is the one minimiser of a strongly convex function"
        return "the equilibrium exists and is unique for every input: every layer contracts"

    @property
    def _slopes(self) -> tuple[float, float]:
        low, high = self._unsigned
        return (low, high) if self.sign > 0 else (-high, -low)

    @property
    def _unsigned(self) -> tuple[float, float]:
        return self.slopes or self.activation.slope

    @property
    def _factor(self) -> float:
        """What ‖W‖₂² times it must be below 1."""
        low, high = self._slopes
        factor = max(high, 0.0) + 0.0  # which makes -0 a 0
        if self.averaging is not None:
            factor = max(factor, -low * self.averaging / (2 - self.averaging))
        return factor

    @property
    def hypotheses(self) -> tuple[str, ...]:
        """The slopes of sφ and the bound of W."""
        low, high = self._slopes
        slopes = f"{at_most(low)} <= sφ' <= {at_least(high)} for {self.activation}, s = {self.sign}"
        if self.by_construction:
            return (slopes, f"nothing of {'/'.join(self.path)}: Φ is convex whatever W")
        bounds = f"{self.quantity} < 1 for {'/'.join(self.path)}"
        if self.averaging is not None:
            bounds += f", q = α/(2 - α), α = {self.averaging:g}"
        return slopes, bounds

    @property
    def by_construction(self) -> bool:
        """Whether sφ falls, and no step is averaged."""
        return self._factor == 0

    def bound(self, parameters) -> Float[Array, ""]:
        """The factor times a cheap upper bound of ‖W‖₂²; NaN where W is not finite."""
        norms = [spectral.norm_upper_bound(W) for W in _layers(paths.at(parameters, self.path))]
        largest = jnp.max(jnp.stack(norms))
        return largest * largest * (self._factor * (1 + 8 * float(jnp.finfo(largest.dtype).eps)))

    def sharp_bound(self, parameters) -> float:
        """The factor times a bound of ‖W‖₂² that Cholesky factorisations in float64 prove."""
        norms = [
            spectral.proved_norm(np.asarray(W)) for W in _layers(paths.at(parameters, self.path))
        ]
        return self._factor * float(np.max(norms)) ** 2 * (1 + 8 * float(np.finfo(float).eps))

    def spectra(self, parameters):
        """The factor times the squared singular values of W."""
        layers = enumerate(_layers(paths.at(parameters, self.path)))
        singular = {
            k: np.linalg.svd(np.asarray(W, np.float64), compute_uv=False) for k, W in layers
        }
        name = "/".join(self.path)
        return {f"{name} {k}": self._factor * values**2 for k, values in singular.items()}

    def project(self, parameters, limit):
        """The singular values of W above √(limit/factor) are clipped."""
        return self._changed(parameters, limit, spectral.project_norm)

    def rescale(self, parameters, limit):
        """W times the number that brings its cheap bound to √(limit/factor)."""
        return self._changed(parameters, limit, spectral.shrink_to)

    def _changed(self, parameters, limit, change):
        if self.by_construction:
            return parameters
        largest = jnp.sqrt(limit / self._factor)

        def within(W):
            aim = largest * (1 - 8 * float(jnp.finfo(W.dtype).eps))
            layers = [change(layer, aim) for layer in _layers(W)]
            return layers[0] if W.ndim == 2 else jnp.stack(layers)

        return paths.changed(parameters, self.path, within)

    def rate(self, bound):
        """1 - α(1 - bound) of averaged steps; none follows without them."""
        if self.averaging is None or not bound < 1:
            return None
        return 1 - self.averaging * (1 - bound)

    def nearness(self, parameters):
        """Φ is (1 - bound)-strongly convex; averaged steps contract by ``rate``."""
        bound, W = self.sharp_bound(parameters), paths.at(parameters, self.path)
        if not bound < 1:
            return None
        norms = [spectral.proved_norm(np.asarray(layer)) for layer in _layers(W)]
        stretch = self.activation.lipschitz * max(norms)
        if self.averaging is None:
            return self._of_one(norms[0], stretch, bound)
        distance = self.averaging * (1 - bound)
        moved = self.averaging * stretch * len(norms) ** 0.5
        return nearness(1 / distance, moved / distance)

    def _of_one(self, norm: float, stretch: float, bound: float) -> Nearness | None:
        """That of the symmetric monotone equation v = ψ(V(v + au/(b - a)) + u), then of z.

        The eigenvalues of V are s(b - a)p/(1 - sap), p those of WWᵀ.
        """
        low, high = self._unsigned
        s, power = self.sign, norm**2
        largest = (high - low) * power / min(1.0, 1 - s * low * power)
        margin = min(1.0, (1 - s * high * power) / (1 - s * low * power))
        found = of_monotone(self._unsigned, largest, margin)
        return found and nearness(norm * found.per_residual, stretch / (1 - bound))


def _layers(weight: Any) -> list[Any]:
    return [weight] if weight.ndim == 2 else [*weight]
