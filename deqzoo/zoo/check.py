"""Whether a shipped member still is what its card says."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from deqzoo.core.solution import FixedPointError
from deqzoo.data.examples import TaskError
from deqzoo.storage import shelf
from deqzoo.zoo.load import load, located
from deqzoo.zoo.pretrained import Pretrained
from deqzoo.zoo.promise import Promises
from deqzoo.zoo.reference import TOLERANCE, distance, inputs, reference
from deqzoo.zoo.results import Results

LARGEST, LARGEST_OF_ALL = 300_000, 3_000_000  # bytes of a pair, and of the shelf
_DEVIATIONS = 3
_TURNED = 1e-3  # of the examples
_CLOSE = 1e-3  # outputs in single precision to those in double, relative


class Checked(NamedTuple):
    """What was found.

    Attributes:
        name: of the member.
        wrong: a sentence for everything that is not as the card says.
        outputs: distance of the 16 outputs to the stored ones.
        value: the metric now; None where the data are not here, or there are none.
        proved: of single examples, as the card says and this does not do again.
    """

    name: str
    wrong: tuple[str, ...]
    outputs: float
    value: float | None
    proved: str = ""


def check(member: str | Path) -> Checked:
    """Load a member and compare 16 outputs, the metric, the bounds and the size with its card.

    The inputs of these outputs are in the card; the metric is left out where the data are not here.

    Args:
        member: as ``load`` takes it.

    Raises:
        ShelfError, CardError, TensorsError: it cannot be loaded at all.
    """
    found = load(member)
    card, results = found.card, found.card.results
    if card.data is None or results is None:
        return Checked(card.name, ("it was not built by launch.zoo build",), 0.0, None)
    path, raw = located(member), inputs(card.blueprint, card.inputs)
    wrong = [*results.proofs.faults]
    try:
        exact = distance(_flat(reference(card.blueprint, shelf.opened(path), raw)), card.reference)
    except FixedPointError as error:
        exact = float("inf")
        wrong.append(f"it found no equilibrium: {error}")
    if not exact <= TOLERANCE:
        wrong.append(f"16 outputs differ by {exact:.1e} of the largest, {TOLERANCE:g} is allowed")
    single = distance(_flat(np.asarray(found(raw)[0])), card.reference)
    if not single <= _CLOSE:
        wrong.append(f"in single precision 16 outputs differ by {single:.1e} of the largest")
    value = _value(found, results)
    # Where all seeds reached the same, another rounding may still turn an example.
    allowed = max(_DEVIATIONS * results.deviation, 1 / results.examples, _TURNED)
    if value is not None and not abs(value - results.mean) <= allowed:
        wrong.append(
            f"{results.metric} {results.one(value)}, the card has {results.told(results.values)}"
        )
    now, then = found.certificate(), Promises(card.promises)
    if (now.level, len(now.each)) != (then.level, len(then.each)):
        wrong.append(f"level {now.level} is proved, the card has level {then.level}")
    size = sum(path.with_suffix(end).stat().st_size for end in (shelf.WEIGHTS, shelf.CARD))
    if size > LARGEST:
        wrong.append(f"{size} bytes, {LARGEST} are allowed")
    return Checked(card.name, tuple(wrong), exact, value, results.proofs.brief)


def _value(found: Pretrained, results: Results) -> float | None:
    try:
        return found.evaluate().metrics[results.metric]
    except TaskError:
        return None


def _flat(outputs: np.ndarray) -> np.ndarray:
    return outputs.reshape(len(outputs), -1)
