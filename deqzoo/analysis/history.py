"""The model of a run along its training: as it was drawn, and at every stored checkpoint."""

from __future__ import annotations

from collections.abc import Iterator

from deqzoo import catalog
from deqzoo.nn.model import Model
from deqzoo.nn.pure_model import PureModel
from deqzoo.runs.run import Run, drawn
from deqzoo.storage.checkpoint import CheckpointError
from deqzoo.storage.difference import difference
from deqzoo.storage.workdir import Workdir


def history(run: Run) -> Iterator[tuple[int, Model]]:
    """(step, model) in the order of training; step 0 is the model before its first step.

    Damaged checkpoints are passed over. A readout that ``--init=certified`` set to zero is here as
    it was drawn: what is measured along training does not depend on it.
    """
    first = as_drawn(run)
    if first is not None:
        yield 0, first
    for step in run.steps:
        if step == run.step:
            yield step, run.model
            continue
        try:
            yield step, run.restore(step).model
        except CheckpointError:
            continue


def damaged(run: Run) -> list[str]:
    """A sentence for every checkpoint that cannot be read."""
    reasons = []
    for step in run.steps:
        try:
            run.arrays("parameters", step=step)
        except CheckpointError as error:
            reasons.append(f"a checkpoint was passed over: {error}")
    return reasons


def as_drawn(run: Run) -> Model | None:
    """The weights before the first step, drawn again from the seed under the run's constraint.

    None where the run was loaded in another precision, whose draws differ.
    """
    recorded = (Workdir(run.path).read_config() or {})["config"]
    now = run.config.to_dict()
    if difference({**recorded, "plugin": now["plugin"]}, now):
        return None
    model = drawn(run.config, run.resolved, run.path)
    constraint = catalog.constraints.get(run.config.constraint)
    pure = PureModel(model)
    parameters = constraint.apply(pure.state.parameters, model.guarantees())
    return pure.rebuild(pure.state._replace(parameters=parameters))
