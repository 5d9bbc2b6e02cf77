"""A neural operator as an equilibrium beside explicit ones of as many and more parameters."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from deqzoo.analysis.experiment import Experiment, Say
from deqzoo.models.fno import FNO
from deqzoo.nn.deq import DEQ
from deqzoo.nn.fourier_cell import FourierCell
from deqzoo.nn.model import Model
from deqzoo.runs.fit import fit
from deqzoo.settings import In
from deqzoo.tasks.darcy import Darcy

__all__ = ["DarcyFields"]

_LAYERS = 4
_BATCH = 20
_METRIC = "test_relative_l2"


@dataclass(frozen=True)
class DarcyFields(Experiment):
    """``fno`` on ``darcy``, its first step alone, and four layers of their own, trained alike.

    The four layers have half the channels, and so as many parameters, or as many channels, and so
    nearly four times as many. They are not constrained. 7 minutes on two busy cores.

    Attributes:
        size: cells along a side of a field.
        fields: of the task.
        channels: of the equilibrium, even.
        modes: low waves, as in ``fno``.
        steps: of Adam, 20 fields each.
        learning_rate: of Adam.
        seeds: of weights.

    References:
        Marwah et al., "Deep Equilibrium Based Neural Operators for Steady-State PDEs", arXiv
        2312.00234, make the comparison, with other cells and data.
    """

    size: Annotated[int, In("[2, inf)")] = 32
    fields: Annotated[int, In("[2, inf)")] = 250
    channels: Annotated[int, In("[2, inf)")] = 16
    modes: Annotated[int, In("[1, inf)")] = 6
    steps: Annotated[int, In("[1, inf)")] = 300
    learning_rate: Annotated[float, In("(0, inf)")] = 3e-3
    seeds: Annotated[int, In("[1, inf)")] = 2

    def run(self, folder: Path, say: Say = print) -> dict[str, Any]:
        """One cell per training."""
        with self.cells(folder, say) as cells:
            runs = [
                {"model": name, "seed": seed, **cells.get(f"{name}, seed {seed}", compute)}
                for name in self._models
                for seed in range(self.seeds)
                for compute in [functools.partial(self._train, name, seed)]
            ]
        return {"runs": runs, "table": [*self._rows(runs)]}

    @property
    def _models(self) -> dict[str, Callable[..., Model]]:
        shared = {"modes": self.modes}
        return {
            "fno": functools.partial(FNO, channels=self.channels, **shared),
            "explicit, as many parameters": functools.partial(
                _Explicit, channels=self.channels // 2, layers=_LAYERS, **shared
            ),
            "explicit, as many channels": functools.partial(
                _Explicit, channels=self.channels, layers=_LAYERS, **shared
            ),
            "explicit, one layer": functools.partial(
                _Explicit, channels=self.channels, layers=1, **shared
            ),
        }

    def _train(self, name: str, seed: int) -> dict[str, Any]:
        data = Darcy(size=self.size, fields=self.fields).load()
        model = self._models[name](data.spec, data.outputs, rngs=nnx.Rngs(seed))
        done = fit(
            model,
            data,
            seed=seed,
            steps=self.steps,
            batch_size=min(_BATCH, data.train.examples),
            learning_rate=self.learning_rate,
            eval_every=self.steps,
            checkpoint_every=self.steps,
        )
        parameters = jax.tree.leaves(nnx.state(model, nnx.Param))
        return {
            "parameters": sum(leaf.size for leaf in parameters),
            "error": float(done.metrics[-1][_METRIC]),
            "solver steps": float(done.metrics[-1]["test_solver_steps"]),
            "bound": done.metrics[-1].get("bound"),
        }

    def _rows(self, runs: list[dict[str, Any]]):
        for name in self._models:
            own = [run for run in runs if run["model"] == name]
            errors = [run["error"] for run in own]
            yield {
                "model": name,
                "parameters": own[0]["parameters"],
                "relative L2": f"{np.mean(errors):.4f} ± {np.std(errors):.4f}",
                "solver steps": round(float(np.mean([run["solver steps"] for run in own])), 1),
                "bound": own[-1]["bound"] if own[-1]["bound"] is not None else "-",
            }

    def draw(self, results: dict[str, Any], path: Path) -> Path:
        """Errors by the number of parameters, a dot a seed."""
        from deqzoo.analysis.figure import figure

        with figure(path, 1, 1, (5.0, 3.4)) as (_, axes):
            for number, name in enumerate(self._models):
                own = [run for run in results["runs"] if run["model"] == name]
                dots = [(run["parameters"], run["error"]) for run in own]
                axes[0, 0].plot(*zip(*dots, strict=True), "o", color=f"C{number}", label=name)
            axes[0, 0].set(xscale="log", yscale="log", xlabel="parameters", ylabel="relative L2")
            axes[0, 0].legend(frameon=False)
        return path


class _Explicit(FNO):
    """The same stem and head, and layers with parameters of their own in between."""

    def __init__(self, *given: Any, layers: int, channels: int, modes: int, rngs: nnx.Rngs):
        super().__init__(*given, channels=channels, modes=modes, rngs=rngs)
        self.deq = DEQ(_Layers(layers, channels, self.activation, modes, rngs), solver="picard")

    def guarantees(self):
        """There is nothing to be proved."""
        return ()


class _Layers(nnx.Module):
    """z -> f_n(... f_1(u)): a map that forgets z, whose equilibrium is what the layers give."""

    def __init__(self, layers: int, channels: int, activation: Any, modes: int, rngs: nnx.Rngs):
        draw = lambda: FourierCell(channels, activation, modes=modes, rngs=rngs)  # noqa: E731
        self.layers = nnx.List([draw() for _ in range(layers)])
        self.b = nnx.Param(np.zeros((layers, 1, 1, 1, channels), np.float32))

    def __call__(self, z: Any, x: Float[Array, "batch h w c"]) -> Float[Array, "batch h w c"]:
        del z
        for layer, bias in zip(self.layers, self.b[...], strict=True):
            x = layer(x, jnp.broadcast_to(bias, x.shape))
        return x

    def start(self, x: Float[Array, "batch h w c"]) -> Float[Array, "batch h w c"]:
        return x
