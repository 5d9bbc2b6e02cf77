"""What an analysis returns: numbers, the few that matter, and a picture of them."""

from __future__ import annotations

import abc
import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from deqzoo.storage.files import plain


class InapplicableError(Exception):
    """An analysis that this run does not allow; the message is a sentence that says why."""


@dataclass(frozen=True)
class Finding(abc.ABC):
    """Numbers that were measured, and how they are shown.

    To write an analysis, derive a frozen dataclass of numpy numbers in a file of
    ``deqzoo/analysis``, write the function that measures it, and name both in
    ``deqzoo.analysis.sections``.

    Attributes:
        healthy: what the picture shows of a model in good health.
    """

    healthy: ClassVar[str]

    @property
    @abc.abstractmethod
    def facts(self) -> dict[str, float | int | str]:
        """The few numbers that matter: label -> number or text."""

    @property
    @abc.abstractmethod
    def seen(self) -> str:
        """What the picture shows, with its numbers, in words."""

    @abc.abstractmethod
    def draw(self, path: Path) -> Path:
        """The picture (extra ``plot``)."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for strict JSON."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return plain({**values, "facts": self.facts})


def shown(value: float | int | str) -> str:
    """A fact as people read it: four digits; ``-`` where there is no number."""
    if isinstance(value, float | np.floating):
        return f"{value:.4g}" if math.isfinite(value) else "-"
    return str(value)
