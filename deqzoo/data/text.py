"""A text as windows of characters, in three stretches that do not touch."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import UInt16

from deqzoo.data.examples import Data, Split, TaskError
from deqzoo.data.windows import Windows

UNKNOWN = "\N{REPLACEMENT CHARACTER}"  # of characters that the training part does not have
_ENDS = {"train": 0.8, "validation": 0.9, "test": 1.0}  # where each part of a text ends
_MOST = 65_535


def text_data(name: object, text: str, length: int, stride: int) -> Data:
    """Windows of a text whose labels are the characters that follow.

    The first 80 % are the training part, the next 10 % the validation, the last the test part; a
    window and its labels lie within one of them. Validation and test windows do not overlap.

    Args:
        name: of the text in the errors.
        text: at least ten times ``length`` + 1 characters, and two different ones.
        length: of a window.
        stride: from window to window in training.

    Raises:
        TaskError: the text is too short, or has too few or too many different characters.

    Example:
        >>> from deqzoo.data.text import text_data
        >>> data = text_data("a text", "ab" * 50, 8, 1)
        >>> data.train.x[1].tolist(), data.train.y[1].tolist(), data.outputs
        ([2, 1, 2, 1, 2, 1, 2, 1], [1, 2, 1, 2, 1, 2, 1, 2], 3)
    """
    parts = divided(text)
    short = min(parts, key=lambda part: len(parts[part]))
    if len(parts[short]) <= length:
        raise TaskError(
            f"{name} has {len(text)} characters, and its {short} part {len(parts[short])}: windows "
            f"of {length} need {length + 1} in every part, {10 * (length + 1)} in all; choose a "
            "longer text or a smaller length"
        )
    letters = vocabulary(text)
    if not 3 <= len(letters) <= _MOST:
        raise TaskError(
            f"{name} has {len(letters) - 1} different characters in its training part: expected 2 "
            f"to {_MOST - 1}"
        )
    splits = {}
    for part, found in parts.items():
        tokens, step = encoded(found, letters), stride if part == "train" else length
        x, y = (_windows(tokens, length, step, shift) for shift in (0, 1))
        splits[part] = Split(x, y)
    size = len(letters)
    return Data(splits["train"], splits["test"], size, splits["validation"], tokens=size)


def divided(text: str) -> dict[str, str]:
    """The training, validation and test part, one behind the other."""
    ends = [0, *(int(share * len(text)) for share in _ENDS.values())]
    return {name: text[ends[i] : ends[i + 1]] for i, name in enumerate(_ENDS)}


def vocabulary(text: str) -> str:
    """The character of every token: ``UNKNOWN``, then those of the training part in order."""
    return UNKNOWN + "".join(sorted({*divided(text)["train"]} - {UNKNOWN}))


def encoded(text: str, letters: str) -> UInt16[np.ndarray, " characters"]:
    """The tokens of a text; 0 for what is no letter."""
    token = {letter: number for number, letter in enumerate(letters)}
    return np.array([token.get(letter, 0) for letter in text], np.uint16)


def _windows(tokens: np.ndarray, length: int, stride: int, shift: int) -> Any:
    return Windows(tokens, length, stride=stride, shift=shift)
