"""What an analysis returns: numbers, the few that matter, and a picture of them."""

from __future__ import annotations

import abc
import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np


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


def plain(value: Any) -> Any:
    """Lists, dictionaries, numbers and text; complex numbers as [re, im], NaN and infinity as null.

    Example:
        >>> import numpy as np
        >>> from deqzoo.analysis.finding import plain
        >>> plain({"a": np.array([1.0, np.nan]), "b": 2j})
        {'a': [1.0, None], 'b': [0.0, 2.0]}
    """
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, complex):
        return plain([value.real, value.imag])
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain({f.name: getattr(value, f.name) for f in dataclasses.fields(value)})
    return value


def shown(value: float | int | str) -> str:
    """A fact as people read it: four digits; ``-`` where there is no number."""
    if isinstance(value, float | np.floating):
        return f"{value:.4g}" if math.isfinite(value) else "-"
    return str(value)
