"""The contract of a suite: measure, say it as a table, draw it."""

from __future__ import annotations

import abc
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deqzoo import catalog
from launch._benchmark.config import BenchmarkConfig
from launch._benchmark.team import Team

Say = Callable[[str], None]
Block = dict[str, Any]  # plain values for JSON: what was measured on one problem


class Suite(abc.ABC):
    """What is measured, on one problem after the other.

    To add one, write a file of ``launch/_benchmark/suites``; most derive from ``TimedSuite``.
    """

    @property
    def name(self) -> str:
        """The name in the catalog."""
        return catalog.snake_case(type(self).__name__)

    @abc.abstractmethod
    def problems(self, config: BenchmarkConfig) -> list[Any]:
        """On what it is measured."""

    @abc.abstractmethod
    def measure(self, config: BenchmarkConfig, team: Team, problem: Any, say: Say) -> Block:
        """Measure everybody on one problem."""

    @abc.abstractmethod
    def rows(self, block: Block, config: BenchmarkConfig) -> list[dict[str, str]]:
        """What people read: rows from heading to text."""

    @abc.abstractmethod
    def draw(self, blocks: list[Block], config: BenchmarkConfig, path: Path) -> None:
        """The picture; needs matplotlib."""
