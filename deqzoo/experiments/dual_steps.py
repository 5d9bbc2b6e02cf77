"""How large a step a multiplier may take: competitive mirror descent against descent-ascent."""

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

from deqzoo.analysis.experiment import Experiment, Say
from deqzoo.core import spectral
from deqzoo.core.fixed_point import fixed_point
from deqzoo.games import with_multipliers
from deqzoo.settings import In

__all__ = ["DualSteps"]

_WIDTH, _TEACHER, _SOLVER = 3, 0.9, "picard(rtol=1e-9, max_steps=300)"
_START = 0.01  # the first λ
_FREE, _PROJECTED, _COMPETITIVE, _ASCENT = "free", "projection", "competitive", "descent-ascent"


@dataclass(frozen=True)
class DualSteps(Experiment):
    """A DEQ z = tanh(Wz + Ux) trained with ‖W‖₂ <= limit: what remains of it for each dual step.

    The target is a DEQ of the same size with ‖W‖₂ = .9, so that the limit costs something.
    Full-batch gradient descent on the mean square in float64:
    without the limit; with ``projection``; by competitive mirror descent (the constraint
    ``multiplier``) and by gradient descent-ascent, λ <- max(0, λ + (‖W‖₂ - limit)/α), for every α.
    The violation is the largest of the last half of the steps. Competitive mirror descent stays
    finite, and the nearer to the limit the smaller α; descent-ascent does not from some α on.

    The defaults take a minute on two cores.

    Attributes:
        alphas: α, inverse step sizes of the multiplier.
        limit: of ‖W‖₂.
        learning_rate: of the weights.
        steps: of each run.
        examples: n, of one number each.
        seed: of teacher, start and inputs.

    References:
        Schäfer, Anandkumar and Owhadi, "Competitive Mirror Descent", arXiv 2006.10179; the
        experiment: deqzoo.
    """

    alphas: tuple[Annotated[float, In("(0, inf)")], ...] = (1.0, 0.1, 0.01, 0.001, 0.0001)
    limit: Annotated[float, In("(0, 1)")] = 0.3
    learning_rate: Annotated[float, In("(0, inf)")] = 0.3
    steps: Annotated[int, In("[2, inf)")] = 3000
    examples: Annotated[int, In("[1, inf)")] = 64
    seed: Annotated[int, In("[0, inf)")] = 0

    def run(self, folder: Path, say: Say = print) -> dict[str, Any]:
        """One cell per run."""
        names = [(_FREE, None), (_PROJECTED, None)]
        names += [(kind, alpha) for kind in (_COMPETITIVE, _ASCENT) for alpha in self.alphas]
        with self.cells(folder, say) as cells:
            runs = [
                {
                    "method": kind,
                    "alpha": alpha,
                    **cells.get(
                        f"{kind}, alpha = {alpha}", functools.partial(self._train, kind, alpha)
                    ),
                }
                for kind, alpha in names
            ]
        return {"runs": runs, "table": [*map(_row, runs)]}

    def _train(self, kind: str, alpha: float | None) -> dict[str, Any]:
        """Loss, violation and multiplier; None where they are not finite."""
        with jax.enable_x64(True):
            weights, loss = self._problem()
            step = functools.partial(self._step, kind, alpha or 1.0, loss)
            kept = self._rule(alpha or 1.0).init(weights) if kind == _COMPETITIVE else _START
            walk = lambda carry, _: step(*carry)  # noqa: E731
            begin = (weights, jax.tree.map(jnp.asarray, kept))
            _, told = jax.jit(lambda: jax.lax.scan(walk, begin, length=self.steps))()
        losses, violations, multipliers = (np.asarray(each) for each in told)
        found = {
            "loss": losses[-1],
            "violation": np.max(violations[self.steps // 2 :]),
            "multiplier": multipliers[-1],
        }
        return {name: float(v) if math.isfinite(v) else None for name, v in found.items()}

    def _problem(self) -> tuple[dict[str, jax.Array], Any]:
        """The first weights, and the loss of weights."""
        rng = np.random.default_rng(self.seed)
        normal = rng.standard_normal
        turn = np.linalg.qr(normal((_WIDTH, _WIDTH)))[0]
        teacher = {"W": _TEACHER * turn, "U": normal((_WIDTH, 1)), "a": normal(_WIDTH) / 3**0.5}
        x = normal((self.examples, 1))
        start = {"W": 0.1 * normal((_WIDTH, _WIDTH)), "U": normal((_WIDTH, 1))}
        start["a"] = normal(_WIDTH) / 3**0.5
        y = _outputs(teacher, x)
        loss = lambda weights: jnp.mean((_outputs(weights, x) - y) ** 2)  # noqa: E731
        return jax.tree.map(jnp.asarray, start), loss

    def _excess(self, weights: dict[str, jax.Array]) -> jax.Array:
        return spectral.norm_upper_bound(weights["W"]) - self.limit

    def _rule(self, alpha: float) -> optax.GradientTransformation:
        descent, rate = optax.sgd(self.learning_rate), self.learning_rate
        return with_multipliers(descent, [self._excess], rate, alpha, _START)

    def _step(self, kind: str, alpha: float, loss: Any, weights: Any, kept: Any) -> Any:
        """One step, and loss and violation before it, multiplier after it."""
        value, slope = jax.value_and_grad(loss)(weights)
        excess, push = jax.value_and_grad(self._excess)(weights)
        multiplier = jnp.zeros_like(value)
        if kind == _COMPETITIVE:
            move, kept = self._rule(alpha).update(slope, kept, weights)
            multiplier = kept.multipliers[0]
        else:
            force = kept if kind == _ASCENT else 0.0
            move = jax.tree.map(lambda g, p: -self.learning_rate * (g + force * p), slope, push)
        after: Any = optax.apply_updates(weights, move)
        if kind == _ASCENT:
            kept = multiplier = jnp.maximum(kept + excess / alpha, 0)
        if kind == _PROJECTED:
            after = {**after, "W": spectral.project_norm(after["W"], self.limit)}
        return (after, kept), (value, excess, multiplier)

    def draw(self, results: dict[str, Any], path: Path) -> Path:
        """Violation and loss against the dual step; what is not finite is missing."""
        from deqzoo.analysis.figure import figure

        with figure(path, 1, 2, (9, 3.8)) as (_, axes):
            left, right = axes[0]
            for number, kind in enumerate((_COMPETITIVE, _ASCENT)):
                runs = [run for run in results["runs"] if run["method"] == kind]
                steps = [1 / run["alpha"] for run in runs if run["loss"] is not None]
                if not steps:
                    continue
                over = [max(run["violation"], 1e-9) for run in runs if run["loss"] is not None]
                losses = [run["loss"] for run in runs if run["loss"] is not None]
                left.plot(steps, over, "os"[number] + "-", label=kind)
                right.plot(steps, losses, "os"[number] + "-", label=kind)
            for run, style in zip(results["runs"][:2], (":", "--"), strict=True):
                if run["loss"] is not None:
                    right.axhline(run["loss"], color="C7", linestyle=style, label=run["method"])
            left.set(ylabel="largest violation of the last half")
            right.set(ylabel="loss")
            for axis in (left, right):
                axis.set(xlabel="step size 1/α of the multiplier")
                if axis.lines:
                    axis.set(xscale="log", yscale="log")
                    axis.legend(frameon=False)
        return path


def _outputs(weights: dict[str, Any], x: Any) -> jax.Array:
    fn = lambda z, args: jnp.tanh(z @ args["W"].T + args["x"] @ args["U"].T)  # noqa: E731
    z = fixed_point(
        fn,
        jnp.zeros((len(x), _WIDTH)),
        {**weights, "x": x},
        solver=_SOLVER,
        adjoint=f"implicit(solver='{_SOLVER}')",
    ).value
    return z @ weights["a"]


def _row(run: dict[str, Any]) -> dict[str, Any]:
    told = {name: "not finite" if run[name] is None else run[name] for name in _TOLD}
    return {"method": run["method"], "α": "-" if run["alpha"] is None else run["alpha"], **told}


_TOLD = ("loss", "violation", "multiplier")
