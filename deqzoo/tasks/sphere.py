"""Uniform points on the sphere of radius sqrt(d): the synthetic data of the theory of wide DEQs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np

from deqzoo.data.carving import Share
from deqzoo.data.examples import Data, Split
from deqzoo.data.scaling import SCALINGS
from deqzoo.data.task import Task
from deqzoo.settings import In, OneOf

__all__ = ["Sphere"]

_UNITS = 32  # hidden width of the teacher
_PROBES = 4096  # points that measure the teacher's variance


@dataclass(frozen=True)
class Sphere(Task):
    """x uniform on the sphere of radius sqrt(d) in R^d; y noise or the output of a teacher, (n, 1).

    ``labels="noise"`` draws y ~ N(0, 1) independent of x, as in the experiments of Ling et al.
    Noise can be fitted but not generalised, so the test split *is* the training split.

    ``labels="teacher"`` takes y = a·tanh(Vx) / c with fixed random weights that depend on the
    dimension alone; c makes the variance of y one. The test split is n // 4 fresh points (at least
    one).

    The data of the paper, n = d = 1000, is ``sphere(examples=1000, dimension=1000)``.

    Attributes:
        examples: n, training points, at least 1.
        dimension: d, at least 2 (in one dimension all points are parallel).
        labels: ``noise`` or ``teacher``.
        seed: draws the points and the noise.
        scaling: as in ``Task``; the points lie on the sphere already.
        validation: as in ``Task``; by default nothing is carved out of the points of the theory.

    References:
        Ling, Xie, Wang, Zhang and Lin, "Global Convergence of Over-parameterized Deep Equilibrium
        Models", AISTATS 2023, section 5.
    """

    examples: Annotated[int, In("[1, inf)")] = 100
    dimension: Annotated[int, In("[2, inf)")] = 20
    labels: Annotated[str, OneOf("noise", "teacher")] = "noise"
    seed: Annotated[int, In("[0, inf)")] = 0
    scaling: Annotated[str, OneOf(*SCALINGS)] = field(default="sphere", kw_only=True)
    validation: Share = field(default=0.0, kw_only=True)

    def read(self) -> Data:
        """Draw the points and their labels."""
        rng = np.random.default_rng(self.seed)
        x = _points(rng, self.examples, self.dimension)
        if self.labels == "noise":
            train = Split(x, rng.standard_normal((self.examples, 1)))
            return Data(train, train, classes=None)
        teacher = _teacher(self.dimension)
        fresh = _points(rng, max(1, self.examples // 4), self.dimension)
        return Data(Split(x, teacher(x)), Split(fresh, teacher(fresh)), classes=None)


def _points(rng: np.random.Generator, examples: int, dimension: int) -> np.ndarray:
    normal = rng.standard_normal((examples, dimension))
    return normal * (np.sqrt(dimension) / np.linalg.norm(normal, axis=1, keepdims=True))


def _teacher(dimension: int) -> Callable[[np.ndarray], np.ndarray]:
    """The map x -> a·tanh(Vx) / c; its weights are independent of the points of every seed."""
    rng = np.random.default_rng(0).spawn(1)[0]
    hidden = rng.standard_normal((dimension, _UNITS)) / np.sqrt(dimension)
    readout = rng.standard_normal((_UNITS, 1))
    readout /= np.std(np.tanh(_points(rng, _PROBES, dimension) @ hidden) @ readout)
    return lambda x: np.tanh(x @ hidden) @ readout
