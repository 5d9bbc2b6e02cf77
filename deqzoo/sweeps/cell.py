"""One cell of a sweep in its folder: every seed a run, all of them in one program or in turn."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from deqzoo import catalog
from deqzoo.data.examples import SPLITS
from deqzoo.storage import checkpoint
from deqzoo.storage.workdir import Workdir
from deqzoo.sweeps.lanes import Lanes
from deqzoo.training import provenance
from deqzoo.training.config import TrainConfig
from deqzoo.training.devices.preemption import Stop
from deqzoo.training.evaluation import recorded
from deqzoo.training.optimizer import CERTIFIED
from deqzoo.training.promises.tuned import is_tuned
from deqzoo.training.training import Training, TrainingError

Row = dict[str, Any]
Failures = dict[int, str]
_SMALL = 10**5  # parameters of a model below which a CPU gains by vmap
_KERNEL = 4  # axes of a convolution's: under vmap it is a grouped one, which a CPU does slowly
_SOLVES = ("test_solver_steps", "test_converged", "bound")


def runs(config: TrainConfig, seeds: Sequence[int], folder: Path) -> tuple[TrainConfig, ...]:
    """The run of every seed, in a folder of its own."""
    return tuple(replace(config, seed=seed, workdir=str(folder / f"seed-{seed}")) for seed in seeds)


def train(
    config: TrainConfig,
    seeds: Sequence[int],
    folder: Path,
    *,
    vmap: bool | None = None,
    stop: Stop | None = None,
) -> Iterator[Row]:
    """Train a cell to its end, going on where it was left; at the end its summary.json is there.

    Yields the fraction of the cell that is done, the loss and the number of good seeds; or a note.

    Args:
        config: of the cell; seed and workdir are set here.
        seeds: of the runs.
        folder: of the cell; the runs are in ``seed-<s>``.
        vmap: train the seeds as one program; by default if that is faster. A single seed and runs
            with a certificate never are.
        stop: asked after every step; once true, everything is saved and the generator ends.

    Raises:
        HeldError: another process trains the cell.
    """
    workdir = Workdir(folder)
    workdir.lock()
    try:
        if workdir.drop_damaged_summary():
            yield {"note": "summary.json was damaged and is written anew"}
        if workdir.read_summary() is None:
            yield from _train(config, seeds, workdir, vmap, stop)
        if workdir.read_summary() is not None:
            shutil.rmtree(workdir.checkpoints, ignore_errors=True)
    finally:
        workdir.unlock()


def _train(
    config: TrainConfig,
    seeds: Sequence[int],
    workdir: Workdir,
    vmap: bool | None,
    stop: Stop | None,
) -> Iterator[Row]:
    record = workdir.read_config() or _write_record(config, seeds, workdir, vmap)
    together = record["resolved"]["vmap"]
    configs = runs(config, seeds, workdir.path)
    with exact(config):
        failures: Failures | None = {}
        if not all(map(_is_finished, configs)):
            failures = yield from (
                _together(configs, workdir, stop) if together else _in_turn(configs, stop)
            )
    if failures is not None:
        workdir.write_summary(_result(configs, failures, together))


def _is_finished(config: TrainConfig) -> bool:
    """Whether a run is whole, so that the summary of its cell is all that is missing."""
    return Workdir(config.workdir).read_summary() is not None


def judged(summary: Row) -> Row:
    """By what the seeds of a cell are compared: metrics of the splits, solves, contraction."""
    names = (f"{split}_{name}" for split in SPLITS for name in recorded(summary, split))
    return {name: summary[name] for name in (*names, *_SOLVES) if summary.get(name) is not None}


def _write_record(
    config: TrainConfig, seeds: Sequence[int], workdir: Workdir, vmap: bool | None
) -> Row:
    own = {key: value for key, value in config.to_dict().items() if key != "seed"}
    together = len(seeds) > 1 and not _goes_alone(config)
    if together:
        together = _is_faster(config) if vmap is None else vmap
    record = {"config": {**own, "seeds": [*seeds]}, "resolved": {"vmap": together}}
    workdir.write_config({**record, "versions": provenance.versions()})
    return record


def _is_faster(config: TrainConfig) -> bool:
    """Whether one program for all seeds is faster: measured on two cores, see docs/sweeps.md."""
    if jax.default_backend() != "cpu":
        return True
    data = catalog.tasks.get(config.task).load()
    model = nnx.eval_shape(lambda: config.build_model(data.spec, data.outputs, data.constants))
    leaves = jax.tree.leaves(nnx.state(model, nnx.Param))
    return sum(leaf.size for leaf in leaves) <= _SMALL and all(
        leaf.ndim < _KERNEL for leaf in leaves
    )


def exact(config: TrainConfig) -> contextlib.AbstractContextManager:
    """64-bit JAX for a cell that needs it."""
    return jax.enable_x64(True) if config.dtype == "float64" else contextlib.nullcontext()


def _goes_alone(config: TrainConfig) -> bool:
    """Whether the run is watched step by step, or every seed has constants of its own."""
    optimizer = catalog.optimizers.get(config.optimizer)
    asked = (config.init, config.learning_rate, optimizer.learning_rate)
    return config.certify or CERTIFIED in asked or is_tuned(optimizer)


def _together(
    configs: Sequence[TrainConfig], workdir: Workdir, stop: Stop | None
) -> Generator[Row, None, Failures | None]:
    """Failures by seed; None if stopped."""
    lanes = Lanes(configs, workdir)
    try:
        yield from ({"note": note} for note in lanes.notes)
        for report in lanes.reports(stop):
            yield {
                "fraction": report["step"] / configs[0].steps,
                "loss": report["loss"],
                "seeds": report["lanes"],
            }
        if not lanes.finished:
            lanes.save()
            return None
        lanes.leave()
        return {configs[lane].seed: reason for lane, reason in lanes.failures().items()}
    finally:
        lanes.close()


def _in_turn(
    configs: Sequence[TrainConfig], stop: Stop | None
) -> Generator[Row, None, Failures | None]:
    """The same, run by run as ``launch.train`` does."""
    failures: Failures = {}
    for number, config in enumerate(configs):
        with contextlib.closing(Training(config)) as training:
            yield from ({"note": f"seed {config.seed}: {note}"} for note in training.notes)
            try:
                for report in training.reports(stop):
                    done = number + report["step"] / config.steps
                    loss = report.get("loss", report.get("train_loss"))
                    good = len(configs) - len(failures)
                    yield {"fraction": done / len(configs), "loss": loss, "seeds": good}
                if not training.finished:
                    training.save()
                    return None
            except TrainingError as error:
                failures[config.seed] = str(error)
    return failures


def _result(configs: Sequence[TrainConfig], failures: Failures, together: bool) -> Row:
    """What the seeds reached: the good ones one by one, their mean and deviation."""
    found = {c.seed: Workdir(c.workdir).read_summary() or {} for c in configs}
    good = [found[seed] for seed in found if seed not in failures]
    rows = [judged(each) for each in good]
    shared = [name for name in rows[0] if all(name in row for row in rows)] if rows else []
    values = {name: [row[name] for row in rows] for name in shared}
    seconds = [each["seconds"] for each in good]
    several = len(good) > 1
    return {
        "format": checkpoint.FORMAT,
        "vmap": together,
        "seeds": {str(c.seed): found[c.seed] for c in configs if c.seed not in failures},
        "failed": {str(seed): reason for seed, reason in failures.items()},
        "mean": {name: float(np.mean(values[name])) for name in shared},
        "deviation": {
            name: float(np.std(values[name], ddof=1)) if several else None for name in shared
        },
        "seconds": (max if together else sum)(seconds) if seconds else None,
    }
