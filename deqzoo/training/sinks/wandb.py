"""Scalars to a project of Weights & Biases."""

from __future__ import annotations

import importlib
from typing import Any

from deqzoo.training.sink import Sink, scalars

__all__ = ["Wandb"]


class Wandb(Sink):
    """One row a line; ``WANDB_MODE=offline`` keeps them here.

    The name of the folder is that of the run, which a resumed run continues.

    Args:
        project: its name.
    """

    package, extra = "wandb", "wandb"

    def __init__(self, project: str = "deqzoo"):
        self._project = project

    def at_start(self, start):
        """Begin or continue the run there."""
        wandb: Any = importlib.import_module("wandb")
        self._run = wandb.init(
            project=self._project,
            dir=str(start.folder),
            name=start.folder.name,
            config=start.record["config"],
            resume="auto",
        )
        return ()

    def at_report(self, report):
        """Add the numbers of a line."""
        self._run.log(scalars(report), step=report["step"])
        return {}

    def close(self):
        """Finish the run there."""
        self._run.finish()
