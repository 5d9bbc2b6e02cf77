"""The folder of a run: configuration, metrics, summary, and a lock against two writers."""

from __future__ import annotations

import fcntl
import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from deqzoo.local_path import local_path
from deqzoo.storage import files

CONFIG, METRICS, SUMMARY = "config.json", "metrics.jsonl", "summary.json"
CERTIFICATE, CONSTANTS = "certificate.json", "constants.npz"


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
            self.path.mkdir(parents=True, exist_ok=True)
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
            buffer = io.BytesIO()
            np.savez(buffer, *map(np.asarray, arrays))
            files.write(self.path / CONSTANTS, buffer.getvalue())

    def read_constants(self) -> list[np.ndarray]:
        """Undo ``keep_constants``.

        Raises:
            WorkdirError: the file is missing or damaged.
        """
        path = self.path / CONSTANTS
        try:
            with np.load(path, allow_pickle=False) as archive:
                return [archive[name] for name in archive.files]
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise WorkdirError(f"{path} cannot be read ({error}): restore it") from None

    def read_summary(self) -> dict[str, Any] | None:
        """The summary of a finished run, or None."""
        return self._read_json(SUMMARY)

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Write the summary of a finished run."""
        self._write_json(SUMMARY, summary)

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
        self._lines.write(_line(row))

    def close_metrics(self) -> None:
        """Close the file that lines are added to; the next line opens it again."""
        if self._lines is not None:
            self._lines.close()
            self._lines = None

    def _metrics(self) -> list[bytes]:
        path = self.path / METRICS
        return path.read_bytes().split(b"\n") if path.exists() else []

    def _read_json(self, name: str) -> dict[str, Any] | None:
        path = self.path / name
        if not path.exists():
            return None
        try:
            value = json.loads(path.read_bytes())
            if isinstance(value, dict):
                return value
            reason = "it holds no object"
        except (ValueError, RecursionError, OSError) as error:
            reason = f"{error}"
        raise WorkdirError(
            f"{path} cannot be read ({reason}); restore it or choose another --workdir"
        )

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
