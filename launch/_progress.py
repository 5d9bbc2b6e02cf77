"""A run on the screen: a bar, a line an evaluation, warnings, and the table at its end."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from deqzoo.activation.digits import at_least
from deqzoo.data.examples import SPLITS
from deqzoo.training.evaluation import recorded
from deqzoo.training.observer import Report
from deqzoo.training.promises import guarantees
from deqzoo.training.sink import Sink
from launch import _result


class OnScreen(Sink):
    """Quiet without a terminal, but for evaluations, alarms and warnings.

    Args:
        console: where to.
    """

    def __init__(self, console: Console):
        self._console = console
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}", markup=False),
            TimeRemainingColumn(),
        )
        self._progress = Progress(*columns, console=console, disable=not console.is_terminal)

    def at_start(self, start):
        """Show the bar."""
        self._folder, self._promised = start.folder, start.setup.model.guarantees()
        self._bar = self._progress.add_task(
            "training", total=start.setup.config.steps, completed=start.step, status="compiling"
        )
        self._progress.start()
        return ()

    def at_report(self, report):
        """Move the bar, and print what must stay."""
        self._progress.update(self._bar, completed=report["step"], status=_status(report))
        if "test_loss" in report:
            self._console.print(_evaluation(report, guarantees.quantity(self._promised)))
        for alarm in report.get("alarms", ()):
            self._console.print(f"  ALARM at step {report['step']}: {alarm}", style="bold red")
        for warning in _warnings(report, guarantees.quantity(self._promised)):
            self._console.print(f"  warning at step {report['step']}: {warning}")
        return {}

    def summary(self, end):
        """Print the table."""
        self.close()
        _result.show(self._console, end.summary, self._promised, self._folder)
        return {}

    def close(self):
        """Take the bar away."""
        self._progress.stop()


def _warnings(report: Report, bounded: str) -> Iterator[str]:
    if not report.get("bound", 0.0) < 1:
        yield (
            f"{bounded} <= {at_least(report['bound'], 4)}: the equilibrium is no longer "
            "guaranteed; --constraint=rescale keeps it"
        )
    if report.get("test_converged", 1.0) < 0.99:
        yield (
            f"{1 - report['test_converged']:.1%} of the test examples found no equilibrium within "
            "the tolerance: allow more steps, for example --solver='auto(max_steps=500)', "
            "or lower --learning_rate"
        )
    if report.get("backward_converged", 1.0) < 0.99:
        yield (
            f"{1 - report['backward_converged']:.1%} of the backward solves missed the tolerance "
            f"(worst relative residual {report['backward_residual']:.1e}): allow more steps, for "
            "example --adjoint=\"implicit(solver='auto(max_steps=500)')\""
        )


def _status(report: Report) -> str:
    return (
        f"loss {report['loss']:.3g}  solver {report['solver_steps']:.1f} + "
        f"{report['backward_solver_steps']:.1f}  "
        f"converged {min(report['converged'], report['backward_converged']):.0%}  "
        f"residual {max(report['residual'], report['backward_residual']):.0e}  "
        f"{report['examples_per_second']:.0f} ex/s"
    )


def _evaluation(report: Report, bounded: str) -> str:
    bound = f"; {bounded} <= {at_least(report['bound'], 4)}" if "bound" in report else ""
    found = [_reached(report, split) for split in SPLITS if recorded(report, split)]
    return (
        f"  step {report['step']}: loss {report['loss']:.4g}; {'; '.join(found)}; "
        f"test solver steps {report['test_solver_steps']:.1f} (max "
        f"{report['test_solver_steps_max']:.0f}), "
        f"converged {report['test_converged']:.1%}{bound}"
    )


def _reached(report: Report, split: str) -> str:
    names = recorded(report, split)
    numbers = (f"{name.replace('_', ' ')} {report[f'{split}_{name}']:#.4g}" for name in names)
    return f"{split} {', '.join(numbers)}"
