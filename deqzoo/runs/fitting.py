"""Whether data fit a run that may have been trained on others."""

from __future__ import annotations

from deqzoo.data.examples import Data
from deqzoo.data.spec import described
from deqzoo.runs.run import Run


class EvaluationError(ValueError):
    """A task or solver that does not fit the run; the message says what was expected."""


def require_fit(run: Run, data: Data) -> None:
    """Refuse data whose inputs, or whose kind and number of outputs, are not those of the run.

    Data may hold fewer classes than the model tells apart.

    Raises:
        EvaluationError: they do not fit.
    """
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
