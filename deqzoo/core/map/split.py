"""A map in two parts, z -> σ(affine(z)), for solvers of monotone operators."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from deqzoo import catalog
from deqzoo.activation.contract import Activation
from deqzoo.activation.learnable import Learnable, Parameters
from deqzoo.activation.preimage import Point, point, preimage
from deqzoo.core import trees
from deqzoo.core.map.program import Map, Program
from deqzoo.core.trees import State

_ACCURACY = 0.1  # of a prox inside a solve, relative to how far its argument moved
Near = Any  # a pytree of Point, or None where the prox has a closed form


@dataclass(frozen=True)
class Split:
    """z -> σ(affine(z, args)) with σ the proximal operator of a convex function.

    Used as the function of ``deqzoo.fixed_point``; any solver takes it, and ``forward_backward``
    and ``peaceman_rachford`` need it: they find z where z -> z - affine(z) is strongly monotone,
    however large the weights.

    Attributes:
        activation: σ, an activation or its recipe, the same for every leaf of the state.
        affine: (z, args) -> Wz + Ux + b, in the structure of z.
        weight: args -> W, where z is one array (batch, n) and the affine part zWᵀ + ..., or
            None: with it ``peaceman_rachford`` inverts one matrix a solve instead of solving in
            every step.
        learned: args -> the parameters of a learnable activation by name, of which every value
            must leave a proximal operator; None or none of them: those that it starts with.

    References:
        Winston and Kolter, "Monotone operator equilibrium networks", arXiv 2006.08591.

    Example:
        >>> import jax.numpy as jnp, deqzoo
        >>> from deqzoo import Split
        >>> fn, z0 = Split("relu", lambda z, x: x - 3 * z), jnp.zeros((1, 2))
        >>> solution = deqzoo.fixed_point(fn, z0, jnp.ones((1, 2)), solver="forward_backward")
        >>> [round(z, 4) for z in solution.value[0].tolist()]
        [0.25, 0.25]
    """

    activation: Any
    affine: Callable[[State, Any], State]
    weight: Callable[[Any], Float[Array, "n n"]] | None = None
    learned: Callable[[Any], Parameters] | None = None

    def __post_init__(self):
        object.__setattr__(self, "activation", catalog.activations.get(self.activation))

    def __call__(self, z: State, args: Any) -> State:
        """σ(affine(z, args))."""
        return jax.tree.map(applied(self.activation, self._learned(args)), self.affine(z, args))

    def program(self, z: State, args: Any) -> SplitProgram:
        """The map for these arguments, traced once."""
        affine = Program.trace(lambda z: self.affine(z, args), z)
        weight = None if self.weight is None else self.weight(args)
        weight = None if weight is None else _square(weight, z)
        return SplitProgram(affine, self.activation, weight, dict(self._learned(args)))

    def _learned(self, args: Any) -> Parameters:
        return {} if self.learned is None else self.learned(args)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class SplitProgram:
    """What a solver gets of a ``Split``: its affine part and its activation.

    Attributes:
        affine: z -> Wz + Ux + b with everything else captured.
        activation: σ.
        weight: W, where it is one matrix and known.
        learned: the parameters of a learnable σ.
    """

    affine: Program
    activation: Activation = field(metadata={"static": True})
    weight: Float[Array, "n n"] | None = None
    learned: dict[str, Any] = field(default_factory=dict)

    def prepared(self) -> SplitProgram:
        """The same map, ready for a loop."""
        return replace(self, affine=self.affine.prepared())

    def start(self, z: State) -> State:
        """σ(affine(z)), cheap where z is zero; not to be differentiated."""
        return jax.tree.map(applied(self.activation, self.learned), self.affine.start(z))

    def __call__(self, z: State) -> State:
        """σ(affine(z))."""
        return jax.tree.map(applied(self.activation, self.learned), self.affine(z))

    def rise(self, z: State) -> State:
        """affine(z) - z: minus the monotone operator."""
        return trees.subtract(self.affine(z), z)

    def prox(self, u: State, step_size: Any) -> State:
        """The prox of step_size · ψ, σ = prox of ψ; the step is a number or one per example."""

        def leaf(u):
            step = step_size if isinstance(step_size, float) else trees.per_example(step_size, u)
            return prox(u, step).astype(u.dtype)

        prox: Callable[..., Array] = self.activation.prox
        if isinstance(self.activation, Learnable) and self.learned:
            prox = functools.partial(self.activation.evaluate_prox, self.learned)
        return jax.tree.map(leaf, u)

    def near(self, z: State) -> Near:
        """Where ``prox_near`` may begin before there is a last one: σ and σ' at z."""
        if self.activation.has_closed_prox:
            return None
        return jax.tree.map(lambda leaf: point(self._formula, leaf, self.learned), z)

    def prox_near(
        self, u: State, step_size: Float[Array, " batch"], near: Near
    ) -> tuple[State, Near]:
        """``prox`` by Newton's method from where it ended last, to a share of how far that is.

        Where u changes little it costs one evaluation of σ and σ'.
        """
        if near is None:
            return self.prox(u, step_size), None

        def leaf(u, near):
            step = jnp.broadcast_to(trees.per_example(step_size, u), u.shape).astype(u.dtype)
            slope = self.activation.slope
            return preimage(self._formula, slope, _ACCURACY, u, step, self.learned, near)

        found = jax.tree.map(leaf, u, near)
        value = jax.tree.map(lambda at: at.value, found, is_leaf=lambda at: isinstance(at, Point))
        return value, lax.stop_gradient(found)

    @property
    def _formula(self) -> Callable[[Array, Parameters], Array]:
        return lambda x, learned: applied(self.activation, learned)(x)


def applied(activation: Activation, learned: Parameters) -> Callable[[Array], Array]:
    """σ, at these parameters where it has some."""
    if isinstance(activation, Learnable) and learned:
        return functools.partial(activation.evaluate, learned)
    return activation


def require(fn: Map, name: str) -> SplitProgram:
    """The map as a split with a proximal activation.

    Raises:
        ValueError: it is a plain function, or its activation is no proximal operator.
    """
    if not isinstance(fn, SplitProgram):
        raise ValueError(
            f"{name} must know which part of the map is affine: use "
            "deqzoo.fixed_point(Split('relu', lambda z, args: ...), ...) with deqzoo.Split, "
            "or a solver for plain functions such as 'anderson' or 'newton_krylov'"
        )
    fn.activation.require_prox()
    return fn


def _square(weight: Any, z: State) -> Float[Array, "n n"]:
    """W, which must fit the state.

    Raises:
        ValueError: the state is not one array (batch, n), or W is not (n, n).
    """
    shapes = [leaf.shape for leaf in jax.tree.leaves(z)]
    if len(shapes) != 1 or len(shapes[0]) != 2 or jnp.shape(weight) != 2 * shapes[0][1:]:
        raise ValueError(
            f"weight must be (n, n) of a state that is one array (batch, n), got "
            f"{jnp.shape(weight)} of a state with arrays of shapes {shapes}: leave it out, and "
            "the resolvent is solved for by products"
        )
    return jnp.asarray(weight)
