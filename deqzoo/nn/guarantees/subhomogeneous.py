"""Nonnegative weights and a subhomogeneous activation: a contraction in Thomson's metric."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from deqzoo.activation.contract import Activation
from deqzoo.activation.digits import at_least, at_most
from deqzoo.activation.measured import require_true_bounds
from deqzoo.activation.subhomogeneity import subhomogeneity
from deqzoo.core import paths
from deqzoo.core.paths import Path
from deqzoo.nn.guarantee import Guarantee

__all__ = ["Subhomogeneous"]


@dataclass(frozen=True)
class Subhomogeneous(Guarantee):
    """max_i |log f_i(z) - log f_i(z')| <= μ max_i |log z_i - log z_i'|, f(z) = φ(Wz + u) + c.

    For W, u >= 0 and z > 0: with y = Wz + u the derivative of log f_i by log z_j is
    φ'(y_i) W_ij z_j/(φ(y_i) + c), and Σ_j W_ij z_j <= y_i, so that its rows sum to at most
    μ = sup_{y >= 0} y φ'(y)/(φ(y) + c). The positive vectors are complete in that metric,
    Thomson's.

    Args:
        activation: φ, whose declared saturation is measured unless it is one of ours.
        shift: c, with φ(0) + c > 0.
        path: of the cell in the parameters of the model.

    Raises:
        ActivationError: φ declares what is not so.
        ValueError: φ declares no saturation, or c is too small.

    Example:
        >>> import activations
        >>> from deqzoo.nn.guarantees.subhomogeneous import Subhomogeneous
        >>> guarantee = Subhomogeneous(activations.get("tanh"), 1.01, ())
        >>> guarantee.by_construction, round(guarantee.rate(0.0), 3)
        (True, 0.277)
    """

    activation: Activation
    shift: float
    path: Path

    quantity = "sup xφ'/(φ + c)"
    claim = "well posed"
    theorem = (
        "a positive equilibrium exists and is unique for every input, whatever the weights, and "
        "every step comes closer to it in Thomson's metric"
    )
    source = (
        "Sittoni and Tudisco, Subhomogeneous Deep Equilibrium Models, arXiv 2403.00720; the bound "
        "of the activation: deqzoo"
    )

    def __post_init__(self):
        require_true_bounds(self.activation)
        subhomogeneity(self.activation, self.shift)

    @property
    def hypotheses(self) -> tuple[str, ...]:
        """The activation and the signs."""
        value = subhomogeneity(self.activation, self.shift)
        return (
            f"xφ'(x)/(φ(x) + {self.shift:g}) <= {at_least(value)} for x >= 0, as "
            f"{self.activation} does not fall, is concave and at most "
            f"{at_most(self.activation.saturation or 0.0)} there",
            f"{'/'.join((*self.path, 'W'))} and the injection are not negative: squares and "
            "softplus of what is learned",
        )

    def bound(self, parameters) -> Float[Array, ""]:
        """μ; NaN where a parameter of the cell is not finite."""
        leaves = jax.tree.leaves(paths.at(parameters, self.path))
        finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in leaves]))
        value = subhomogeneity(self.activation, self.shift)
        # Its rounding to the dtype must not lose the safe side.
        safe = value * (1 + float(jnp.finfo(leaves[0].dtype).eps))
        return jnp.where(finite, jnp.asarray(safe, leaves[0].dtype), jnp.nan)

    def sharp_bound(self, parameters) -> float:
        """μ itself."""
        value = subhomogeneity(self.activation, self.shift)
        return value if bool(jnp.isfinite(self.bound(parameters))) else float("nan")

    def rate(self, bound):
        """μ, in Thomson's metric."""
        del bound
        return subhomogeneity(self.activation, self.shift)
