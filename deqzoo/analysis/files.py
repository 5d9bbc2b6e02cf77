"""Files that are whole or absent, and JSON that every reader takes."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any


def write(path: Path, data: bytes) -> None:
    """Write a file so that a kill leaves the old one or the new one, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with open(scratch, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


def to_json(value: Any) -> str:
    """Strict JSON: numbers that are not finite become null.

    Example:
        >>> from deqzoo.analysis.files import to_json
        >>> print(to_json({"loss": float("nan")}), end="")
        {
          "loss": null
        }
    """
    text = json.dumps(_plain(value), indent=2, allow_nan=False, ensure_ascii=False)
    return text + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
