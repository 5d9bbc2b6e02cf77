"""The contract of an experiment: cells that can be resumed, a table and a picture."""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Say = Callable[[str], None]


@dataclass(frozen=True)
class Experiment(abc.ABC):
    """A figure of the theory, from its settings to the picture.

    To write an experiment, derive a frozen dataclass in a file of ``deqzoo/experiments``, give
    every field a laptop-sized default, say in its docstring what it shows, how long it takes and
    the command at the paper's size, and define ``run`` and ``draw``.
    """

    @abc.abstractmethod
    def run(self, folder: Path, say: Say = print) -> dict[str, Any]:
        """Measure, keeping every finished cell in ``folder`` so that a killed run goes on.

        Returns:
            Plain values for JSON, from which ``draw`` makes the picture.
        """

    @abc.abstractmethod
    def draw(self, results: dict[str, Any], path: Path) -> Path:
        """The picture of the results."""
