"""What a character costs a table of the last few: the honest rival of a small sequence model."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

_WEIGHTS = tuple(2.0**k for k in range(-4, 9))


def ngram_bits(
    train: Sequence[int], validation: Sequence[int], test: Sequence[int], size: int, order: int
) -> float:
    """Bits per token of the test part by p_n(c | h) = (N(hc) + a_n p_{n-1}(c | h'))/(N(h) + a_n).

    N counts in the training part, h are the last n - 1 tokens, h' one less, p_0 = 1/size. Every a_n
    is chosen by the validation part, one after another from n = 1 on.

    Args:
        train: tokens 0 ... size - 1, in a row.
        validation: likewise.
        test: likewise.
        size: how many tokens there are.
        order: n of the longest, 2 for a bigram.

    Example:
        >>> from deqzoo.data.ngram import ngram_bits
        >>> text = [0, 1] * 500
        >>> [round(ngram_bits(text, text, text, 2, order), 2) for order in (1, 2)]
        [1.0, 0.0]
    """
    held = [[1 / size] * len(part) for part in (validation, test)]
    for n in range(1, order + 1):
        counts = [_counted(train, length) for length in (n, n - 1)]
        found = {weight: _smoothed(validation, held[0], counts, n, weight) for weight in _WEIGHTS}
        best = min(_WEIGHTS, key=lambda weight: _bits(found[weight]))
        held = [found[best], _smoothed(test, held[1], counts, n, best)]
    return _bits(held[1])


def _counted(tokens: Sequence[int], length: int) -> Counter:
    return Counter(tuple(tokens[i : i + length]) for i in range(len(tokens) - length + 1))


def _smoothed(
    tokens: Sequence[int], shorter: list[float], counts: list[Counter], n: int, weight: float
) -> list[float]:
    """The probability of every token; of the first n - 1, which know less, that of ``shorter``."""
    whole, before = counts
    found = shorter[: n - 1]
    for i in range(n - 1, len(tokens)):
        context = tuple(tokens[i - n + 1 : i])
        hits = whole[(*context, tokens[i])]
        found.append((hits + weight * shorter[i]) / (before[context] + weight))
    return found


def _bits(probabilities: list[float]) -> float:
    return -math.fsum(map(math.log2, probabilities)) / len(probabilities)
