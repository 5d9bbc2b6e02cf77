"""A map of states as data: its trace, and the arrays it captured as leaves of a pytree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, jaxpr_as_fun

from deqzoo import convolution, kernels
from deqzoo.trees import State

Map = Callable[[State], State]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Program:
    """z -> fn(z), traced once.

    Whatever the function captured stands in ``captured``: a program is differentiated, mapped and
    handed through custom derivative rules like any other argument, and nothing leaks.

    Attributes:
        captured: the arrays it uses besides z.
        jaxpr: its trace, with ``captured`` as constants.
        structure: the tree of its result.
    """

    captured: list[Any]
    jaxpr: Jaxpr = field(metadata={"static": True})
    structure: Any = field(metadata={"static": True})

    @classmethod
    def trace(cls, fn: Map, z: State) -> Program:
        """The program of ``fn`` on states like ``z``."""
        # A new function object every time: JAX remembers traces by function, with the values that
        # it captured back then.
        closed, image = jax.make_jaxpr(lambda z: fn(z), return_shape=True)(z)
        return cls(list(closed.consts), closed.jaxpr, jax.tree.structure(image))

    def prepared(self) -> Program:
        """The same program, ready for a loop: convolutions in the layout that is fast there."""
        closed = ClosedJaxpr(convolution.canonical(self.jaxpr), self.captured)
        closed = kernels.arrange(closed)
        return Program(list(closed.consts), closed.jaxpr, self.structure)

    def __call__(self, z: State) -> State:
        """fn(z)."""
        closed = ClosedJaxpr(self.jaxpr, self.captured)
        return self.structure.unflatten(jaxpr_as_fun(closed)(*jax.tree.leaves(z)))
