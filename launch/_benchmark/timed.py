"""Suites whose result is a time per call: calibrate, prepare, run the rounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from launch._benchmark import picture, ratios, rounds, team
from launch._benchmark.client import Worker, WorkerError
from launch._benchmark.config import BenchmarkConfig
from launch._benchmark.problem import Problem
from launch._benchmark.scratch import scratch_folder
from launch._benchmark.suite import Block, Say, Suite
from launch._benchmark.team import Team

_FLOOR = "floor"


class TimedSuite(Suite):
    """A time per call of every variant, in both ways of stopping.

    Attributes:
        kind: of its jobs: solve, gradient or train_step.
    """

    kind: ClassVar[str]

    def problems(self, config: BenchmarkConfig) -> list[Any]:
        """The wide DEQ in every combination of the settings."""
        return list(config.wide_problems())

    def measure(self, config: BenchmarkConfig, team_: Team, problem: Any, say: Say) -> Block:
        """One process a peer; everybody is prepared first, then come the rounds."""
        with scratch_folder() as folder, team_.workers(problem, say) as workers:
            platform, listed = team.variants(workers, self.name, problem, say)
            reference = self._reference(workers, problem, Path(folder), say)
            rows = []
            for peer, variant in listed:
                for row in self._prepare(config, team_, workers[peer], problem, variant, reference):
                    rows.append((workers[peer], row))
                    say(f"{row['label']} ({row['stopping']}): {_described(row)}")
            log = rounds.run(rows, config.rounds, say)
        return {
            "problem": problem.name,
            "settings": problem.settings(),
            "tolerance": problem.tolerance,
            "platform": platform,
            "variants": [row for _, row in rows],
            "rounds": log,
        }

    def rows(self, block: Block, config: BenchmarkConfig) -> list[dict[str, str]]:
        """Medians and ratios."""
        return ratios.table(block, config.view, self.kind)

    def draw(self, blocks: list[Block], config: BenchmarkConfig, path: Path) -> None:
        """Bars of the ratio to the best peer."""
        picture.ratios(blocks, config.view, path)

    def _reference(
        self, workers: dict[str, Worker], problem: Problem, folder: Path, say: Say
    ) -> str | None:
        """The file with the true gradient, if it is needed and our own loops take part."""
        if self.kind != "gradient" or "hand" not in workers:
            return None
        path = str(folder / "reference.npz")
        try:
            found = workers["hand"].ask("reference", problem=problem.settings(), path=path)
        except WorkerError as error:
            say(f"no gradient errors: {error}")
            return None
        say(f"float64 reference: relative residual {found['residual']:.1e}")
        return path

    def _prepare(
        self,
        config: BenchmarkConfig,
        team_: Team,
        worker: Worker,
        problem: Problem,
        variant: str,
        reference: str | None,
    ) -> list[rounds.Row]:
        """The rows of a variant, one for every way of stopping."""
        plain = variant == _FLOOR
        return [
            self._row(config, team_, worker, problem, variant, stopping, reference)
            for stopping in (("-",) if plain else config.stopping)
        ]

    def _row(
        self,
        config: BenchmarkConfig,
        team_: Team,
        worker: Worker,
        problem: Problem,
        variant: str,
        stopping: str,
        reference: str | None,
    ) -> rounds.Row:
        row: rounds.Row = {
            "peer": worker.peer,
            "variant": variant,
            "label": variant if variant == _FLOOR else f"{worker.peer} {variant}",
            "stopping": stopping,
            "key": f"{variant}|{stopping}",
            "tolerance": problem.tolerance,
        }
        settings = problem.settings()
        try:
            if stopping == "calibrated":
                row |= team.calibrate(team_, worker, problem, variant)
            row |= worker.ask(
                "prepare",
                key=row["key"],
                problem=settings,
                kind=self.kind,
                variant=variant,
                tolerance=row["tolerance"],
                reference=reference,
                learning_rate=config.learning_rate,
            )
        except WorkerError as error:
            row["error"] = str(error)
        return row


def _described(row: rounds.Row) -> str:
    if "error" in row:
        return row["error"]
    residual = row.get("residual")
    found = "" if residual is None else f"residual {residual:.1e} in {row['steps']} steps, "
    return f"{found}first call {row['first_call_seconds']:.1f} s"
