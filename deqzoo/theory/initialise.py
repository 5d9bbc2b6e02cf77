"""Draw weights from which gradient descent is certified: a loop that terminates and says so."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from deqzoo.activation.contract import Activation
from deqzoo.activation.digits import at_most
from deqzoo.core import spectral
from deqzoo.theory.certificate import Certificate
from deqzoo.theory.certify import certify
from deqzoo.theory.error import TheoryError
from deqzoo.theory.network import Network

_DRAWS = 20
_MARGIN = 0.99
MENDS = ("labels", "width")


class InitialisationError(RuntimeError):
    """No certified start was found within the limits; the message says what was missing."""


@dataclass(frozen=True)
class Initialisation:
    """A certified start and how it was found.

    Attributes:
        network: the weights, with a zero readout.
        targets: the labels it is certified for: those given, times ``label_scale``.
        label_scale: at most 1. Train on ``targets`` and divide the outputs by it.
        certificate: Theorem A with its numbers.
        draws: how many pairs (W, U) were drawn in all.
        log: one sentence a decision.
    """

    network: Network
    targets: Float[np.ndarray, "n k"]
    label_scale: float
    certificate: Certificate
    draws: int
    log: tuple[str, ...]


def certified_start(
    activation: Activation,
    inputs,
    targets,
    *,
    width: int,
    s_w: float | None = None,
    s_u: float = math.sqrt(2),
    seed: int = 0,
    mend: str = "labels",
    max_width: int = 8192,
) -> Initialisation:
    """Draw W and U, set a = 0, and mend what Theorem A lacks until it holds.

    W and U are drawn until L‖W‖₂ < 1, which one draw meets with probability at least
    1 - 2 exp(-m t²/2), t = 1/(s_w L) - 2. If Theorem A fails, the labels are scaled down by the
    factor its inequalities ask for, or the width is doubled. At most 20 draws a width and
    log₂(max_width/width) doublings, so it terminates.

    Args:
        activation: φ.
        inputs: (n, ...).
        targets: real values (n,) or (n, k).
        width: m to begin with.
        s_w: weight scale with 2 s_w L < 1; by default 0.4/L.
        s_u: input scale.
        seed: draw t at width m uses ``default_rng((seed, m, t))``.
        mend: ``labels`` scales the labels first and doubles the width only where no labels would
            do; ``width`` keeps the labels.
        max_width: where doubling ends.

    Raises:
        TheoryError: 2 s_w L >= 1, or an unknown ``mend``.
        InitialisationError: not certified at ``max_width``.

    Example:
        >>> import numpy as np, activations
        >>> from deqzoo.theory import certified_start
        >>> x = np.random.default_rng(0).standard_normal((4, 6))
        >>> start = certified_start(activations.get("tanh"), x, np.ones(4), width=128)
        >>> start.certificate.certified, start.label_scale < 1
        (True, True)

    References:
        deqzoo's own loop (docs/theory.md). A later version of Truong, arXiv 2302.05797, has an
        initialisation algorithm that terminates with high probability; its steps are not known
        here.
    """
    L = activation.lipschitz
    s_w = activation.default_s_w if s_w is None else s_w
    if mend not in MENDS:
        raise TheoryError(f"mend must be one of {', '.join(MENDS)}; got {mend!r}")
    if not 0 <= 2 * s_w * L < 1:
        raise TheoryError(
            f"2 s_w L = {2 * s_w * L:.4g}, but no draw is expected to meet L‖W‖₂ < 1 unless it is "
            f"below 1: use s_w below {at_most(1 / (2 * L))}"
        )
    y = np.asarray(targets, np.float64)
    y = y[:, None] if y.ndim == 1 else y
    log: list[str] = []
    draws = 0
    while True:
        network, tried = _draw(activation, width, inputs, y, s_w, s_u, seed)
        draws += tried
        found = _certify(network, inputs, y, mend, log)
        if found is not None:
            return Initialisation(network, y * found[0], *found, draws, tuple(log))
        if 2 * width > max_width:
            raise InitialisationError("; ".join([*log, f"max_width = {max_width} is reached"]))
        width *= 2


def start_from(network: Network, inputs, targets) -> Initialisation:
    """The same from W and U that were drawn already: zero readout, labels scaled if need be.

    Args:
        network: its readout is replaced by zero.
        inputs: (n, ...).
        targets: real values (n,) or (n, k).

    Raises:
        InitialisationError: no labels would be certified; the message says why.
    """
    y = np.asarray(targets, np.float64)
    y = y[:, None] if y.ndim == 1 else y
    network = replace(network, a=np.zeros_like(network.a))
    log: list[str] = []
    found = _certify(network, inputs, y, "labels", log)
    if found is None:
        raise InitialisationError("; ".join(log))
    return Initialisation(network, y * found[0], *found, 1, tuple(log))


def _draw(activation, width, inputs, y, s_w, s_u, seed) -> tuple[Network, int]:
    """Draws until L‖W‖₂ < 1."""
    dimension = math.prod(np.shape(inputs)[1:])
    for attempt in range(_DRAWS):
        rng = np.random.default_rng((seed, width, attempt))
        network = Network.draw(
            activation, width, dimension, y.shape[1], s_w=s_w, s_u=s_u, s_a=0.0, seed=rng
        )
        if activation.lipschitz * spectral.proved_norm(network.W) < 1:
            return network, attempt + 1
    raise InitialisationError(
        f"{_DRAWS} draws of W at width {width} all had L‖W‖₂ >= 1 (2 s_w L = "
        f"{2 * s_w * activation.lipschitz:.4g}): use a smaller s_w or a larger width"
    )


def _certify(
    network: Network, inputs, y: np.ndarray, mend: str, log: list[str]
) -> tuple[float, Certificate] | None:
    """The label scale and the certificate; None, with the reason in the log, if it takes width."""
    scale, m = 1.0, network.width
    certificate = certify(network, inputs, y)
    if not certificate.certified and mend == "labels" and certificate.label_scale > 0:
        scale = min(1.0, _MARGIN * certificate.label_scale)
        log.append(f"width {m}: the labels are too large, taken times {at_most(scale, 4)}")
        certificate = certify(network, inputs, y * scale)
    if certificate.certified:
        log.append(f"width {m}: certified")
        return scale, certificate
    failed = next(
        line for theorem in certificate.theorems for line in theorem.conditions if not line.holds
    )
    log.append(f"width {m}: not certified ({' '.join(str(failed).split())})")
    return None
