"""Whether a run is worth going on with: a finite loss, and solves that find their equilibrium."""

from __future__ import annotations

import math

from deqzoo.training.observer import Complaint, Observer, Report

_PATIENCE = 3  # reports one after another


class Health(Observer):
    """Complains of a run that cannot come to anything.

    Args:
        max_failed: the share of solves that may fail; 1 lets all of them.
    """

    def __init__(self, max_failed: float):
        self._max_failed = max_failed
        self._failing: list[int] = []

    def at_report(self, report):
        """Complain of a loss that is not finite, and of solves that keep failing."""
        complaint = self._complaint(report)
        if complaint is not None:
            raise Complaint(complaint)
        return {}

    def _complaint(self, report: Report) -> str | None:
        if not (math.isfinite(report["loss"]) and math.isfinite(report["gradient_norm"])):
            return (
                "the loss or its gradient is not finite: lower --learning_rate, and keep "
                "--constraint=rescale"
            )
        failed = {
            "forward": 1 - report["converged"],
            "backward": 1 - report["backward_converged"],
        }
        way = max(failed, key=lambda name: failed[name])
        if failed[way] <= self._max_failed or self._max_failed == 1:
            self._failing = []
            return None
        self._failing.append(report["step"])
        if len(self._failing) < _PATIENCE:
            return None
        residual = report["residual" if way == "forward" else "backward_residual"]
        return (
            f"{failed[way]:.0%} of the {way} solves failed (more than --max_failed="
            f"{self._max_failed:g}) in the reports of steps "
            f"{', '.join(map(str, self._failing[-_PATIENCE:]))}, worst relative residual "
            f"{residual:.1e}: {_ADVICE[way]}"
        )


_ADVICE = {
    "forward": "keep --constraint=rescale (where the model has no guarantee, add "
    "--regularizer=jacobian_norm), lower --learning_rate, or allow more steps with "
    "--solver='auto(max_steps=500)'",
    "backward": "allow more steps with --adjoint=\"implicit(solver='auto(max_steps=500)')\", or "
    "lower --learning_rate",
}
