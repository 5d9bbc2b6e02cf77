"""Compares a run with its certificate, step by step."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.linalg

from deqzoo.core import spectral
from deqzoo.theory import Certificate, Network, conditions

_SLACK = 1e-9  # share by which rounding may exceed a certified bound


class Watch:
    """Compares a run of full-batch gradient descent with its certificate.

    Args:
        certificate: of the initial weights.
        initial: those weights.
        x: the training inputs.
        learning_rate: the step.
        applies: whether the theorem speaks of this run.
        predicts: whether the tangent kernel does: full-batch gradient descent.
        before: the loss of the step before the first one that will be seen, on resuming.
    """

    def __init__(
        self,
        certificate: Certificate,
        initial: Network,
        x: Any,
        learning_rate: float,
        *,
        applies: bool,
        predicts: bool,
        before: float | None,
    ):
        self.certificate = certificate
        self._initial = initial
        self._x = x
        self._rate = learning_rate
        self._before = before
        self._predicts = predicts
        self._worst = 0.0
        descent = certificate.descent
        self.bounds = applies and descent is not None and learning_rate <= descent.learning_rate

    def see(self, loss: float) -> None:
        """Take the loss of one more step."""
        if self._before is not None:
            self._worst = max(self._worst, loss / self._before if self._before > 0 else 0.0)
        self._before = loss

    def line(self, step: int, loss: float) -> dict[str, Any]:
        """Bound, prediction and worst ratio since the last line; ``loss`` is that of ``step``."""
        report: dict[str, Any] = {"loss_ratio": self._worst}
        if self._predicts and self.certificate.prediction is not None:
            report["predicted_loss"] = float(
                self.certificate.prediction.loss([step], self._rate)[0]
            )
        descent = self.certificate.descent
        if self.bounds and descent is not None:
            bound = float(self.certificate.bound([step], self._rate)[0])
            report["certified_loss"] = bound
            rate = descent.rate(self._rate)
            report["alarms"] = _violated(
                ("Φ(τ) <= (1 - ηλ_0/2)^τ Φ(0)", loss, bound),
                ("Φ(τ+1) <= (1 - ηλ_0/2) Φ(τ)", self._worst, rate),
            )
        self._worst = 0.0
        return report

    def measure(self, network: Network) -> dict[str, Any]:
        """λ_min(G), L‖W‖₂ and the distances travelled, with an alarm for each broken promise."""
        gram = network.gram(self._x)
        finite = bool(np.all(np.isfinite(gram)))
        smallest = scipy.linalg.eigvalsh(gram, subset_by_index=[0, 0])[0] if finite else math.nan
        gain = network.activation.lipschitz * spectral.spectral_norm(network.W)
        moved = {
            f"travel_{name}": float(
                np.linalg.norm(getattr(network, name) - getattr(self._initial, name))
            )
            for name in ("W", "U", "a")
        }
        report: dict[str, Any] = {"lambda_min": float(smallest), "gain": gain, **moved}
        descent = self.certificate.descent
        if self.bounds and descent is not None:
            report["alarms"] = _violated(
                ("λ_min(G) >= λ_0/2", descent.lambda_0 / 2, smallest),
                ("L‖W‖₂ < 1", gain, 1.0),
                *self._travels(moved, descent.delta),
            )
        return report

    def _travels(self, moved: dict[str, float], delta: float) -> Iterator[tuple[str, float, float]]:
        """How far each matrix has moved, and may move."""
        for name in ("W", "a"):
            yield f"travel_{name} <= δ", moved[f"travel_{name}"], delta
        if (at := self.certificate.measured) is not None:
            limit = conditions.travel_of_u(at, delta)
            yield "travel_U <= (4/λ_0) γαξ‖r_0‖", moved["travel_U"], limit


def _violated(*inequalities: tuple[str, float, float]) -> list[str]:
    """The certified inequalities small <= large that fail beyond rounding."""
    return [
        f"the certified {name} is violated: {small:.12g} > {large:.12g}"
        for name, small, large in inequalities
        if not (math.isfinite(small) and small <= large * (1 + _SLACK))
    ]
