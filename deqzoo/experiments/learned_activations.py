"""Learned activations beside fixed ones: loss, the bound at every step, what few knots lose."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from deqzoo import catalog
from deqzoo.analysis.experiment import Experiment, Say, require_activations
from deqzoo.data.arrays import data_of_arrays
from deqzoo.data.examples import Data
from deqzoo.nn.freeze import freeze
from deqzoo.nn.model import Model
from deqzoo.nn.nonlinearity import Nonlinearity
from deqzoo.runs.fit import fit
from deqzoo.settings import In, OneOf
from deqzoo.splines import distill
from deqzoo.training.promises.largest_bound import LargestBound

__all__ = ["LearnedActivations"]

_REGRESSION = "regression"
_EXAMPLES = 500
_FIT = {"learning_rate": 0.01, "batch_size": 128, "constraint": "rescale"}


@dataclass(frozen=True)
class LearnedActivations(Experiment):
    """A learned spline beside fixed activations, in models whose equilibrium stays unique.

    Every pair of model and task is trained alike with ``linear_spline``, whose slopes stay in
    [0, 1] whatever is learned, and with fixed activations. The bound of the guarantee is taken
    after every step. What was learned is then distilled to few knots, and its equilibria at the
    test inputs are compared with those before: they move by no more than c (ε √m + r), ε the error
    of the spline, m the units, r the residuals of both solves and c what the guarantee makes of
    one.

    The regression is y = |sin 3x₁| + x₂x₃ at 500 inputs in [-1, 1]³, after Aziznejad, Debarre and
    Unser; its loss is ½ (ŷ - y)². 20 minutes on two cores.

    Attributes:
        models: names of models that flatten their input and promise a unique equilibrium.
        tasks: digits and regression.
        activations: fixed ones.
        seeds: of each.
        width: units.
        steps: of Adam.
        knots: at most so many remain.

    References:
        Aziznejad, Debarre and Unser, "Sparsest Univariate Learning Models Under Lipschitz
        Constraint", arXiv 2112.13542, for the splines; the experiment and the bounds: deqzoo.
    """

    models: tuple[Annotated[str, OneOf("classifier", "mondeq")], ...] = ("classifier", "mondeq")
    tasks: tuple[Annotated[str, OneOf("digits", _REGRESSION)], ...] = ("digits", _REGRESSION)
    activations: tuple[str, ...] = ("relu", "tanh", "gelu")
    seeds: Annotated[int, In("[1, inf)")] = 5
    width: Annotated[int, In("[1, inf)")] = 16
    steps: Annotated[int, In("[1, inf)")] = 600
    knots: Annotated[int, In("[2, inf)")] = 9

    def __post_init__(self):
        super().__post_init__()
        require_activations("activations", self.activations)

    def run(self, folder: Path, say: Say = print) -> dict[str, Any]:
        """One cell per training."""
        with self.cells(folder, say) as cells:
            runs = [
                {"model": model, "task": task, "activation": recipe, **cells.get(name, compute)}
                for model in self.models
                for task in self.tasks
                for recipe in ("linear_spline", *self.activations)
                for seed in range(self.seeds)
                for name in [f"{model}, {task}, {recipe}, seed {seed}"]
                for compute in [functools.partial(self._train, model, task, recipe, seed)]
            ]
        return {"runs": runs, "table": [*self._rows(runs)]}

    def _train(self, name: str, task: str, recipe: str, seed: int) -> dict[str, Any]:
        data = catalog.tasks.get(task).load() if task != _REGRESSION else _regression()
        build = functools.partial(catalog.models.load(name), data.spec, data.outputs)
        model = build(activation=recipe, width=self.width, rngs=nnx.Rngs(seed))
        bounds = LargestBound(model)
        loss = "square" if task == _REGRESSION else "cross_entropy"
        settings = {**_FIT, "steps": self.steps, "eval_every": self.steps}
        done = fit(model, data, observers=[bounds], seed=seed, loss=loss, **settings)
        found = {
            "train loss": _loss(done.model, data.train),
            "test loss": _loss(done.model, data.test),
            "bound": bounds.largest,
        }
        if recipe == "linear_spline":
            found |= self._distilled(done.model, data.test.x)
        return found

    def _distilled(self, model: Model, x: Any) -> dict[str, Any]:
        """What a spline of few knots in the place of the learned one does to the equilibria."""
        before, after = freeze(model), freeze(model)
        (layer,) = [each for _, each in nnx.iter_graph(after) if isinstance(each, Nonlinearity)]
        found = distill(layer.activation, self.knots)
        layer.activation = found.spline
        (z, r), (y, s) = (_states(each, x) for each in (before, after))
        (promised,) = model.guarantees()
        near = promised.nearness(nnx.to_pure_dict(nnx.state(model, nnx.Param)))
        assert near is not None
        moved = np.linalg.norm(z - y, axis=1)
        allowed = near.per_residual * (found.error * math.sqrt(self.width) + r + s)
        return {
            "knots": len(found.spline.kinks),
            "error": found.error,
            "moved": float(np.max(moved)),
            "share": float(np.max(moved / allowed)),
        }

    def _rows(self, runs: list[dict[str, Any]]):
        for model in self.models:
            for task in self.tasks:
                for recipe in ("linear_spline", *self.activations):
                    wanted = {"model": model, "task": task, "activation": recipe}
                    own = [run for run in runs if wanted.items() <= run.items()]
                    yield {**wanted, **_summary(own)}

    def draw(self, results: dict[str, Any], path: Path) -> Path:
        """Training and test losses: a dot a seed, a line their mean."""
        from deqzoo.analysis.figure import figure

        pairs = [(model, task) for model in self.models for task in self.tasks]
        size = (3.2 * len(pairs), 3.4)
        with figure(path, 1, len(pairs), size) as (_, axes):
            for axis, (model, task) in zip(axes[0], pairs, strict=True):
                rows = [
                    row for row in results["runs"] if (row["model"], row["task"]) == (model, task)
                ]
                names = [*dict.fromkeys(row["activation"] for row in rows)]
                for shift, key, color in ((-0.12, "train loss", "C0"), (0.12, "test loss", "C1")):
                    values = [[row[key] for row in rows if row["activation"] == n] for n in names]
                    places = np.arange(len(names)) + shift
                    seeds = np.repeat(places, [*map(len, values)])
                    axis.plot(seeds, np.concatenate(values), "o", color=color, alpha=0.5)
                    means = [*map(np.mean, values)]
                    axis.plot(places, means, "_", color=color, markersize=16, label=key)
                axis.set_xticks(range(len(names)), names)
                axis.set(yscale="log", title=f"{model}, {task}")
                axis.tick_params(axis="x", rotation=30)
            axes[0, 0].set_ylabel("loss")
            axes[0, 0].legend(frameon=False)
        return path


def _regression() -> Data:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (2 * _EXAMPLES, 3)).astype(np.float32)
    y = np.abs(np.sin(3 * x[:, 0])) + x[:, 1] * x[:, 2]
    train, test = ((x[part], y[part]) for part in (slice(_EXAMPLES), slice(_EXAMPLES, None)))
    return data_of_arrays(train, test, validation=0)


def _loss(model: Model, split: Any) -> float:
    """The mean over the examples."""
    outputs, y = model(jnp.asarray(split.x))[0], jnp.asarray(split.y)
    if jnp.issubdtype(y.dtype, jnp.integer):
        return float(jnp.mean(optax.softmax_cross_entropy_with_integer_labels(outputs, y)))
    return float(jnp.mean(jnp.square(outputs.reshape(y.shape) - y)) / 2)


def _states(model: Model, x: Any) -> tuple[np.ndarray, np.ndarray]:
    """What the cell puts out of its equilibria, and the residuals of their solves."""
    injected = model.injection(jnp.asarray(x))
    solution, cell = model.deq(injected), model.deq.cell
    z = solution.value
    z = cell.output(z, injected) if hasattr(cell, "output") else z
    return np.asarray(z, np.float64), np.asarray(solution.stats.residual, np.float64)


def _summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    told = {
        key: f"{np.mean(values):.3g} ± {np.std(values):.1g}"
        for key in ("train loss", "test loss")
        for values in [[run[key] for run in runs]]
    }
    told["largest bound"] = max(run["bound"] for run in runs)
    for key, name in (("knots", "knots"), ("error", "error of φ"), ("share", "moved / allowed")):
        told[name] = max((run[key] for run in runs if key in run), default="-")
    return told
