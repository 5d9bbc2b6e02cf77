"""A bound on the expected loss of a trained wide DEQ, every constant of it measured."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from jaxtyping import Float

from deqzoo.activation.digits import at_least, at_most
from deqzoo.core import spectral
from deqzoo.core.solution import Status
from deqzoo.settings import In, fitted
from deqzoo.theory.certificate import Condition, Theorem, compare
from deqzoo.theory.certify import as_network
from deqzoo.theory.error import TheoryError
from deqzoo.theory.inputs import as_float64, as_inputs
from deqzoo.theory.measure import rounding_of_the_map
from deqzoo.theory.neighbourhood import Ball, Complexity, Expansion
from deqzoo.theory.network import Network
from deqzoo.theory.statements import declared_bounds
from deqzoo.theory.theorem_network import TheoremNetwork

THEOREM_G = "Theorem G (deqzoo)"
_STEPS = 4  # of the grid, in every doubling
_LEAST = -120  # of the grid: radii below 2^-30 count as that
_ROUNDING = 1e-12  # of a norm, relative
_Clip = Annotated[float, In("(0, inf)")]
_Delta = Annotated[float, In("(0, 1)")]


@dataclass(frozen=True)
class GeneralisationBound:
    """What is proved of the loss min(|ŷ - y|, c) that is to be expected of a trained network.

    Attributes:
        theorem: the hypotheses, with their numbers.
        examples: n.
        clip: c, the largest loss; with labels ±1 and c <= 1 also c times the share of wrong signs
            is at most the loss.
        delta: the probability, over the examples, that the bound fails.
        empirical: the mean loss of the examples, not below the truth.
        distances: of W, U and a from the start, measured, and L‖W‖₂.
        ball: the ball of the grid in which the trained network was found.
        complexity: of this ball.
        price: log of how many balls, in effect, the union bound pays for.
    """

    theorem: Theorem
    examples: int
    clip: float
    delta: float
    empirical: float = math.nan
    distances: Ball | None = None
    ball: Ball | None = None
    complexity: Complexity | None = None
    price: float = math.nan

    @property
    def proved(self) -> bool:
        """Whether every hypothesis holds."""
        return self.theorem.holds

    @property
    def deviation(self) -> float:
        """3c √((log(2/δ) + price)/(2n)), of both concentrations."""
        exponent = math.log(2 / self.delta) + self.price
        return 3 * self.clip * math.sqrt(exponent / (2 * self.examples)) * (1 + _ROUNDING)

    @property
    def gap(self) -> float:
        """What the expected loss exceeds the empirical by at most; infinite without a proof."""
        if self.complexity is None:
            return math.inf
        return 2 * self.complexity.total * (1 + _ROUNDING) + self.deviation

    @property
    def bound(self) -> float:
        """Of the expected loss; infinite without a proof."""
        return self.empirical + self.gap if self.proved else math.inf

    @property
    def vacuous(self) -> bool:
        """Whether it says no more than that the loss is at most c."""
        return not self.bound < self.clip

    def __str__(self) -> str:
        lines = [str(self.theorem)]
        if self.ball is None or self.distances is None or self.complexity is None:
            return "\n".join([*lines, "=> NOT PROVED: nothing follows about new examples"])
        for name, have, upto in zip(("W", "U", "a"), self.distances, self.ball, strict=False):
            lines.append(f"  {name} moved {at_least(have)}, counted as {at_least(upto)}")
        lines += [
            f"  L‖W‖₂ is {at_least(self.distances.gain)}, counted as {at_least(self.ball.gain)}",
            f"  Rademacher complexity {at_least(self.complexity.total)}: linear "
            f"{at_least(self.complexity.linear)}, tangent {at_least(self.complexity.tangent)}, "
            f"remainder {at_least(self.complexity.remainder)}",
            f"  concentration {at_least(self.deviation)} at δ = {self.delta:g}, n = "
            f"{self.examples}, of which the grid of balls adds {at_least(self.price)} to log(2/δ)",
        ]
        what = "vacuous: it exceeds the largest loss" if self.vacuous else "not vacuous"
        return "\n".join(
            [
                *lines,
                f"=> PROVED with probability {at_most(1 - self.delta)}: E min(|ŷ - y|, "
                f"{self.clip:g}) <= {at_least(self.empirical)} + {at_least(self.gap)}, at most "
                f"{at_least(self.bound)} ({what})",
            ]
        )


def generalisation_bound(
    start: Network | TheoremNetwork,
    trained: Network | TheoremNetwork,
    inputs: Float[Any, "n ..."],
    targets: Float[Any, "n ..."],
    *,
    clip: float = 1.0,
    delta: float = 0.05,
) -> GeneralisationBound:
    """E min(|ŷ - y|, c) <= mean min(|ŷ_i - y_i|, c) + 2R + 3c √((log(2/δ) + log N)/(2n)).

    R bounds the Rademacher complexity of all networks in a ball around the start that holds the
    trained one: of (a - a_0)·z_0, of the first order in W and U, and the largest rest, which
    the bounds on φ' and φ'' give. The ball is the least on a grid of quarter octaves, for which
    log N pays: so that it may be chosen after training. How the network was trained is of no
    concern, nor how x is distributed. The proof is in docs/theory.md.

    Args:
        start: the network before training, of one output, drawn without a look at the examples.
        trained: the network after it.
        inputs: (n, ...), the training examples.
        targets: (n,) or (n, 1), real.
        clip: c, the largest loss.
        delta: δ.

    Raises:
        TheoryError: shapes that do not fit, or networks of two activations.
        ValueError: clip or delta out of range.

    Example:
        >>> import numpy as np, activations
        >>> from deqzoo.theory import Network, generalisation_bound
        >>> x = np.random.default_rng(0).standard_normal((400, 3)) / 2
        >>> start = Network.draw(activations.get("tanh"), 16, 3, s_w=0.3, s_a=0.0)
        >>> trained = Network(start.activation, start.W, start.U, start.a + 0.01)
        >>> result = generalisation_bound(start, trained, x, trained.outputs(x), clip=2.0)
        >>> result.proved, result.vacuous
        (True, False)

    References:
        deqzoo's own. The tools (symmetrisation, contraction, bounded differences): Bartlett and
        Mendelson, "Rademacher and Gaussian Complexities: Risk Bounds and Structural Results",
        Journal of Machine Learning Research 3 (2002).
    """
    clip, delta = fitted("clip", clip, _Clip), fitted("delta", delta, _Delta)
    start, trained = as_network(start), as_network(trained)
    x, y = _examples(start, trained, inputs, targets)
    now = _distances(start, trained)
    Z, stats = trained.equilibrium(x)
    lines = [
        Condition("assumed: the examples are independent draws from one distribution", True),
        Condition("assumed: the start was drawn without them", True),
        declared_bounds(start.activation),
        compare("L‖W‖₂ of the start (upper bound)", _gain(start), "<", 1.0, "lower s_w"),
        compare("L‖W‖₂ after training", now.gain, "<", 1.0, "train with a constraint"),
        Condition("equilibria found", bool(np.all(stats.status == Status.CONVERGED))),
    ]
    theorem = Theorem(THEOREM_G, tuple(lines))
    if not theorem.holds:
        return GeneralisationBound(theorem, len(x), clip, delta)
    ball, price = enclosing(now)
    complexity = Expansion.of(start, x).complexity(ball)
    far = float(np.linalg.norm(stats.residual)) + rounding_of_the_map(trained, x, Z)
    empirical = _mean_loss(trained, Z, y, clip, far / (1 - now.gain))
    return GeneralisationBound(
        theorem, len(x), clip, delta, empirical, now, ball, complexity, price
    )


def _mean_loss(trained: Network, Z: np.ndarray, y: np.ndarray, clip: float, far: float) -> float:
    """At least that of the equilibria, which are at most ``far`` from Z."""
    rounding = trained.width * float(np.finfo(float).eps) * float(np.linalg.norm(Z))
    off = float(np.linalg.norm(trained.a)) * (far + rounding)
    losses = np.minimum(np.abs(Z @ trained.a[0] - y) + off, clip)
    return float(np.mean(losses)) * (1 + _ROUNDING)


def enclosing(now: Ball) -> tuple[Ball, float]:
    """The least ball of the grid that holds these, and log 1/(its share of δ).

    Radii are 2^(j/4), j a whole number of share (2/3)/((|j| + 1)(|j| + 2)); 1/(1 - gain) is 2^(j/4)
    with j >= 0 of share 1/((j + 1)(j + 2)). All shares add up to one.
    """
    steps = [_step(radius) for radius in (now.w, now.u, now.a)]
    last = max(0, _step(1 / (1 - now.gain)))
    price = sum(math.log(1.5 * (abs(j) + 1) * (abs(j) + 2)) for j in steps)
    price += math.log((last + 1) * (last + 2))
    w, u, a = (2 ** (j / _STEPS) for j in steps)
    return Ball(w, u, a, 1 - 2 ** (-last / _STEPS)), price


def _step(value: float) -> int:
    """The least j with 2^(j/4) >= value, and some room for the rounding of both."""
    return max(_LEAST, math.ceil(_STEPS * math.log2(max(value, 1e-300)) + 1e-9))


def _distances(start: Network, trained: Network) -> Ball:
    def moved(before: np.ndarray, after: np.ndarray) -> float:
        return float(np.linalg.norm(after - before)) * (1 + _ROUNDING)

    return Ball(
        moved(start.W, trained.W),
        moved(start.U, trained.U),
        moved(start.a, trained.a),
        _gain(trained),
    )


def _gain(network: Network) -> float:
    return network.activation.lipschitz * spectral.proved_norm(network.W)


def _examples(
    start: Network, trained: Network, inputs: Any, targets: Any
) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, " n"]]:
    if start.activation != trained.activation or [v.shape for v in (start.W, start.U, start.a)] != [
        v.shape for v in (trained.W, trained.U, trained.a)
    ]:
        raise TheoryError("start and trained must be one network before and after training")
    x, y = as_inputs(inputs).rows, as_float64("targets", targets)
    if len(start.a) != 1 or y.size != len(x) or x.shape[1] != start.U.shape[1]:
        raise TheoryError(
            f"expected a network of one output and inputs (n, {start.U.shape[1]}) with as many "
            f"targets, got {len(start.a)} outputs, inputs {x.shape} and targets {y.shape}"
        )
    return x, y.reshape(-1)
