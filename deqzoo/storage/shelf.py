"""The trained members that lie in the package: their names, and the two files of each."""

from __future__ import annotations

from pathlib import Path

from deqzoo.catalog import choices
from deqzoo.storage.tensors import TensorFile, TensorsError

FOLDER = Path(__file__).resolve().parents[1] / "zoo" / "weights"
WEIGHTS, CARD = ".safetensors", ".json"


class ShelfError(ValueError):
    """No trained member of that name; the message names those that there are."""


def names() -> tuple[str, ...]:
    """Of all members that lie here with weights and card.

    Example:
        >>> from deqzoo.storage import shelf
        >>> "mondeq-digits-gelu" in shelf.names()
        True
    """
    found = sorted(file.stem for file in FOLDER.glob(f"*{WEIGHTS}"))
    return tuple(name for name in found if (FOLDER / f"{name}{CARD}").is_file())


def weights(name: str) -> Path:
    """The weights of a member; its card has the ending ``CARD``.

    Raises:
        ShelfError: there is no such member.
    """
    if name not in names():
        raise ShelfError(f"no trained member is called {name!r}{choices(name, names())}")
    return FOLDER / f"{name}{WEIGHTS}"


def opened(path: Path) -> TensorFile:
    """The weights in a file, which is called as the member is.

    Raises:
        TensorsError: it cannot be read, or holds another member.
    """
    file = TensorFile(path)
    if file.record.get("name") != path.stem:
        raise TensorsError(
            f"{path} holds the member {file.record.get('name')!r}: give the file, and its card, "
            "the name back"
        )
    return file
