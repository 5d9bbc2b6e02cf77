"""Records that carry a checksum, so that a flipped bit or an edit in them is seen."""

from __future__ import annotations

import json
import zlib
from typing import Any

_CHECK = "check"


class BrokenSealError(ValueError):
    """A record that is not what was written."""


def sealed(record: dict[str, Any]) -> dict[str, Any]:
    """A record of plain values with its checksum.

    Example:
        >>> from deqzoo.storage.sealed import sealed, unsealed
        >>> unsealed(sealed({"step": 3}))
        {'step': 3}
    """
    record = json.loads(json.dumps(record))
    return {**record, _CHECK: _sum(record)}


def unsealed(found: Any) -> dict[str, Any]:
    """Undo ``sealed``.

    Raises:
        BrokenSealError: the checksum is another, or there is none.
    """
    if not isinstance(found, dict):
        raise BrokenSealError("it holds no object")
    record = {key: value for key, value in found.items() if key != _CHECK}
    if found.get(_CHECK) != _sum(record):
        raise BrokenSealError("its checksum differs")
    return record


def _sum(record: dict[str, Any]) -> str:
    return f"{zlib.crc32(json.dumps(record, sort_keys=True).encode()):08x}"
