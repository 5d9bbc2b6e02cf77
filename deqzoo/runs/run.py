"""Load a run for analysis, on the CPU, whatever trained it."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from deqzoo import catalog
from deqzoo.data.examples import SPLITS
from deqzoo.data.spec import from_plain
from deqzoo.local_path import local_path
from deqzoo.nn.model import Model
from deqzoo.nn.pure_model import ModelState, PureModel
from deqzoo.shown import Shown, Table
from deqzoo.storage import checkpoint
from deqzoo.storage.checkpoint import Checkpoints
from deqzoo.storage.scratch import ScratchFolder
from deqzoo.storage.workdir import CONFIG, METRICS, Workdir, WorkdirError
from deqzoo.training import provenance
from deqzoo.training.config import TrainConfig
from deqzoo.training.given import names_object

BEST = "best"
_FEW = 8  # checkpoints that are listed


@dataclass(frozen=True, repr=False)
class Run(Shown):
    """A run at one of its checkpoints.

    Attributes:
        config: its settings.
        model: the model at ``step``, in eval mode; ``model(x)`` gives (outputs, solution).
        metrics: the lines of metrics.jsonl as dictionaries.
        step: the checkpoint that was loaded.
        steps: all checkpoints.
        resolved: what the settings came to: spec of an example, outputs, learning rate, ...
        versions: the packages that trained it.
        path: its folder.
        skipped: (step, reason) of newer checkpoints that are damaged.
        kept: the folder, where it goes with the run.
    """

    config: TrainConfig
    model: Model
    metrics: list[dict[str, Any]]
    step: int
    steps: tuple[int, ...]
    resolved: dict[str, Any]
    versions: dict[str, str]
    path: Path
    skipped: tuple[tuple[int, str], ...] = ()
    kept: ScratchFolder | None = None

    def shown(self) -> Table:
        """What was trained, how far, and what it reached."""
        config, found = self.config, self.summary or {}
        return Table(
            f"Run in {self.path}",
            (
                ("model", f"{config.model} with {config.activation}"),
                ("task", config.task),
                ("step", f"{self.step} of {config.steps}; checkpoints {_listed(self.steps)}"),
                ("ended", "yes" if found else "no summary yet"),
                *_reached(found),
            ),
        )

    @property
    def spec(self) -> Any:
        """What one example is, as in ``Data``."""
        return from_plain(self.resolved["spec"])

    @property
    def summary(self) -> dict[str, Any] | None:
        """summary.json of a finished run."""
        return Workdir(self.path).read_summary()

    def restore(self, step: int | str | None = None) -> Run:
        """The same run at another checkpoint: a step, ``"best"``, or None for the latest good."""
        return self._filled(_found(self.path, step, PureModel(self.model).state))

    def _filled(self, found: checkpoint.Restored) -> Run:
        with _on_cpu():
            model = PureModel(self.model).rebuild(jax.tree.map(jnp.asarray, found.state))
        return replace(self, model=model, step=found.step, skipped=found.skipped)

    def arrays(self, *only: str, step: int | None = None) -> dict[str, Any]:
        """Part of a checkpoint as nested dictionaries of numpy arrays; nothing else is read.

        Args:
            *only: path prefixes such as ``"parameters/deq/cell/W"`` or ``"optimizer"``; none reads
                all.
            step: a checkpoint; this run's by default.
        """
        with _reader(self.path) as reader:
            return reader.read(self.step if step is None else step, only)


def load_run(
    workdir: str | Path,
    *,
    step: int | str | None = None,
    plugins: Sequence[str] = (),
    model: Model | None = None,
) -> Run:
    """Rebuild the model of a run from its folder.

    The data of the run is not needed. A damaged latest checkpoint is passed over with a warning.

    Args:
        workdir: the folder ``launch.train`` wrote.
        step: a checkpoint step, ``"best"`` (by ``--keep_best_by``, on the validation split), or
            None for the latest good one.
        plugins: modules to import first. Those that the run names must be among them, or imported
            already: to import a module is to run its code, and the folder may be anybody's.
        model: one like that of a run of ``deqzoo.fit``, which was an object; it stays as it is.

    Raises:
        WorkdirError: the folder holds no run, one of another format, or those of a sweep.
        CheckpointError: no checkpoint can be read, or not the one asked for.
        CatalogError: the run uses a plug-in that is not installed here, or was not asked for.

    Example:
        >>> import tempfile, deqzoo
        >>> from deqzoo.training import TrainConfig, train
        >>> folder = tempfile.mkdtemp()
        >>> _ = list(train(TrainConfig(steps=2, width=16, workdir=folder)))
        >>> run = deqzoo.load_run(folder)
        >>> run.step, run.config.activation
        (2, 'gelu')
    """
    path = local_path(workdir)
    record = _record(path)
    with _reader(path) as reader:
        reader.require_one_of_this_run()
        steps = reader.steps()
    config, resolved = _config(path, record, plugins), record["resolved"]
    found = None
    if model is None:
        with _on_cpu():
            # Shapes first: those of a foreign folder may ask for more than there is.
            shapes = jax.eval_shape(lambda: PureModel(drawn(config, resolved, path)).state)
            found = _found(path, step, shapes)
            model = drawn(config, resolved, path)
    run = Run(
        config, model, Workdir(path).read_metrics(), -1, steps, resolved, record["versions"], path
    )
    run = run.restore(step) if found is None else run._filled(found)
    _warn_of_damage(run)
    return run


def _record(path: Path) -> dict[str, Any]:
    """What a run wrote down of itself."""
    record = Workdir(path).read_config()
    if record is None:
        raise WorkdirError(f"{path} holds no {CONFIG}: expected a folder written by launch.train")
    if "seeds" in record["config"]:
        raise WorkdirError(
            f"{path} belongs to a sweep and holds several runs: load one of them, a folder seed-<s>"
        )
    provenance.require_format(path, record)
    return record


def _config(path: Path, record: dict[str, Any], plugins: Sequence[str]) -> TrainConfig:
    """The settings of a run, its plug-ins imported, as far as this JAX can follow them."""
    config = TrainConfig.from_dict(record["config"], str(path))
    catalog.require_asked_for(f"the run in {path}", config.plugin, plugins)
    config = replace(config, plugin=tuple(dict.fromkeys((*config.plugin, *plugins))))
    config.import_plugins()
    if config.dtype == "float64" and jnp.result_type(float) != jnp.float64:
        warnings.warn(
            "the run was trained in float64 and is loaded in float32, because 64-bit JAX is off; "
            "set JAX_ENABLE_X64=1 for full precision",
            stacklevel=3,
        )
        config = replace(config, precision="float32")
    return config


def _warn_of_damage(run: Run) -> None:
    lines = Workdir(run.path).damaged_metrics()
    if lines:
        warnings.warn(f"{lines} damaged lines of {run.path / METRICS} were skipped", stacklevel=3)
    for damaged, reason in run.skipped:
        warnings.warn(f"checkpoint {damaged} of {run.path} was passed over: {reason}", stacklevel=3)


def drawn(config: TrainConfig, resolved: dict[str, Any], path: Path) -> Model:
    """The model of a run as its constructor draws it, with the constants in its folder.

    Raises:
        WorkdirError: the model was an object, or the constants cannot be read.
    """
    if names_object(config.model):
        raise WorkdirError(
            f"the run in {path} trained an {config.model}: build one like it and give it "
            "as load_run(..., model=model)"
        )
    constants = resolved["constants"]
    if constants is not None:
        structure = jax.tree.structure(from_plain(constants))
        constants = structure.unflatten(Workdir(path).read_constants())
    return config.build_model(from_plain(resolved["spec"]), resolved["outputs"], constants)


def _reached(summary: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The numbers of every split in a row, then the others."""
    left = {name: f"{value:.5g}" for name, value in summary.items() if isinstance(value, float)}
    for split in reversed(SPLITS):
        own = [name for name in left if name.startswith(f"{split}_")]
        words = [f"{name.removeprefix(f'{split}_').replace('_', ' ')} {left[name]}" for name in own]
        if words:
            yield split, ", ".join(words)
        left = {name: text for name, text in left.items() if name not in own}
    yield from left.items()


def _listed(steps: Sequence[int]) -> str:
    if len(steps) <= _FEW:
        return ", ".join(map(str, steps)) or "none"
    return f"{steps[0]} ... {steps[-1]}, {len(steps)} of them"


def _reader(path: Path) -> contextlib.closing[Checkpoints]:
    folder = Workdir(path).checkpoints
    if not folder.is_dir():
        raise WorkdirError(f"{path} holds no checkpoint yet: let the run reach --checkpoint_every")
    return contextlib.closing(Checkpoints(folder, writable=False, run=Workdir(path).read_config()))


def _on_cpu():
    return jax.default_device(jax.local_devices(backend="cpu")[0])


def _found(path: Path, step: int | str | None, template: ModelState) -> checkpoint.Restored:
    """The state at a step, once its shapes are found to be those of the template."""
    with _reader(path) as reader:
        found = _select(reader, step, template.parts)
    return found._replace(state=checkpoint.fill(template, found.state, cast=True))


def _select(
    reader: Checkpoints, step: int | str | None, only: Sequence[str]
) -> checkpoint.Restored:
    if step is None:
        restored = reader.restore_latest(only)
        if restored is None:
            raise checkpoint.CheckpointError(f"there is no checkpoint in {reader.folder} yet")
        return restored
    number = reader.best_step() if step == BEST else step
    if not isinstance(number, int):
        raise ValueError(f"step must be a whole number, 'best' or None, got {step!r}")
    return checkpoint.Restored(number, reader.read(number, only), ())
