"""A peer in JAX is its solvers; every kind of job is made of them in the same way."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax

from launch._benchmark.jax_maps import jax_map
from launch._benchmark.peer import Case, Job, Outcome, Peer
from launch._benchmark.problem import Drawn

Map = Callable[[Any, Any], Any]
Root = Callable[[Map, jax.Array, Any, Any], tuple[Any, Any]]


class JaxPeer(Peer):
    """A peer whose solvers have the form root(fn, z0, parameters, tolerance) -> (z, steps).

    Attributes:
        static_tolerance: whether the tolerance is part of the compiled program.
    """

    static_tolerance: ClassVar[bool] = False

    @abc.abstractmethod
    def root(self, job: Job) -> Root:
        """The solver of a variant, differentiable with respect to the parameters."""

    def model(self, job: Job, drawn: Drawn) -> tuple[Map, Any]:
        """The map and its parameters."""
        return jax_map(job.problem), on_device(drawn.parameters)

    def platform(self) -> str:
        """The kind of the default device."""
        device = jax.devices()[0]
        return "cpu" if device.platform == "cpu" else device.device_kind

    def make(self, job: Job) -> Case:
        """The job, compiled at its first call."""
        make = {"solve": _solve, "gradient": _gradient, "train_step": train_step}[job.kind]
        return make(self, job)

    def named(self, gradient: Any) -> dict[str, np.ndarray]:
        """A gradient by the names of the problem's parameters."""
        return by_name(gradient)

    def compile(self, function: Callable, **options: Any) -> Callable:
        """``jax.jit`` of a function whose last argument is the tolerance."""
        static = ("tolerance",) if self.static_tolerance else ()
        return jax.jit(function, static_argnames=static, **options)

    def told(self, tolerance: float, job: Job) -> Any:
        """The tolerance as the compiled function takes it."""
        return tolerance if self.static_tolerance else jnp.asarray(tolerance, job.problem.dtype)


def on_device(arrays: Any) -> Any:
    """Numpy arrays on the default device."""
    return jax.tree.map(jnp.asarray, dict(arrays))


def fresh_start(drawn: Drawn) -> jax.Array:
    """Zeros; made inside ``jit``, where XLA knows what they are."""
    return jnp.zeros(drawn.z0.shape, drawn.z0.dtype)


def by_name(tree: Any) -> dict[str, np.ndarray]:
    """Leaves under their dotted paths."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    names = (jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in leaves)
    plain = (name.removeprefix("layer.").removesuffix(".value") for name in names)
    return {name: np.asarray(leaf) for name, (_, leaf) in zip(plain, leaves, strict=True)}


def _solve(peer: JaxPeer, job: Job) -> Case:
    drawn = job.problem.draw()
    root, (fn, parameters) = peer.root(job), peer.model(job, drawn)

    def everything(parameters: Any, tolerance: Any) -> Any:
        return root(fn, fresh_start(drawn), parameters, tolerance)

    watched = peer.compile(everything)

    def look(tolerance: float) -> Outcome:
        z, steps = watched(parameters, tolerance=peer.told(tolerance, job))
        return Outcome(np.asarray(z), _count(steps))

    def value(parameters: Any, tolerance: Any) -> Any:
        return everything(parameters, tolerance)[0]

    return _case(peer, job, value, (parameters,), look)


def _gradient(peer: JaxPeer, job: Job) -> Case:
    drawn = job.problem.draw()
    root, (fn, parameters) = peer.root(job), peer.model(job, drawn)
    target = jnp.asarray(drawn.target)

    def loss(parameters: Any, target: jax.Array, tolerance: Any) -> Any:
        z, steps = root(fn, fresh_start(drawn), parameters, tolerance)
        return 0.5 * jnp.sum((z - target) ** 2) / len(target), (z, steps)

    def everything(parameters: Any, target: jax.Array, tolerance: Any) -> Any:
        return jax.value_and_grad(loss, has_aux=True)(parameters, target, tolerance)

    def value(parameters: Any, target: jax.Array, tolerance: Any) -> Any:
        (loss, _), gradient = everything(parameters, target, tolerance)
        return loss, gradient

    watched = peer.compile(everything)

    def look(tolerance: float) -> Outcome:
        told = peer.told(tolerance, job)
        (_, (z, steps)), gradient = watched(parameters, target, tolerance=told)
        return Outcome(np.asarray(z), _count(steps), peer.named(gradient))

    return _case(peer, job, value, (parameters, target), look)


def _case(peer: JaxPeer, job: Job, function: Any, args: tuple, look: Any) -> Case:
    program, told = peer.compile(function), peer.told(job.tolerance, job)
    return Case(
        run=lambda: jax.block_until_ready(program(*args, tolerance=told)),
        look=look,
        lower=lambda: program.lower(*args, tolerance=told),
    )


def train_step(peer: JaxPeer, job: Job) -> Case:
    """A step of Adam on A, U and the readout, with donated state."""
    drawn = job.problem.draw()
    root, (fn, _) = peer.root(job), peer.model(job, drawn)
    optimizer = optax.adam(job.learning_rate)
    x, y = jnp.asarray(drawn.training["x"]), jnp.asarray(drawn.training["y"])
    told = peer.told(job.tolerance, job)

    def loss(weights: Any, x: jax.Array, y: jax.Array, tolerance: Any) -> jax.Array:
        parameters = {"A": weights["A"], "b": x @ weights["U"]}
        z, _ = root(fn, fresh_start(drawn), parameters, tolerance)
        return 0.5 * jnp.mean((z @ weights["readout"] - y) ** 2)

    def step(state: Any, x: jax.Array, y: jax.Array, tolerance: Any) -> Any:
        weights, memory = state
        gradient = jax.grad(loss)(weights, x, y, tolerance)
        updates, memory = optimizer.update(gradient, memory)
        return optax.apply_updates(weights, updates), memory

    def start() -> Any:
        trained = weights(drawn)
        return trained, optimizer.init(trained)

    program = peer.compile(step, donate_argnums=0)
    return Training(
        start=start,
        step=lambda state: program(state, x, y, tolerance=told),
        look=_solve(peer, job).look,
    ).case()


def weights(drawn: Drawn) -> dict[str, jax.Array]:
    """What ``train_step`` trains, in new buffers that may be donated."""
    arrays = {"A": drawn.parameters["A"], **drawn.training}
    return {name: jnp.array(arrays[name]) for name in ("A", "U", "readout")}


class Training:
    """A state that every call replaces.

    Args:
        start: the state before the first step.
        step: state -> state.
        look: what the forward solve finds at the start.
    """

    def __init__(
        self, start: Callable[[], Any], step: Callable[[Any], Any], look: Callable[[float], Outcome]
    ):
        self._start, self._step, self._look = start, step, look
        self._state: Any = None

    def case(self) -> Case:
        """The training as a case: ``reset`` starts again, ``run`` goes on."""
        return Case(run=self._advance, look=self._look, reset=self._reset)

    def _reset(self) -> None:
        self._state = self._start()

    def _advance(self) -> Any:
        self._state = jax.block_until_ready(self._step(self._state))
        return self._state


def _count(steps: Any) -> int | None:
    return None if steps is None else int(np.max(np.asarray(steps)))
