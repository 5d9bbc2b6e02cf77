"""Opens a run for a command: at a step, in its own precision, with warnings as plain lines."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterator, Sequence

import jax
from rich.console import Console

from deqzoo.runs.run import BEST, Run, load_run
from deqzoo.storage.workdir import Workdir
from launch import _command

_PRECISION = "precision"  # the field of TrainConfig


def open_run(console: Console, workdir: str, step: str, plugins: Sequence[str]) -> Run:
    """Load a run.

    Args:
        console: where warnings go.
        workdir: its folder.
        step: a number, ``best``, or nothing for the latest good checkpoint.
        plugins: modules to import first.

    Raises:
        UsageError: no folder, or a step that is none.
        WorkdirError, CheckpointError, CatalogError: as in ``load_run``.
    """
    if not workdir:
        raise _command.UsageError("--workdir is needed: the folder that launch.train wrote")
    wanted = _step(step)
    record = Workdir(workdir).read_config()
    if record is not None and record["config"].get(_PRECISION) == "float64":
        jax.config.update("jax_enable_x64", True)
    with plain_warnings(console):
        return load_run(workdir, step=wanted, plugins=plugins)


@contextlib.contextmanager
def plain_warnings(console: Console) -> Iterator[None]:
    """Print what the block warns of, once each, without the place in the code."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", UserWarning)
        yield
    for text in dict.fromkeys(str(each.message) for each in told):
        console.print(f"warning: {text}")


def _step(text: str) -> int | str | None:
    if text in ("", BEST):
        return text or None
    if re.fullmatch(r"\d{1,18}", text):
        return int(text)
    raise _command.UsageError(f"--step must be a whole number or 'best', got {text!r}")
