"""L‖W‖₂ < 1: a recurrent equilibrium of a whole sequence, whatever it carries on."""

from __future__ import annotations

from dataclasses import dataclass

from deqzoo.nn.guarantees.contraction import Contraction

__all__ = ["SequenceContraction"]


@dataclass(frozen=True)
class SequenceContraction(Contraction):
    """|f(z) - f(z')|_a <= L‖W‖₂/(1 - a L‖V‖₂) |z - z'|_a with |z|_a = max_t a^t ‖z_t‖₂.

    f(z)_t = φ(Wz_t + s_t ⊙ Vf(z)_{t-1} + u_t) with |s_t| <= 1. With d_t = ‖z_t - z_t'‖₂ and e_t of
    the images, e_t <= L‖W‖₂ d_t + L‖V‖₂ e_{t-1}; times a^t this is the claim for a < 1/(L‖V‖₂), and
    while L‖W‖₂ < 1 some a > 0 makes the factor smaller than 1, whatever V and however long the
    sequence is. How many steps are needed does not follow: a^t is small for late t.

    Args:
        activation: φ, whose declared L = sup |φ'| is measured unless it is one of ours.
        path: of W in the parameters of the model.

    Raises:
        ActivationError: φ declares what is not so.

    Example:
        >>> import jax.numpy as jnp, activations
        >>> from deqzoo.nn.guarantees.sequence_contraction import SequenceContraction
        >>> guarantee = SequenceContraction(activations.get("tanh"), ("W",))
        >>> bool(guarantee.bound({"W": 0.9 * jnp.eye(3)}) < 1)
        True
    """

    theorem = "the equilibrium exists and is unique for every sequence of every length"
    source = "Banach's fixed-point theorem in max_t a^t ‖z_t‖₂ (deqzoo)"
    euclidean = False

    @property
    def hypotheses(self) -> tuple[str, ...]:
        """L, the bound of W, and that of the gate."""
        return (*super().hypotheses, "|s_t| <= 1, as the gate is a tanh of the input")

    def rate(self, bound):
        """None: the norm depends on V."""
        del bound

    def nearness(self, parameters):
        """Nothing is said, likewise."""
        del parameters
