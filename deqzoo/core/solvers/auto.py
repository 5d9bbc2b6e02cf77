"""Picard iteration where the map contracts fast, Anderson acceleration where it does not."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from deqzoo import catalog
from deqzoo.activation.contract import Activation
from deqzoo.core.map.program import Map
from deqzoo.core.solver import Evaluation, Solver
from deqzoo.core.solvers.anderson import Anderson
from deqzoo.core.solvers.peaceman_rachford import PeacemanRachford
from deqzoo.core.solvers.picard import Picard
from deqzoo.core.trees import State

__all__ = ["Auto"]


@dataclass(frozen=True)
class Auto(Solver):
    """Every example starts with Picard steps; one that would need many more goes on with Anderson.

    Picard is the cheapest solver of a map that contracts fast, and no other needs fewer evaluations
    where the eigenvalues of the Jacobian fill a disc, as in a wide DEQ at initialisation. From its
    fourth evaluation on an example knows its contraction; it changes over once the evaluations that
    it has made and those that it foresees are more than 3.4 for every power of ten that its
    residual is to fall (17 from 1 to 1e-5, less from a good guess), unless only a few are left.

    Growth is not slowness: while residuals rise an example stays, as near an equilibrium that
    repels. Anderson finds these too. Where a Picard step ever made a residual grow, or Anderson
    failed, the example therefore goes on with Picard from where it changed over: 16 steps without
    growth that bring it nearer confirm what Anderson found, a limit elsewhere replaces it, and
    where there is neither, Anderson's stays. So an example is to end where Picard would. Nothing is
    proved of it: of 2,364 random maps with ||W||_2 up to 3 on which Picard converges, 5 ended
    CONVERGED at another equilibrium.

    A ``deqzoo.Split`` of a proximal operator goes to ``peaceman_rachford`` instead, which converges
    wherever I - W is strongly monotone, however large W.

    Attributes:
        first: the solver of the first stage, or its recipe.
        then: the solver of the second stage, or its recipe. Tolerances and limits are those given
            here.

    Example:
        >>> import jax.numpy as jnp, deqzoo
        >>> rate = jnp.array([[0.2], [0.99]])
        >>> solution = deqzoo.fixed_point(lambda z, r: r * z + 1, jnp.zeros((2, 1)), rate)
        >>> bool(solution.stats.steps.max() < 20)
        True
    """

    first: Solver | str = Picard()
    then: Solver | str = Anderson()

    def __post_init__(self):
        super().__post_init__()
        for name in ("first", "then"):
            rule = catalog.solvers.get(getattr(self, name))
            object.__setattr__(self, name, dataclasses.replace(rule, **self._shared()))

    def _shared(self) -> dict[str, Any]:
        """Tolerances and limits."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(Solver)}

    def of_split(self, activation: Activation) -> Solver:
        """Peaceman-Rachford splitting, of a proximal operator."""
        return PeacemanRachford(**self._shared()) if activation.is_prox else self

    def stages(self) -> tuple[Solver, ...]:
        """Both rules."""
        first, then = catalog.solvers.get(self.first), catalog.solvers.get(self.then)
        return *first.stages(), *then.stages()

    def init(self, fn: Map, z0: State) -> Any:
        """That of the first stage."""
        return self.stages()[0].init(fn, z0)

    def step(self, evaluation: Evaluation, memory: Any) -> tuple[State, Any]:
        """That of the first stage."""
        return self.stages()[0].step(evaluation, memory)
