"""Images moved and mirrored anew in every step: drawn by seed, step and example alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from jaxtyping import Int, Shaped

from deqzoo.settings import In, validate

_STREAM = 1  # of the seed; its other draws have other words
_GOLDEN = 0x9E3779B97F4A7C15
_FIELD, _BITS = 2**24 - 1, 24  # of a word, a draw


@dataclass(frozen=True)
class Augmentation:
    """Image -> the image moved by up to ``shift`` pixels each way and, one time in two, mirrored.

    Where it is moved away from an edge it is filled with zeros: black, for images are moved as they
    are stored and scaled afterwards. All moves of -shift ... shift rows and columns are equally
    likely. What is drawn for an example is the word at its index in the SplitMix64 sequence that
    seed and step begin, so that neither the batch, nor the devices, nor an interruption make a
    difference.

    Attributes:
        shift: pixels, fewer than the images have.
        flip: whether left and right are exchanged in half of the draws.

    Example:
        >>> import numpy as np
        >>> from deqzoo.data.augmentation import Augmentation
        >>> image = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]])[None, :, :, None]
        >>> Augmentation(shift=1).moved(image, np.array([[0, 2, 0]]))[0, ..., 0]
        array([[0, 0, 0],
               [2, 3, 0],
               [5, 6, 0]])

    References:
        G. L. Steele, D. Lea and C. H. Flood, "Fast Splittable Pseudorandom Number Generators",
        OOPSLA 2014.
    """

    shift: Annotated[int, In("[0, inf)")] = 0
    flip: bool = False

    __post_init__ = validate

    def draws(
        self, seed: int, step: int, examples: Int[np.ndarray, " n"]
    ) -> Int[np.ndarray, "n 3"]:
        """For every example the first row and column of the padded image, and whether to mirror.

        Args:
            seed: of the run.
            step: steps taken so far.
            examples: indices in the training split.
        """
        words = _split_mix(np.random.SeedSequence([seed, step, _STREAM]), examples)
        moves = 2 * self.shift + 1
        first = [((words >> at) & _FIELD) * moves >> _BITS for at in (40, 16)]
        return np.stack([*first, words & self.flip], axis=1).astype(np.int64)

    def moved(
        self, images: Shaped[np.ndarray, "n height width channels"], draws: Int[np.ndarray, "n 3"]
    ) -> Shaped[np.ndarray, "n height width channels"]:
        """The images at the places that ``draws`` tells."""
        _, height, width, channels = images.shape
        edge = (self.shift, self.shift)
        padded = np.pad(images, ((0, 0), edge, edge, (0, 0)))
        top, left, mirrored = draws.T[..., None]
        rows, columns = top + np.arange(height), left + np.arange(width)
        columns = np.where(mirrored, columns[:, ::-1], columns)
        number = np.arange(len(images))[:, None, None] * padded.shape[1]
        pixel = (number + rows[:, :, None]) * padded.shape[2] + columns[:, None, :]
        return np.take(padded.reshape(-1, channels), pixel, axis=0)


def _split_mix(sequence: np.random.SeedSequence, index: Any) -> np.ndarray:
    """Words at these places of the sequence of SplitMix64, 64 bits each."""
    start = sequence.generate_state(1, np.uint64)
    word = start + (np.asarray(index, np.uint64) + 1) * _GOLDEN
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9
    word = (word ^ (word >> 27)) * 0x94D049BB133111EB
    return word ^ (word >> 31)
