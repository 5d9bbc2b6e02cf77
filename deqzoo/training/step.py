"""The jitted training step and evaluation, over pure dictionaries of parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array

from deqzoo.adjoint import Backward
from deqzoo.nn.model import Model
from deqzoo.regularizer import Regularizer
from deqzoo.solution import Solution, Stats
from deqzoo.training.constraint import Constraint
from deqzoo.training.loss import Loss
from deqzoo.training.state import TrainState

Forward = Callable[[dict[str, Any], Array], tuple[Array, Solution]]


def split_model(model: Model) -> tuple[Forward, dict[str, Any]]:
    """A model as a pure function of (parameters, x), and its parameters as nested dictionaries."""
    rebuild = rebuilder(model)
    parameters = nnx.to_pure_dict(nnx.split(model, nnx.Param)[1])
    return lambda parameters, x: rebuild(parameters)(x), parameters


def rebuilder(model: Model) -> Callable[[dict[str, Any]], Model]:
    """The same architecture around other parameters."""
    graph = nnx.split(model, nnx.Param)[0]
    return lambda parameters: nnx.merge(graph, nnx.State(parameters))


def make_step(
    rebuild: Callable[[dict[str, Any]], Model],
    loss: Loss,
    transform: optax.GradientTransformation,
    constraint: Constraint,
    limits: dict[tuple[str, ...], float],
    regularizer: Regularizer | None = None,
    seed: int = 0,
) -> Callable[[TrainState, Array, Array], tuple[TrainState, dict[str, Array]]]:
    """The pure function ``step(state, x, y) -> (state, metrics)``: one update of the weights.

    Where the loss or its gradient is not finite the state stays as it was, its count of steps too:
    whoever reads the metrics later finds the last good state.
    """

    def objective(parameters, backward, guess, x, y, key):
        model = rebuild(parameters)
        outputs, solution = model(x, guess=guess, backward=backward)
        value, penalty = loss(outputs, y), {}
        if regularizer is not None:
            penalty["penalty"] = regularizer(model.deq.map(model.stem(x)), solution, key)
        return value + sum(penalty.values()), ({"loss": value, **penalty}, solution)

    def step(state: TrainState, x: Array, y: Array):
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        warm = state.warm or {"value": None, "cotangent": None}
        backward = replace(Backward.empty(x), solution=warm["cotangent"])
        (_, (values, solution)), (gradient, backward) = jax.value_and_grad(
            objective, argnums=(0, 1), has_aux=True
        )(state.parameters, backward, warm["value"], x, y, key)
        updates, optimizer = transform.update(gradient, state.optimizer, state.parameters)
        moved: Any = optax.apply_updates(state.parameters, updates)
        parameters = constraint.apply(moved, limits)
        metrics = {
            **values,
            "gradient_norm": optax.tree.norm(gradient),
            **_solve_metrics(solution.stats),
            **{f"backward_{name}": value for name, value in _solve_metrics(backward.stats).items()},
        }
        warm = {"value": solution.value, "cotangent": backward.solution}
        after = TrainState(
            parameters, optimizer, state.step + 1, None if state.warm is None else warm
        )
        finite = jnp.isfinite(values["loss"]) & jnp.isfinite(metrics["gradient_norm"])
        return jax.tree.map(lambda new, old: jnp.where(finite, new, old), after, state), metrics

    return step


def cold(forward: Forward, parameters: dict[str, Any], x: Array) -> dict[str, Any]:
    """Warm starts before the first step: zeros, which no example prefers to its start."""
    value = jax.eval_shape(forward, parameters, x)[1].value
    zeros = lambda: jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), value)  # noqa: E731
    return {"value": zeros(), "cotangent": zeros()}


def make_evaluation(
    forward: Forward, loss: Loss, chunk: int
) -> Callable[[dict[str, Any], Array, Array], dict[str, float]]:
    """``evaluate(parameters, x, y)`` -> loss, accuracy (of labels) and solver statistics.

    Inputs pass in chunks of ``chunk`` examples, the last one filled up, so that one program serves
    every split.
    """
    apply = jax.jit(forward)

    @jax.jit
    def judge(outputs: Array, stats: Stats, y: Array) -> dict[str, Array]:
        return {"loss": loss(outputs, y), **_accuracy(outputs, y), **_solve_metrics(stats)}

    def evaluate(parameters: dict[str, Any], x: Array, y: Array) -> dict[str, float]:
        inputs, parts = np.asarray(x), []
        for start in range(0, len(x), chunk):
            outputs, solution = apply(parameters, _filled(inputs[start : start + chunk], chunk))
            parts.append(jax.device_get((outputs, solution.stats)))
        outputs, stats = jax.tree.map(lambda *leaf: np.concatenate(leaf)[: len(x)], *parts)
        return {name: float(value) for name, value in judge(outputs, stats, y).items()}

    return evaluate


def _filled(x: np.ndarray, size: int) -> np.ndarray:
    """The examples with the first one repeated up to the common size."""
    return np.concatenate([x, np.broadcast_to(x[:1], (size - len(x), *x.shape[1:]))])


def _accuracy(outputs: Array, y: Array) -> dict[str, Array]:
    """The share of labels that are the largest output; nothing without labels."""
    if not jnp.issubdtype(y.dtype, jnp.integer):
        return {}
    return {"accuracy": jnp.mean(jnp.argmax(outputs, axis=1) == y, dtype=jnp.float32)}


def _solve_metrics(stats: Stats) -> dict[str, Array]:
    return {
        "solver_steps": jnp.mean(stats.steps, dtype=jnp.float32),
        "solver_steps_max": jnp.max(stats.steps),
        "residual": jnp.max(stats.relative_residual),
        "converged": stats.fraction_converged,
    }
