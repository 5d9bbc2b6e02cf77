"""Labels of a classifier whose solve stops once they are proved to be those of the equilibria."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from flax import nnx
from jaxtyping import Bool, Int

from deqzoo.analysis.equilibria import solve, step_by_step
from deqzoo.analysis.margins import exact, proof
from deqzoo.core import stopping
from deqzoo.core.solver import Count, Solver
from deqzoo.core.stage import Stage, advance, begin
from deqzoo.core.stopping import RUNNING, Progress
from deqzoo.nn.model import Model
from deqzoo.nn.split_cell import SplitCell
from deqzoo.settings import fitted


@dataclass(frozen=True)
class ProvedLabels:
    """Labels, and what they cost.

    Attributes:
        labels: of the equilibria; where nothing was proved in time, of a whole solve.
        is_proved: whether a label was proved before the solver had finished.
        evaluations: of the cell until then, those of the proofs included.
        source: the theorem.
    """

    labels: Int[np.ndarray, " n"]
    is_proved: Bool[np.ndarray, " n"]
    evaluations: Int[np.ndarray, " n"]
    source: str


def proved_labels(model: Model, x: Any, *, every: int = 3) -> ProvedLabels:
    """Iterate, and stop as soon as every label of the batch is proved final.

    The rule is the first one of the model's solver. After every few steps residual and margins are
    evaluated in float64, as by ``final_labels``: a label is proved where no other can win within
    the distance that the residual leaves to the equilibrium. What is not proved when the rule has
    finished is solved anew, by the whole solver.

    Args:
        model: a classifier with a guarantee that bounds this distance.
        x: inputs, scaled.
        every: steps between two proofs, each of which costs an evaluation in float64.

    Raises:
        InapplicableError: nothing is proved of its labels.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from deqzoo.analysis.proved_labels import proved_labels
        >>> from deqzoo.models.classifier import Classifier
        >>> model = Classifier((4,), 3, activation="tanh", width=16, rngs=nnx.Rngs(0))
        >>> found, (outputs, solution) = proved_labels(model, jnp.eye(4)), model(jnp.eye(4))
        >>> found.labels.tolist() == jnp.argmax(outputs, axis=1).tolist()
        True
        >>> int(found.evaluations.sum()) < int(solution.stats.steps.sum())
        True
    """
    every, proved = fitted("every", every, Count), proof(model)
    graph, state = nnx.split(model)
    rule, progress = _rule(model), None
    count = len(jax.tree.leaves(x)[0])
    labels, evaluations = np.zeros(count, int), np.zeros(count, int)
    is_proved, checks = np.zeros(count, bool), 0
    while progress is None or (
        np.any(np.asarray(progress.status) == RUNNING) and not all(is_proved)
    ):
        progress = _onwards(graph, state, x, progress, rule, every)
        outputs, residual = exact(model, x, progress.z)
        checks += 1
        new = proved.is_final(outputs, residual) & ~is_proved
        labels[new] = np.argmax(outputs, axis=1)[new]
        evaluations[~is_proved] = np.asarray(progress.steps)[~is_proved] + checks
        is_proved |= new
    if not all(is_proved):
        whole = solve(model, x)
        labels[~is_proved] = np.argmax(np.asarray(whole.outputs), axis=1)[~is_proved]
        evaluations[~is_proved] += np.asarray(whole.solution.stats.steps)[~is_proved]
    return ProvedLabels(labels, is_proved, evaluations, proved.source)


def _rule(model: Model) -> Solver:
    cell, solver = model.deq.cell, model.deq.solver
    chosen = solver.of_split(cell.proximal) if isinstance(cell, SplitCell) else solver
    return step_by_step(chosen.stages()[0])


@functools.partial(jax.jit, static_argnames=("graph", "rule", "every"))
def _onwards(
    graph: nnx.GraphDef, state: Any, x: Any, progress: Progress | None, rule: Solver, every: int
) -> Progress:
    """A few steps more of the rule, or the first ones."""
    model = nnx.merge(graph, state)
    injected = model.injection(x)
    fn, z0 = model.deq.program(injected), model.deq.cell.start(injected)
    stage = Stage(rule, fn, stopping.resolve_rtol(rule.rtol, z0))
    if progress is None:
        progress, every = begin(stage, z0, fn(z0)), every - 1
    return jax.lax.fori_loop(0, every, lambda _, progress: advance(stage, progress), progress)
