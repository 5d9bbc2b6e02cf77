"""What a power loss leaves: synced content, under names that their folders were synced with."""

from __future__ import annotations

import errno
import os
from pathlib import Path


def sync(path: Path) -> None:
    """Wait until the content of a file, or the names in a folder, are on disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that syncs no folders
            raise
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Sync everything below a folder, its names after what they name, and its own at last."""
    for place, _, names in os.walk(folder, topdown=False):
        for name in names:
            sync(Path(place, name))
        sync(Path(place))
    sync(folder.parent)


def replace(source: Path, target: Path) -> None:
    """Give a file or a folder another name, which stays its name."""
    os.replace(source, target)
    sync(target.parent)


def make_folder(path: Path) -> None:
    """Create a folder, and those above it, under names that stay."""
    missing = [each for each in (path, *path.parents) if not each.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for each in reversed(missing):
        sync(each.parent)
