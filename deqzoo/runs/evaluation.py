"""What an evaluation found: a model on the examples of a split, under one solver or several."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from deqzoo.runs.failures import Failure
from deqzoo.shown import Shown, Table


@dataclass(frozen=True)
class SolverResult:
    """What one solver made of a split.

    Attributes:
        solver: its recipe.
        settings: the solver with every default spelled out.
        metrics: ``loss``, those of the task, ``solver_steps``, ``solver_steps_max``, ``residual``
            (the worst, relative) and ``converged`` (a share), as in the training log.
        difference: the largest |outputs - outputs of the model's own solver|.
        examples_per_second: of one pass over the split after compilation, transfers included.
        failures: the examples that did not converge.
    """

    solver: str
    settings: str
    metrics: dict[str, float]
    difference: float
    examples_per_second: float
    failures: tuple[Failure, ...]


@dataclass(frozen=True, repr=False)
class Evaluation(Shown):
    """A model on a split.

    Attributes:
        title: the model and the split in words.
        examples: how many.
        results: of the model's own solver, then of those that it was compared with.
    """

    title: str
    examples: int
    results: tuple[SolverResult, ...]

    @property
    def metrics(self) -> dict[str, float]:
        """Of the model with its own solver; see ``SolverResult``."""
        return self.results[0].metrics

    @property
    def failures(self) -> tuple[Failure, ...]:
        """Of the model with its own solver."""
        return self.results[0].failures

    def shown(self) -> Table:
        """What the model reaches, and how the other solvers differ."""
        own, *others = self.results
        rows = [("solver", own.solver), *self._measured(own), *_failed(own)]
        for other in others:
            numbers = ", ".join(f"{name} {text}" for name, text in self._measured(other))
            difference = f"outputs differ by at most {other.difference:.1e}"
            rows += [(other.solver, f"{numbers}; {difference}"), *_failed(other)]
        return Table(self.title, tuple(rows))

    def _measured(self, result: SolverResult) -> Iterator[tuple[str, str]]:
        found = dict(result.metrics)
        mean, most = found.pop("solver_steps"), found.pop("solver_steps_max")
        residual, _ = found.pop("residual"), found.pop("converged")
        converged = self.examples - sum(each.examples for each in result.failures)
        yield from ((name, f"{value:.5g}") for name, value in found.items())
        yield "steps", f"{mean:.1f} in the mean, at most {most:.0f}"
        yield "converged", f"{converged} of {self.examples}, worst relative residual {residual:.1e}"
        yield "examples/s", f"{result.examples_per_second:.0f}"


def _failed(result: SolverResult) -> list[tuple[str, str]]:
    return [
        (each.status, f"{each.examples} examples, the first is {each.first}: {each.advice}")
        for each in result.failures
    ]
