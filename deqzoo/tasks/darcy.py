"""Flow through a porous medium: from its permeability to the pressure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import scipy.fft
import scipy.linalg
from jaxtyping import Float

from deqzoo.data.examples import Data, Split
from deqzoo.data.task import Task
from deqzoo.settings import In, OneOf

__all__ = ["Darcy"]

Field = Float[np.ndarray, "size size"]

_ROUGHNESS, _SCALE = 2.0, 3.0  # of the Gaussian field, (-Δ + 9)^-2 its covariance
_LOW, _HIGH = 3.0, 12.0
_LOGARITHM = 1.0  # its deviation, of a lognormal a
_FORCE = 100.0  # so that u is of the size of one
_TEST = 0.2


@dataclass(frozen=True)
class Darcy(Task):
    """-∇·(a∇u) = 100 in the unit square, u = 0 on its edge: x is a and y is u.

    Both are (n, size, size, 1), values at the centres of equal cells.

    a is drawn: 12 where a Gaussian field with the covariance (-Δ + 9)^-2 and no slope across the
    edge is positive and 3 elsewhere, or, ``coefficient="lognormal"``, the exponential of that
    field, made of deviation one. u is that of finite volumes on the same cells, solved directly: a
    flow between two cells takes the harmonic mean of a. A fifth of the fields is the test split.

    Attributes:
        size: cells along a side.
        fields: in all splits together.
        coefficient: ``threshold`` or ``lognormal``.
        seed: draws the fields.
        scaling: as in ``Task``, of a.
        validation: as in ``Task``.

    References:
        After the flow of Li et al., "Fourier Neural Operator for Parametric Partial Differential
        Equations", arXiv 2010.08895, which has right-hand side 1; the scheme is a textbook's.

    Example:
        >>> from deqzoo import catalog
        >>> data = catalog.tasks.get("darcy(size=8, fields=50)").load()
        >>> {name: split.x.shape for name, split in data.splits.items()}
        {'train': (36, 8, 8, 1), 'test': (10, 8, 8, 1), 'validation': (4, 8, 8, 1)}
    """

    size: Annotated[int, In("[2, 256]")] = 32
    fields: Annotated[int, In("[2, inf)")] = 250
    coefficient: Annotated[str, OneOf("threshold", "lognormal")] = "threshold"
    seed: Annotated[int, In("[0, inf)")] = 0

    loss = "square"
    metrics = ("relative_l2",)

    def read(self) -> Data:
        """Draw and solve."""
        rng = np.random.default_rng(self.seed)
        a = np.stack([self._draw(rng) for _ in range(self.fields)])
        u = np.stack([pressure(each) for each in a])
        every = Split(a[..., None], u[..., None])
        tested = max(1, round(_TEST * self.fields))
        return Data(every.at(slice(tested, None)), every.at(slice(tested)), classes=None)

    def _draw(self, rng: np.random.Generator) -> Field:
        k = np.arange(self.size)
        square = np.pi**2 * (k[:, None] ** 2 + k**2)
        size = (square + _SCALE**2) ** (-_ROUGHNESS / 2)
        size[0, 0] = 0  # neither value is favoured
        field = np.asarray(scipy.fft.idctn(size * rng.standard_normal(size.shape), norm="ortho"))
        if self.coefficient == "threshold":
            return np.where(field > 0, _HIGH, _LOW)
        return np.exp(_LOGARITHM * field / np.sqrt(np.mean(size**2)))


def pressure(a: Field) -> Field:
    """U of finite volumes for -∇·(a∇u) = 100, u = 0 on the edge of the unit square.

    Example:
        >>> import numpy as np
        >>> from deqzoo.tasks.darcy import pressure
        >>> float(pressure(np.ones((33, 33)))[16, 16].round(2))  # 7.3671 in the limit
        7.37
    """
    size = len(a)
    down = 2 * a[:-1] * a[1:] / (a[:-1] + a[1:])
    across = 2 * a[:, :-1] * a[:, 1:] / (a[:, :-1] + a[:, 1:])
    total = np.zeros_like(a)
    for flow, first, last in ((down, np.s_[:-1], np.s_[1:]), (across, np.s_[:, :-1], np.s_[:, 1:])):
        total[first] += flow
        total[last] += flow
    for edge in (np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]):
        total[edge] += 2 * a[edge]  # the edge is half a cell away
    bands = np.zeros((size + 1, a.size))  # the upper half of a symmetric matrix
    bands[-1] = total.ravel()
    bands[-2, 1:] = np.pad(-across, ((0, 0), (0, 1))).ravel()[:-1]
    bands[0, size:] = -down.ravel()
    force = np.full(a.size, _FORCE / size**2)
    return scipy.linalg.solveh_banded(bands, force, check_finite=False).reshape(a.shape)
