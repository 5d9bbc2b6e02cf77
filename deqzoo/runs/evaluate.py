"""A model on any data, split and solver: what it reaches and what its solves cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax

from deqzoo import catalog
from deqzoo.core.combination import CombinationError
from deqzoo.core.solver import Solver
from deqzoo.data.examples import Data, Split, in_dtype
from deqzoo.data.metric import Metric
from deqzoo.nn.model import Model
from deqzoo.nn.pure_model import PureModel
from deqzoo.recipe import Recipe
from deqzoo.runs.as_data import as_data
from deqzoo.runs.as_model import as_model
from deqzoo.runs.evaluation import Evaluation, SolverResult
from deqzoo.runs.failures import failures
from deqzoo.runs.fitting import EvaluationError, require_fit
from deqzoo.runs.measures import metrics_of
from deqzoo.runs.placement import input_dtype
from deqzoo.runs.run import Run
from deqzoo.runs.side_by_side import side_by_side
from deqzoo.runs.variants import with_solver
from deqzoo.settings import fitted
from deqzoo.training.config import Count
from deqzoo.training.given import names_object

BATCH_SIZE = 512  # examples in a call, unless told otherwise


def evaluate(
    model: Model | Run,
    data: Any = None,
    *,
    split: str = "test",
    solvers: Iterable[str | Solver] = (),
    batch_size: int = BATCH_SIZE,
    metrics: Iterable[str | Metric] | None = None,
) -> Evaluation:
    """Loss, metrics and solves of a model with its own solver and, for comparison, with others.

    Args:
        model: a model, judged in eval mode, or a run; it stays as it is.
        data: a task or its recipe, scaled in its own way, a ``Data``, or arrays (x, y), of which
            all examples are judged; None takes the task of the run.
        split: which examples of a task or ``Data``.
        solvers: recipes or solvers to compare with the model's own.
        batch_size: examples in a call; the last call is filled up.
        metrics: what is measured besides the loss; what the run or the data name by default.

    Raises:
        EvaluationError: data or a solver that do not fit the model; nothing was compiled then.
        CatalogError: a recipe that cannot be built.
        TaskError: data that cannot be used.

    Example:
        >>> import deqzoo, numpy as np
        >>> from flax import nnx
        >>> from deqzoo.models.classifier import Classifier
        >>> x = np.random.default_rng(0).standard_normal((50, 4))
        >>> model = Classifier((4,), 2, activation="tanh", width=8, rngs=nnx.Rngs(0))
        >>> found = deqzoo.evaluate(model, (x, (x[:, 0] > 0).astype(int)), solvers=["picard"])
        >>> list(found.metrics)[:2], [each.solver for each in found.results]
        (['loss', 'accuracy'], ['auto', 'picard'])
    """
    _require_lists(solvers=solvers, metrics=metrics)
    own = as_model(model)
    given = _own_task(model) if data is None else data
    found = as_data(given, holds_out=False)
    require_fit(model, found)
    measures = metrics_of(model if isinstance(model, Run) else found, metrics)
    examples = in_dtype(_split(found, split), input_dtype(own))
    models = [own, *(_with_solver(own, catalog.solvers.get(each)) for each in solvers)]
    size = min(fitted("batch_size", batch_size, Count), examples.examples)
    results = _results(models, measures, examples, size)
    title = f"{_named(model)} on {_told(given, split, examples.examples)}"
    return Evaluation(title, examples.examples, results)


def _require_lists(**given: Any) -> None:
    for name, value in given.items():
        if isinstance(value, str):
            raise EvaluationError(f"{name} must be a list, for example [{value!r}]; got {value!r}")


def _own_task(model: Model | Run) -> str:
    if not isinstance(model, Run):
        raise EvaluationError("a model has no data of its own: give evaluate(model, data)")
    if names_object(model.config.task):
        raise EvaluationError(
            f"the run in {model.path} was trained on an {model.config.task}: give its data, "
            "evaluate(run, data)"
        )
    return model.config.task


def _split(data: Data, name: str) -> Split:
    if name not in data.splits:
        raise EvaluationError(f"split must be one of {', '.join(data.splits)}; got {name!r}")
    return data.splits[name]


def _with_solver(model: Model, solver: Solver) -> Model:
    try:
        return with_solver(model, solver)
    except CombinationError as error:
        raise EvaluationError(_cannot(solver, error)) from None


def _results(
    models: Sequence[Model], metrics: Mapping[str, Metric], examples: Split, size: int
) -> tuple[SolverResult, ...]:
    for model in models:
        _require_solvable(model, examples.at(slice(size)).x)
    judged = side_by_side(models, metrics, examples, size)
    return tuple(
        SolverResult(
            str(Recipe.of(model.deq.solver)),
            repr(model.deq.solver),
            each.judged.numbers(metrics),
            each.difference,
            examples.examples / each.seconds,
            failures(each.judged.stats),
        )
        for model, each in zip(models, judged, strict=True)
    )


def _require_solvable(model: Model, x: Any) -> None:
    """Trace the model: what a solver cannot do comes out before anything is compiled."""
    pure = PureModel(model)
    try:
        jax.eval_shape(pure, pure.state, x)
    except (ValueError, TypeError) as error:
        raise EvaluationError(_cannot(model.deq.solver, error)) from None


def _cannot(solver: Solver, error: Exception) -> str:
    return f"the solver {Recipe.of(solver)} cannot run this model: {error}"


def _named(model: Model | Run) -> str:
    if isinstance(model, Run):
        return f"Step {model.step} of {model.path}"
    return type(model).__name__


def _told(data: Any, split: str, examples: int) -> str:
    if isinstance(data, tuple | list):
        return f"{examples} examples"
    name = f" of {data}" if isinstance(data, str) else ""
    return f"the {examples} {split} examples{name}"
