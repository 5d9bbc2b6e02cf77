"""Keep a trained model as the zoo keeps its own: weights, and a card that rebuilds it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from deqzoo import catalog
from deqzoo.catalog import Recipe
from deqzoo.core.solution import FixedPointError
from deqzoo.data.examples import Data
from deqzoo.data.scaling import Scale, scales_of
from deqzoo.data.spec import as_spec, to_plain
from deqzoo.data.task import Task
from deqzoo.local_path import local_path
from deqzoo.nn.model import Model
from deqzoo.nn.output_shape import output_shape
from deqzoo.nn.pure_model import PureModel
from deqzoo.runs.as_model import as_model
from deqzoo.runs.run import Run
from deqzoo.storage import files, shelf, tensors
from deqzoo.storage.tensors import TensorFile
from deqzoo.training.config import TrainConfig
from deqzoo.training.given import names_object
from deqzoo.training.provenance import versions
from deqzoo.zoo.blueprint import Blueprint
from deqzoo.zoo.card import FORMAT, Card, DataFacts
from deqzoo.zoo.packed import Packed
from deqzoo.zoo.promise import promises
from deqzoo.zoo.reference import inputs, packed, reference
from deqzoo.zoo.results import Results

_GENERIC = "inputs unlike its data: it gives them an answer too, and nothing says that it is wrong"


class UnsavableError(ValueError):
    """A model that no recipe rebuilds, or whose data are not there; the message says what to do."""


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a card says besides what follows from the model.

    Attributes:
        results: what was measured.
        limits: what it is not good for.
        command: that builds it again.
    """

    results: Results | None = None
    limits: tuple[str, ...] = (_GENERIC,)
    command: str = ""


def save_pretrained(
    model: Model | Run,
    path: str | Path,
    *,
    recipe: str | None = None,
    spec: Any = None,
    scaling: tuple[Scale | None, ...] | None = None,
    told: Told | None = None,
) -> Path:
    """Write ``NAME.safetensors`` and the card ``NAME.json``, for ``load`` to open on raw inputs.

    Args:
        model: a run, whose settings and task are recorded; or a model, of which ``recipe`` and
            ``spec`` are needed, and ``scaling`` where its inputs are scaled.
        path: of the weights; its last part is the name. Earlier files are replaced.
        recipe: that builds such a model, with its width and whatever else is no default:
            ``"mondeq(width=32)"``.
        spec: of one example.
        scaling: of every array of the input, of a model that is no run; None leaves all as they
            are.
        told: what else the card says.

    Raises:
        UnsavableError: no recipe is known, the recipe builds another model, the model needs the
            constants of its task, or the data of the run have changed.

    Example:
        >>> import deqzoo, numpy as np, tempfile
        >>> model = deqzoo.create_model("classifier(width=8)", (4,), 2, activation="tanh")
        >>> folder = tempfile.mkdtemp()
        >>> path = deqzoo.save_pretrained(
        ...     model, f"{folder}/mine", recipe="classifier(width=8)", spec=(4,)
        ... )
        >>> x = np.ones((3, 4), np.float32)
        >>> bool((deqzoo.load(path)(x)[0] == model(x)[0]).all())
        True
    """
    own, told = as_model(model), told or Told()
    path = local_path(path)
    path = path if path.suffix == shelf.WEIGHTS else path.with_name(path.name + shelf.WEIGHTS)
    blueprint, task, data = _described(model, recipe, spec, scaling)
    state = PureModel(own).state
    _require_same(blueprint, state)
    tensors.write(path, state, {"name": path.stem, "blueprint": files.plain(blueprint)})
    file = TensorFile(path)
    kept = () if task is None else packed(blueprint, task.divided().test.x)
    card = Card(
        format=FORMAT,
        name=path.stem,
        blueprint=blueprint,
        equation=(type(own).__doc__ or "").strip().partition("\n")[0],
        promises=promises(own).each,
        parameters=sum(int(np.size(leaf)) for leaf in jax.tree.leaves(state.parameters)),
        data=None if task is None or data is None else _facts(blueprint, task, data),
        results=told.results,
        inputs=kept,
        reference=_reference(blueprint, file, kept),
        limits=told.limits,
        command=told.command,
        versions=model.versions if isinstance(model, Run) else versions(),
        weights=file.check,
    )
    card.write(path.with_suffix(shelf.CARD))
    return path


def _described(
    model: Model | Run,
    recipe: str | None,
    spec: Any,
    scaling: tuple[Scale | None, ...] | None,
) -> tuple[Blueprint, Task | None, Data | None]:
    if isinstance(model, Run) and not names_object(model.config.task):
        return _of_run(model, recipe)
    if recipe is None or (spec is None and not isinstance(model, Run)):
        raise UnsavableError(
            "an object does not say how it was built and for what: give recipe='mondeq(width=32)' "
            "and spec= of one example, or save a run that was trained by recipe"
        )
    own = as_model(model)
    spec = as_spec(model.spec if isinstance(model, Run) else spec)
    config = model.config if isinstance(model, Run) else TrainConfig()
    parts = {
        "activation": str(Recipe.of(own.activation)),
        "solver": str(Recipe.of(own.deq.solver)),
        "adjoint": str(Recipe.of(own.deq.adjoint)),
    }
    config = replace(config, model=recipe, **parts)
    leaves = jax.tree.leaves(spec)
    outputs = output_shape(PureModel(own), spec)[-1]
    blueprint = Blueprint(
        settings=config.to_dict(),
        spec=to_plain(spec),
        outputs=outputs,
        scaling=(None,) * len(leaves) if scaling is None else scaling,
    )
    return blueprint, None, None


def _of_run(run: Run, recipe: str | None) -> tuple[Blueprint, Task, Data]:
    if run.resolved["constants"] is not None:
        raise UnsavableError(
            f"the model of {run.path} needs the constants of {run.config.task}, which are not kept "
            "here: use deqzoo.save"
        )
    if recipe is None and names_object(run.config.model):
        raise UnsavableError(
            f"the run in {run.path} trained an {run.config.model}: give recipe='mondeq(width=32)', "
            "which builds one like it"
        )
    config = run.config if recipe is None else replace(run.config, model=recipe)
    task = catalog.tasks.get(config.task)
    data = task.load()
    if data.fingerprint != run.resolved["data"]:
        raise UnsavableError(
            f"the data of {config.task} are not those that {run.path} was trained on (fingerprint "
            f"{run.resolved['data']} there, {data.fingerprint} now): restore them"
        )
    scales = jax.tree.leaves(scales_of(task.divided(), task.scaling))
    blueprint = Blueprint(
        settings=config.to_dict(),
        spec=run.resolved["spec"],
        outputs=run.resolved["outputs"],
        scaling=tuple(each if isinstance(each, Scale) else None for each in scales),
    )
    return blueprint, task, data


def _require_same(blueprint: Blueprint, state: Any) -> None:
    kinds = [
        [(leaf.shape, str(leaf.dtype)) for leaf in jax.tree.leaves(each)]
        for each in (blueprint.template(), state)
    ]
    if kinds[0] != kinds[1]:
        raise UnsavableError(
            f"the recipe {blueprint.settings['model']} builds a model with other arrays than "
            "these: name every argument that is no default, such as width="
        )


def _facts(blueprint: Blueprint, task: Task, data: Data) -> DataFacts:
    return DataFacts(
        task=blueprint.settings["task"],
        licence=task.licence or "not stated by the task",
        fingerprint=data.fingerprint,
        examples={name: split.examples for name, split in data.splits.items()},
    )


def _reference(
    blueprint: Blueprint, file: TensorFile, kept: tuple[Packed, ...]
) -> tuple[tuple[float, ...], ...]:
    if not kept:
        return ()
    try:
        found = reference(blueprint, file, inputs(blueprint, kept))
    except FixedPointError:  # of level C
        return ()
    return tuple(tuple(row) for row in found.reshape(len(found), -1).tolist())
