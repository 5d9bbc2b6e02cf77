"""A map of states as data: its trace, and the arrays it captured as leaves of a pytree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

from deqzoo.core.map import convolution, kernels, origin
from deqzoo.core.map.trace import Trace
from deqzoo.core.trees import State

Map = Callable[[State], State]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Program:
    """z -> fn(z), traced once.

    Whatever the function captured stands in ``captured``: a program is differentiated, mapped and
    handed through custom derivative rules like any other argument, and nothing leaks.

    Attributes:
        captured: the arrays it uses besides z.
        body: what it does with them and with z; ``closed`` has all.
        structure: the tree of its result.
    """

    captured: list[Any]
    body: Trace = field(metadata={"static": True})
    structure: Any = field(metadata={"static": True})

    @classmethod
    def trace(cls, fn: Map, z: State) -> Program:
        """The program of ``fn`` on states like ``z``."""
        # A new function object every time: JAX remembers traces by function, with the values that
        # it captured back then.
        closed, image = jax.make_jaxpr(lambda z: fn(z), return_shape=True)(z)
        return cls._of(closed, jax.tree.structure(image))

    @classmethod
    def _of(cls, closed: ClosedJaxpr, structure: Any) -> Program:
        # In JAX 0.12 a trace holds its constants, and jitted functions remember what is static:
        # the arrays would never be released.
        bare = closed.jaxpr.replace(constvars=closed.jaxpr.constvars)
        return cls(list(closed.consts), Trace(bare), structure)

    @property
    def closed(self) -> ClosedJaxpr:
        """The trace together with what it captured."""
        return ClosedJaxpr(self.body.jaxpr, self.captured)

    def prepared(self) -> Program:
        """The same program, ready for a loop: convolutions in the layout that is fast there."""
        closed = ClosedJaxpr(convolution.canonical(self.body.jaxpr), self.captured)
        return self._of(kernels.arrange(closed), self.structure)

    def start(self, z: State) -> State:
        """fn(z), cheap where z is zero; not to be differentiated."""
        return self.structure.unflatten(origin.image(self.closed, jax.tree.leaves(z)))

    def __call__(self, z: State) -> State:
        """fn(z)."""
        return self.structure.unflatten(jaxpr_as_fun(self.closed)(*jax.tree.leaves(z)))
