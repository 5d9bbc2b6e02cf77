"""A run on any task, split and solver: what it reaches and what its solves cost."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import numpy as np

from deqzoo import catalog
from deqzoo.catalog import Recipe
from deqzoo.core.solution import Stats
from deqzoo.core.solver import Solver
from deqzoo.data.examples import Data, Split
from deqzoo.nn.model import Model
from deqzoo.nn.pure_model import PureModel
from deqzoo.runs.failures import Failure, failures
from deqzoo.runs.fitting import EvaluationError, require_fit
from deqzoo.runs.placement import input_dtype, on_default_device
from deqzoo.runs.run import Run
from deqzoo.runs.variants import with_solver
from deqzoo.training.evaluation import Chunks, Judge
from deqzoo.training.loss import Loss

SPLITS = ("test", "train")
CHUNK = 512  # examples in a call, unless told otherwise


@dataclass(frozen=True)
class Evaluation:
    """What one solver made of a split.

    Attributes:
        solver: the solver as it was named.
        settings: the solver with every default spelled out.
        metrics: ``loss``, ``accuracy`` (of labels), ``solver_steps``, ``solver_steps_max``,
            ``residual`` (the worst, relative) and ``converged`` (a share), as in the training log.
        difference: the largest |outputs - outputs of the run's own solver|.
        examples_per_second: of one pass over the split after compilation, transfers included.
        failures: the examples that did not converge.
    """

    solver: str
    settings: str
    metrics: dict[str, float]
    difference: float
    examples_per_second: float
    failures: tuple[Failure, ...]


def evaluate(
    run: Run,
    data: Data,
    *,
    split: str = "test",
    solvers: Sequence[tuple[str, Solver]] = (),
    chunk: int = CHUNK,
) -> list[Evaluation]:
    """Evaluate a run with its own solver and, for comparison, with others.

    Args:
        run: a loaded run.
        data: what a task loads, of the run's shapes; another task is scaled in its own way.
        split: ``test`` or ``train``.
        solvers: labels and solvers to compare with the run's own.
        chunk: examples in a call; the last call is filled up.

    Returns:
        The run's own solver first, then the others in their order.

    Raises:
        EvaluationError: data or a solver that do not fit the model; nothing was compiled then.

    Example:
        >>> import tempfile, deqzoo
        >>> from deqzoo import catalog
        >>> from deqzoo.runs.evaluate import evaluate
        >>> from deqzoo.training import TrainConfig, fit
        >>> folder = tempfile.mkdtemp()
        >>> _ = list(fit(TrainConfig(steps=1, width=8, solver="picard", workdir=folder)))
        >>> [row] = evaluate(deqzoo.load_run(folder), catalog.tasks.get("digits").load())
        >>> row.solver, row.difference, row.failures
        ('picard', 0.0, ())
    """
    require_fit(run, data)
    x, y = _in_dtype_of(run, getattr(data, split))
    chunk = min(chunk, len(x))
    others = [(label, with_solver(run.model, rule)) for label, rule in solvers]
    models = [(run.config.solver, run.model), *others]
    for label, model in models:
        _require_solvable(label, model, x[:chunk])
    judge = Judge(loss_of(run, data))
    solved = [_solve(model, x, chunk) for _, model in models]
    return [
        Evaluation(
            label,
            repr(model.deq.solver),
            judge(outputs, stats, y),
            float(np.max(np.abs(outputs - solved[0][0]))),
            len(x) / seconds,
            failures(stats),
        )
        for (label, model), (outputs, stats, seconds) in zip(models, solved, strict=True)
    ]


def loss_of(run: Run, data: Data) -> Loss:
    """The loss that the run was trained with; ``--init=certified`` may have scaled its targets."""
    built = run.config.build_loss(data.classes)
    if repr(built) == run.resolved["loss"]:
        return built
    recipe = Recipe.parse(run.resolved["loss"])
    return catalog.losses.load(catalog.snake_case(recipe.name))(*recipe.args, **recipe.kwargs)


def _in_dtype_of(run: Run, split: Split) -> Split:
    dtype = input_dtype(run.model)
    labels = np.issubdtype(split.y.dtype, np.integer)
    return Split(np.asarray(split.x, dtype), split.y if labels else np.asarray(split.y, dtype))


def _require_solvable(label: str, model: Model, x: np.ndarray) -> None:
    """Trace the model: what a solver cannot do comes out before anything is compiled."""
    pure = PureModel(model)
    try:
        jax.eval_shape(pure, pure.state, x)
    except (ValueError, TypeError) as error:
        raise EvaluationError(f"the solver {label} cannot run this model: {error}") from None


def _solve(model: Model, x: np.ndarray, chunk: int) -> tuple[np.ndarray, Stats, float]:
    """Outputs and statistics of all examples, and the seconds of a pass after compilation."""
    pure = PureModel(model)
    state, chunks = on_default_device(pure.state), Chunks(pure, chunk)
    jax.block_until_ready(chunks.one(state, x))
    started = time.perf_counter()
    outputs, stats = chunks(state, x)
    return outputs, stats, time.perf_counter() - started
