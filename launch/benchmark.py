"""Measure deqzoo against its peers: ``python -m launch.benchmark --suite=solve``.

Suites: solve, gradient, train_step and conv (time of a call, in interleaved rounds), memory (peak
against the number of steps) and startup (import, tracing, compilation). Peers are the packages of
the extra ``bench`` that are installed, and loops written by hand. The folder --workdir holds
results.json with every round, and a picture of every suite. docs/benchmarks.md says how all is
measured.

Exit codes: 0 done, 1 nobody could be measured, 2 wrong usage, 75 stopped by a signal, 130 by Ctrl-C
(what was measured is written).
"""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from deqzoo import catalog
from deqzoo.local_path import local_path
from deqzoo.storage import files
from launch import _command
from launch._benchmark import machine
from launch._benchmark.config import BenchmarkConfig
from launch._benchmark.peers_catalog import PEERS, is_installed
from launch._benchmark.suite import Suite
from launch._benchmark.suites_catalog import SUITES
from launch._benchmark.team import Team

__all__ = ["main"]

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "torch")


def main() -> None:
    """Entry point."""
    _command.start(benchmark, BenchmarkConfig, usage=__doc__ or "")


def benchmark(config: BenchmarkConfig) -> int:
    """Run the suites, print their tables, write results and pictures after each problem."""
    folder = local_path(config.workdir)
    _command.make_folder(folder, "--workdir")
    for recipe in config.deqzoo:
        _require_recipe(recipe)
    machine.use_cores(config.cores)
    console = Console(highlight=False, soft_wrap=True, markup=False)
    console.width = console.width if console.is_terminal else 200
    team = Team(_present(config, console), config.deqzoo, config.patience)
    results: dict[str, Any] = {**_provenance(config, team), "suites": {}}
    _command.leave_on_signals(
        f"stopped by a signal: what was measured is in {folder / 'results.json'}"
    )
    for name in config.suite or SUITES.names():
        _run(config, console, team, SUITES.load(name)(), results, folder)
    blocks = [block for each in results["suites"].values() for block in each]
    measured = any("error" not in row for block in blocks for row in block["variants"])
    return _command.DONE if measured else _command.FAILED


def _run(
    config: BenchmarkConfig,
    console: Console,
    team: Team,
    suite: Suite,
    results: dict[str, Any],
    folder: Path,
) -> None:
    blocks = results["suites"].setdefault(suite.name, [])
    for problem in suite.problems(config):
        console.print(f"\n{suite.name}: {problem.name}")
        block = suite.measure(config, team, problem, lambda line: console.print(f"  {line}"))
        blocks.append(block)
        results["platform"] = block["platform"]
        files.write(folder / "results.json", files.to_json(results))
        title = f"{suite.name}: {problem.name} ({block['platform']})"
        console.print(_table(title, suite.rows(block, config)))
        _draw(console, suite, blocks, config, folder / f"{suite.name}.png")


def _present(config: BenchmarkConfig, console: Console) -> tuple[str, ...]:
    """The peers that are asked for and installed; the others are named."""
    asked = config.peers or PEERS.names()
    missing = [peer for peer in asked if not is_installed(peer)]
    if missing:
        console.print(f"not installed: {', '.join(missing)}; pip install 'deqzoo[bench]'")
    return tuple(peer for peer in asked if peer not in missing)


def _require_recipe(recipe: str) -> None:
    solver, _, adjoint = recipe.partition(" + ")
    catalog.solvers.get(solver.strip())
    catalog.adjoints.get(adjoint.strip() or "implicit")


def _provenance(config: BenchmarkConfig, team: Team) -> dict[str, Any]:
    versions = {"python": platform.python_version()}
    for package in ("deqzoo", *_PACKAGES, *(peer for peer in team.peers if peer != "hand")):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": versions,
        "machine": {"cpu": machine.cpu_model(), "cores": config.cores or os.cpu_count()},
        "load": os.getloadavg(),
    }


def _table(title: str, rows: list[dict[str, str]]) -> Table:
    table = Table(title=title, title_justify="left")
    headings = [heading for heading in rows[0] if any(row[heading] for row in rows)] if rows else []
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(row[heading] for heading in headings))
    return table


def _draw(
    console: Console, suite: Suite, blocks: list[Any], config: BenchmarkConfig, path: Path
) -> None:
    """The picture, where the extra ``plot`` is installed."""
    try:
        suite.draw(blocks, config, path)
    except ModuleNotFoundError:
        console.print("no picture: pip install 'deqzoo[plot]' draws it")
        return
    console.print(f"picture: {path}")


if __name__ == "__main__":
    main()
