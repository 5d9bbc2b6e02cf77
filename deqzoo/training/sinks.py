"""Where reports go besides metrics.jsonl: TensorBoard and Weights & Biases, where asked for."""

from __future__ import annotations

import abc
import importlib.util
from pathlib import Path
from typing import Any

from deqzoo.training.config import ConfigError
from deqzoo.training.options import RunOptions


class Sink(abc.ABC):
    """Takes every report of a run."""

    @abc.abstractmethod
    def write(self, report: dict[str, Any]) -> None:
        """Take the numbers of a report."""

    @abc.abstractmethod
    def close(self) -> None:
        """Write what is held back."""


class TensorBoard(Sink):
    """Scalars as TensorBoard events, written by tensorboardX.

    Args:
        folder: of the events.
        step: events beyond it, of a run that was interrupted, are hidden.
    """

    def __init__(self, folder: Path, step: int):
        from tensorboardX import SummaryWriter  # pyright: ignore[reportMissingImports]

        self._writer = SummaryWriter(str(folder), purge_step=step + 1, write_to_disk=True)

    def write(self, report):
        """One scalar a number."""
        for name, value in _numbers(report).items():
            self._writer.add_scalar(name, value, report["step"])

    def close(self):
        """Flush the file."""
        self._writer.close()


class Wandb(Sink):
    """Scalars to a project of Weights & Biases; ``WANDB_MODE=offline`` keeps them here.

    Args:
        project: its name.
        folder: of the run; its name is the run's, which a resumed run continues.
        config: the settings.
    """

    def __init__(self, project: str, folder: Path, config: dict[str, Any]):
        import wandb  # pyright: ignore[reportMissingImports]

        self._run = wandb.init(
            project=project, dir=str(folder), name=folder.name, config=config, resume="auto"
        )

    def write(self, report):
        """One row a report."""
        self._run.log(_numbers(report), step=report["step"])

    def close(self):
        """Finish the run there."""
        self._run.finish()


def require_installed(options: RunOptions) -> None:
    """Refuse a sink whose package is missing, before anything is written.

    Raises:
        ConfigError: it is not installed.
    """
    for wanted, flag, package, extra in (
        (options.tensorboard, "tensorboard", "tensorboardX", "logs"),
        (options.wandb, "wandb", "wandb", "wandb"),
    ):
        if wanted and importlib.util.find_spec(package) is None:
            raise ConfigError(f"--{flag} needs {package}: pip install 'deqzoo[{extra}]'")


def open_sinks(
    options: RunOptions, folder: Path, config: dict[str, Any], step: int
) -> tuple[Sink, ...]:
    """Those that the options ask for."""
    sinks: list[Sink] = []
    if options.tensorboard:
        sinks.append(TensorBoard(folder / "tensorboard", step))
    if options.wandb:
        sinks.append(Wandb(options.wandb, folder, config))
    return tuple(sinks)


def _numbers(report: dict[str, Any]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in report.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and name != "step"
    }
