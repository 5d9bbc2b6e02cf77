"""The folder of a run: configuration, metrics, summary, and a lock against two writers."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from deqzoo.local_path import local_path
from deqzoo.storage import durable, files
from deqzoo.storage.arrays import ArraysError, packed, unpacked
from deqzoo.storage.sealed import BrokenSealError, sealed, unsealed

CONFIG, METRICS, SUMMARY = "config.json", "metrics.jsonl", "summary.json"
CERTIFICATE, CONSTANTS = "certificate.json", "constants.npz"
_ANEW = "the command that made it writes it anew"


class WorkdirError(RuntimeError):
    """A folder that cannot be used for this run; nothing in it was changed."""


class HeldError(WorkdirError):
    """The folder is in the hands of another process."""


class Workdir:
    """Files of one run below ``path``."""

    def __init__(self, path: str | Path):
        self.path = local_path(path)
        self._held: IO[str] | None = None
        self._lines: IO[str] | None = None

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def plots(self) -> Path:
        """Folder of the pictures."""
        return self.path / "plots"

    def lock(self) -> None:
        """Create the folder and hold it for this process.

        Raises:
            WorkdirError: not a folder of a run, or not writable.
            HeldError: held by another process.
        """
        try:
            durable.make_folder(self.path)
            self._refuse_foreign()
            self._held = files.appended(self.path / ".lock")
        except OSError as error:
            raise WorkdirError(f"cannot use {self.path} as --workdir: {error.strerror}") from None
        try:
            fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.unlock()
            raise HeldError(
                f"another process is training in {self.path}: wait for it or choose another "
                "--workdir"
            ) from None

    def unlock(self) -> None:
        """Let other processes in."""
        self.close_metrics()
        if self._held is not None:
            self._held.close()

    def _refuse_foreign(self) -> None:
        ours = (
            ".lock",
            CONFIG + files.SCRATCH,
        )  # another process may be writing, or was killed writing
        foreign = [entry.name for entry in self.path.iterdir() if entry.name not in ours]
        if foreign and not (self.path / CONFIG).exists():
            raise WorkdirError(
                f"{self.path} is not empty and holds no {CONFIG}: choose another --workdir"
            )

    def read_config(self) -> dict[str, Any] | None:
        """The record of the run; None for a new folder.

        Raises:
            WorkdirError: the file is damaged.
        """
        record = self._read_json(CONFIG)
        if record is not None and not all(
            isinstance(record.get(key), dict) for key in ("config", "resolved")
        ):
            raise WorkdirError(
                f"{self.path / CONFIG} is no record of a run (expected the keys config and "
                "resolved): restore it or choose another --workdir"
            )
        return record

    def write_config(self, record: dict[str, Any]) -> None:
        """Write the record of the run."""
        self._write_json(CONFIG, record)

    def keep_constants(self, arrays: Sequence[Any]) -> None:
        """Write the constants of the task, unless they are there."""
        if not (self.path / CONSTANTS).exists():
            files.write(self.path / CONSTANTS, packed(arrays))

    def read_constants(self) -> list[np.ndarray]:
        """Undo ``keep_constants``.

        Raises:
            WorkdirError: the file is missing or damaged.
        """
        try:
            return unpacked(self._read(CONSTANTS) or b"")
        except ArraysError as error:
            raise self._unreadable(CONSTANTS, error) from None

    def read_summary(self) -> dict[str, Any] | None:
        """The summary of a finished run, or None.

        Raises:
            WorkdirError: the file is damaged.
        """
        record = self._read_json(SUMMARY)
        try:
            return None if record is None else unsealed(record)
        except BrokenSealError as error:
            raise WorkdirError(f"{self.path / SUMMARY} is damaged ({error}): {_ANEW}") from None

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Write the summary of a finished run."""
        self._write_json(SUMMARY, sealed(files.plain(summary)))

    def drop_damaged_summary(self) -> bool:
        """Remove a summary that cannot be read, so that it is written anew; whether there was one.

        Raises:
            WorkdirError: it cannot be removed either.
        """
        try:
            self.read_summary()
        except WorkdirError as damage:
            try:
                (self.path / SUMMARY).unlink()
            except OSError:
                raise damage from None
            return True
        return False

    def read_metrics(self) -> list[dict[str, Any]]:
        """All good lines of the metrics; a line cut off by a kill, or damaged, is left out."""
        return [row for row in map(_row, self._metrics()) if row is not None]

    def damaged_metrics(self) -> int:
        """How many lines of the metrics are damaged; one that a kill has cut off is not."""
        return sum(_row(line) is None for line in self._metrics()[:-1])

    def keep_metrics_until(self, step: int) -> None:
        """Drop the lines beyond ``step``, which a resumed run is going to write again."""
        self.close_metrics()
        rows = [row for row in self.read_metrics() if row["step"] <= step]
        files.write(self.path / METRICS, "".join(_line(row) for row in rows))

    def append_metrics(self, row: dict[str, Any]) -> None:
        """Add one line."""
        if self._lines is None:
            self._lines = files.appended(self.path / METRICS)
        try:
            self._lines.write(_line(row))
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.path / METRICS)) from None

    def sync_metrics(self) -> None:
        """Wait until the lines are on disk, before a checkpoint of the same step is."""
        if self._lines is not None:
            os.fsync(self._lines.fileno())

    def close_metrics(self) -> None:
        """Close the file that lines are added to; the next line opens it again."""
        if self._lines is not None:
            self._lines.close()
            self._lines = None

    def _metrics(self) -> list[bytes]:
        return (self._read(METRICS) or b"").split(b"\n")

    def _read_json(self, name: str) -> dict[str, Any] | None:
        data = self._read(name)
        try:
            value = None if data is None else json.loads(data)
            if data is None or isinstance(value, dict):
                return value
            reason = "it holds no object"
        except (ValueError, RecursionError) as error:
            reason = f"{error}"
        raise self._unreadable(name, reason)

    def _read(self, name: str) -> bytes | None:
        try:
            return files.read(self.path / name)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise self._unreadable(name, error.strerror) from None

    def _unreadable(self, name: str, reason: Any) -> WorkdirError:
        advice = _ANEW if name == SUMMARY else "restore it or choose another --workdir"
        return WorkdirError(f"{self.path / name} cannot be read ({reason}): {advice}")

    def _write_json(self, name: str, value: dict[str, Any]) -> None:
        files.write(self.path / name, files.to_json(value))


def _row(line: bytes) -> dict[str, Any] | None:
    """What a line says, if it is one of the metrics."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) and type(row.get("step")) is int else None


def _line(row: dict[str, Any]) -> str:
    return files.to_json(row, indent=None)
