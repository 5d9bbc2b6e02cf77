"""Two-layer networks in mean-field scaling: gradient descent beside second-order dynamics."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from deqzoo import catalog
from deqzoo.analysis.experiment import Experiment, Say, require_increasing
from deqzoo.settings import In

__all__ = ["MeanField"]

_LEARNED = 1e-4  # the loss at which a teacher counts as found
_TEACHERS = 3.0, -3.0, 3.0  # their read-outs
_POINTS = 400  # of a curve in the results
_EXPECTED = {3: (0.3, 0.4), 6: (0.3, 0.5), 12: (0.9, 1.0), 25: (1.0, 1.0)}  # by other code


@dataclass(frozen=True)
class MeanField(Experiment):
    """A few neurons more than the teacher's are enough; the energy of a heavy ball never rises.

    f(x) = (1/m) Σ a_i tanh(w_i·x) learns a teacher of three neurons from n points of the plane,
    with F = ½ mean (f - y)². Gradient descent takes the step m dt, the heavy ball (η, β) = (m dt²,
    1 - γ dt), so that both run for the same time; ``boost`` times the step is what gradient descent
    may take besides. Every seed has a teacher, points and weights of its own. "Expected" was found
    earlier with other code, teachers and steps. Takes about 20 seconds on two cores.

    Attributes:
        widths: m, increasing.
        seeds: how many.
        examples: n.
        friction: γ.
        dt: the time of a step.
        boost: of the longer steps of gradient descent.
        steps: of each.
        seed: the first.

    References:
        Krichene, Caluya and Halder, "Global Convergence of Second-order Dynamics in Two-layer
        Neural Networks", arXiv 2007.06852. Teacher and student: deqzoo; the paper's own experiment
        is not known to us.
    """

    widths: tuple[Annotated[int, In("[1, inf)")], ...] = (3, 6, 12, 25)
    seeds: Annotated[int, In("[1, inf)")] = 10
    examples: Annotated[int, In("[1, inf)")] = 100
    friction: Annotated[float, In("(0, inf)")] = 0.3
    dt: Annotated[float, In("(0, inf)")] = 0.1
    boost: Annotated[float, In("[1, inf)")] = 10.0
    steps: Annotated[int, In("[2, inf)")] = 8000
    seed: Annotated[int, In("[0, inf)")] = 0

    def __post_init__(self):
        super().__post_init__()
        require_increasing("widths", self.widths)
        if self.friction * self.dt > 1:
            raise ValueError(f"friction · dt must be at most 1, got {self.friction * self.dt:g}")

    def run(self, folder: Path, say: Say = print) -> dict[str, Any]:
        """One cell per width."""
        with self.cells(folder, say) as cells:
            found = [
                cells.get(f"m = {m}", functools.partial(self._compare, m)) for m in self.widths
            ]
        return {
            "curves": [each["curves"] for each in found],
            "table": [each["row"] for each in found],
        }

    def _compare(self, m: int) -> dict[str, Any]:
        beta = 1 - self.friction * self.dt
        slow, fast, ball = (
            self._trained(recipe, m)
            for recipe in (
                f"gd(learning_rate={m * self.dt!r})",
                f"gd(learning_rate={m * self.dt * self.boost!r})",
                f"heavy_ball(learning_rate={m * self.dt**2!r}, beta={beta!r})",
            )
        )
        learned = [float(np.mean(F[:, -1] < _LEARNED)) for F, _ in (slow, fast, ball)]
        (F, E), middle = ball, lambda losses: float(np.median(losses[:, -1]))
        row = {
            "width": m,
            "learned, descent": learned[0],
            f"step x {self.boost:g}": learned[1],
            "heavy ball": learned[2],
            "expected": " / ".join(f"{share:g}" for share in _EXPECTED.get(m, ())) or "-",
            "median F, ball / descent": middle(F) / middle(slow[0]),
            "share of steps in which F rises": float(np.mean(np.diff(F, axis=1) > 0)),
            "largest change of E": float(np.max(np.diff(E, axis=1))),
        }
        at = [*range(0, self.steps, math.ceil(self.steps / _POINTS)), self.steps - 1]
        return {
            "row": row,
            "curves": {
                "steps": at,
                "descent": slow[0][0, at].tolist(),
                "F": F[0, at].tolist(),
                "E": E[0, at].tolist(),
            },
        }

    def _trained(self, recipe: str, m: int) -> tuple[np.ndarray, np.ndarray]:
        """F and E before every step, a row per seed."""
        with jax.enable_x64(True):
            starts = [self._start(self.seed + t, m) for t in range(self.seeds)]
            stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *starts)
            transform = catalog.optimizers.get(recipe).build(self.steps)
            run = jax.jit(jax.vmap(functools.partial(_train, transform, self.steps)))
            F, E = run(*stacked)
            return np.asarray(F), np.asarray(E)

    def _start(self, seed: int, m: int) -> tuple[np.ndarray, np.ndarray, tuple[Any, Any]]:
        rng = np.random.default_rng(seed)
        x = rng.standard_normal((self.examples, 2))
        teacher = 2 * rng.standard_normal((3, 2))
        y = np.tanh(x @ teacher.T) @ np.array(_TEACHERS) / 3
        return x, y, (rng.standard_normal((m, 2)), rng.standard_normal(m))

    def draw(self, results: dict[str, Any], path: Path) -> Path:
        """Left who learns, right F and E of one seed at the largest width."""
        from deqzoo.analysis.figure import figure

        rows, curves = results["table"], results["curves"][-1]
        with figure(path, 1, 2, (9.5, 3.8)) as (_, axes):
            left, right = axes[0]
            for name, style in (("learned, descent", "o-"), ("heavy ball", "s-")):
                left.plot(self.widths, [row[name] for row in rows], style, label=name)
            known = [m for m in self.widths if m in _EXPECTED]
            for i, colour in enumerate(("C0", "C1")):
                marks = [_EXPECTED[m][i] for m in known]
                left.plot(known, marks, "_", color=colour, markersize=18, label="expected")
            left.set(xlabel="neurons m", ylabel=f"share of seeds with F < {_LEARNED:g}")
            right.plot(curves["steps"], curves["descent"], label="F, descent", color="C0")
            right.plot(curves["steps"], curves["F"], label="F, heavy ball", color="C1")
            right.plot(curves["steps"], curves["E"], "--", label="E, heavy ball", color="C3")
            right.set(yscale="log", xlabel="step", title=f"m = {self.widths[-1]}, one seed")
            for axis in (left, right):
                axis.legend(frameon=False)
        return path


def _train(
    transform: optax.GradientTransformation, steps: int, x: Array, y: Array, weights: Any
) -> tuple[Float[Array, " steps"], Float[Array, " steps"]]:
    """F, and F + ½‖v‖² where the optimizer has a velocity."""

    def loss(weights):
        w, a = weights
        return jnp.mean(jnp.square(jnp.tanh(x @ w.T) @ a / len(a) - y)) / 2

    def step(carry, _):
        weights, kept = carry
        F, gradient = jax.value_and_grad(loss)(weights)
        E = F + optax.tree.get(kept, "kinetic", 0.0)
        moved, kept = transform.update(gradient, kept, weights)
        return (optax.apply_updates(weights, moved), kept), (F, E)

    return jax.lax.scan(step, (weights, transform.init(weights)), length=steps)[1]
