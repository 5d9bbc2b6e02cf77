"""The contract of a sink: where the reports of a run go besides its folder."""

from __future__ import annotations

import importlib.util
from typing import ClassVar

from deqzoo import catalog
from deqzoo.training.config import ConfigError
from deqzoo.training.observer import Observer, Report
from deqzoo.training.options import RunOptions


class Sink(Observer):
    """An observer that is asked last: a line is complete then, and stands in metrics.jsonl.

    To write a sink, derive from this class in a file of ``deqzoo/training/sinks``, or anywhere with
    ``deqzoo.catalog.sinks.register`` or an entry point of the group ``deqzoo.sinks``; open it in
    ``at_start``, take every line in ``at_report`` and end in ``close``. With several processes only
    the first one has sinks.

    Attributes:
        package: what must be installed; empty for nothing.
        extra: of deqzoo, that installs it.
    """

    package: ClassVar[str] = ""
    extra: ClassVar[str] = ""

    def require_installed(self) -> None:
        """Refuse what cannot be opened, before anything is written.

        Raises:
            ConfigError: the package is missing.
        """
        if self.package and importlib.util.find_spec(self.package) is None:
            name = catalog.snake_case(type(self).__name__)
            advice = f"'deqzoo[{self.extra}]'" if self.extra else self.package
            raise ConfigError(f"--sink={name} needs {self.package}: pip install {advice}")


def open_sinks(options: RunOptions) -> list[Sink]:
    """Those that the options ask for.

    Raises:
        CatalogError, ConfigError: one that is unknown, or whose package is missing.
    """
    sinks: list[Sink] = [catalog.sinks.get(recipe) for recipe in options.sink]
    for sink in sinks:
        sink.require_installed()
    return sinks


def scalars(report: Report) -> dict[str, float]:
    """The numbers of a line by name, without its step."""
    return {
        name: float(value)
        for name, value in report.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and name != "step"
    }
