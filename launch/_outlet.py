"""Standard output that may be gone: a reader that left, a terminal that closed, a full disk."""

from __future__ import annotations

import os
import signal
import sys
from io import TextIOWrapper
from typing import Any, TextIO


class Outlet:
    """A stream that ends the command as SIGTERM would, instead of raising, once it is lost.

    What cannot be encoded is replaced.

    Args:
        stream: what is written to.
    """

    def __init__(self, stream: TextIO):
        self._stream = stream
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")

    def write(self, text: str) -> int:
        """Write, or see that it is lost."""
        try:
            self._stream.write(text)
        except OSError as error:
            self._lose(error)
        return len(text)

    def flush(self) -> None:
        """Flush, or see that it is lost."""
        try:
            self._stream.flush()
        except OSError as error:
            self._lose(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _lose(self, error: OSError) -> None:
        # From now on everything goes nowhere, what waits in the buffer included.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)
        sys.stderr.write(f"standard output cannot be written to ({error.strerror}): stopping\n")
        signal.raise_signal(signal.SIGTERM)
