"""Peak memory of a gradient against the number of solver steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from launch._benchmark import picture, team
from launch._benchmark.client import WorkerError
from launch._benchmark.config import BenchmarkConfig
from launch._benchmark.suite import Block, Say, Suite
from launch._benchmark.team import Team
from launch._benchmark.wide import Wide

__all__ = ["Memory"]

_MIB = 2**20
# Without it glibc keeps what is freed in an order that looks like growth with the steps.
_PINNED = {"MALLOC_MMAP_THRESHOLD_": "65536"}


class Memory(Suite):
    """Peak above baseline, each in a process of its own; the tolerance is 0, all steps are run."""

    def problems(self, config: BenchmarkConfig) -> list[Any]:
        """Four times the first width and twice the examples: a state of 4 MiB."""
        width, examples = 4 * int(config.width[0]), 2 * config.examples
        first = config.wide_problems()[0]
        return [Wide(first.dtype, config.seed, "gauss", first.rho, width, "relu", examples)]

    def measure(self, config: BenchmarkConfig, team_: Team, problem: Any, say: Say) -> Block:
        """Every variant at every number of steps."""
        with team_.workers(problem, say) as workers:
            platform, listed = team.variants(workers, self.name, problem, say)
        rows = []
        for peer, variant in listed:
            rows.append(self._row(config, team_, problem, peer, variant))
            say(f"{rows[-1]['label']}: {rows[-1].get('error') or rows[-1]['peak_bytes']}")
        return {
            "problem": problem.name,
            "settings": problem.settings(),
            "platform": platform,
            "state_bytes": problem.draw().z0.nbytes,
            "steps": [int(step) for step in config.steps],
            "variants": rows,
        }

    def _row(
        self, config: BenchmarkConfig, team_: Team, problem: Wide, peer: str, variant: str
    ) -> dict[str, Any]:
        row: dict[str, Any] = {"peer": peer, "variant": variant, "label": f"{peer} {variant}"}
        for steps in map(int, config.steps):
            try:
                worker = team_.start(peer, problem, **_PINNED)
                try:
                    found = worker.ask(
                        "memory", problem=problem.settings(), variant=variant, steps=steps
                    )
                finally:
                    worker.close()
            except WorkerError as error:
                return row | {"error": str(error)}
            for name, value in found.items():
                row.setdefault(name, []).append(value)
        return row

    def rows(self, block: Block, config: BenchmarkConfig) -> list[dict[str, str]]:
        """MiB at every number of steps and the slope in states a step."""
        return [_shown(block, row) for row in block["variants"]]

    def draw(self, blocks: list[Block], config: BenchmarkConfig, path: Path) -> None:
        """Lines over the steps."""
        picture.memory(blocks[0], path)


def _shown(block: Block, row: dict[str, Any]) -> dict[str, str]:
    measured, compiled = row.get("peak_bytes", []), row.get("temporary_bytes", [])
    cells = {"variant": row["label"]}
    for place, steps in enumerate(block["steps"]):
        cells[f"MiB, K = {steps}"] = _mib(measured, place)
    cells["states a step"] = _slope(block, measured)
    for place, steps in enumerate(block["steps"]):
        cells[f"XLA, K = {steps}"] = _mib(compiled, place)
    return {**cells, "XLA states a step": _slope(block, compiled), "note": row.get("error", "")}


def _mib(values: list[int | None], place: int) -> str:
    value = values[place] if place < len(values) else None
    return "" if value is None else f"{value / _MIB:.1f}"


def _slope(block: Block, values: list[Any]) -> str:
    if len(values) < 2 or len(values) < len(block["steps"]) or None in values:
        return ""
    slope = np.polyfit(block["steps"], values, 1)[0] / block["state_bytes"]
    return f"{round(slope, 2) + 0:.2f}"  # no minus zero
