"""deqzoo: what a user gets who names nothing, and every solver by its name."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import activations
import deqzoo
from deqzoo import catalog, nn
from deqzoo.core import shards
from deqzoo.core.fixed_point import DEFAULT_ADJOINT, DEFAULT_SOLVER
from deqzoo.recipe import Recipe
from launch._benchmark import warm_start
from launch._benchmark.conv import EPSILON, NORMS, Conv
from launch._benchmark.jax_peer import JaxPeer, Map, Root, on_device
from launch._benchmark.peer import Case, Job, SkipPeer
from launch._benchmark.problem import Drawn, Problem

__all__ = ["Deqzoo"]

# Variant -> solver recipe, adjoint recipe; "" is the default of the library. A variant whose
# solver does not exist in this version is left out.
RECIPES = {
    "default": ("", ""),
    "mixed": ("auto(precision='bfloat16')", ""),
    "picard": ("picard", ""),
    "picard mixed": ("picard(precision='bfloat16')", ""),
    "anderson": ("anderson", ""),
    "broyden": ("broyden", ""),
    "newton_krylov": ("newton_krylov", ""),
}
_WARM = "warm start"  # of the suite train_step: default, from the last solution and cotangent
_SPREAD = " spread"  # of the suite conv: the images shared out over all devices, on a CPU its cores
_LAYERS = {"default": "flax", "zoo cell": "zoo"}  # variant of the suite conv -> its layer
_ZOO_NAMES = {"widen": "conv1", "narrow": "conv2", "inner": "norm1", "block": "norm2"}
_ZOO_NAMES |= {"outer": "norm3", "shift": "bias"}


class Deqzoo(JaxPeer):
    """A variant is a name of ``RECIPES``, or ``solver`` or ``solver + adjoint`` as recipes."""

    variants = {
        "solve": tuple(RECIPES),
        "gradient": tuple(RECIPES),
        "train_step": ("default", _WARM, "mixed", "picard", "anderson"),
        "conv": (*_LAYERS, *(name + _SPREAD for name in _LAYERS)),
        "memory": tuple(name for name in RECIPES if "mixed" not in name),
        "startup": ("default", "mixed", "picard", "anderson"),
    }
    static_tolerance = True

    def listed(self, suite: str, problem: Problem) -> tuple[str, ...]:
        """Those whose solver there is; bfloat16 goes with float32 only."""
        known = catalog.solvers.names()
        names = super().listed(suite, problem)
        return tuple(
            name
            for name in names
            if Recipe.parse(_recipes(name)[0]).name in known
            and not (problem.dtype == "float64" and "bfloat16" in _recipes(name)[0])
        )

    def make(self, job: Job) -> Case:
        """The job, or training with a memory of the last solutions."""
        if job.variant == _WARM:
            return warm_start.case(self, job, _solver(job, job.tolerance))
        return super().make(job)

    def model(self, job: Job, drawn: Drawn) -> tuple[Map, Any]:
        """The map; of a convolutional problem as a layer of Flax, or the zoo's own."""
        if not isinstance(job.problem, Conv):
            return super().model(job, drawn)
        own = _LAYERS.get(job.variant.removesuffix(_SPREAD), "flax") == "zoo"
        layer: Any = _zoo_cell(job.problem) if own else _Layer(job.problem)
        graph, state = nnx.split(layer)
        given = on_device(drawn.parameters)
        state = _with_values(state, given)

        def fn(z: jax.Array, parameters: Any) -> jax.Array:
            return nnx.merge(graph, parameters["layer"])(z, parameters["b"])

        return fn, {"layer": state, "b": given["b"]}

    def named(self, gradient: Any) -> dict[str, np.ndarray]:
        """The zoo's names changed to those of the problem."""
        return {_problem_name(name): value for name, value in super().named(gradient).items()}

    def root(self, job: Job) -> Root:
        """``fixed_point`` with the solver's tolerance replaced."""
        adjoint = catalog.adjoints.get(_recipes(job.variant)[1])

        def root(fn: Map, z0: jax.Array, parameters: Any, tolerance: float) -> Any:
            solver = _solver(job, tolerance)
            solution = deqzoo.fixed_point(fn, z0, parameters, solver=solver, adjoint=adjoint)
            return solution.value, solution.stats.steps

        return _spread(root) if job.variant.endswith(_SPREAD) else root


def _spread(root: Root) -> Root:
    """The same with the images b, and the states that go with them, on all devices."""

    def spread(fn: Map, z0: jax.Array, parameters: Any, tolerance: float) -> Any:
        def share(layer: Any, b: jax.Array) -> Any:
            return root(fn, jnp.zeros_like(b), {**parameters, "layer": layer, "b": b}, tolerance)

        return shards.over_examples(share)(parameters["layer"], parameters["b"])

    return spread


def _recipes(variant: str) -> tuple[str, str]:
    """Solver and adjoint of a variant."""
    variant = variant.removesuffix(_SPREAD)
    name = "default" if variant == _WARM or variant in _LAYERS else variant
    solver, _, adjoint = name.partition(" + ")
    solver, adjoint = RECIPES.get(name, (solver, adjoint))
    defaults = Recipe.of(DEFAULT_SOLVER), Recipe.of(DEFAULT_ADJOINT)
    return solver.strip() or str(defaults[0]), adjoint.strip() or str(defaults[1])


def _solver(job: Job, tolerance: float) -> Any:
    solver = catalog.solvers.get(_recipes(job.variant)[0])
    # 200 steps are the default; Picard on the hardest problem takes 600.
    return dataclasses.replace(solver, rtol=tolerance, max_steps=job.max_steps)


def _with_values(state: Any, given: dict[str, jax.Array]) -> Any:
    """The state of a layer with the arrays of the problem, found by their dotted names."""
    flat = nnx.to_flat_state(state)
    names = [_problem_name(".".join(map(str, path))) for path, _ in flat]
    unknown = sorted({*names} - {*given})
    if unknown:
        raise SkipPeer(f"the layer holds {', '.join(unknown)}, which the problem does not have")
    pairs = [
        (path, leaf.replace(given[name])) for name, (path, leaf) in zip(names, flat, strict=True)
    ]
    return nnx.from_flat_state(pairs)


class _Layer(nnx.Module):
    """The residual layer as a user of Flax writes it."""

    def __init__(self, problem: Conv):
        rngs = nnx.Rngs(0)
        c, inner, kernel = problem.channels, problem.inner, (problem.kernel, problem.kernel)
        self.conv1 = nnx.Conv(c, inner, kernel, use_bias=False, rngs=rngs)
        self.conv2 = nnx.Conv(inner, c, kernel, use_bias=False, rngs=rngs)
        for name, size in NORMS.items():
            width, groups = getattr(problem, size), problem.groups
            norm = nnx.GroupNorm(width, num_groups=groups, epsilon=EPSILON, rngs=rngs)
            setattr(self, name, norm)

    def __call__(self, z: jax.Array, b: jax.Array) -> jax.Array:
        """The next state."""
        inner = self.norm1(nnx.relu(self.conv1(z)))  # pyright: ignore[reportAttributeAccessIssue]
        change = self.norm2(b + self.conv2(inner))  # pyright: ignore[reportAttributeAccessIssue]
        return self.norm3(jnp.maximum(z + change, 0))  # pyright: ignore[reportAttributeAccessIssue]


def _zoo_cell(problem: Conv) -> Any:
    """The zoo's own cell in the shape of the problem."""
    if not hasattr(nn, "ConvCell"):
        raise SkipPeer("this version of deqzoo has no deqzoo.nn.ConvCell")
    return nn.ConvCell(
        problem.channels,
        problem.inner,
        activation=activations.get("relu"),
        groups=problem.groups,
        kernel_size=(problem.kernel, problem.kernel),
        rngs=nnx.Rngs(0),
    )


def _problem_name(name: str) -> str:
    return ".".join(_ZOO_NAMES.get(part, part) for part in name.split("."))
