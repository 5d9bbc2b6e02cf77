"""Import, tracing and compilation of a gradient, without and with a persistent cache."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from launch._benchmark import picture, team
from launch._benchmark.client import WorkerError
from launch._benchmark.config import BenchmarkConfig
from launch._benchmark.scratch import scratch_folder
from launch._benchmark.suite import Block, Say, Suite
from launch._benchmark.team import Team

__all__ = ["Startup"]

_MOST = 3  # repetitions; each is two processes


class Startup(Suite):
    """Every measurement is a new process; the second one finds what the first one compiled."""

    def problems(self, config: BenchmarkConfig) -> list[Any]:
        """The first of the wide DEQs."""
        return list(config.wide_problems()[:1])

    def measure(self, config: BenchmarkConfig, team_: Team, problem: Any, say: Say) -> Block:
        """Every variant, a few times."""
        with team_.workers(problem, say) as workers:
            platform, listed = team.variants(workers, self.name, problem, say)
        rows: list[dict[str, Any]] = [
            {"peer": peer, "variant": variant, "label": f"{peer} {variant}", "runs": []}
            for peer, variant in listed
        ]
        for number in range(min(config.rounds, _MOST)):
            for row in rows:
                self._run(team_, problem, row)
            say(f"round {number + 1} of {min(config.rounds, _MOST)}")
        return {
            "problem": problem.name,
            "settings": problem.settings(),
            "platform": platform,
            "variants": rows,
        }

    def _run(self, team_: Team, problem: Any, row: dict[str, Any]) -> None:
        if "error" in row:
            return
        try:
            with scratch_folder() as folder:
                cold = _process(team_, problem, row, folder)
                warm = _process(team_, problem, row, folder)
        except WorkerError as error:
            row["error"] = str(error)
            return
        row["runs"].append({"cold": cold, "warm": warm})

    def rows(self, block: Block, config: BenchmarkConfig) -> list[dict[str, str]]:
        """Medians in seconds."""
        return [
            {
                "variant": row["label"],
                "import s": _median(row, "cold", "import_seconds"),
                "trace and lower s": _median(row, "cold", "trace_seconds"),
                "compile s": _median(row, "cold", "compile_seconds"),
                "compile from cache s": _median(row, "warm", "compile_seconds"),
                "first call s": _median(row, "cold", "first_call_seconds"),
                "note": row.get("error", ""),
            }
            for row in block["variants"]
        ]

    def draw(self, blocks: list[Block], config: BenchmarkConfig, path: Path) -> None:
        """Stacked bars."""
        picture.startup(blocks[0], path)


def _process(team_: Team, problem: Any, row: dict[str, Any], folder: str) -> dict[str, Any]:
    cache = {
        "JAX_COMPILATION_CACHE_DIR": folder,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    worker = team_.start(row["peer"], problem, **cache)
    try:
        found = worker.ask("compilation", problem=problem.settings(), variant=row["variant"])
    finally:
        worker.close()
    return {**found, **worker.greeting}


def _median(row: dict[str, Any], when: str, name: str) -> str:
    values = [run[when][name] for run in row["runs"] if name in run[when]]
    return f"{statistics.median(values):.2f}" if values else ""
