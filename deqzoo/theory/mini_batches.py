"""Theorem A for mini-batches: what an epoch does to the loss, in whatever order it is taken."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from jaxtyping import Float

from deqzoo.activation.digits import at_most
from deqzoo.settings import In, fitted
from deqzoo.theory import conditions
from deqzoo.theory.certificate import WELL_POSED, Descent, Theorem
from deqzoo.theory.certify import certify
from deqzoo.theory.error import TheoryError
from deqzoo.theory.network import Network
from deqzoo.theory.statements import descent_theorem
from deqzoo.theory.theorem_network import TheoremNetwork

EPOCHS = "Theorem A for mini-batches (deqzoo)"
_Batches = Annotated[int, In("[1, inf)")]


@dataclass(frozen=True)
class EpochCertificate:
    """What is proved of an epoch of mini-batch gradient descent from this start.

    Attributes:
        theorems: that the equilibrium is unique, and what follows, with their numbers; the second
            is not examined where the first fails.
        batches: K, of an epoch.
        loss: Φ(0) = ½‖ŷ - y‖².
        descent: the guarantee, its steps being epochs; None where a hypothesis fails.
    """

    theorems: tuple[Theorem, ...]
    batches: int
    loss: float
    descent: Descent | None

    @property
    def certified(self) -> bool:
        """Whether every hypothesis holds."""
        return self.descent is not None

    def bound(self, epochs: Sequence[int], learning_rate: float | None = None) -> np.ndarray:
        """(1 - ηλ_0/2)^t Φ(0) after t epochs.

        Raises:
            TheoryError: nothing is certified, or the learning rate is beyond what is.
        """
        if self.descent is None:
            raise TheoryError("nothing is certified: there is no bound to draw")
        largest = self.descent.learning_rate
        if learning_rate is not None and not 0 < learning_rate <= largest:
            raise TheoryError(
                f"the certificate covers learning rates in (0, {at_most(largest)}], got "
                f"{learning_rate}"
            )
        rate = self.descent.rate(learning_rate)
        return self.loss * np.exp(np.asarray(epochs, np.float64) * math.log1p(rate - 1))

    def __str__(self) -> str:
        stated = "\n".join(str(each) for each in self.theorems)
        if self.descent is None:
            return f"{stated}\n=> NOT CERTIFIED: nothing is proved of its epochs"
        step, half = self.descent.learning_rate, self.descent.lambda_0 / 2
        return (
            f"{stated}\n=> CERTIFIED: every epoch of {self.batches} mini-batches, in any "
            f"order, with a step 0 < η <= {at_most(step)} on the sum over a batch multiplies the "
            f"loss by at most 1 - {at_most(half)} η"
        )


def certify_epochs(
    subject: Network | TheoremNetwork,
    inputs: Float[Any, "n ..."],
    targets: Float[Any, "n ..."],
    *,
    batches: int,
) -> EpochCertificate:
    """Check what is proved of mini-batch gradient descent on ½‖ŷ - y‖², whatever the order.

    An epoch is K steps θ <- θ - η ∇½‖ŷ_B - y_B‖² over batches B that part the examples, in any way
    and any order, another one every epoch. With the numbers of Theorem A (docs/theory.md), suppose
    (A1) and (A2) with 4.2 in place of 4, and (A3). Then for 0 < η <= min(λ_0/(8C₁²),
    λ_0/(64 √K B² C₁)) the loss at the ends of epochs obeys Φ(t) <= (1 - ηλ_0/2)^t Φ(0), and within
    and after every epoch W and a are within δ of their start. Exact: no expectation, no failure
    probability.

    Args:
        subject: a ``Network`` or a model with ``network()``.
        inputs: (n, ...), all training examples.
        targets: real values (n,) or (n, k).
        batches: K, at least 1.

    Raises:
        TheoryError: shapes that do not fit.
        ValueError: batches is no number of batches.

    Example:
        >>> import numpy as np, activations
        >>> from deqzoo.theory import Network, certify_epochs
        >>> x = np.random.default_rng(0).standard_normal((4, 6))
        >>> network = Network.draw(activations.get("tanh"), 256, 6, s_w=0.4, s_a=0.0)
        >>> certify_epochs(network, x, 1e-3 * np.ones(4), batches=2).certified
        True

    References:
        deqzoo's own; the proof is in docs/theory.md. That interpolating descent converges by
        mini-batches, in expectation: Liu, Zhu and Belkin, "Loss landscapes and optimization in
        over-parameterized non-linear systems and neural networks", arXiv 2003.00307.
    """
    batches = fitted("batches", batches, _Batches)
    full = certify(subject, inputs, targets, predict_loss=False)
    if full.measured is None:
        return EpochCertificate(full.theorems[:1], batches, full.loss, None)
    posed, form = full.theorem(WELL_POSED), conditions.epochs(batches)
    theorem, descent = descent_theorem(EPOCHS, full.measured, form, posed)
    return EpochCertificate((posed, theorem), batches, full.loss, descent)
