"""After how many steps the label of an example is proved to be that of its equilibrium."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, Int

from deqzoo.activation.digits import at_most
from deqzoo.analysis.equilibria import name_of, solve, step_by_step
from deqzoo.analysis.finding import Finding
from deqzoo.analysis.margins import exact, proof
from deqzoo.nn.model import Model

_STEPS = (1, 2, 3, 5, 8, 12, 20)


@dataclass(frozen=True)
class FinalLabels(Finding):
    """A label is final where no other can win within the proved distance of the equilibrium.

    With c of the guarantee (1/(1 - bound) for a contraction) the outputs y* of the equilibrium lie
    within c |f(z) - z| of those of a state z; the label of z is final if (A_c - A_j)y stays
    positive there for every other j. Residuals and margins are evaluated in float64; roundings
    of that, about 1e-15 of the numbers, are not enclosed.

    Attributes:
        solver: whose iterates are looked at.
        source: the theorem.
        steps: K.
        final: share of the examples whose label after K steps is proved final.
        agree: share whose label after K steps is that of the equilibrium.
        violations: examples proved final with a label that the equilibrium does not have.
        used: steps that the solver takes to its tolerance.
    """

    solver: str
    source: str
    steps: Int[np.ndarray, " k"]
    final: Float[np.ndarray, " k"]
    agree: Float[np.ndarray, " k"]
    violations: int
    used: Int[np.ndarray, " n"]

    healthy: ClassVar[str] = (
        "labels are proved long before the solver stops; the proved share lies below the share of "
        "labels that are right already, and no label that was proved ever changes"
    )

    @property
    def facts(self) -> dict[str, float | int | str]:
        """The proved shares, and how many were wrong."""
        proved: dict[str, float | int | str] = {
            f"labels proved final after {k} steps, {self.solver}": at_most(float(share), 4)
            for k, share in zip(self.steps, self.final, strict=True)
        }
        return {**proved, "labels proved final that changed": self.violations}

    @property
    def seen(self) -> str:
        """Proved and settled shares."""
        half = self.steps[self.final >= 0.5]
        since = (
            f"from {half[0]} steps on more than half are" if len(half) else "fewer than half are"
        )
        return (
            f"Share of {len(self.used)} test examples whose label after K steps of {self.solver} "
            f"is proved to be that of the equilibrium, and of those whose label is: {since}; "
            f"the solver takes {np.mean(self.used):.1f} steps on average. Theorem: "
            f"{self.source}."
        )

    def draw(self, path: Path) -> Path:
        """Both shares against K."""
        from deqzoo.analysis.figure import count_along, figure

        with figure(path, 1, 1, (6, 3.5)) as (_, axes):
            axis = axes[0][0]
            axis.plot(self.steps, self.agree, ".-", color="C7", label="label of the equilibrium")
            axis.plot(self.steps, self.final, "o-", color="C0", label="proved final")
            axis.axvline(np.mean(self.used), color="C1", linestyle=":", label="solver stops, mean")
            axis.set(xlabel="steps K", ylabel="share of the examples")
            axis.set_ylim(0, 1.02)
            axis.legend(frameon=False, loc="lower right")
            count_along(axis.xaxis)
        return path


def final_labels(model: Model, x: Any, steps: tuple[int, ...] = _STEPS) -> FinalLabels:
    """Which labels are proved final along the iterates of the model's solver.

    Args:
        model: a classifier with a guarantee.
        x: inputs, scaled.
        steps: the K.

    Raises:
        InapplicableError: nothing is proved of its labels.
    """
    proved = proof(model)
    own = functools.partial(step_by_step, model.deq.solver)
    solved = solve(model, x, solver=own(trajectory=steps))
    equilibrium = np.argmax(np.asarray(solved.outputs), axis=1)
    final, agree, violations = [], [], 0
    for z in solved.solution.trajectory:
        outputs, residual = exact(model, x, z)
        right = np.argmax(outputs, axis=1) == equilibrium
        is_final = proved.is_final(outputs, residual)
        final.append(np.mean(is_final))
        agree.append(np.mean(right))
        violations += int(np.sum(is_final & ~right))
    return FinalLabels(
        solver=name_of(model.deq.solver),
        source=proved.source,
        steps=np.array(steps),
        final=np.array(final),
        agree=np.array(agree),
        violations=violations,
        used=np.asarray(solved.solution.stats.steps),
    )
