"""Pictures from places and from measurements: equilibria beside explicit nets, total variation."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Float

from deqzoo import catalog
from deqzoo.analysis.experiment import Experiment, Say, require_activations
from deqzoo.data.examples import Data, Split
from deqzoo.data.restoration import BLUR, MASK, MEASURED, blurred
from deqzoo.models.inr import INR
from deqzoo.models.proxnet import ProxNet
from deqzoo.nn.deq import DEQ
from deqzoo.nn.model import Model
from deqzoo.runs.fit import fit
from deqzoo.settings import In, OneOf

__all__ = ["Pictures"]

_TASKS = ("picture", "deblur", "inpaint")
_EXAMPLES = 100  # pictures on which total variation is tuned, and others on which all are measured
_WEIGHTS = (0.0003, 0.001, 0.002, 0.003, 0.006, 0.01, 0.02, 0.03, 0.05)
_PRIMAL, _DUAL = 0.2, 0.5  # steps: 1/.2 - .5 ‖∇‖² >= 1/2, as ‖∇‖² <= 8 and ‖A‖ <= 1
_PEAK = catalog.metrics.load("psnr")()


@dataclass(frozen=True)
class Pictures(Experiment):
    """``inr`` on a picture, and ``proxnet`` on ``deblur`` and ``inpaint``, in decibels.

    Beside ``inr`` stand two steps of its cell, beside ``proxnet`` one, trained alike: explicit nets
    of the same parameters, unconstrained. Beside ``proxnet`` stands total variation, too, min |Az -
    y|²/2 + λ TV(z), solved by a primal-dual method; λ is the best of nine on 100 training
    pictures. All that restores is measured on the first 100 test pictures. 6 minutes on two busy
    cores.

    Attributes:
        tasks: picture, deblur and inpaint.
        size: pixels along a side of the picture.
        of_places: activations of ``inr``.
        of_priors: activations of ``proxnet``, not affine.
        steps: of Adam, with a learning rate of 0.003 and batches of 2048 pixels or 128 pictures.
        sweeps: iterations for total variation.
        seeds: of weights.

    References:
        Condat, "A primal-dual splitting method for convex optimization involving Lipschitzian,
        proximable and linear composite terms", Journal of Optimization Theory and Applications 158
        (2013), for total variation.
    """

    tasks: tuple[Annotated[str, OneOf(*_TASKS)], ...] = _TASKS
    size: Annotated[int, In("[2, inf)")] = 128
    of_places: tuple[str, ...] = ("sin", "gelu")
    of_priors: tuple[str, ...] = ("tanh", "relu")
    steps: Annotated[int, In("[1, inf)")] = 300
    sweeps: Annotated[int, In("[1, inf)")] = 1000
    seeds: Annotated[int, In("[1, inf)")] = 2

    def __post_init__(self):
        super().__post_init__()
        require_activations("of_places", self.of_places)
        require_activations("of_priors", self.of_priors)

    def run(self, folder: Path, say: Say = print) -> dict[str, Any]:
        """One cell per training, and one per task for total variation."""
        restored, runs = [task for task in self.tasks if task != "picture"], []
        with self.cells(folder, say) as cells:
            for task, model, act, count in self._plan(restored):
                for explicit in (0, count):
                    what = model if not explicit else f"{model}, {explicit} of its steps"
                    for seed in range(self.seeds):
                        compute = functools.partial(self._train, task, model, act, explicit, seed)
                        found = cells.get(f"{task}, {what}, {act}, seed {seed}", compute)
                        runs.append({"task": task, "model": f"{what}, {act}", **found})
            for task in restored:
                found = cells.get(f"{task}, total variation", functools.partial(self._tv, task))
                runs.append({"task": task, "model": "total variation", **found})
        return {"runs": runs, "table": [*_rows(runs)]}

    def _plan(self, restored: list[str]) -> list[tuple[str, str, str, int]]:
        """Task, model, activation, and how many steps stand beside it."""
        picture = f"picture(size={self.size})"
        places = [(picture, "inr", act, 2) for act in self.of_places if "picture" in self.tasks]
        return places + [(t, "proxnet", act, 1) for t in restored for act in self.of_priors]

    def _train(self, task: str, name: str, act: str, explicit: int, seed: int) -> dict[str, Any]:
        data = catalog.tasks.get(task).load()
        given = {} if data.constants is None else {"constants": data.constants}
        build = {"inr": INR, "proxnet": ProxNet}[name]
        model: Model = build(data.spec, data.outputs, activation=act, rngs=nnx.Rngs(seed), **given)
        start = _Steps(model, explicit) if explicit else model
        done = fit(
            start,
            data,
            seed=seed,
            steps=self.steps,
            batch_size=min(2048 if name == "inr" else 128, data.train.examples),
            learning_rate=3e-3,
            eval_every=self.steps,
            checkpoint_every=self.steps,
        )
        test = data.test if name == "inr" else _first(data.test)
        outputs, solution = nnx.jit(lambda model, x: model(x))(done.model, test.x)
        parameters = jax.tree.leaves(nnx.state(model, nnx.Param))
        return {
            "parameters": sum(leaf.size for leaf in parameters),
            "decibels": _decibels(outputs, test),
            "converged": float(solution.stats.fraction_converged),
        }

    def _tv(self, task: str) -> dict[str, Any]:
        data: Data = catalog.tasks.get(task).load()
        blur = np.ones((1, 1)) if data.constants is None else data.constants[BLUR]
        train, test = _first(data.train), _first(data.test)
        restored = lambda split, weight: total_variation(split.x, blur, weight, self.sweeps)  # noqa: E731
        tuned = {w: _decibels(restored(train, w), train) for w in _WEIGHTS}
        best = max(tuned, key=lambda weight: tuned[weight])
        found = {"decibels": _decibels(restored(test, best), test), "weight": best}
        return {"parameters": 1, "converged": 1.0, **found}

    def draw(self, results: dict[str, Any], path: Path) -> Path:
        """Decibels, a dot a seed."""
        from deqzoo.analysis.figure import figure

        runs = results["runs"]
        names = [*dict.fromkeys(f"{run['task']}: {run['model']}" for run in runs)]
        with figure(path, 1, 1, (6.4, 0.3 * len(names) + 1)) as (_, axes):
            rows = [names.index(f"{run['task']}: {run['model']}") for run in runs]
            axes[0, 0].plot([run["decibels"] for run in runs], rows, "o", alpha=0.6)
            axes[0, 0].set_yticks(range(len(names)), names)
            axes[0, 0].invert_yaxis()
            axes[0, 0].set_xlabel("PSNR (decibels)")
        return path


class _Steps(Model):
    """A few steps of the cell of a model from its start, in the place of its equilibrium."""

    def __init__(self, model: Model, count: int):
        self.inner, self.activation = model, model.activation
        self.deq = DEQ(_Repeated(model.deq.cell, count), solver="picard")

    def stem(self, x: Any) -> Any:
        return self.inner.stem(x)

    def head(self, z: Any, injected: Any) -> Any:
        return self.inner.head(z, injected)


class _Repeated(nnx.Module):
    """A map that forgets z."""

    def __init__(self, cell: Any, count: int):
        self.cell, self.count = cell, count

    def __call__(self, z: Any, x: Any) -> Any:
        z = self.cell.start(x)
        for _ in range(self.count):
            z = self.cell(z, x)
        return z

    def start(self, x: Any) -> Any:
        return self.cell.start(x)


def total_variation(
    x: dict[str, np.ndarray], blur: Float[np.ndarray, "k k"], weight: float, sweeps: int
) -> Float[np.ndarray, "n height width 1"]:
    """Argmin |mask (blur * z) - y|²/2 + weight Σ |∇z| by a primal-dual method, blur symmetric.

    Example:
        >>> import numpy as np
        >>> from deqzoo.experiments.pictures import total_variation
        >>> y = np.array([0.0, 0.0, 1.0, 1.0]).reshape(1, 1, 4, 1)
        >>> x = {"measured": y, "mask": np.ones_like(y)}
        >>> total_variation(x, np.ones((1, 1)), 0.2, 500).ravel().round(3)  # each half moves by .1
        array([0.1, 0.1, 0.9, 0.9])
    """
    y, mask = (np.asarray(x[name], np.float64) for name in (MEASURED, MASK))
    z, p = y.copy(), np.zeros((2, *y.shape))
    for _ in range(sweeps):
        slope = blurred(mask * (mask * blurred(z, blur) - y), blur) + _gradient_transposed(p)
        new = z - _PRIMAL * slope
        p = p + _DUAL * _gradient(2 * new - z)
        p /= np.maximum(1, np.sqrt(np.sum(p * p, axis=0)) / weight)
        z = new
    return z


def _gradient(z: np.ndarray) -> np.ndarray:
    """Differences down and across, 0 beyond the edge."""
    return np.stack([np.diff(z, axis=axis, append=np.take(z, [-1], axis)) for axis in (1, 2)])


def _gradient_transposed(p: np.ndarray) -> np.ndarray:
    down, across = p
    return -np.diff(down[:, :-1], axis=1, prepend=0, append=0) - np.diff(
        across[:, :, :-1], axis=2, prepend=0, append=0
    )


def _decibels(outputs: Any, split: Split) -> float:
    return float(_PEAK(jnp.asarray(outputs), jnp.asarray(split.y)))


def _first(split: Split) -> Split:
    return split.at(slice(_EXAMPLES))


def _rows(runs: list[dict[str, Any]]):
    for task, model in dict.fromkeys((run["task"], run["model"]) for run in runs):
        own = [run for run in runs if (run["task"], run["model"]) == (task, model)]
        decibels = [run["decibels"] for run in own]
        yield {
            "task": task,
            "model": model,
            "parameters": own[0]["parameters"],
            "PSNR": f"{np.mean(decibels):.2f} ± {np.std(decibels):.2f}",
            "converged": min(run["converged"] for run in own),
        }
