"""The convolutional DEQ of the tutorials: one residual layer with group normalisation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from launch._benchmark.problem import Arrays, Drawn, Problem

EPSILON = 1e-5
NORMS = {"norm1": "inner", "norm2": "channels", "norm3": "channels"}

_WEIGHT = 0.01  # standard deviation of the kernels


@dataclass(frozen=True)
class Conv(Problem):
    """z = n₃(relu(z + n₂(b + K₂ * n₁(relu(K₁ * z))))), nᵢ a group normalisation.

    Attributes:
        batch: images.
        pixels: height and width.
        channels: of the state.
        inner: channels between the two convolutions.
        groups: of every normalisation.
        kernel: height and width of K₁ and K₂.
    """

    batch: int = 32
    pixels: int = 16
    channels: int = 32
    inner: int = 64
    groups: int = 8
    kernel: int = 3

    @property
    def name(self) -> str:
        """For example ``conv 3x3, 32-64-32 channels, 16x16 pixels, batch 32, float32``."""
        k, p, c = self.kernel, self.pixels, self.channels
        return (
            f"conv {k}x{k}, {c}-{self.inner}-{c} channels, {p}x{p} pixels, batch {self.batch}, "
            f"{self.dtype}"
        )

    @property
    def tolerance(self) -> float:
        """1e-4, the usual one of image models."""
        return 1e-8 if self.dtype == "float64" else 1e-4

    @property
    def max_steps(self) -> int:
        """Ten times what Anderson needs."""
        return 200

    def draw(self) -> Drawn:
        """Kernels (height, width, in, out), scales, shifts and b, images as (n, h, w, c)."""
        rng = np.random.default_rng([self.seed, self.batch, self.pixels])
        k, shape = self.kernel, (self.batch, self.pixels, self.pixels, self.channels)
        parameters = {
            "conv1.kernel": _WEIGHT * rng.standard_normal((k, k, self.channels, self.inner)),
            "conv2.kernel": _WEIGHT * rng.standard_normal((k, k, self.inner, self.channels)),
            "b": rng.standard_normal(shape),
        }
        for norm, size in NORMS.items():
            parameters[f"{norm}.scale"] = np.ones(getattr(self, size))
            parameters[f"{norm}.bias"] = np.zeros(getattr(self, size))
        parameters = {name: value.astype(self.dtype) for name, value in parameters.items()}
        target = rng.standard_normal(shape).astype(self.dtype)
        return Drawn(parameters, np.zeros_like(target), target, {})

    def image(self, z: np.ndarray, parameters: Arrays) -> np.ndarray:
        """The layer, a shifted matrix product for every position of a kernel."""
        p = parameters
        inner = self._norm(np.maximum(_convolve(z, p["conv1.kernel"]), 0), "norm1", p)
        change = self._norm(p["b"] + _convolve(inner, p["conv2.kernel"]), "norm2", p)
        return self._norm(np.maximum(z + change, 0), "norm3", p)

    def _norm(self, z: np.ndarray, name: str, parameters: Arrays) -> np.ndarray:
        grouped = z.reshape(*z.shape[:3], self.groups, -1)
        mean = grouped.mean(axis=(1, 2, 4), keepdims=True)
        variance = grouped.var(axis=(1, 2, 4), keepdims=True)
        normal = ((grouped - mean) / np.sqrt(variance + EPSILON)).reshape(z.shape)
        return normal.astype(z.dtype) * parameters[f"{name}.scale"] + parameters[f"{name}.bias"]


def _convolve(z: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    height, width = z.shape[1:3]
    reach = kernel.shape[0] // 2
    padded = np.pad(z, ((0, 0), (reach, reach), (reach, reach), (0, 0)))
    shifts = np.ndindex(*kernel.shape[:2])
    terms = (padded[:, i : i + height, j : j + width] @ kernel[i, j] for i, j in shifts)
    return np.asarray(sum(terms))
