"""What else there is, where a name is not known."""

from __future__ import annotations

import difflib
from collections.abc import Sequence


def choices(name: str, names: Sequence[str]) -> str:
    """How the message on an unknown name ends: the nearest one, and all there are."""
    close = difflib.get_close_matches(name.lower(), names, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else "."
    return f"{hint} There are: {', '.join(names)}"
