"""How far outputs move with weights and inputs: trace of the Hessian, nuclear norm."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from deqzoo.analysis.finding import Finding, InapplicableError
from deqzoo.core.flatness import trace_samples
from deqzoo.nn.model import Model
from deqzoo.nn.pure_model import PureModel

_PROBES = 64


@dataclass(frozen=True)
class Flatness(Finding):
    """(2/n) Σ_i ‖∂f(x_i)/∂θ‖_F² by Hutchinson's estimator, and singular values of ∂f(x_i)/∂x.

    The first is the trace of the Hessian of the mean square loss where the outputs f fit the
    targets, and elsewhere its Gauss-Newton part; the sum of the second is the nuclear norm from
    (scaled) inputs to outputs, of which flat minima of linear models have little. Both are measured
    with the adjoint of the run.

    Attributes:
        samples: the trace by each probe.
        singular: singular values, decreasing, a row an example.

    References:
        Gatmiry et al., "The Inductive Bias of Flatness Regularization for Deep Matrix
        Factorization", arXiv 2306.13239.
    """

    samples: Float[np.ndarray, " probes"]
    singular: Float[np.ndarray, "n k"]

    healthy: ClassVar[str] = (
        "compare runs of one task: the smaller the trace at the same loss, the flatter the "
        "minimum; few large singular values say that few directions of the inputs count"
    )

    @property
    def facts(self) -> dict[str, float | int | str]:
        """Trace with its standard error, and nuclear norm."""
        return {
            "trace of the Hessian (Gauss-Newton)": float(np.mean(self.samples)),
            "its standard error": float(np.std(self.samples, ddof=1) / len(self.samples) ** 0.5),
            "nuclear norm end to end, mean": float(np.mean(np.sum(self.singular, axis=1))),
        }

    @property
    def seen(self) -> str:
        """Both numbers."""
        trace, error, nuclear = self.facts.values()
        return (
            f"The trace of the Hessian is {trace:.4g} ± {error:.2g} by {len(self.samples)} probes, "
            f"the mean nuclear norm from inputs to outputs {nuclear:.4g}."
        )

    def draw(self, path: Path) -> Path:
        """The mean over the probes so far, and the singular values of every example."""
        from deqzoo.analysis.figure import figure

        with figure(path, 1, 2, (9, 3.5)) as (_, axes):
            left, right = axes[0]
            count = np.arange(1, len(self.samples) + 1)
            left.plot(count, np.cumsum(self.samples) / count)
            left.set(xlabel="probes", ylabel="trace of the Hessian")
            places = np.arange(1, self.singular.shape[1] + 1)
            right.plot(places, self.singular.T, color="C7", linewidth=0.6)
            right.plot(places, np.median(self.singular, axis=0), "o-", label="median")
            right.set(xlabel="index", ylabel="singular value of ∂f/∂x")
            right.legend(frameon=False)
        return path


def flatness(model: Model, x: Any) -> Flatness:
    """Trace and singular values at some training examples.

    Args:
        model: of a run.
        x: inputs, scaled, one array of real numbers.

    Raises:
        InapplicableError: the inputs are no such array.
    """
    if not (hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jnp.floating)):
        raise InapplicableError("the inputs are not one array of real numbers")
    pure = PureModel(model)

    @jax.jit
    def measured(parameters: Any, x: Array) -> tuple[Array, Array]:
        here = pure.state._replace(parameters=parameters)
        outputs = lambda p: pure(here._replace(parameters=p), x)[0]  # noqa: E731
        found, pull = jax.vjp(lambda x: pure(here, x)[0], x)
        rows = jnp.eye(found[0].size, dtype=found.dtype).reshape(-1, 1, *found.shape[1:])
        slopes = lax.map(lambda v: pull(jnp.broadcast_to(v, found.shape))[0], rows)
        samples = trace_samples(outputs, parameters, jax.random.key(0), _PROBES)
        return samples, jnp.moveaxis(slopes.reshape(*slopes.shape[:2], -1), 0, 1)

    samples, slopes = map(np.asarray, measured(pure.state.parameters, jnp.asarray(x)))
    return Flatness(samples, np.linalg.svd(slopes, compute_uv=False))
