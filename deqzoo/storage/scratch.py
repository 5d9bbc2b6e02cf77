"""A folder that lives as long as what holds it."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from pathlib import Path


class ScratchFolder:
    """A new folder, removed when the last reference to this object is gone, or at exit.

    Attributes:
        path: of the folder.
    """

    def __init__(self):
        self.path = Path(tempfile.mkdtemp(prefix="deqzoo-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)
