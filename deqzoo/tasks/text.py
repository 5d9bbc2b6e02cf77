"""Characters of a text: yours, or the manual of Python that its interpreter holds."""

from __future__ import annotations

import hashlib
import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from deqzoo.data.examples import Data, TaskError
from deqzoo.data.regular_file import opener
from deqzoo.data.task import Task
from deqzoo.data.text import text_data, vocabulary
from deqzoo.local_path import local_path
from deqzoo.settings import In

__all__ = ["Text"]

_LARGEST = 2**30  # bytes
_NEED = "a text is a file in UTF-8, text:FILE"


@dataclass(frozen=True)
class Text(Task):
    """What character follows? Windows of a text, each with the same window one character on.

    Name your file as ``text:FILE``. Without one the text are the topics of Python's help
    (``pydoc_data``), in the order of their names. What is repeated would be trained on and tested:
    tables, whose borders are alike, and paragraphs that stood there before are left out, a quarter
    of all. They differ between versions of Python, so that results belong to a ``checksum``.

    Characters are tokens: 0 for what the training part does not have, the others from 1 in the
    order of Unicode. Training, validation and test part lie behind one another.

    Attributes:
        path: the file; ``~`` is the home folder.
        length: of a window.
        stride: from window to window in training.
        scaling: without effect on tokens.
        validation: without effect: it is the stretch before the last tenth of the text.
    """

    metrics: ClassVar[tuple[str, ...] | None] = ("bits_per_character", "accuracy")

    path: str = ""
    length: Annotated[int, In("[1, inf)")] = 64
    stride: Annotated[int, In("[1, inf)")] = 64

    def read(self) -> Data:
        """Cut the windows."""
        return text_data(self._name(), self.text(), self.length, self.stride)

    def text(self) -> str:
        """All of it.

        Raises:
            TaskError: the file is missing, empty, no text or larger than a gigabyte.
        """
        return _of_file(local_path(self.path).absolute()) if self.path else _topics()

    def vocabulary(self) -> str:
        """The character of every token."""
        return vocabulary(self.text())

    def checksum(self) -> str:
        """The first 16 digits of the SHA-256 of the text in UTF-8."""
        return hashlib.sha256(self.text().encode()).hexdigest()[:16]

    def _name(self) -> object:
        return local_path(self.path).absolute() if self.path else "the topics of Python"


def _of_file(path: Path) -> str:
    try:
        with open(path, "rb", opener=opener) as file:
            stored = file.read(_LARGEST + 1)
    except OSError as error:
        raise TaskError(f"cannot read {path}: {error.strerror}; {_NEED}") from error
    if len(stored) > _LARGEST:
        raise TaskError(f"{path} is larger than {_LARGEST} bytes: give a part of it")
    try:
        text = stored.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TaskError(
            f"{path} is no UTF-8 at byte {error.start}; {_NEED}: convert it, for example with iconv"
        ) from error
    if "\0" in text:
        raise TaskError(f"{path} holds a zero byte at character {text.index(chr(0))}; {_NEED}")
    if not text:
        raise TaskError(f"{path} is empty; {_NEED}")
    return text


def _topics() -> str:
    try:
        topics = importlib.import_module("pydoc_data.topics").topics
    except ImportError as error:
        raise TaskError(
            f"this Python has no pydoc_data, whose topics are the text; {_NEED}"
        ) from error
    paragraphs = "\n\n".join(topics[name] for name in sorted(topics)).split("\n\n")
    return "\n\n".join(dict.fromkeys(each for each in paragraphs if "+--" not in each))
