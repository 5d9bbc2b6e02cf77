"""Recovering a matrix of rank one with a linear DEQ: flat minima against just any."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from deqzoo.analysis.experiment import Experiment, Say
from deqzoo.core import flatness, spectral
from deqzoo.settings import In
from deqzoo.theory.linear_flatness import least_trace

__all__ = ["MatrixSensing"]

Weights = dict[str, Any]

_METHODS = ("plain", "exact", "hutchinson", "label noise")
_EXPECTED = {"plain": "1.32", "exact": "0.065"}  # relative errors, found earlier with other code
_FIRST = 2 / 3  # share of the steps with the larger weight, or with noise
_BATCH = 200  # steps between points of a curve
_NOISE = 8.0  # δ


@dataclass(frozen=True)
class MatrixSensing(Experiment):
    """Fit ⟨S_i, C(I - A)⁻¹B⟩ = ⟨S_i, M⟩, M of rank one, fewer measurements than it has entries.

    Every method fits them; which matrix it ends with differs. Adam on the mean square; with the
    trace of its Hessian as a penalty, exactly or by one probe of Hutchinson a step, whose weight
    falls to a tenth for the last third; and, slower, gradient descent with noise on the targets,
    which ends with the second third.
    ‖A‖₂ <= κ by projection. The table has the relative error, the nuclear norm end to end, and the
    trace beside the least one of any linear DEQ that computes M (for isotropic measurements).

    The defaults take a quarter of a minute on two cores.

    Attributes:
        size: d, rows and columns of M.
        measurements: n.
        kappa: κ.
        weight: of the penalty, first.
        steps: of training.
        noise_steps: of gradient descent with noise.
        seed: of M, S and the start.

    References:
        Gatmiry et al., "The Inductive Bias of Flatness Regularization for Deep Matrix
        Factorization", arXiv 2306.13239, for products of matrices; with an equilibrium: deqzoo.
    """

    size: Annotated[int, In("[2, inf)")] = 8
    measurements: Annotated[int, In("[1, inf)")] = 36
    kappa: Annotated[float, In("(0, 1)")] = 0.9
    weight: Annotated[float, In("(0, inf)")] = 0.01
    steps: Annotated[int, In("[600, inf)")] = 6000
    noise_steps: Annotated[int, In("[600, inf)")] = 100_000
    seed: Annotated[int, In("[0, inf)")] = 0

    def run(self, folder: Path, say: Say = print) -> dict[str, Any]:
        """One cell per method."""
        with self.cells(folder, say) as cells:
            runs = [
                {"method": name, **cells.get(name, functools.partial(self._train, name))}
                for name in _METHODS
            ]
        least = least_trace(self._problem()[1], self.kappa)
        return {"runs": runs, "table": [_row(run, least) for run in runs]}

    def _problem(self) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
        """Measurements, M of norm 5, and the first weights."""
        d, normal = self.size, np.random.default_rng(self.seed).standard_normal
        M = np.outer(normal(d), normal(d))
        S = normal((self.measurements, d, d))
        start = {"A": 0.4 * normal((d, d)) / d**0.5, "B": normal((d, d)), "C": normal((d, d))}
        return S, M * (5 / np.linalg.norm(M)), start

    def _train(self, method: str) -> dict[str, Any]:
        """Curves of error and nuclear norm, and how it ends."""
        with jax.enable_x64(True):
            S, M, start = self._problem()
            fit = lambda p: _measured(S, _matrix(p))  # noqa: E731
            steps = self.noise_steps if method == "label noise" else self.steps
            rule = optax.sgd(1e-3) if method == "label noise" else optax.adam(0.01)
            loss = functools.partial(self._loss, method, fit, _measured(S, M))

            def step(carry: Any, number: Any) -> Any:
                p, kept = carry
                slope = jax.grad(loss)(p, number / steps, jax.random.key(number))
                moves, kept = rule.update(slope, kept, p)
                p: Any = optax.apply_updates(p, moves)
                return (p | {"A": spectral.project_norm(p["A"], self.kappa)}, kept), None

            def several(carry: Any, first: Any) -> Any:
                found, _ = jax.lax.scan(step, carry, first + jnp.arange(_BATCH))
                return found, _matrix(found[0])

            begin = jax.tree.map(jnp.asarray, start)
            firsts = jnp.arange(0, steps, _BATCH)
            (p, _), path = jax.jit(lambda c: jax.lax.scan(several, c, firsts))(
                (begin, rule.init(begin))
            )
            trace = float(flatness.trace(fit, p))
        path = np.asarray(path)
        errors = np.linalg.norm(path - M, axis=(1, 2)) / np.linalg.norm(M)
        nuclear = np.linalg.norm(path, "nuc", axis=(1, 2))
        return {
            "steps": (_BATCH * (1 + np.arange(len(path)))).tolist(),
            "errors": errors.tolist(),
            "nuclear": nuclear.tolist(),
            "truth": float(np.linalg.norm(M, "nuc")),
            "trace": trace,
        }

    def _loss(
        self, method: str, fit: Any, y: jax.Array, p: Weights, done: Any, key: jax.Array
    ) -> jax.Array:
        """Mean square and penalty."""
        if method == "label noise":
            y = y + jnp.where(done < _FIRST, _NOISE, 0) * jax.random.rademacher(
                key, y.shape, y.dtype
            )
        square = jnp.mean((fit(p) - y) ** 2)
        weight = jnp.where(done < _FIRST, self.weight, self.weight / 10)
        if method == "exact":
            return square + weight * flatness.trace(fit, p)
        if method == "hutchinson":
            return square + weight * flatness.trace_estimate(fit, p, key)
        return square

    def draw(self, results: dict[str, Any], path: Path) -> Path:
        """Error and nuclear norm against the share of the steps."""
        from deqzoo.analysis.figure import figure

        with figure(path, 1, 2, (9, 3.8)) as (_, axes):
            left, right = axes[0]
            for run in results["runs"]:
                done = np.array(run["steps"]) / run["steps"][-1]
                left.plot(done, run["errors"], label=run["method"])
                right.plot(done, run["nuclear"], label=run["method"])
            right.axhline(results["runs"][0]["truth"], color="C7", linestyle=":", label="truth")
            left.set(yscale="log", xlabel="share of the steps", ylabel="relative error")
            right.set(yscale="log", xlabel="share of the steps", ylabel="nuclear norm end to end")
            right.legend(frameon=False)
        return path


def _measured(S: Any, M: Any) -> jax.Array:
    """⟨S_i, M⟩."""
    return jnp.einsum("nij,ij->n", S, M)


def _matrix(p: Weights) -> jax.Array:
    """What z = Az + Bx, y = Cz makes of x."""
    return p["C"] @ jnp.linalg.solve(jnp.eye(len(p["A"])) - p["A"], p["B"])


def _row(run: dict[str, Any], least: float) -> dict[str, Any]:
    return {
        "method": run["method"],
        "relative error": run["errors"][-1],
        "expected": _EXPECTED.get(run["method"], "-"),
        "nuclear norm": run["nuclear"][-1],
        "of M": run["truth"],
        "trace": run["trace"],
        "least of M": least,
    }
