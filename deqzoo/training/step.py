"""The training step, over pure dictionaries of parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array

from deqzoo.core.adjoint import Backward
from deqzoo.core.regularizer import Regularizer
from deqzoo.nn.guarantee import Guarantee
from deqzoo.nn.model import Model
from deqzoo.training.constraint import Constraint
from deqzoo.training.devices.mesh import DATA
from deqzoo.training.evaluation import Forward, solve_metrics
from deqzoo.training.loss import Loss
from deqzoo.training.state import TrainState


def split_model(model: Model, compute: str | None = None) -> tuple[Forward, dict[str, Any]]:
    """A model as a pure function of (parameters, x), and its parameters as nested dictionaries.

    Args:
        model: its weights are the parameters.
        compute: the precision in which the function evaluates it; its own by default.
    """
    rebuild = rebuilder(model, compute)
    parameters = nnx.to_pure_dict(nnx.split(model, nnx.Param)[1])
    return lambda parameters, x: rebuild(parameters)(x), parameters


def rebuilder(model: Model, compute: str | None = None) -> Callable[[dict[str, Any]], Model]:
    """The same architecture around other parameters, rounded to the precision ``compute``."""
    graph = nnx.split(model, nnx.Param)[0]

    def rebuild(parameters):
        if compute is not None:
            parameters = jax.tree.map(lambda leaf: leaf.astype(compute), parameters)
        return nnx.merge(graph, nnx.State(parameters))

    return rebuild


def make_step(
    rebuild: Callable[[dict[str, Any]], Model],
    loss: Loss,
    transform: optax.GradientTransformation,
    constraint: Constraint,
    guarantees: Sequence[Guarantee],
    regularizer: Regularizer | None = None,
    seed: int | Array = 0,
    mesh: Mesh | None = None,
) -> Callable[[TrainState, Array, Array], tuple[TrainState, dict[str, Array]]]:
    """The pure function ``step(state, x, y) -> (state, metrics)``: one update of the weights.

    Where the loss or its gradient is not finite the state stays as it was, its count of steps too:
    whoever reads the metrics later finds the last good state.

    Args:
        rebuild: parameters -> model.
        loss: of a batch.
        transform: the optimizer.
        constraint: applied after every update.
        guarantees: of the model, which it keeps.
        regularizer: a penalty on the fixed point.
        seed: of the regularizer's draws.
        mesh: along its axis ``data`` every device solves its own examples and stops by itself; one
            sum of the gradients and one maximum of the statistics are all that they exchange.
    """
    shares = 1 if mesh is None else mesh.shape[DATA]
    derive = partial(_differentiate, rebuild, loss, regularizer, shares)
    if shares > 1:
        copied, shared = PartitionSpec(), PartitionSpec(DATA)
        derive = jax.shard_map(
            derive,
            mesh=mesh,
            in_specs=(copied, shared, shared, shared, copied),
            out_specs=(copied, copied, shared),
            axis_names={DATA},
            check_vma=False,  # a loop's start (zeros) is equal on all devices, its end is not
        )

    def step(state: TrainState, x: Array, y: Array):
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        gradient, metrics, warm = derive(state.parameters, state.warm, x, y, key)
        updates, optimizer = transform.update(gradient, state.optimizer, state.parameters)
        moved: Any = optax.apply_updates(state.parameters, updates)
        parameters = constraint.apply(moved, guarantees)
        metrics["gradient_norm"] = optax.tree.norm(gradient)
        after = TrainState(parameters, optimizer, state.step + 1, warm)
        finite = jnp.isfinite(metrics["loss"]) & jnp.isfinite(metrics["gradient_norm"])
        return jax.tree.map(lambda new, old: jnp.where(finite, new, old), after, state), metrics

    return step


def _differentiate(
    rebuild: Callable[[dict[str, Any]], Model],
    loss: Loss,
    regularizer: Regularizer | None,
    shares: int,
    parameters: dict[str, Any],
    warm: dict[str, Any] | None,
    x: Array,
    y: Array,
    key: Array,
) -> tuple[dict[str, Any], dict[str, Array], dict[str, Any] | None]:
    """Gradient, metrics and warm starts of a batch, of which this device has one of ``shares``."""
    guess = warm or {"value": None, "cotangent": None}
    if shares > 1:
        key = jax.random.fold_in(key, jax.lax.axis_index(DATA))

    def objective(parameters, backward):
        model = rebuild(parameters)
        outputs, solution = model(x, guess=guess["value"], backward=backward)
        values = {"loss": loss(outputs, y) / (1 if loss.is_sum else shares)}
        if regularizer is not None:
            penalty = regularizer(model.deq.map(model.injection(x)), solution, key)
            values["penalty"] = penalty / shares
        return sum(values.values()), (values, solution)

    backward = replace(Backward.empty(x), solution=guess["cotangent"])
    (_, (values, solution)), (gradient, backward) = jax.value_and_grad(
        objective, argnums=(0, 1), has_aux=True
    )(parameters, backward)
    means, largest = solve_metrics(solution.stats, backward.stats)
    means = jax.tree.map(lambda mean: mean / shares, means)
    if shares > 1:
        gradient, values, means = jax.lax.psum((gradient, values, means), DATA)
        largest = jax.lax.pmax(largest, DATA)
    if warm is not None:
        warm = {"value": solution.value, "cotangent": backward.solution}
    return gradient, {**values, **means, **largest}, warm


def cold(forward: Forward, parameters: dict[str, Any], x: Any) -> dict[str, Any]:
    """Warm starts before the first step: zeros, which no example prefers to its start."""
    value = jax.eval_shape(forward, parameters, x)[1].value
    zeros = lambda: jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), value)  # noqa: E731
    return {"value": zeros(), "cotangent": zeros()}
