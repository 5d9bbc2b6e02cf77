"""A run on any task, split and solver: what it reaches and what its solves cost."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from deqzoo.core.combination import CombinationError
from deqzoo.core.solver import Solver
from deqzoo.data.examples import Data, in_dtype
from deqzoo.data.metric import Metric
from deqzoo.nn.model import Model
from deqzoo.nn.pure_model import PureModel
from deqzoo.runs.failures import Failure, failures
from deqzoo.runs.fitting import EvaluationError, require_fit
from deqzoo.runs.measures import metrics_of
from deqzoo.runs.placement import input_dtype, on_default_device
from deqzoo.runs.run import Run
from deqzoo.runs.variants import with_solver
from deqzoo.training.evaluation import Chunks, Judged, joined

CHUNK = 512  # examples in a call, unless told otherwise


@dataclass(frozen=True)
class Evaluation:
    """What one solver made of a split.

    Attributes:
        solver: the solver as it was named.
        settings: the solver with every default spelled out.
        metrics: ``loss``, those of the run's task, ``solver_steps``, ``solver_steps_max``,
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
        >>> from deqzoo.training import TrainConfig, train
        >>> folder = tempfile.mkdtemp()
        >>> _ = list(train(TrainConfig(steps=1, width=8, solver="picard", workdir=folder)))
        >>> [row] = evaluate(deqzoo.load_run(folder), catalog.tasks.get("digits").load())
        >>> row.solver, row.difference, row.failures
        ('picard', 0.0, ())
    """
    require_fit(run, data)
    x, y = in_dtype(getattr(data, split), input_dtype(run.model))
    chunk, metrics = min(chunk, len(y)), metrics_of(run)
    others = [(label, _with_solver(run.model, label, rule)) for label, rule in solvers]
    models = [(run.config.solver, run.model), *others]
    for label, model in models:
        _require_solvable(label, model, jax.tree.map(lambda array: array[:chunk], x))
    solved = _solve([model for _, model in models], metrics, x, y, chunk)
    return [
        Evaluation(
            label,
            repr(model.deq.solver),
            each.judged.numbers(metrics),
            each.difference,
            len(y) / each.seconds,
            failures(each.judged.stats),
        )
        for (label, model), each in zip(models, solved, strict=True)
    ]


def _with_solver(model: Model, label: str, solver: Solver) -> Model:
    try:
        return with_solver(model, solver)
    except CombinationError as error:
        raise EvaluationError(f"the solver {label} cannot run this model: {error}") from None


def _require_solvable(label: str, model: Model, x: Any) -> None:
    """Trace the model: what a solver cannot do comes out before anything is compiled."""
    pure = PureModel(model)
    try:
        jax.eval_shape(pure, pure.state, x)
    except (ValueError, TypeError) as error:
        raise EvaluationError(f"the solver {label} cannot run this model: {error}") from None


class _Solved(NamedTuple):
    judged: Judged
    difference: float
    seconds: float


def _solve(
    models: Sequence[Model], metrics: Mapping[str, Metric], x: Any, y: Any, chunk: int
) -> list[_Solved]:
    """What every model makes of all examples, its outputs beside those of the first.

    Chunk by chunk: no more than two chunks of outputs exist, whatever their width.
    """
    passes = [_Pass(model, metrics, x, y, chunk) for model in models]
    for start in range(0, len(y), chunk):
        reference = None
        for each in passes:
            reference = each.take(start, reference)
    return [each.solved(len(y)) for each in passes]


class _Pass:
    """One model on its way through the examples; compiling takes no time of its seconds."""

    def __init__(self, model: Model, metrics: Mapping[str, Metric], x: Any, y: Any, chunk: int):
        pure = PureModel(model)
        chunks = Chunks(pure, metrics, chunk, keeps_outputs=True)
        self._one = partial(chunks.one, on_default_device(pure.state), x, y)
        jax.block_until_ready(self._one())
        self._parts: list[Judged] = []
        self._differences: list[Array] = []
        self._seconds = 0.0

    def take(self, start: int, reference: Array | None) -> Array:
        """Judge a chunk; the outputs to compare the next model with."""
        started = time.perf_counter()
        outputs, judged = self._one(start)
        self._parts.append(jax.device_get(judged))
        self._seconds += time.perf_counter() - started
        first = outputs if reference is None else reference
        self._differences.append(jnp.max(jnp.abs(outputs - first)))
        return first

    def solved(self, examples: int) -> _Solved:
        """All chunks together."""
        return _Solved(joined(self._parts, examples), float(max(self._differences)), self._seconds)
