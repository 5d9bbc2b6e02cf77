"""The cell of a picture that fits a measurement and a learned prior."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from deqzoo.activation.contract import Activation
from deqzoo.activation.sector import sector
from deqzoo.nn.convolve import convolve
from deqzoo.nn.draws import normal
from deqzoo.nn.guarantees.nonexpansive_prior import NonexpansivePrior
from deqzoo.nn.nonlinearity import Nonlinearity
from deqzoo.settings import In, fitted

_Channels = Annotated[int, In("[1, inf)")]
_Taps = Annotated[int, In("[1, inf)")]
_Pull = Annotated[float, In("(0, inf)")]
_Gain = Annotated[float, In("(0, 1)")]
_SCALE = 10.0  # of pictures in [0, 1] differences of a tenth matter


class Measured(NamedTuple):
    """What is known of a picture.

    Attributes:
        backward: Aᵀy, y the measurement.
        mask: where it was measured: entries in [-1, 1].
        guess: what the picture is pulled to.
    """

    backward: Float[Array, "batch height width pictures"]
    mask: Float[Array, "batch height width pictures"]
    guess: Float[Array, "batch height width pictures"]


class RestoringCell(nnx.Module):
    """z -> D(z - η(Aᵀ(Az - y) + τ(z - g))), D(z) = z - Kᵀψ(β(K * z) + b)/β, Az = mask (blur * z).

    With a = Σ|blur| >= ‖A‖₂ the step of size η = 2/(a² + 2τ) contracts by a²/(a² + 2τ), because
    AᵀA + τ lies between τ and a² + τ. ψ is the sector of φ, of slopes in [0, 1], and β > 0 leaves
    them, so that D moves no two pictures apart where ‖K‖₂² <= 2: the equilibrium is unique for
    every measurement. With a prior of differences and φ = hard_tanh it is a smoothed total
    variation's.

    Args:
        pictures: channels of z.
        activation: φ, not affine, with its slope bounds, which hold while a learnable one is
            learned.
        blur: what A convolves with, (height, width), odd; None for nothing.
        channels: of K.
        taps: of K along height and width, odd.
        pull: τ > 0.
        gain: ‖K‖₂²/2 at initialisation, in (0, 1).
        rngs: the stream ``params`` draws K.
        dtype: of K, b and the logarithm of β.

    Raises:
        ValueError: φ is affine, taps are even, or a number is out of range.

    References:
        Gilton, Ongie and Willett, "Deep Equilibrium Architectures for Inverse Problems in Imaging",
        arXiv 2102.07944, have general D; D of a sector: deqzoo.

    Example:
        >>> import jax.numpy as jnp, activations
        >>> from flax import nnx
        >>> from deqzoo.nn import DEQ, RestoringCell
        >>> cell = RestoringCell(1, activations.get("tanh"), rngs=nnx.Rngs(0))
        >>> y, mask = jnp.ones((2, 6, 5, 1)), jnp.ones((2, 6, 5, 1))
        >>> DEQ(cell)(cell.measured(y, mask, y)).value.shape
        (2, 6, 5, 1)
    """

    def __init__(
        self,
        pictures: int,
        activation: Activation,
        *,
        blur: Float[np.ndarray, "rows columns"] | None = None,
        channels: int = 16,
        taps: int = 3,
        pull: float = 0.05,
        gain: float = 0.5,
        rngs: nnx.Rngs,
        dtype: DTypeLike = jnp.float32,
    ):
        sector(activation)  # refuses what has none
        channels, taps = fitted("channels", channels, _Channels), fitted("taps", taps, _Taps)
        blur = np.ones((1, 1)) if blur is None else np.asarray(blur, np.float64)
        if not all(side % 2 for side in (taps, *blur.shape)):
            raise ValueError(
                f"taps and the sides of a blur must be odd, got {taps} and {blur.shape}: pad with 0"
            )
        self.activation, self.phi = activation, Nonlinearity(activation, channels, dtype)
        self.blur = tuple(map(tuple, blur.tolist()))  # a constant, and no array to be trained
        self.pull = fitted("pull", pull, _Pull)
        draw = normal(rngs, (taps, taps, pictures, channels), 1.0, dtype)
        gain = fitted("gain", gain, _Gain)
        self.K = nnx.Param(self.guarantee().project({"K": draw}, gain)["K"])
        self.b = nnx.Param(jnp.zeros(channels, dtype))
        self.log_beta = nnx.Param(jnp.full(channels, np.log(_SCALE), dtype))

    def __call__(
        self, z: Float[Array, "batch height width pictures"], x: Measured
    ) -> Float[Array, "batch height width pictures"]:
        """The step and the prior, for every example."""
        fit = self._blurred(jnp.square(x.mask) * self._blurred(z), back=True) - x.backward
        return self.prior(z - self._size * (fit + self.pull * (z - x.guess)))

    def prior(
        self, z: Float[Array, "batch height width pictures"]
    ) -> Float[Array, "batch height width pictures"]:
        """D(z)."""
        low, high = self.activation.slope
        K, beta = self.K[...], jnp.exp(self.log_beta[...])[None, None, None]
        y = beta * convolve(z, K) + self.b[...][None, None, None]
        psi = (self.phi(y) - low * y) / (high - low)
        return z - convolve(psi / beta, _transposed(K))

    def measured(
        self,
        y: Float[Array, "batch height width pictures"],
        mask: Float[Array, "batch height width pictures"],
        guess: Float[Array, "batch height width pictures"],
    ) -> Measured:
        """What ``__call__`` takes of a measurement; a mask is clipped to [-1, 1]."""
        mask = jnp.clip(mask, -1, 1)
        return Measured(self._blurred(mask * y, back=True), mask, guess)

    def start(self, x: Measured) -> Float[Array, "batch height width pictures"]:
        """The guess."""
        return x.guess

    def guarantee(self, *place: str) -> NonexpansivePrior:
        """‖K‖₂² < 2 keeps the equilibrium unique.

        Args:
            *place: path of this cell in the model.

        Raises:
            ActivationError: φ declares what is not so.
        """
        return NonexpansivePrior(self.activation, (*place, "K"), 1 - self._size * self.pull)

    @property
    def _size(self) -> float:
        return 2 / (np.abs(np.array(self.blur)).sum() ** 2 + 2 * self.pull).item()

    def _blurred(self, z: Array, back: bool = False) -> Array:
        if self.blur == ((1.0,),):
            return z
        kernel = jnp.asarray(np.einsum("hw,io->hwio", self.blur, np.eye(z.shape[3])), z.dtype)
        return convolve(z, _transposed(kernel) if back else kernel)


def _transposed(kernel: Float[Array, "rows columns i o"]) -> Float[Array, "rows columns o i"]:
    """Of a convolution with zero padding and an odd kernel."""
    return jnp.swapaxes(kernel[::-1, ::-1], 2, 3)
