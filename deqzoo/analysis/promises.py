"""A certified run against its promises: bound, tangent-kernel prediction and measured loss."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from deqzoo.analysis.finding import Finding, InapplicableError
from deqzoo.runs.run import Run
from deqzoo.storage.workdir import CERTIFICATE, WorkdirError
from deqzoo.theory import Certificate


@dataclass(frozen=True)
class Promises(Finding):
    """Φ(τ) beside (1 - ηλ_0/2)^τ Φ(0) and the tangent-kernel curve, line by line of the metrics.

    Attributes:
        title: the network.
        certified: whether Theorem A holds for the start.
        lambda_0: λ_min(G) at the start; NaN if it could not be measured.
        step: τ of every line (a line's loss is that of the weights before its step).
        loss: measured Φ(τ).
        bound: the certified bound, NaN where there is none.
        predicted: the prediction, NaN where there is none.
        worst_ratio: the largest Φ(τ+1)/Φ(τ) of any step.
        certified_ratio: the certified 1 - ηλ_0/2; NaN without a bound.
        alarms: violated inequalities.
        metrics: the lines themselves.
        certificate: of the start.

    References:
        Theorem A: docs/theory.md. Prediction: Jacot et al., "Neural Tangent Kernel", arXiv
        1806.07572.
    """

    title: str
    certified: bool
    lambda_0: float
    step: tuple[int, ...]
    loss: Float[np.ndarray, " lines"]
    bound: Float[np.ndarray, " lines"]
    predicted: Float[np.ndarray, " lines"]
    worst_ratio: float
    certified_ratio: float
    alarms: tuple[str, ...]
    metrics: tuple[dict[str, Any], ...]
    certificate: Certificate

    healthy: ClassVar[str] = (
        "the measured loss lies below the certified bound all along and near the prediction, "
        "λ_min(G) stays above λ_0/2, L‖W‖₂ below 1, and no alarm was raised"
    )

    @property
    def facts(self) -> dict[str, float | int | str]:
        """Verdict, worst ratio and how far the loss ended below its bound."""
        return {
            "start certified by Theorem A": "yes" if self.certified else "no",
            "violated certified inequalities": len(self.alarms),
            "worst loss ratio of a step": f"{self.worst_ratio:.9f}",
            "certified loss ratio": (
                f"{self.certified_ratio:.9f}" if math.isfinite(self.certified_ratio) else "-"
            ),
            "last loss / certified bound": _ratio(self.loss, self.bound),
            "last loss / prediction": _ratio(self.loss, self.predicted),
        }

    @property
    def seen(self) -> str:
        """Where the loss ended."""
        bound = _ratio(self.loss, self.bound)
        beside = (
            f" and {bound:.3g} times its certified bound"
            if math.isfinite(bound)
            else "; no certified bound applies to this run"
        )
        return (
            "The measured loss, the certified bound and the tangent-kernel prediction; λ_min(G) "
            f"and L‖W‖₂ along training. The last measured loss is {self.loss[-1]:.3g}{beside}."
        )

    def draw(self, path: Path) -> Path:
        """Loss, λ_min(G) and L‖W‖₂ with what was promised."""
        from deqzoo.analysis import plots

        return plots.promises(self.metrics, self.certificate, path)

    def to_dict(self) -> dict[str, Any]:
        """Plain values; the certificate stands in its own file, the lines in theirs."""
        values = super().to_dict()
        return {key: item for key, item in values.items() if key not in ("metrics", "certificate")}


def promises(run: Run) -> Promises:
    """What was promised of a run and what came.

    Raises:
        InapplicableError: the run was not trained with ``--certify``, or has no metrics yet.
        WorkdirError: its certificate is damaged.
    """
    path = run.path / CERTIFICATE
    if not path.exists():
        raise InapplicableError("the run was trained without --certify: nothing was promised of it")
    lines = tuple(row for row in run.metrics if "loss_ratio" in row)
    if not lines:
        raise InapplicableError("metrics.jsonl holds no line yet")
    try:
        certificate = Certificate.from_dict(json.loads(path.read_text()))
    except (ValueError, KeyError, TypeError) as error:
        raise WorkdirError(f"{path} cannot be read ({error!r})") from None
    bound = _column(lines, "certified_loss")
    descent, measured = certificate.descent, certificate.measured
    applies = descent is not None and bool(np.any(np.isfinite(bound)))
    return Promises(
        title=certificate.title,
        certified=certificate.certified,
        lambda_0=math.nan if measured is None else measured.lambda_0,
        step=tuple(row["step"] - 1 for row in lines),
        loss=_column(lines, "loss"),
        bound=bound,
        predicted=_column(lines, "predicted_loss"),
        worst_ratio=max(row["loss_ratio"] for row in lines),
        certified_ratio=(
            descent.rate(run.resolved["learning_rate"]) if descent and applies else math.nan
        ),
        alarms=tuple(alarm for row in lines for alarm in row.get("alarms", ())),
        metrics=lines,
        certificate=certificate,
    )


def _column(rows: tuple[dict[str, Any], ...], key: str) -> Float[np.ndarray, " lines"]:
    return np.array([row.get(key) for row in rows], np.float64)


def _ratio(values: np.ndarray, others: np.ndarray) -> float:
    return float(values[-1] / others[-1]) if others[-1] > 0 else math.nan
