"""On which balls of inputs a label is proved to stay, and where an attack changes it."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Bool, Float

from deqzoo.activation.digits import at_most
from deqzoo.analysis.equilibria import solve
from deqzoo.analysis.finding import Finding
from deqzoo.analysis.margins import exact, proof
from deqzoo.nn.model import Model

_RADII = (0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
_STEPS = 20  # of the attack


@dataclass(frozen=True)
class CertifiedRadii(Finding):
    """Accuracy that is proved on a ball around every input, beside that under an attack.

    With k of the guarantee the outputs y* of the equilibrium move by at most k‖U‖₂ |x - x'|; the
    radius of an example is the least margin (A_c - A_j)y* over |A_c - A_j|₂ k‖U‖₂, less what the
    residual of the solve leaves open. The attack climbs the loss along its gradient through the
    equilibrium, on the sphere of each radius, and keeps what it finds on the way: so
    certified <= attacked <= clean. Inputs and radii are those after scaling; of float64, roundings
    are not enclosed.

    Attributes:
        source: the theorem.
        radii: Euclidean ones.
        certified: share of the examples with the right label on the whole ball, proved.
        attacked: share whose label the attack left right.
        clean: the accuracy.
        median: the median radius of examples with the right label, 0 where there is none.

    References:
        Pabbaraju, Winston and Kolter, "Estimating Lipschitz constants of monotone deep equilibrium
        models", ICLR 2021. Madry et al., "Towards deep learning models resistant to adversarial
        attacks", arXiv 1706.06083, has the attack.
    """

    source: str
    radii: Float[np.ndarray, " k"]
    certified: Float[np.ndarray, " k"]
    attacked: Float[np.ndarray, " k"]
    clean: float
    median: float

    healthy: ClassVar[str] = (
        "the certified curve lies below the attacked one, and both below the accuracy; a small gap "
        "between them means that the proved bound is nearly what the model does"
    )

    @property
    def facts(self) -> dict[str, float | int | str]:
        """Certified and attacked accuracy at every radius."""
        found: dict[str, float | int | str] = {"certified radius, median": at_most(self.median, 4)}
        for radius, proved, left in zip(self.radii, self.certified, self.attacked, strict=True):
            found[f"accuracy certified / under attack at radius {radius:g}"] = (
                f"{at_most(float(proved), 4)} / {left:.4f}"
            )
        return found

    @property
    def seen(self) -> str:
        """Both curves."""
        return (
            f"Accuracy proved on balls around the test inputs, and under {_STEPS} steps of a "
            f"gradient attack; without it {self.clean:.4g}. Radii are Euclidean, of scaled "
            f"inputs. Theorem: {self.source}."
        )

    def draw(self, path: Path) -> Path:
        """Both against the radius."""
        from deqzoo.analysis.figure import figure

        with figure(path, 1, 1, (6, 3.5)) as (_, axes):
            axis = axes[0][0]
            radii = np.concatenate([[0], self.radii])
            for label, values, colour in (
                ("under attack", self.attacked, "C1"),
                ("certified", self.certified, "C0"),
            ):
                axis.plot(radii, [self.clean, *values], "o-", color=colour, label=label)
            axis.axhline(self.clean, color="C7", linestyle=":", label="clean")
            axis.set(xlabel="radius of a ball of scaled inputs", ylabel="accuracy")
            axis.set_ylim(0, 1.02)
            axis.legend(frameon=False)
        return path


def certified_radii(
    model: Model, x: Any, y: Any, radii: tuple[float, ...] = _RADII
) -> CertifiedRadii:
    """Certified and attacked accuracy.

    Args:
        model: a classifier with a guarantee.
        x: inputs, scaled, one array.
        y: classes (n,).
        radii: Euclidean ones.

    Raises:
        InapplicableError: nothing is proved of its labels.
    """
    proved = proof(model)
    z = solve(model, x).solution.value
    outputs, residual = exact(model, x, z)
    right = np.argmax(outputs, axis=1) == np.asarray(y)
    sizes = proved.radii(outputs, residual)
    left = [right & _withstands(model, jnp.asarray(x), jnp.asarray(y), radius) for radius in radii]
    return CertifiedRadii(
        source=proved.source,
        radii=np.array(radii),
        certified=np.array([np.mean(right & (sizes >= radius)) for radius in radii]),
        attacked=np.array([np.mean(each) for each in left]),
        clean=float(np.mean(right)),
        median=float(np.median(sizes[right])) if np.any(right) else 0.0,
    )


def _withstands(model: Model, x: Array, y: Array, radius: float) -> Bool[np.ndarray, " n"]:
    graph, state = nnx.split(model)
    return np.asarray(_attacked(graph, state, x, y, radius))


@functools.partial(jax.jit, static_argnames="graph")
def _attacked(graph: nnx.GraphDef, state: Any, x: Array, y: Array, radius: Any) -> Array:
    """Whether every input of the attack has the label y."""

    def loss(moved: Array) -> tuple[Array, Array]:
        outputs, _ = nnx.merge(graph, state)(moved)
        losses = optax.softmax_cross_entropy_with_integer_labels(outputs, y)
        return jnp.sum(losses), jnp.argmax(outputs, axis=1) == y

    def climb(carry: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
        moved, right = carry
        slope, still = jax.grad(loss, has_aux=True)(moved)
        moved = moved + _of_size(slope, 2.5 * radius / _STEPS)
        shift = moved - x
        size = _sizes(shift)
        moved = x + shift * jnp.minimum(1, radius / jnp.maximum(size, jnp.finfo(x.dtype).tiny))
        return (moved, right & still), None

    start = (x, jnp.ones(y.shape, bool))
    (moved, right), _ = jax.lax.scan(climb, start, length=_STEPS)
    return right & loss(moved)[1]


def _sizes(x: Array) -> Array:
    """The norm of every example, with axes of length one behind."""
    return jnp.sqrt(jnp.sum(x * x, axis=tuple(range(1, x.ndim)), keepdims=True))


def _of_size(x: Array, size: Any) -> Array:
    return x * (size / jnp.maximum(_sizes(x), jnp.finfo(x.dtype).tiny))
