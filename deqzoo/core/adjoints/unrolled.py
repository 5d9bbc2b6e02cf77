"""Backpropagation through the iterations of the solver."""

from __future__ import annotations

from dataclasses import dataclass

from deqzoo.core.adjoint import Adjoint, Backward
from deqzoo.core.loop import solve
from deqzoo.core.map.program import Program
from deqzoo.core.solution import Solution
from deqzoo.core.solver import Solver
from deqzoo.core.trees import State

__all__ = ["Unrolled"]


@dataclass(frozen=True)
class Unrolled(Adjoint):
    """The derivative of the iterate that the solver returns, by the chain rule through its steps.

    Memory grows with ``solver.max_steps``; values equal those of every other adjoint. Through
    Anderson's and Broyden's steps their coefficients are differentiated too: on a state of few
    numbers they find the value in so few steps that the derivative is not there without them. A
    step that overflows makes the gradient of the parameters NaN, even when the loss masks its
    example; ``implicit`` looks only at the returned value. Use it to check ``implicit``, or to
    train through a few steps.

    Attributes:
        checkpoint: keep one state per step and compute the rest of the step again on the way back.
    """

    checkpoint: bool = False

    def __call__(
        self,
        solver: Solver,
        fn: Program,
        z0: State,
        *,
        guess: State | None = None,
        backward: Backward | None = None,
    ) -> Solution:
        """Run the loop as a scan of ``max_steps`` steps."""
        return solve(solver, fn, z0, guess=guess, differentiable=True, checkpoint=self.checkpoint)
