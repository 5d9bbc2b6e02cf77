"""The jitted training step and evaluation, over pure dictionaries of parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array

from deqzoo.nn.model import Model
from deqzoo.solution import Solution, Stats, Status
from deqzoo.training.constraint import Constraint
from deqzoo.training.loss import Loss
from deqzoo.training.state import TrainState

Forward = Callable[[dict[str, Any], Array], tuple[Array, Solution]]
_CHUNK = 2048


def split_model(model: Model) -> tuple[Forward, dict[str, Any]]:
    """A model as a pure function of (parameters, x), and its parameters as nested dictionaries."""
    graph, state = nnx.split(model, nnx.Param)
    return lambda parameters, x: nnx.merge(graph, nnx.State(parameters))(x), nnx.to_pure_dict(state)


def make_step(
    forward: Forward,
    loss: Loss,
    transform: optax.GradientTransformation,
    constraint: Constraint,
    limits: dict[tuple[str, ...], float],
) -> Callable[[TrainState, Array, Array], tuple[TrainState, dict[str, Array]]]:
    """``step(state, x, y) -> (state, metrics)``, jitted; the old state is donated."""

    def objective(parameters, x, y):
        outputs, solution = forward(parameters, x)
        return loss(outputs, y), solution.stats

    def step(state: TrainState, x: Array, y: Array):
        (value, stats), gradient = jax.value_and_grad(objective, has_aux=True)(
            state.parameters, x, y
        )
        updates, optimizer = transform.update(gradient, state.optimizer, state.parameters)
        moved: Any = optax.apply_updates(state.parameters, updates)
        parameters = constraint.apply(moved, limits)
        metrics = {
            "loss": value,
            "gradient_norm": optax.tree.norm(gradient),
            **_solve_metrics(stats),
        }
        return TrainState(parameters, optimizer, state.step + 1), metrics

    return jax.jit(step, donate_argnums=0)


def make_evaluation(
    forward: Forward, loss: Loss
) -> Callable[[dict[str, Any], Array, Array], dict[str, float]]:
    """``evaluate(parameters, x, y)`` -> loss, accuracy (of labels) and solver statistics."""

    @jax.jit
    def measure(parameters, x, y):
        outputs, solution = forward(parameters, x)
        return loss(outputs, y), _hits(outputs, y), solution.stats

    def evaluate(parameters: dict[str, Any], x: Array, y: Array) -> dict[str, float]:
        starts = range(0, len(x), _CHUNK)
        parts = [measure(parameters, x[i : i + _CHUNK], y[i : i + _CHUNK]) for i in starts]
        sizes = np.array([len(x[i : i + _CHUNK]) for i in starts])
        losses, hits = np.array([part[0] for part in parts]), [part[1] for part in parts]
        stats = jax.tree.map(lambda *leaves: np.concatenate(leaves), *(part[2] for part in parts))
        total = losses.sum() if loss.is_sum else losses @ sizes / sizes.sum()
        accuracy = {} if hits[0] is None else {"accuracy": float(sum(map(int, hits))) / len(x)}
        solve = {name: float(value) for name, value in _solve_metrics(stats).items()}
        return {"loss": float(total), **accuracy, **solve}

    return evaluate


def _hits(outputs: Array, y: Array) -> Array | None:
    """How many labels are the largest output; None without class labels."""
    if not jnp.issubdtype(y.dtype, jnp.integer):
        return None
    return jnp.sum(jnp.argmax(outputs, axis=1) == y)


def _solve_metrics(stats: Stats) -> dict[str, Array]:
    return {
        "solver_steps": jnp.mean(stats.steps, dtype=jnp.float32),
        "solver_steps_max": jnp.max(stats.steps),
        "residual": jnp.max(stats.relative_residual),
        "converged": jnp.mean(stats.status == Status.CONVERGED.value, dtype=jnp.float32),
    }
