"""The one loop over steps: lines, evaluations, checkpoints, and where it stops."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Protocol

from deqzoo.training.config import TrainConfig
from deqzoo.training.devices.preemption import Stop
from deqzoo.training.observer import Report


class Advancing(Protocol):
    """A run, or several in lock step."""

    @property
    def step(self) -> int:
        """Steps taken."""
        ...

    @property
    def ended(self) -> bool:
        """Whether the last report has shown that no further step makes sense."""
        ...

    def take_step(self, number: int) -> Any:
        """Hand the next step to the devices; returns its numbers, which stay there."""
        ...

    def report(self, step: int, numbers: Any, *, evaluated: bool = False) -> Report:
        """Write what is known of a step; an evaluation looks at the present state."""
        ...

    def checkpoint(self, report: Report) -> None:
        """Save the present state, of which ``report`` tells."""
        ...


def advance(
    run: Advancing, config: TrainConfig, stop: Stop | None = None
) -> Generator[Report, None, bool]:
    """Take the steps that are left; yields what the run reports, every ``log_every`` steps.

    A report without evaluation is made when the step after it is under way, so that the devices
    never wait for it.

    Args:
        run: what advances.
        config: ``steps``, and the steps between lines, evaluations and checkpoints.
        stop: ``stop(step)`` is asked after every step; once true, the generator ends.

    Returns:
        Whether there is nothing left to do; False if it was stopped.
    """
    waiting: tuple[int, Any] | None = None
    for done in range(run.step + 1, config.steps + 1):
        numbers = run.take_step(done)
        if waiting is not None:
            yield run.report(*waiting)
            waiting = None
        if _is_due(done, config, config.eval_every, config.checkpoint_every):
            report = run.report(done, numbers, evaluated=True)
            if _is_due(done, config, config.checkpoint_every):
                run.checkpoint(report)
            yield report
        elif _is_due(done, config, config.log_every):
            waiting = done, numbers
        stopped = stop is not None and stop(done)
        if stopped and waiting is not None:
            yield run.report(*waiting)
        if stopped or run.ended:
            return not stopped
    return True


def _is_due(step: int, config: TrainConfig, *intervals: int) -> bool:
    """Whether a step ends one of the intervals, or the run."""
    return step == config.steps or any(step % every == 0 for every in intervals)
