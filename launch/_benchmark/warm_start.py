"""Full-batch training with deqzoo that remembers the last solution and the last cotangent."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

import deqzoo
from deqzoo.core.adjoint import Backward
from deqzoo.core.solver import Solver
from launch._benchmark import jax_peer
from launch._benchmark.jax_peer import JaxPeer, Training
from launch._benchmark.peer import Case, Job


def case(peer: JaxPeer, job: Job, solver: Solver) -> Case:
    """The step of ``jax_peer.train_step`` with two more arrays in its state.

    The first step of a training starts from zero like all others; the benchmark does not time it.
    """
    drawn = job.problem.draw()
    fn, _ = peer.model(job, drawn)
    optimizer = optax.adam(job.learning_rate)
    x, y = jnp.asarray(drawn.training["x"]), jnp.asarray(drawn.training["y"])

    def loss(weights: Any, backward: Backward, guess: jax.Array) -> Any:
        parameters = {"A": weights["A"], "b": x @ weights["U"]}
        solution = deqzoo.fixed_point(
            fn,
            jax_peer.fresh_start(drawn),
            parameters,
            solver=solver,
            guess=guess,
            backward=backward,
        )
        z = solution.value
        return 0.5 * jnp.mean((z @ weights["readout"] - y) ** 2), z

    def step(state: Any) -> Any:
        weights, memory, backward, guess = state
        differentiate = jax.grad(loss, argnums=(0, 1), has_aux=True)
        (gradient, backward), guess = differentiate(weights, backward, guess)
        updates, memory = optimizer.update(gradient, memory)
        return optax.apply_updates(weights, updates), memory, backward, guess

    def start() -> Any:
        weights = jax_peer.weights(drawn)
        z0 = jax_peer.fresh_start(drawn)
        backward = Backward.empty(z0, keeps_solution=True)
        # Zeros may share a buffer, and a donated buffer may be given once only.
        return jax.tree.map(jnp.copy, (weights, optimizer.init(weights), backward, z0))

    cold = peer.make(Job("solve", job.problem, "default", job.tolerance, job.max_steps))
    return Training(start, jax.jit(step, donate_argnums=0), cold.look).case()
