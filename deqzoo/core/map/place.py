"""What a value in a trace of a batch has of its examples, and where."""

from __future__ import annotations

import enum
import math
from typing import Any, NamedTuple


class Place(enum.Enum):
    """What a value without an axis of examples has of them.

    GIVEN and MADE have nothing: GIVEN is a captured array or smooth in one, MADE may have zeros by
    its making (an identity, a mask). OWN has one example alone, that of a loop over examples.
    UNKNOWN may have anything.
    """

    GIVEN = "given"
    MADE = "made"
    OWN = "own"
    UNKNOWN = "unknown"


class Axis(NamedTuple):
    """Entry p of the axis ``index`` has of example ``p // inner % count`` alone.

    The axis is ``outer * count * inner`` long.
    """

    index: int
    outer: Any
    count: Any
    inner: Any

    def at(self, index: int) -> Axis:
        """The same examples on another axis."""
        return self._replace(index=index)

    def reshaped(self, old: Any, new: Any) -> Axis | Place:
        """Where they are when an array of shape ``old`` is read as one of shape ``new``."""
        before = math.prod(old[: self.index]) * self.outer
        after = math.prod(old[self.index + 1 :]) * self.inner
        for index, size in enumerate(new):
            ahead, behind = math.prod(new[:index]), math.prod(new[index + 1 :])
            outer, inner = before // ahead, after // behind
            fits = outer * ahead == before and inner * behind == after
            if fits and outer * self.count * inner == size:
                return Axis(index, outer, self.count, inner)
        return Place.UNKNOWN


class Mixed(NamedTuple):
    """Every entry has of several examples, whatever the captured numbers are.

    Attributes:
        by: the primitive that added examples up.
    """

    by: str


def is_free(place: Any) -> bool:
    """Whether a value has nothing of any example."""
    return place in (Place.GIVEN, Place.MADE)


def common(places: Any) -> Any:
    """The place of what depends on all of these, entry by entry."""
    found = {place for place in places if not is_free(place)}
    if not found:
        return Place.GIVEN if all(place is Place.GIVEN for place in places) else Place.MADE
    return found.pop() if len(found) == 1 else Place.UNKNOWN


def shape(atom: Any) -> tuple[Any, ...]:
    """The shape of a variable or literal of a trace; () for what has none."""
    return getattr(atom.aval, "shape", ())
