"""Evaluation: a whole split in chunks of one size, judged where the outputs are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from deqzoo import catalog
from deqzoo.core.solution import Solution, Stats
from deqzoo.data.examples import TaskError
from deqzoo.data.metric import Metric
from deqzoo.data.tally import Tally
from deqzoo.recipe import Recipe
from deqzoo.training.devices.layout import Layout

Forward = Callable[[Any, Array], tuple[Array, Solution]]
LOSS = "loss"
_SOLVES = ("solver_steps", "solver_steps_max", "converged", "residual")


class Judged(NamedTuple):
    """Of every example: what each metric sums and counts, and how the solve went."""

    tallies: dict[str, Tally]
    stats: Stats

    def numbers(self, metrics: Mapping[str, Metric]) -> dict[str, float]:
        """Every metric of all examples, summed in float64, and the statistics of the solves."""
        found: dict[str, Any] = {
            name: metric.value(_merged(self.tallies[name])) for name, metric in metrics.items()
        }
        for part in solve_metrics(self.stats):
            found |= part
        return {name: float(value) for name, value in found.items()}


class Chunks:
    """``chunks(state, x, y)`` -> ``Judged`` of all examples, on the host.

    Examples pass in chunks of ``size``, the last one filled up, so that one program serves every
    split and inputs may stay on disk (``Rows``). Outputs are judged within that program: they never
    leave the devices, and no more than a chunk of them exists.

    Args:
        forward: ``(state, x) -> (outputs, solution)``, of the arrays of a model.
        metrics: name -> metric.
        size: examples in a call.
        place: a mesh, over which each chunk is shared out; all processes have the same result.
        keeps_outputs: whether ``one`` returns the outputs too.
    """

    def __init__(
        self,
        forward: Forward,
        metrics: Mapping[str, Metric],
        size: int,
        place: Layout | None = None,
        *,
        keeps_outputs: bool = False,
    ):
        def apply(state, examples):
            x, y = examples
            outputs, solution = forward(state, x)
            tallies = {name: of.tally(outputs, y, each=True) for name, of in metrics.items()}
            return outputs if keeps_outputs else None, Judged(tallies, solution.stats)

        if place is None:
            self._apply, self._put = jax.jit(apply), lambda *examples: examples
        else:
            size = -(-size // place.shares) * place.shares
            self._apply, self._put = place.over_examples(apply), place.put_batch
        self.size = size

    def __call__(self, state: Any, x: Any, y: Any) -> Judged:
        """Every example once."""
        starts = range(0, len(y), self.size)
        parts = [jax.device_get(self.one(state, x, y, start)[1]) for start in starts]
        return joined(parts, len(y))

    def one(self, state: Any, x: Any, y: Any, start: int = 0) -> tuple[Any, Judged]:
        """Outputs and judgement of the chunk that begins at ``start``, filled up, on the devices.

        The first call compiles.
        """
        return self._apply(state, self._put(*self._filled((x, y), start)))

    def _filled(self, examples: Any, start: int) -> Any:
        """Rows from ``start`` on; those that are missing repeat the first of them."""

        def fill(array: Any) -> np.ndarray:
            piece = np.asarray(array[start : start + self.size])
            missing = self.size - len(piece)
            return np.concatenate([piece, np.broadcast_to(piece[:1], (missing, *piece.shape[1:]))])

        return jax.tree.map(fill, examples)


def joined(parts: Iterable[Any], examples: int) -> Any:
    """The chunks in a row, without what fills up the last one."""
    return jax.tree.map(lambda *leaf: np.concatenate(leaf)[:examples], *parts)


def named(metrics: Iterable[str | Metric], kind: str) -> dict[str, Metric]:
    """Name -> metric of every metric or recipe, for one kind of targets.

    Raises:
        TaskError: a metric of another kind of targets.
        CatalogError: a recipe that cannot be built.

    Example:
        >>> from deqzoo.data.metric import CLASSES
        >>> from deqzoo.training.evaluation import named
        >>> named(["accuracy"], CLASSES)
        {'accuracy': Accuracy()}
    """
    built = [catalog.metrics.get(each) for each in metrics]
    found = {Recipe.of(metric).name: metric for metric in built}
    for name, metric in found.items():
        if kind not in metric.takes:
            raise TaskError(
                f"the metric {name} needs {' or '.join(metric.takes)}, but the task has {kind}: "
                "name another among its metrics"
            )
    return found


def recorded(report: Mapping[str, Any], split: str = "test") -> tuple[str, ...]:
    """The names of the metrics that a report holds of a split, the loss first.

    Example:
        >>> from deqzoo.training.evaluation import recorded
        >>> recorded({"step": 3, "test_loss": 2.3, "test_accuracy": 0.1, "test_solver_steps": 9.0})
        ('loss', 'accuracy')
    """
    names = (key.removeprefix(f"{split}_") for key in report if key.startswith(f"{split}_"))
    return tuple(name for name in names if name not in _SOLVES)


def solve_metrics(
    stats: Stats, backward: Stats | None = None
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Means over the batch, and maxima."""
    means, largest = {}, {}
    for prefix, of in (("", stats), ("backward_", backward)):
        if of is not None:
            means[f"{prefix}solver_steps"] = jnp.mean(of.steps, dtype=jnp.float32)
            means[f"{prefix}converged"] = of.fraction_converged
            largest[f"{prefix}residual"] = worst = jnp.max(of.relative_residual)
            # In the dtype of the residual devices exchange both at once.
            largest[f"{prefix}solver_steps_max"] = jnp.max(of.steps).astype(worst.dtype)
    return means, largest


def _merged(tally: Tally) -> Tally:
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tally).merged()
