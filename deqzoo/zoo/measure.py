"""What a card says of the solves of a trained model, measured on the test split."""

from __future__ import annotations

import contextlib
import os
import platform
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from scipy import stats

from deqzoo.analysis.equilibria import solve, step_by_step
from deqzoo.analysis.metric import Metric
from deqzoo.analysis.path_independence import path_independence
from deqzoo.core import trees
from deqzoo.data.examples import Split
from deqzoo.data.loss import Loss
from deqzoo.nn.model import Model
from deqzoo.zoo.proofs import Proofs, proofs

STEPS = (0, 1, 2, 3, 5, 8, 12, 20)
EXAMPLES = 1000  # at most: eight starts and an attack are dear
_STARTS = (0.1, 0.2, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0)


class Measured(NamedTuple):
    """Fields of ``Results`` that one trained model decides."""

    looked_at: int
    after: dict[str, float]
    travel: float
    correlation: float | None
    starts: int
    starts_converged: int
    starts_distance: float
    forward_steps: float
    forward_steps_max: int
    proofs: Proofs


def measure(model: Model, test: Split, metric: Metric, loss: Loss) -> Measured:
    """Solve the test examples in every way that the card tells of.

    Args:
        model: trained.
        test: examples, scaled.
        metric: of the outputs of these examples.
        loss: whose value of an example is how hard it is.
    """
    x = test.x
    solver = step_by_step(model.deq.solver, trajectory=STEPS)
    found = solve(model, x, solver=solver)
    scores = [metric(outputs) for outputs in found.along]
    own = solve(model, x)
    steps = np.asarray(own.solution.stats.steps)
    losses = np.asarray(loss.tally(own.outputs, jnp.asarray(test.y), each=True).sum)
    paths = path_independence(model, x, metric, scales=_STARTS)
    random = slice(1, 1 + len(_STARTS))
    return Measured(
        looked_at=test.examples,
        after={str(step): score for step, score in zip(STEPS, scores, strict=True)},
        travel=_travel(model, x, own.solution.value),
        correlation=_ranks(steps, losses),
        starts=len(_STARTS),
        starts_converged=int(np.sum(np.all(paths.converged[random], axis=1))),
        starts_distance=float(np.max(paths.distance[random])),
        forward_steps=float(np.mean(steps)),
        forward_steps_max=int(np.max(steps)),
        proofs=proofs(model, test),
    )


def first(test: Split) -> Split:
    """The examples that a card looks at."""
    return test.at(slice(EXAMPLES))


def _travel(model: Model, x: Any, end: Any) -> float:
    """The mean of ‖z* - z0‖/‖z*‖."""
    start = model.deq.cell.start(model.injection(x))
    first, last = (np.asarray(trees.ravel(state), np.float64) for state in (start, end))
    norms = np.maximum(np.linalg.norm(last, axis=1), np.finfo(float).tiny)
    return float(np.mean(np.linalg.norm(last - first, axis=1) / norms))


def _ranks(steps: np.ndarray, losses: np.ndarray) -> float | None:
    if np.ptp(steps) == 0:
        return None
    found: Any = stats.spearmanr(steps, losses)
    return float(found.statistic)


def processor() -> str:
    """The CPU and how many of its cores this process may use.

    Example:
        >>> from deqzoo.zoo.measure import processor
        >>> processor().endswith(("core", "cores"))
        True
    """
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        name = models[0] if models else name
    available = getattr(os, "sched_getaffinity", None)
    cores = len(available(0)) if available else os.cpu_count() or 1
    return f"{name}, {cores} core{'s' * (cores != 1)}"
