"""What the settings of a run come to: data, loss, optimizer, model, and what is proved of them."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from deqzoo import catalog
from deqzoo.activation.measured import require_true_bounds
from deqzoo.data.examples import Data, Split, in_dtype
from deqzoo.data.metric import Metric
from deqzoo.data.spec import spec_of, to_plain
from deqzoo.nn.pure_model import ModelState, PureModel
from deqzoo.recipe import Recipe
from deqzoo.storage import checkpoint, shelf
from deqzoo.storage.checkpoint import CheckpointError, Checkpoints
from deqzoo.storage.shelf import ShelfError
from deqzoo.storage.tensors import TensorsError
from deqzoo.storage.workdir import Workdir
from deqzoo.theory import Certificate
from deqzoo.training import provenance
from deqzoo.training.batches import Drawn
from deqzoo.training.config import ConfigError, TrainConfig
from deqzoo.training.evaluation import LOSS, named
from deqzoo.training.given import Given, names_object
from deqzoo.training.observer import Observer
from deqzoo.training.optimizer import CERTIFIED, NTK, Optimizer
from deqzoo.training.outputs_fit import require_outputs_fit
from deqzoo.training.promises import certified, guarantees
from deqzoo.training.promises.certificate_observer import CertificateObserver
from deqzoo.training.promises.certified import is_asked_for
from deqzoo.training.promises.stable_step import ntk_step
from deqzoo.training.promises.tuned import is_tuned, require_tunable, tuned

ZOO = "zoo:"  # before the name of a trained member


class Setup:
    """Everything that follows from the settings alone, and nothing of the folder of the run.

    Args:
        config: the settings.
        given: the model and data that they name as objects.

    Attributes:
        data: the task's.
        train: inputs and targets in the dtype of the run, where the task has left them: in the
            memory of the host or on disk.
        batch_size: examples a step.
        loss: with ``--init=certified`` that of the scaled targets.
        optimizer: its learning rate may still be a name.
        constraint: on the weights.
        model: as initialised.
        pure: the model as a function of its arrays, in the precision of the run.
        state: its arrays.
        certificate: what is proved of gradient descent from the start, if asked for, else None.
        observers: what holds the run to it.
        guarantees: sentences about what the activation's bounds guarantee.
        notes: sentences about how the start was found.

    Raises:
        ConfigError, CatalogError, TaskError, ActivationError: settings or data that cannot be used.
    """

    def __init__(self, config: TrainConfig, given: Given | None = None):
        self.config = config
        self.notes: list[str] = []
        config.import_plugins()
        if config.dtype == "float64" and jnp.result_type(float) != jnp.float64:
            raise ConfigError(
                "--precision=float64 needs 64-bit JAX: set JAX_ENABLE_X64=1 before it starts"
            )
        given = given or Given()
        _require_given(config, given)
        self.data: Data = given.data or catalog.tasks.get(config.task).load()
        self.loss = config.build_loss(self.data)
        self.optimizer = config.build_optimizer(self.loss)
        self._metrics = named(self.data.metrics, self.data.kind)
        config.require_metric(self.metrics)
        self.constraint = catalog.constraints.get(config.constraint)
        self.batch_size = config.batch_of(self.data.train.examples)
        self.model = given.model or config.build_model(
            self.data.spec, self.data.outputs, self.data.constants
        )
        require_true_bounds(self.model.activation)
        if is_tuned(self.optimizer):
            require_tunable(self.config, self.model, self.loss)
        guarantees.require_something_to_keep(self.model, config.constraint)
        self.train = self.on_host(self.data.train)
        if config.init_from:
            self._take_weights(config.init_from)
        self.certificate = self._certify() if is_asked_for(config, self.optimizer) else None
        held = () if self.certificate is None else (CertificateObserver(self.certificate),)
        self.observers: tuple[Observer, ...] = held
        self.pure = PureModel(self.model, config.compute)
        self.state = self.pure.state
        require_outputs_fit(self.pure, self.data)
        self.guarantees = guarantees.describe(self.model, self.state.parameters, self.constraint)
        if config.compute is not None and self.model.guarantees():
            self.guarantees.append(
                f"all of it holds of the map before it is rounded to {config.compute}"
            )

    def on_host(self, split: Split) -> Split:
        """Inputs and real targets in the dtype of the run, tokens and labels as they are."""
        return in_dtype(split, self.config.dtype)

    def drawn(self, seed: int) -> Drawn:
        """What the steps of a run with this seed see."""
        return Drawn(self.train, self.batch_size, seed, self.data.augmentation)

    def resolve(self) -> dict[str, Any]:
        """What the settings came to, so that a run can be rebuilt without its data."""
        optimizer = self._tuned()
        constants = None if self.data.constants is None else to_plain(spec_of(self.data.constants))
        return {
            "spec": to_plain(self.data.spec),
            "constants": constants,
            "outputs": self.data.outputs,
            "classes": self.data.classes,
            "examples": {name: split.examples for name, split in self.data.splits.items()},
            "data": self.data.fingerprint,
            "learning_rate": self._learning_rate(optimizer),
            "loss": str(Recipe.of(self.loss)),
            "metrics": list(self.data.metrics),
            "optimizer": str(Recipe.of(optimizer)),
            "constraint": str(Recipe.of(self.constraint)),
            "activation": str(Recipe.of(self.model.activation)),
            "model": provenance.model_arguments(self.config),
        }

    def take_tuned(self, recipe: str) -> None:
        """Go on with the constants on record, where the start of the run was tuned to."""
        if is_tuned(self.optimizer):
            self.optimizer = catalog.optimizers.get(recipe)

    @property
    def metrics(self) -> dict[str, Metric]:
        """What is measured: the loss, and the metrics of the task."""
        return {LOSS: self.loss, **self._metrics}

    def _tuned(self) -> Optimizer:
        """The optimizer, with its constants where it is to be tuned to the start."""
        if not is_tuned(self.optimizer):
            return self.optimizer
        return tuned(self.optimizer, self.config, self.model, self.loss, self.train)

    def _learning_rate(self, optimizer: Optimizer) -> Any:
        rate = optimizer.learning_rate
        if rate == CERTIFIED and self.certificate is not None:
            missing = certified.what_is_missing(self.config, optimizer, self.data)
            return certified.certified_step(self.certificate, missing)
        if rate == NTK:
            examples = self.batch_size * optimizer.accumulate
            forward = lambda p, x: self.pure(self.state._replace(parameters=p), x)  # noqa: E731
            return ntk_step(forward, self.state.parameters, self.train.at(slice(examples)).x)
        return rate

    def _take_weights(self, source: str) -> None:
        """Begin with what another run, or a member of the zoo, has learned.

        Random streams stay those of the seed.
        """
        pure = PureModel(self.model)
        read = _of_member if source.startswith(ZOO) else _of_run
        try:
            found, told = read(source, pure.state)
        except (CheckpointError, TensorsError, ShelfError) as error:
            raise ConfigError(f"--init_from={source}: {error}") from None
        self.model = pure.rebuild(pure.keep_streams(found))
        self.notes.append(f"begins with the weights of {told}")

    def _certify(self) -> Certificate:
        """The certificate of the start, which ``--init=certified`` chooses first."""
        if self.config.init == certified.CERTIFIED:
            self.loss, log = certified.certified_init(self.model, self.loss, *self.train)
            self.notes += log
        return certified.certificate_of(self.model, self.loss, *self.train)


def _of_run(workdir: str, template: ModelState) -> tuple[ModelState, str]:
    """The arrays of the newest good checkpoint of a run, and what they are in words."""
    folder = require_checkpoints(workdir)
    record = Workdir(workdir).read_config()
    with contextlib.closing(Checkpoints(folder, writable=False, run=record)) as reader:
        restored = reader.restore_latest(only=template.parts)
    if restored is None:
        raise CheckpointError("there is no checkpoint in it")
    found = checkpoint.fill(template, restored.state, cast=True)
    return found, f"{workdir} at step {restored.step}"


def _of_member(source: str, template: ModelState) -> tuple[ModelState, str]:
    """Those of a trained member."""
    path = shelf.weights(source.removeprefix(ZOO))
    filled = shelf.opened(path).fill(template, cast=True)
    return jax.tree.map(jnp.asarray, filled), f"the trained member {path.stem}"


def require_weights(source: str) -> None:
    """See that there is what ``--init_from`` names.

    Raises:
        ConfigError: there is not.
    """
    if not source.startswith(ZOO):
        require_checkpoints(source)
        return
    try:
        shelf.weights(source.removeprefix(ZOO))
    except ShelfError as error:
        raise ConfigError(f"--init_from={source}: {error}") from None


def require_checkpoints(workdir: str) -> Path:
    """The folder of the checkpoints that ``--init_from`` names.

    Raises:
        ConfigError: there is none.
    """
    folder = Workdir(workdir).checkpoints
    if not folder.is_dir():
        raise ConfigError(f"--init_from={workdir} holds no checkpoint of a run")
    return folder


def _require_given(config: TrainConfig, given: Given) -> None:
    for name, object_ in (("model", given.model), ("task", given.data)):
        setting = getattr(config, name)
        if names_object(setting) and object_ is None:
            raise ConfigError(
                f"--{name}={setting} was an object, which no command line can name: give it to "
                "deqzoo.fit again, or name a recipe"
            )
