"""The training step, over pure dictionaries of arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array

from deqzoo.core.adjoint import Backward
from deqzoo.core.regularizer import Regularizer
from deqzoo.data.loss import Loss
from deqzoo.nn.nonlinearity import learned_activations
from deqzoo.nn.pure_model import ModelState, PureModel
from deqzoo.training.devices.mesh import DATA
from deqzoo.training.evaluation import solve_metrics
from deqzoo.training.seed_key import seed_key
from deqzoo.training.state import TrainState
from deqzoo.training.update import Update


def make_step(
    pure: PureModel,
    loss: Loss,
    update: Update,
    regularizer: Regularizer | None = None,
    seed: int | Array = 0,
    mesh: Mesh | None = None,
) -> Callable[[TrainState, Array, Array], tuple[TrainState, dict[str, Array]]]:
    """The pure function ``step(state, x, y) -> (state, metrics)``: one update of the weights.

    The model is in train mode. What it writes besides, such as the statistics of a BatchNorm and
    the counts of random streams, is carried on. Where the loss or its gradient is not finite the
    state stays as it was, its count of steps too: whoever reads the metrics later finds the last
    good state.

    Args:
        pure: the model.
        loss: of a batch.
        update: of the weights.
        regularizer: a penalty on the fixed point.
        seed: of the regularizer's draws.
        mesh: along its axis ``data`` every device solves its own examples and stops by itself; one
            sum of the gradients and one maximum of the statistics are all that they exchange (with
            a penalty beside a mean loss, the number of labels before). Each has random streams of
            its own; real variables that the step has written are averaged.
    """
    shares = 1 if mesh is None else mesh.shape[DATA]
    derive = partial(_differentiate, pure, loss, regularizer, shares)
    if shares > 1:
        copied, shared = PartitionSpec(), PartitionSpec(DATA)
        derive = jax.shard_map(
            derive,
            mesh=mesh,
            in_specs=(copied, shared, shared, shared, copied),
            out_specs=(copied, copied, copied, shared),
            axis_names={DATA},
            check_vma=False,  # a loop's start (zeros) is equal on all devices, its end is not
        )

    def step(state: TrainState, x: Array, y: Array):
        key = jax.random.fold_in(seed_key(seed), state.step)
        weights = update.weights(state.parameters, state.optimizer)
        here = state.model._replace(parameters=weights)
        gradient, changes, metrics, warm = derive(here, state.warm, x, y, key)
        variables = state.model.updated(changes).variables
        parameters, optimizer = update(gradient, state.parameters, state.optimizer)
        metrics["gradient_norm"] = optax.tree.norm(gradient)
        kinetic = update.kinetic(state.optimizer)
        if kinetic is not None:
            metrics["energy"] = metrics["loss"] + metrics.get("penalty", 0.0) + kinetic
        metrics |= update.numbers(optimizer)
        after = TrainState(parameters, variables, optimizer, state.step + 1, warm)
        finite = jnp.isfinite(metrics["loss"]) & jnp.isfinite(metrics["gradient_norm"])
        return jax.tree.map(lambda new, old: jnp.where(finite, new, old), after, state), metrics

    return step


def _differentiate(
    pure: PureModel,
    loss: Loss,
    regularizer: Regularizer | None,
    shares: int,
    state: ModelState,
    warm: dict[str, Any] | None,
    x: Array,
    y: Array,
    key: Array,
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Array], dict[str, Any] | None]:
    """Gradient, written variables, metrics and warm starts of one device's share of a batch."""
    guess = warm or {"value": None, "cotangent": None}
    if shares > 1:
        number = jax.lax.axis_index(DATA)
        key, state = jax.random.fold_in(key, number), pure.with_streams(state, number)

    def objective(parameters, backward):
        here = state._replace(parameters=parameters)
        use = lambda model: model(x, guess=guess["value"], backward=backward)  # noqa: E731
        (outputs, solution), changes = pure.in_training(here, use)
        tally = loss.tally(outputs, y)
        values = {"loss": loss.value(tally)}
        if regularizer is not None:
            model = pure.rebuild(here, train=True)  # its streams stand where those of the solve did
            told = regularizer.of_activations(learned_activations(model))
            told = told.of_outputs(partial(_outputs, pure, state, x), parameters)
            penalty = told(model.deq.map(model.injection(x)), solution, key)
            values["penalty"] = penalty / shares
            if shares > 1 and not loss.is_sum:
                values["loss"] = _part(values["loss"], tally.count)
        return sum(values.values()), (values, tally.count, solution, changes)

    backward = replace(Backward.empty(x), solution=guess["cotangent"])
    (_, (values, count, solution, changes)), (gradient, backward) = jax.value_and_grad(
        objective, argnums=(0, 1), has_aux=True
    )(state.parameters, backward)
    means, largest = solve_metrics(solution.stats, backward.stats)
    if shares > 1:
        means, real = jax.tree.map(lambda mean: mean / shares, (means, _real(changes)))
        adds_up = loss.is_sum or regularizer is not None
        weight = jnp.ones_like(count) if adds_up else count
        (gradient, values), (means, real) = _summed(
            weight, (gradient, values), (means, real), adds_up
        )
        largest = jax.lax.pmax(largest, DATA)
        changes = jax.tree.map(
            lambda written, mean: written if mean is None else mean, changes, real
        )
    if warm is not None:
        warm = {"value": solution.value, "cotangent": backward.solution}
    return gradient, changes, {**values, **means, **largest}, warm


def _outputs(pure: PureModel, state: ModelState, x: Any, parameters: dict[str, Any]) -> Array:
    """Of the batch in train mode, with the random streams that its first solve had."""
    here = state._replace(parameters=parameters)
    return pure.in_training(here, lambda model: model(x)[0])[0]


def _part(mean: Array, count: Array) -> Array:
    """What this device adds to the mean over all labelled entries of the batch.

    A penalty counts every example alike and cannot be weighted with it when all is summed.
    """
    share = count / jnp.maximum(jax.lax.psum(count, DATA), 1)
    return mean * share.astype(mean.dtype)


def _summed(weight: Array, own: Any, others: Any, adds_up: bool) -> tuple[Any, Any]:
    """Gradient and values of the batch from those of every device, in one exchange with others.

    Devices may hold unequal numbers of labelled entries: their means are weighted by them, unless
    they are ready to be added up.
    """
    scaled = lambda factor, tree: jax.tree.map(lambda a: a * factor.astype(a.dtype), tree)  # noqa: E731
    total, others, weight = jax.lax.psum((scaled(weight, own), others, weight), DATA)
    return total if adds_up else scaled(1 / jnp.maximum(weight, 1), total), others


def _real(changes: dict[str, Any]) -> dict[str, Any]:
    """Those that are real numbers, with None for the others."""
    floating = lambda leaf: jnp.issubdtype(leaf.dtype, jnp.floating)  # noqa: E731
    return jax.tree.map(lambda leaf: leaf if floating(leaf) else None, changes)


def cold(pure: PureModel, state: ModelState, x: Any) -> dict[str, Any]:
    """Warm starts before the first step: zeros, which no example prefers to its start."""
    value = jax.eval_shape(pure, state, x)[1].value
    zeros = lambda: jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), value)  # noqa: E731
    return {"value": zeros(), "cotangent": zeros()}
