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
    begin = functools.partial(tempfile.mkdtemp, prefix="deqzoo-")
    with unfinished.begun(begin, functools.partial(shutil.rmtree, ignore_errors=True)) as folder:
        yield folder
