"""Theorem A for cross-entropy: how far down the loss is proved to go, and in how many steps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.special import logsumexp

from deqzoo.activation.digits import at_least, at_most
from deqzoo.theory import conditions
from deqzoo.theory.certificate import WELL_POSED, Condition, Theorem, compare
from deqzoo.theory.certify import as_network, certify
from deqzoo.theory.error import TheoryError
from deqzoo.theory.network import Network
from deqzoo.theory.theorem_network import TheoremNetwork

CROSS_ENTROPY = "Theorem A for cross-entropy (deqzoo)"


@dataclass(frozen=True)
class CrossEntropyCertificate:
    """What is proved of gradient descent on the cross-entropy from this start.

    Attributes:
        theorem: the hypotheses, with their numbers.
        examples: n.
        loss: Φ(0), the sum over the examples in nats, not below the truth.
        until: the loss that is reached.
        delta: neither W nor a moves further on the way; NaN where nothing is certified.
        lambda_0: λ_min(G) at the start.
        learning_rate: the largest certified step; NaN where nothing is certified.
    """

    theorem: Theorem
    examples: int
    loss: float
    until: float
    delta: float = math.nan
    lambda_0: float = math.nan
    learning_rate: float = math.nan

    @property
    def certified(self) -> bool:
        """Whether every hypothesis holds."""
        return self.theorem.holds

    def steps(self, learning_rate: float | None = None) -> int:
        """A number of steps by which the loss has been ``until`` or less.

        1 + (4n/(ηλ_0)) ∫ dΦ/(1 - e^-Φ)² from ``until`` to Φ(0).

        Raises:
            TheoryError: nothing is certified, or the learning rate is beyond what is.
        """
        integral = _primitive(self.loss) - _primitive(self.until)
        return 1 + math.ceil(integral / self._decrease(learning_rate))

    def bound(self, steps: int, learning_rate: float | None = None) -> Float[np.ndarray, " steps"]:
        """What Φ is at most, at every step as long as it has not come down to ``until``.

        Φ(τ+1) <= Φ(τ) - (ηλ_0/(4n)) (1 - e^-Φ(τ))².

        Raises:
            TheoryError: as of ``steps``.
        """
        decrease, values = self._decrease(learning_rate), [self.loss]
        for _ in range(steps):
            values.append(values[-1] - decrease * math.expm1(-values[-1]) ** 2)
        return np.maximum(values, self.until)

    def _decrease(self, learning_rate: float | None) -> float:
        if not self.certified:
            raise TheoryError("nothing is certified: there is no bound")
        step = self.learning_rate if learning_rate is None else learning_rate
        if not 0 < step <= self.learning_rate:
            raise TheoryError(
                "the certificate covers learning rates in (0, "
                f"{at_most(self.learning_rate)}], got {step}"
            )
        return step * self.lambda_0 / (4 * self.examples)

    def __str__(self) -> str:
        if not self.certified:
            return f"{self.theorem}\n=> NOT CERTIFIED: nothing is proved of this descent"
        return (
            f"{self.theorem}\n=> CERTIFIED: full-batch gradient descent on the summed "
            f"cross-entropy, now at most {at_least(self.loss)}, with a step 0 < η <= "
            f"{at_most(self.learning_rate)} comes down to {self.until:g}, at the largest step "
            f"within {self.steps():,} steps; of what follows nothing is proved"
        )


def certify_cross_entropy(
    subject: Network | TheoremNetwork,
    inputs: Float[Any, "n ..."],
    labels: Int[Any, " n"],
    *,
    until: float,
) -> CrossEntropyCertificate:
    """Check what is proved of full-batch gradient descent on Σ -log softmax(ŷ)_label.

    The infimum 0 is not attained, so the weights travel without end and no theorem of this kind
    holds for all steps: it holds on the way down to a loss Φ_end. With the numbers of Theorem A
    (docs/theory.md) and S = (4√n/λ_0) log((e^Φ(0) - 1)/(e^Φ_end - 1)) + λ_0 √Φ(0)/(2C₁²), suppose

        δ >= max(γαB, B) S,    κ√λ_0 >= γ²α(B² + ξ²) S,    λ_0 >= 8 C₂.

    Then for 0 < η <= λ_0/(2C₁²), up to the first step with Φ <= Φ_end, W and a stay within δ,
    λ_min(G) above λ_0/2, and Φ(τ+1) <= Φ(τ) - (ηλ_0/(4n)) (1 - e^-Φ(τ))².

    Args:
        subject: a ``Network`` or a model with ``network()``, of one output a class.
        inputs: (n, ...), all training examples.
        labels: (n,), whole numbers from 0.
        until: Φ_end > 0, the sum over the examples in nats.

    Raises:
        TheoryError: shapes or labels that do not fit, or an ``until`` that is not below the loss.

    Example:
        >>> import numpy as np, activations
        >>> from deqzoo.theory import Network, certify_cross_entropy
        >>> x = 30 * np.eye(3)
        >>> network = Network.draw(activations.get("relu"), 512, 3, 2, s_w=0.2, s_a=0.0)
        >>> certificate = certify_cross_entropy(network, x, np.array([0, 1, 1]), until=1.0)
        >>> certificate.certified, certify_cross_entropy(
        ...     network, x / 30, np.array([0, 1, 1]), until=1.0
        ... ).certified
        (True, False)

    References:
        deqzoo's own; the proof is in docs/theory.md.
    """
    network = as_network(subject)
    classes = len(network.a)
    labels = np.asarray(labels)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise TheoryError(
            f"expected labels (n,) of whole numbers, got {labels.shape} of {labels.dtype}"
        )
    if labels.size and not 0 <= labels.min() <= labels.max() < classes:
        raise TheoryError(
            f"labels must lie in 0 ... {classes - 1}, one output of the network a class; got "
            f"{labels.min()} ... {labels.max()}"
        )
    hot = np.eye(classes)[labels]
    full = certify(network, inputs, hot, predict_loss=False)
    if full.measured is None:
        return CrossEntropyCertificate(full.theorems[0], len(labels), math.nan, until)
    outputs = network.outputs(inputs)
    # What the square loss allows for the rounding of ŷ; -log softmax changes √2 times as much.
    slack = max(0.0, full.measured.error - float(np.linalg.norm(outputs - hot)))
    loss = float(np.sum(logsumexp(outputs, axis=1) - np.sum(outputs * hot, axis=1)))
    loss += math.sqrt(2 * len(labels)) * slack + 1e-12 * abs(loss)
    if not 0 < until < loss:
        raise TheoryError(f"until must lie between 0 and the loss {loss:.6g}, got {until}")
    return _certificate(full.measured, full.theorem(WELL_POSED), loss, until)


def _certificate(
    at: conditions.Measured, posed: Theorem, loss: float, until: float
) -> CrossEntropyCertificate:
    form = conditions.cross_entropy(loss, until)
    lines = [
        Condition(WELL_POSED, posed.holds, advice="; ".join(_failing(posed))),
        compare("λ_0 = λ_min(G), lower bound", at.lambda_0, ">", 0.0, "widen the network"),
    ]
    delta, found = conditions.best_radius(at, form)
    if math.isnan(delta) or not all(line.holds for line in lines):
        lines.append(Condition("(A1), (A2), (A3)", False, advice="mend the lines above first"))
        return CrossEntropyCertificate(
            Theorem(CROSS_ENTROPY, tuple(lines)), at.examples, loss, until
        )
    sides = form(at, np.array([delta]))
    advice = "use a zero readout, a larger width, larger inputs, fewer examples or a larger until"
    for name, (have, need) in sides.sides.items():
        lines.append(compare(name, float(have[0]), ">=", float(need[0]), advice))
        advice = ""  # said once
    theorem = Theorem(CROSS_ENTROPY, tuple(lines))
    if not (found and theorem.holds):
        return CrossEntropyCertificate(theorem, at.examples, loss, until)
    step = float(sides.largest_step[0])
    return CrossEntropyCertificate(theorem, at.examples, loss, until, delta, at.lambda_0, step)


def _primitive(x: float) -> float:
    """Of 1/(1 - e^-x)²: log(eˣ - 1) - 1/(eˣ - 1)."""
    return conditions.log_expm1(x) + math.exp(-x) / math.expm1(-x)


def _failing(theorem: Theorem) -> list[str]:
    return [line.name for line in theorem.conditions if not line.holds]
