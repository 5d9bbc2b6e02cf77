"""What the trainer adds to a bare jitted step, and to the start of a process."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import launch
from launch._benchmark import child, picture
from launch._benchmark.config import BenchmarkConfig
from launch._benchmark.scratch import scratch_folder
from launch._benchmark.suite import Block, Say, Suite
from launch._benchmark.team import Team

__all__ = ["Trainer"]

_STARTS = ("bare", "trainer")
_LABELS = {
    "bare": "import jax, first jit",
    "trainer": "launch.train, first step",
    "step": "bare jitted step",
    "reports": "trainer, a line every 10 steps",
    "silent": "trainer, no lines",
}


class Trainer(Suite):
    """Steps of a tiny model in one process, in turns; starts in processes of their own.

    Every start but the first finds its programs in the persistent cache.
    """

    def problems(self, config: BenchmarkConfig) -> list[Any]:
        """One tiny model, or nothing where deqzoo takes no part."""
        return [_Tiny()] if not config.peers or "deqzoo" in config.peers else []

    def measure(self, config: BenchmarkConfig, team: Team, problem: Any, say: Say) -> Block:
        """The starts first, then the rounds of steps."""
        with scratch_folder() as folder:
            for kind in _STARTS:
                _start(kind, folder)  # fills the cache
            starts: dict[str, list[float]] = {kind: [] for kind in _STARTS}
            for number in range(config.rounds):
                for kind, seconds in starts.items():
                    seconds.append(_start(kind, folder)["seconds"])
                say(f"round {number + 1} of {config.rounds}: starts")
            found = _probe("steps", folder, config.rounds)
        return {
            "problem": problem.name,
            "settings": {"kind": "Tiny"},
            "platform": found["platform"],
            "variants": [
                *(_row(kind, seconds, "bare", starts) for kind, seconds in starts.items()),
                *(
                    _row(kind, each, "step", found["steps"])
                    for kind, each in found["steps"].items()
                ),
            ],
        }

    def rows(self, block: Block, config: BenchmarkConfig) -> list[dict[str, str]]:
        """Medians, and the median of the differences to the bare one within a round."""
        return [
            {
                "variant": row["label"],
                "ms": f"{1e3 * statistics.median(row['seconds']):.4g}",
                "more than bare, ms": f"{1e3 * statistics.median(row['more']):.3f}",
                "range": f"[{1e3 * min(row['more']):.3f}, {1e3 * max(row['more']):.3f}]",
            }
            for row in block["variants"]
        ]

    def draw(self, blocks: list[Block], config: BenchmarkConfig, path: Path) -> None:
        """Bars of what each takes."""
        picture.trainer(blocks[0], path)


class _Tiny:
    name = "wide DEQ of 8 units, 16 examples a step"


def _row(
    kind: str, seconds: list[float], bare: str, others: dict[str, list[float]]
) -> dict[str, Any]:
    more = [a - b for a, b in zip(seconds, others[bare], strict=True)]
    return {"peer": "deqzoo", "label": _LABELS[kind], "seconds": seconds, "more": more}


def _start(kind: str, folder: str) -> dict[str, Any]:
    """Seconds from the start of a process to its first step."""
    return _probe(kind, folder, time.time())


def _probe(*arguments: Any) -> dict[str, Any]:
    kind, folder, *rest = arguments
    cache = {
        "JAX_COMPILATION_CACHE_DIR": str(Path(folder) / "cache"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "PYTHONPATH": str(Path(launch.__file__).parents[1]),
    }
    command = [sys.executable, "-m", "launch._benchmark.trainer_probe", kind, folder]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    command += map(str, rest)
    with child.running(command, {**os.environ, **cache}, **options) as process:
        out, told = process.communicate()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, out, told)
    return json.loads(out.splitlines()[-1])
