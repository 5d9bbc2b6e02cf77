"""A folder for as long as a measurement lasts."""

from __future__ import annotations

import contextlib
import functools
import shutil
import tempfile
from collections.abc import Iterator

from deqzoo.storage import unfinished


@contextlib.contextmanager
def scratch_folder() -> Iterator[str]:
    """A new folder, which goes with the block, or with a process that ends before."""
    folder = tempfile.mkdtemp(prefix="deqzoo-")
    with unfinished.undone(functools.partial(shutil.rmtree, folder, ignore_errors=True)):
        yield folder
