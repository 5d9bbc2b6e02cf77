"""Whether data fit a run, which may have been trained on others, or a model."""

from __future__ import annotations

from deqzoo.data.examples import Data
from deqzoo.data.metric import CLASSES, TARGETS
from deqzoo.data.spec import described
from deqzoo.nn.model import Model
from deqzoo.nn.output_shape import output_shape
from deqzoo.nn.pure_model import PureModel
from deqzoo.runs.run import Run


class EvaluationError(ValueError):
    """A task or solver that does not fit the model; the message says what was expected."""


def require_fit(of: Model | Run, data: Data) -> None:
    """Refuse data whose inputs, or whose kind and number of outputs, are not those of the model.

    Data may hold fewer classes than the model tells apart.

    Raises:
        EvaluationError: they do not fit.
    """
    if isinstance(of, Run):
        _require_run_fits(of, data)
    else:
        _require_model_fits(of, data)


def _require_run_fits(run: Run, data: Data) -> None:
    outputs = run.resolved["outputs"]
    if data.spec != run.spec:
        raise EvaluationError(
            f"the run takes inputs {described(run.spec)}, the task has {described(data.spec)}: use "
            "data of that kind and shape"
        )
    kinds = [
        "real targets" if n is None else "classes" for n in (run.resolved["classes"], data.classes)
    ]
    if kinds[0] != kinds[1]:
        raise EvaluationError(
            f"the run predicts {kinds[0]}, the task has {kinds[1]}: labels are stored as integers, "
            "targets as floats"
        )
    if data.outputs > outputs or (data.classes is None and data.outputs != outputs):
        raise EvaluationError(f"the run predicts {outputs} {kinds[0]}, the task has {data.outputs}")


def _require_model_fits(model: Model, data: Data) -> None:
    try:
        found = output_shape(PureModel(model), data.spec)
    except ValueError as error:
        raise EvaluationError(str(error)) from error
    targets = data.train.y.shape[1:]
    if data.kind == TARGETS and found != targets:
        raise EvaluationError(
            f"the model gives an output of shape {found} for an example, and its {TARGETS} have "
            f"shape {targets}: reshape y; {CLASSES} are stored as integers"
        )
    if data.classes is not None and (found[:-1] != targets or data.classes > found[-1]):
        raise EvaluationError(
            f"the model gives an output of shape {found} for an example, and its {CLASSES} of "
            f"shape {targets} in {data.classes} classes ask for {(*targets, data.classes)}: "
            "reshape or renumber y"
        )
