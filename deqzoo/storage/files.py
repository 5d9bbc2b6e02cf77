"""Files that are whole or absent, and JSON that every reader takes."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from pathlib import Path
from typing import IO, Any

import numpy as np

SCRATCH = ".tmp"  # what the name of a file ends with while it is written


def write(path: Path, data: bytes | str) -> None:
    """Write a file so that a kill leaves the old one or the new one, never half of one.

    A link in its place, or in that of the scratch file, is replaced and never followed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(path.name + SCRATCH)
    scratch.unlink(missing_ok=True)
    with open(scratch, "xb") as file:
        file.write(data.encode() if isinstance(data, str) else data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(scratch, path)


def appended(path: Path) -> IO[str]:
    """A file of lines, open to add to.

    Raises:
        OSError: it cannot be opened, or is a link: what it leads to is nobody's to change.
    """
    opener = lambda name, flags: os.open(name, flags | os.O_NOFOLLOW, 0o666)  # noqa: E731
    return open(path, "a", buffering=1, encoding="utf-8", opener=opener)


def to_json(value: Any, indent: int | None = 2) -> str:
    """Strict JSON, ending with a new line; see ``plain``."""
    text = json.dumps(plain(value), indent=indent, allow_nan=False, ensure_ascii=False)
    return text + "\n"


def plain(value: Any) -> Any:
    """Lists, dictionaries, numbers and text; complex numbers as [re, im], NaN and infinity as null.

    Example:
        >>> import numpy as np
        >>> from deqzoo.storage.files import plain
        >>> plain({"a": np.array([1.0, np.nan]), "b": 2j})
        {'a': [1.0, None], 'b': [0.0, 2.0]}
    """
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, complex):
        return plain([value.real, value.imag])
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain({f.name: getattr(value, f.name) for f in dataclasses.fields(value)})
    return None if isinstance(value, float) and not math.isfinite(value) else value
