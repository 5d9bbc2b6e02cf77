"""The contract of an experiment: cells that can be resumed, a table and a picture."""

from __future__ import annotations

import abc
import contextlib
import json
import math
import time
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from deqzoo import catalog
from deqzoo.activation.contract import Activation
from deqzoo.settings import validate
from deqzoo.storage import files
from deqzoo.storage.difference import difference
from deqzoo.storage.workdir import Workdir, WorkdirError
from deqzoo.training import provenance

Say = Callable[[str], None]

S_W = 0.4  # the papers' σ_w² = s_w²/2 = 0.08


@dataclass(frozen=True)
class Experiment(abc.ABC):
    """A figure of the theory, from its settings to the picture.

    To write an experiment, derive a frozen dataclass in a file of ``deqzoo/experiments``, give
    every field a laptop-sized default, say in its docstring what it shows, how long it takes and
    the command at the paper's size, and define ``run`` and ``draw``.
    """

    def __post_init__(self):
        validate(self)

    @property
    def name(self) -> str:
        """The name in the catalog."""
        return catalog.snake_case(type(self).__name__)

    @abc.abstractmethod
    def run(self, folder: Path, say: Say = print) -> dict[str, Any]:
        """Measure, keeping every finished cell in ``folder`` so that a killed run goes on.

        Returns:
            Plain values for JSON, from which ``draw`` makes the picture. Under ``table`` stands
            what people read: a list of rows, each a dictionary from heading to text or number.
        """

    @abc.abstractmethod
    def draw(self, results: dict[str, Any], path: Path) -> Path:
        """The picture of the results."""

    @contextlib.contextmanager
    def cells(self, folder: Path, say: Say) -> Iterator[Cells]:
        """Hold ``folder`` for this experiment alone, and keep its cells there.

        Raises:
            WorkdirError: not a folder of these settings, not writable, or held by another process.
        """
        workdir = Workdir(folder)
        workdir.lock()
        try:
            _claim(workdir, {"experiment": self.name, **asdict(self)})
            yield Cells(workdir.path / "cells", say)
        finally:
            workdir.unlock()


@dataclass(frozen=True)
class Cells:
    """What is finished of an experiment: one JSON file a cell.

    Attributes:
        folder: where the files are.
        say: told of every cell.
    """

    folder: Path
    say: Say

    def get(self, name: str, compute: Callable[[], Any]) -> Any:
        """The value of a cell: the one on disk, or ``compute()``, which is then kept.

        Args:
            name: any text that no other cell has.
            compute: gives plain values for JSON; NaN and infinity are refused.
        """
        path = self.folder / f"{file_name(name)}.json"
        with contextlib.suppress(FileNotFoundError, ValueError):  # absent, or damaged
            value = json.loads(path.read_text())
            self.say(f"{name}: kept from before")
            return value
        started = time.perf_counter()
        text = json.dumps(compute(), allow_nan=False)
        files.write(path, text)
        self.say(f"{name}: {time.perf_counter() - started:.1f} s")
        return json.loads(text)


def file_name(text: str) -> str:
    """A file name for a text, and never one for two texts."""
    return urllib.parse.quote(text, safe=" (),='")


def papers_s_w(activation: Activation) -> float:
    """0.4, or 0.4/L for a φ so steep that 2 s_w L < 1 would fail: L‖W‖₂ stays below 1."""
    return S_W if 2 * S_W * activation.lipschitz < 1 else activation.default_s_w


def sphere_points(
    rng: np.random.Generator, examples: int, dimension: int
) -> Float[np.ndarray, "n d"]:
    """Points of norm √d in directions drawn uniformly, a column of the draw each."""
    normal = rng.standard_normal((dimension, examples)).T
    return normal * (math.sqrt(dimension) / np.linalg.norm(normal, axis=1, keepdims=True))


def require_increasing(name: str, values: tuple[int, ...], count: int = 1) -> None:
    """Refuse fewer than ``count`` numbers, and numbers that do not increase.

    Raises:
        ValueError: it is not.
    """
    if len(values) < count or list(values) != sorted({*values}):
        raise ValueError(
            f"{name} must be a tuple of at least {count} increasing whole numbers >= 1, for "
            f"example (256, 512); got {values!r}"
        )


def require_activations(name: str, recipes: tuple[str, ...]) -> None:
    """Refuse none at all, one twice, and recipes that cannot be built.

    Raises:
        ValueError: it is not; a ``CatalogError`` where a recipe cannot be built.
    """
    if not recipes or len({*recipes}) < len(recipes):
        raise ValueError(
            f"{name} must be a tuple of different activation recipes, for example "
            f"('relu', 'tanh'); got {recipes!r}"
        )
    for recipe in recipes:
        catalog.activations.get(recipe)


def _claim(workdir: Workdir, settings: dict[str, Any]) -> None:
    """Write the record of a new folder, or find that the one on disk has the same settings."""
    settings = json.loads(json.dumps(settings))
    record = workdir.read_config()
    if record is None:
        versions = provenance.versions()
        workdir.write_config({"config": settings, "resolved": {}, "versions": versions})
        return
    changes = difference(record["config"], settings)
    kind = [phrase for phrase in changes if phrase.startswith("experiment: ")]
    if changes:
        raise WorkdirError(
            f"{workdir.path} holds results of other settings ({'; '.join(kind or changes)}): "
            "choose another --workdir, or repeat the settings to go on with it"
        )
