"""The wide DEQ z = φ(zA + xU) with an easy and a hard spectrum."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.fft
import scipy.sparse.linalg
import scipy.special

from launch._benchmark.problem import Arrays, Drawn, Problem

SPECTRA = ("gauss", "hard")
LIPSCHITZ = {"relu": 1.0, "tanh": 1.0, "gelu": 1.1289}

_LEAN = 0.03  # share of the Perron vector in every input of the hard spectrum
# The slow mode of tanh is active only where tanh is nearly linear.
_SIZE = {"tanh": 0.03}
_SPREAD = 0.9  # the other eigenvalues reach this part of the largest


@dataclass(frozen=True)
class Wide(Problem):
    """z = φ(zA + b), b = xU, with ‖A‖₂ Lip(φ) = rho.

    ``gauss``: A has independent Gaussian entries, as a DEQ at initialisation; the eigenvalues fill
    a disc of half that radius and a dozen Picard steps suffice. ``hard``: A is symmetric, its
    spectrum is spread over [-0.9 rho, 0.9 rho], and a positive Perron vector has the eigenvalue
    rho. Inputs lean a little towards that vector, so that the slow mode is active also behind a
    rectifier.

    Attributes:
        spectrum: ``gauss`` or ``hard``.
        rho: Lipschitz constant of the map.
        width: m.
        activation: relu, tanh or gelu.
        examples: n.
        inputs: d.
    """

    spectrum: str = "gauss"
    rho: float = 0.9
    width: int = 512
    activation: str = "relu"
    examples: int = 256
    inputs: int = 64

    @property
    def name(self) -> str:
        """For example ``hard .9, m = 512, relu, float32``."""
        size = f"m = {self.width}" + (f", n = {self.examples}" if self.examples != 256 else "")
        return f"{self.spectrum} {self.rho:g}, {size}, {self.activation}, {self.dtype}"

    @property
    def tolerance(self) -> float:
        """1e-5, or 1e-10 in float64."""
        return 1e-10 if self.dtype == "float64" else 1e-5

    @property
    def max_steps(self) -> int:
        """200 at rho = 0.9, 2000 at 0.99."""
        return round((40 if self.dtype == "float64" else 20) / (1 - self.rho))

    def draw(self) -> Drawn:
        """A, b and what training needs: x, U, a readout and its targets."""
        return _draw(self)

    def image(self, z: np.ndarray, parameters: Arrays) -> np.ndarray:
        """φ(zA + b)."""
        return _PHI[self.activation](z @ parameters["A"] + parameters["b"])


@functools.cache  # a large A takes seconds
def _draw(problem: Wide) -> Drawn:
    rng = np.random.default_rng([problem.seed, problem.width, problem.examples])
    perron = np.abs(rng.standard_normal(problem.width)) + 0.3
    perron /= np.linalg.norm(perron)
    draw = _gauss if problem.spectrum == "gauss" else _hard
    A = draw(rng, perron) * (problem.rho / LIPSCHITZ[problem.activation])
    x = rng.standard_normal((problem.examples, problem.inputs))
    U = rng.standard_normal((problem.inputs, problem.width)) / np.sqrt(problem.inputs)
    if problem.spectrum == "hard":
        x[:, 0], U[0] = 1.0, _LEAN * np.sqrt(problem.width) * perron
        U *= _SIZE.get(problem.activation, 1.0)
    readout = rng.standard_normal(problem.width) / np.sqrt(problem.width)
    y = rng.standard_normal(problem.examples)
    target = rng.standard_normal((problem.examples, problem.width))
    A, x, U, readout, y, target = (v.astype(problem.dtype) for v in (A, x, U, readout, y, target))
    training = {"x": x, "U": U, "readout": readout, "y": y}
    return Drawn({"A": A, "b": x @ U}, np.zeros_like(target), target, training)


def _gauss(rng: np.random.Generator, perron: np.ndarray) -> np.ndarray:
    matrix = rng.standard_normal((len(perron), len(perron)))
    largest: Any = scipy.sparse.linalg.svds(matrix, k=1, return_singular_vectors=False, rng=0)
    return matrix / largest[0]


def _hard(rng: np.random.Generator, perron: np.ndarray) -> np.ndarray:
    """Symmetric, from random rotations made of cosine transforms: a QR would take too long."""
    others = np.diag(np.linspace(-_SPREAD, _SPREAD, len(perron) - 1))
    for _ in range(2):
        signs = rng.choice([-1.0, 1.0], len(others))
        others = signs[:, None] * scipy.fft.dctn(others, norm="ortho") * signs
    matrix = np.zeros((len(perron), len(perron)))
    matrix[0, 0], matrix[1:, 1:] = 1.0, others
    normal = perron - np.eye(1, len(perron))[0]  # of the reflection that turns e_1 into perron
    normal /= np.linalg.norm(normal)
    matrix -= 2 * np.outer(normal, normal @ matrix)
    return matrix - 2 * np.outer(matrix @ normal, normal)


def _gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + scipy.special.erf(x / np.sqrt(2).astype(x.dtype)))


_PHI = {"relu": lambda x: np.maximum(x, 0), "tanh": np.tanh, "gelu": _gelu}
