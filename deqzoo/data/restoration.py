"""The base of tasks that restore pictures of digits from what was measured of them."""

from __future__ import annotations

import abc
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
from jaxtyping import Float

from deqzoo.data.examples import Data, Split
from deqzoo.data.handwritten import LICENCE, handwritten
from deqzoo.data.scaling import SCALINGS
from deqzoo.data.task import Task
from deqzoo.settings import In, OneOf

MEASURED, MASK, BLUR = "measured", "mask", "blur"
_WHITE = 16
_EVERY = np.ones((1, 1))  # a blur that leaves pictures as they are

Pictures = Float[np.ndarray, "n height width 1"]


@dataclass(frozen=True)
class Restoration(Task):
    """From mask (blur * picture + noise) and the mask to the picture; pixels in [0, 1].

    x is ``{"measured": (n, 8, 8, 1), "mask": (n, 8, 8, 1)}``, y (n, 8, 8, 1), and ``blur`` is a
    constant of the task where there is one. Pictures and splits are those of ``digits``. To write
    such a task, derive from it as from ``Task``, and define ``blur`` or ``masks``.

    Attributes:
        noise: deviation of normal noise on what is measured.
        seed: draws noise and masks.
        scaling: as in ``Task``, of measurements and masks, which are to be left as they are.
    """

    noise: Annotated[float, In("[0, inf)")] = 0.05
    seed: Annotated[int, In("[0, inf)")] = 0
    scaling: Annotated[str, OneOf(*SCALINGS)] = field(default="none", kw_only=True)

    metrics = ("psnr",)
    licence = LICENCE

    @property
    def blur(self) -> Float[np.ndarray, "rows columns"]:
        """What pictures are convolved with; by default nothing becomes of them."""
        return _EVERY

    @abc.abstractmethod
    def masks(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Pictures:
        """1 where a pixel is measured, 0 where it is not."""

    def read(self) -> Data:
        """Measure the stored images."""
        rng = np.random.default_rng(self.seed)
        train, test = (self._measured(rng, split.x / _WHITE) for split in handwritten())
        constants = None if self.blur.size == 1 else {BLUR: self.blur}
        return Data(train, test, classes=None, constants=constants)

    def _measured(self, rng: np.random.Generator, picture: Pictures) -> Split:
        mask = self.masks(rng, picture.shape)
        noise = self.noise * rng.standard_normal(picture.shape)
        return Split({MEASURED: mask * (blurred(picture, self.blur) + noise), MASK: mask}, picture)


def blurred(picture: Pictures, blur: Float[np.ndarray, "rows columns"]) -> Pictures:
    """Blur * picture with zero padding, as ``lax`` convolves.

    Example:
        >>> import numpy as np
        >>> from deqzoo.data.restoration import blurred
        >>> blurred(np.ones((1, 1, 3, 1)), np.array([[0.0, 0.5, 0.5]])).ravel()
        array([1. , 1. , 0.5])
    """
    rows, columns = blur.shape
    edges = ((rows // 2, (rows - 1) // 2), (columns // 2, (columns - 1) // 2))
    padded = np.pad(picture, ((0, 0), *edges, (0, 0)))
    _, height, width, _ = picture.shape
    found = np.zeros(picture.shape)
    for i in range(rows):
        for j in range(columns):
            found += blur[i, j] * padded[:, i : i + height, j : j + width]
    return found
