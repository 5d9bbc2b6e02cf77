"""An explicit network of one or two layers whose kernel a wide DEQ cannot be told from."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from deqzoo.theory.equivalent import Equivalent
from deqzoo.theory.error import TheoryError
from deqzoo.theory.inputs import as_inputs

_NOTHING = 1e-12  # share of the kernel that α_3 counts as zero


@dataclass(frozen=True)
class Cubic:
    """σ(x) = c_0 + c_1 x + c_2 x² + c_3 x³.

    Attributes:
        coefficients: c_0 ... c_3.
    """

    coefficients: tuple[float, float, float, float]

    @classmethod
    def from_hermite(cls, variance: float, b1: float, b2: float, b3: float) -> Cubic:
        """σ(√v ξ) = b_1 h_1(ξ) + b_2 h_2(ξ) + b_3 h_3(ξ)."""
        scale = math.sqrt(variance)
        cubic, square = b3 / (math.sqrt(6) * scale**3), b2 / (math.sqrt(2) * variance)
        return cls((-square * variance, b1 / scale - 3 * cubic * variance, square, cubic))

    def __call__(self, x: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
        """σ(x)."""
        return np.polynomial.polynomial.polyval(x, self.coefficients)

    def dual(self, c, q1, q2) -> Float[np.ndarray, "*shape"]:
        """E σ(u)σ(v), (u, v) ~ N(0, [[q1, c], [c, q2]])."""
        c0, c1, c2, c3 = self.coefficients
        means = (c0 + c2 * q1) * (c0 + c2 * q2)
        return (
            means
            + (c1 + 3 * c3 * q1) * (c1 + 3 * c3 * q2) * c
            + 2 * (c2 * c) ** 2
            + (6 * c3**2 * c**3)
        )


@dataclass(frozen=True)
class ExplicitNet:
    """z_l = σ_l(W_l z_(l-1)), z_0 = x, W_l with entries N(0, 1/(size of z_(l-1))).

    Attributes:
        layers: σ_1 ... σ_L.
    """

    layers: tuple[Cubic, ...]

    def gram(self, x) -> Float[np.ndarray, "n n"]:
        """The limit of z_L·z_L'/m as the widths m grow, in closed form."""
        inputs = as_inputs(x)
        K = inputs.products(inputs)
        np.fill_diagonal(K, inputs.squares)
        for layer in self.layers:
            q = np.diag(K)
            K = layer.dual(K, q[:, None], q[None])
        return K

    def features(self, x, width: int, seed: int = 0) -> Float[np.ndarray, "n m"]:
        """z_L of a network drawn with this width."""
        rng, z = np.random.default_rng(seed), as_inputs(x).rows
        for layer in self.layers:
            W = rng.standard_normal((width, z.shape[1])) / math.sqrt(z.shape[1])
            z = layer(z @ W.T)
        return z


def matching_net(of: Equivalent) -> ExplicitNet:
    """The explicit network whose Gram matrix has the same equivalent, (γ, α_1, α_2, α_3) and all.

    One hidden layer always has α_3 = 2α_2. Where α_2 = α_3 = 0, as for odd φ, one is enough:
    σ = b_1 h_1 + b_3 h_3 with b_1² = α_1 t, b_3² = γ - b_1². Else a first layer h_1 + y h_3 with
    1 + √6 y + 3y² = √(2α_2/α_3), of variance v = t(1 + y²), bends the norms as the DEQ does, and a
    second has b_1² = α_1 v, b_2² = α_3 v², b_3² = γ - b_1² - b_2², b_3 < 0.

    Args:
        of: that of a DEQ's Gram matrix.

    Raises:
        TheoryError: two layers of cubics cannot have these numbers.

    Example:
        >>> import activations
        >>> from deqzoo.theory import WideLimit, centred, equivalent, matching_net
        >>> limit = centred(WideLimit(activations.get("gelu"), s_w=0.4), 1.0)
        >>> len(matching_net(equivalent(limit, 1.0)).layers)
        2

    References:
        deqzoo's own; that few explicit layers are enough for Gaussian mixtures is the message of
        Ling et al., arXiv 2402.02697.
    """
    if of.quadratic * of.square**2 <= _NOTHING * of.diagonal:
        return ExplicitNet((_last(of, of.square, 0.0),))
    bend = math.sqrt(2 * of.norms / of.quadratic)
    if bend < 0.5:
        raise TheoryError(
            f"no cubic first layer bends the norms so little: √(2α_2/α_3) = {bend:.6g} must be at "
            "least 1/2"
        )
    y = (math.sqrt(6 + 12 * (bend - 1)) - math.sqrt(6)) / 6
    first = Cubic.from_hermite(of.square, math.sqrt(of.square), 0.0, y * math.sqrt(of.square))
    variance = of.square * (1 + y * y)
    return ExplicitNet((first, _last(of, variance, math.sqrt(of.quadratic) * variance)))


def _last(of: Equivalent, variance: float, b2: float) -> Cubic:
    rest = of.diagonal - of.linear * variance - b2**2
    if rest < -_NOTHING * of.diagonal:
        raise TheoryError(
            f"no cubic last layer has these numbers: α_1 and α_3 alone make "
            f"{of.diagonal - rest:.6g} of a diagonal of {of.diagonal:.6g}"
        )
    b1 = math.sqrt(of.linear * variance)  # b_3 < 0: the norms then bend the diagonal less
    return Cubic.from_hermite(variance, b1, b2, -math.sqrt(max(rest, 0.0)))
