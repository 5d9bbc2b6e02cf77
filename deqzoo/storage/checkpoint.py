"""Checkpoints: the only module that knows Orbax.

A state is saved as nested dictionaries of whole arrays, so that it can be read on any number of
devices, with a checksum of every leaf beside it, because Orbax restores flipped bits without a
word. Kept are the latest steps (to resume), the best (to analyse) and, where asked for, milestones;
which is best stands in the same checked record, because one damaged metrics file of Orbax's own
makes the whole folder unreadable. The record also names its step and the run, so that a checkpoint
of another step or run is found to be one.
"""

from __future__ import annotations

import contextlib
import math
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from deqzoo.local_path import PathError
from deqzoo.settings import told
from deqzoo.storage import durable
from deqzoo.storage.closed_loops import closed_loops_unsaid
from deqzoo.storage.difference import difference
from deqzoo.storage.files import plain
from deqzoo.storage.ordinary import require_ordinary
from deqzoo.storage.sealed import BrokenSealError, sealed, unsealed

FORMAT = 3
_RUN = "run"
# TensorStore, to which Orbax hands a path, reads these as patterns, escapes and addresses, and does
# not take the bytes that are no UTF-8.
_NOT_WRITTEN = re.compile(r"\[[^\]]*\]|\\|gs:/|[\ud800-\udfff]")


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be read; the message names the step and the reason."""


def require_writable(folder: Path) -> None:
    """Refuse a folder whose path Orbax takes for another, or for none.

    Raises:
        PathError: it does.
    """
    found = _NOT_WRITTEN.search(f"{folder.absolute()}/")
    if found:
        raise PathError(
            f"no checkpoint can be kept in {folder}: Orbax does not write below a path that holds "
            f"{found[0]!r}; choose another folder"
        )


class Restored(NamedTuple):
    """A good checkpoint and the newer ones that were not.

    Attributes:
        step: its step.
        state: nested dictionaries of numpy arrays.
        skipped: (step, reason) of every newer checkpoint that could not be used.
    """

    step: int
    state: dict[str, Any]
    skipped: tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class Keep:
    """Which checkpoints stay.

    Attributes:
        latest: so many of the newest, to resume from.
        best: so many of those with the lowest score.
        every: those at multiples of it; 0 for none.
    """

    latest: int = 2
    best: int = 1
    every: int = 0

    def __call__(self, scores: Mapping[int, float]) -> set[int]:
        """The steps that stay, of those with these scores."""
        steps = sorted(scores)
        scored = [step for step in steps if math.isfinite(scores[step])]
        ranked = sorted(scored, key=lambda step: (scores[step], -step))
        milestones = {step for step in steps if self.every and step % self.every == 0}
        return {*steps[-self.latest :], *ranked[: self.best]} | milestones


class Checkpoints:
    """The checkpoints of one run; with several processes all of them call every method alike.

    Args:
        folder: where they live; created when writing.
        writable: False for analysis, which changes nothing on disk.
        keep: step -> score of those on disk -> the steps that stay; by default ``Keep()``.
        run: what config.json says of the run. Every checkpoint records it, and one that records
            another run is not read.

    Raises:
        PathError: nothing can be written below this path.
        CheckpointError: what is there cannot be listed.
    """

    def __init__(
        self,
        folder: Path,
        *,
        writable: bool,
        keep: Callable[[Mapping[int, float]], set[int]] | None = None,
        run: Mapping[str, Any] | None = None,
    ):
        self.folder = Path(folder).absolute()
        self._keep, self._run = keep or Keep(), plain(run)
        self._unproved: int | None = None  # the first that was saved, until it was read back
        self._proves, self._unsynced = writable, None
        require_writable(self.folder)
        if writable:
            durable.make_folder(self.folder)
        self._manager = self._opened(writable)
        self._scores = {step: self._score(step) for step in self.steps()}

    def _opened(self, writable: bool) -> ocp.CheckpointManager:
        options = ocp.CheckpointManagerOptions(create=writable, cleanup_tmp_directories=writable)
        handlers = {"state": ocp.PyTreeCheckpointHandler(), "meta": ocp.JsonCheckpointHandler()}
        try:
            require_ordinary(self.folder.glob("*/*"))
            return ocp.CheckpointManager(self.folder, options=options, item_handlers=handlers)
        except Exception as error:  # Orbax reports damage by a dozen different types
            raise CheckpointError(
                f"the checkpoints in {self.folder} cannot be listed ({told(error)}): move the "
                "damaged one away"
            ) from error

    def steps(self) -> tuple[int, ...]:
        """Steps on disk, ascending, good or not."""
        return tuple(sorted(self._manager.all_steps()))

    def best_step(self) -> int | None:
        """The step with the lowest score, or None."""
        return min(self._scores, key=lambda step: (self._scores[step], -step), default=None)

    def save(
        self, step: int, state: Any, score: float, about: Mapping[str, Any] | None = None
    ) -> None:
        """Save in the background.

        Args:
            step: the number of steps taken.
            state: any pytree of whole arrays (``layout.fetch``).
            score: lower is better; decides which steps are kept as the best.
            about: plain values for JSON, to be read beside the state.

        Raises:
            CheckpointError: the one before could not be written.
        """
        self.wait()
        host = jax.tree.map(np.asarray, _nest(state))
        record = {
            **(about or {}),
            "format": FORMAT,
            "step": step,
            _RUN: self._run,
            "score": float(score) if math.isfinite(score) else None,
            "crc32": {p: _crc(leaf) for p, leaf in _flatten(host).items()},
        }
        meta = ocp.args.JsonSave(sealed(record))
        args = ocp.args.Composite(state=ocp.args.PyTreeSave(host), meta=meta)
        with self._writing():
            self._manager.save(step, args=args, force=True)
        self._scores[step] = float(score)
        self._unsynced = step
        if self._proves:
            self._proves, self._unproved = False, step

    def wait(self) -> None:
        """Return when everything is on disk and what need not stay is gone.

        Nothing goes before what is newer is synced, so that a power loss leaves a good one.
        The first that was saved is read back: a disk that only seems to write is found at once.

        Raises:
            CheckpointError: it could not be written.
        """
        with self._writing():
            self._manager.wait_until_finished()
            self._sync()
        if self._unproved is not None:
            self.read(self._unproved)
            self._unproved = None
        kept = self._keep(self._scores)
        for step in self.steps():
            if step not in kept and step in self._scores:
                self._manager.delete(step)
                del self._scores[step]

    def reload(self) -> None:
        """See what another process has changed on disk."""
        self._manager.reload()
        self._scores = {step: self._scores.get(step, math.inf) for step in self.steps()}

    def close(self) -> None:
        """Finish writing and release the folder.

        Raises:
            CheckpointError: what was being saved could not be written.
        """
        with self._writing():
            self._manager.close()
            self._sync()

    def _sync(self) -> None:
        step, self._unsynced = self._unsynced, None
        if step is not None and jax.process_index() == 0:
            durable.sync_tree(self.folder / str(step))

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # Orbax reports a disk that is full by several types
            raise CheckpointError(
                f"no checkpoint can be written to {self.folder} ({told(error)}): once it can, "
                "the same command goes on from the last one"
            ) from error

    def restore_latest(self, only: Sequence[str] = ()) -> Restored | None:
        """The newest checkpoint that passes its checksums; None if there is none at all.

        Args:
            only: path prefixes as in ``read``.

        Raises:
            CheckpointError: there are checkpoints, and every one is damaged.
        """
        return self._newest(lambda step: self.read(step, only))

    def require_one_of_this_run(self) -> None:
        """See that some checkpoint is of this run, unless there is none; reads no array.

        Raises:
            CheckpointError: every one is damaged or of another run.
        """
        self._newest(self.about)

    def _newest(self, read: Callable[[int], dict[str, Any]]) -> Restored | None:
        skipped: list[tuple[int, str]] = []
        for step in reversed(self.steps()):
            try:
                return Restored(step, read(step), tuple(skipped))
            except CheckpointError as error:
                skipped.append((step, str(error)))
        if skipped:
            reasons = "; ".join(reason for _, reason in skipped)
            raise CheckpointError(f"no checkpoint in {self.folder} can be read: {reasons}")
        return None

    def read(self, step: int, only: Sequence[str] = ()) -> dict[str, Any]:
        """The state of a step as nested dictionaries of numpy arrays, verified leaf by leaf.

        Args:
            step: one of ``steps()``.
            only: path prefixes such as ``"parameters/deq"``; nothing else is read. Empty reads all.

        Raises:
            CheckpointError: no such step, no such path, or damaged files.
        """
        return self._guarded(step, lambda step: self._read(step, only))

    def _guarded(self, step: int, read: Callable[[int], Any]) -> Any:
        if step not in self.steps():
            raise CheckpointError(
                f"there is no checkpoint of step {step} in {self.folder}; there are "
                f"{list(self.steps())}"
            )
        try:
            require_ordinary((self.folder / str(step)).rglob("*"))
            return read(step)
        except CheckpointError:
            raise
        except Exception as error:  # Orbax reports damage by a dozen different types
            raise CheckpointError(f"step {step} is damaged ({told(error)})") from error

    def set_aside(self, step: int) -> Path:
        """Rename a damaged step so that it is neither used nor lost; returns its new place."""
        source = self.folder / str(step)
        target = next(
            path for i in range(1000) if not (path := self.folder / f"damaged-{step}-{i}").exists()
        )
        durable.replace(source, target)
        self.reload()
        return target

    def about(self, step: int) -> dict[str, Any]:
        """The plain values that were saved with a step, verified.

        Raises:
            CheckpointError: no such step, or a damaged record.
        """
        return self._guarded(step, self._record)

    def _read(self, step: int, only: Sequence[str]) -> dict[str, Any]:
        checksums = self._record(step)["crc32"]
        wanted = [
            path for path in checksums if not only or any(_within(path, prefix) for prefix in only)
        ]
        missing = [prefix for prefix in only if not any(_within(path, prefix) for path in wanted)]
        if missing:
            raise CheckpointError(
                f"step {step} holds no {missing[0]!r}; there are {', '.join(sorted(checksums))}"
            )
        with closed_loops_unsaid():
            leaves = self._leaves(step, wanted)
        for path in wanted:
            if path not in leaves or _crc(leaves[path]) != checksums[path]:
                raise CheckpointError(f"step {step} is damaged (checksum of {path} differs)")
        return _unflatten({path: leaves[path] for path in wanted})

    def _leaves(self, step: int, paths: Sequence[str]) -> dict[str, np.ndarray]:
        shape = _unflatten(dict.fromkeys(paths, 0))
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), shape)
        request = ocp.args.PyTreeRestore(shape, restore_args=as_numpy, partial_restore=True)
        return _flatten(self._restore(step, state=request)["state"])

    def _record(self, step: int) -> dict[str, Any]:
        try:
            meta = unsealed(self._restore(step, meta=ocp.args.JsonRestore())["meta"])
        except BrokenSealError as error:
            raise CheckpointError(f"step {step} is damaged (its record: {error})") from None
        if meta["step"] != step:
            raise CheckpointError(f"step {step} is damaged (it holds step {meta['step']})")
        if self._run is not None and meta[_RUN] != self._run:
            raise CheckpointError(
                f"step {step} belongs to another run than config.json tells of: "
                f"{'; '.join(difference(meta[_RUN] or {}, self._run))}"
            )
        return meta

    def _score(self, step: int) -> float:
        """The score of a step; infinite, so that it is never the best, if its record is damaged."""
        try:
            score = self.about(step)["score"]
            return float("inf") if score is None else score
        except Exception:
            return float("inf")

    def _restore(self, step: int, **items: Any) -> Any:
        return self._manager.restore(step, args=ocp.args.Composite(**items))


def fill(template: Any, state: dict[str, Any], *, cast: bool = False) -> Any:
    """The structure of ``template`` with the arrays of a restored state.

    Args:
        template: what is wanted.
        state: nested dictionaries of arrays, which may hold more.
        cast: whether to round numbers to the dtype of the template instead of refusing another.

    Raises:
        CheckpointError: a leaf is missing or has another shape or dtype.
    """
    arrays = _flatten(state)
    leaves, treedef = jax.tree_util.tree_flatten_with_path(template)
    filled = []
    for keys, leaf in leaves:
        path = "/".join(_key(key) for key in keys)
        array = arrays.get(path)
        if cast and array is not None and np.can_cast(array.dtype, leaf.dtype, "same_kind"):
            array = array.astype(leaf.dtype)
        if array is None or array.shape != leaf.shape or array.dtype != leaf.dtype:
            found = "nothing" if array is None else f"{array.dtype}{array.shape}"
            raise CheckpointError(
                f"the checkpoint has {found} for {path}, the model expects {leaf.dtype}{leaf.shape}"
            )
        filled.append(array)
    return jax.tree.unflatten(treedef, filled)


def _crc(leaf: np.ndarray) -> str:
    leaf = np.ascontiguousarray(leaf)
    return f"{zlib.crc32(leaf.tobytes(), zlib.crc32(str((leaf.shape, leaf.dtype)).encode())):08x}"


def _nest(state: Any) -> dict[str, Any]:
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return _unflatten({"/".join(_key(key) for key in keys): leaf for keys, leaf in leaves})


def _key(key: Any) -> str:
    """The name of a path entry, whichever kind of container it belongs to."""
    return str(getattr(key, "key", getattr(key, "idx", getattr(key, "name", key))))


def _flatten(nested: dict[str, Any]) -> dict[str, Any]:
    leaves = jax.tree_util.tree_leaves_with_path(nested)
    return {"/".join(_key(key) for key in keys): leaf for keys, leaf in leaves}


def _unflatten(flat: dict[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for path, leaf in flat.items():
        *parents, name = path.split("/")
        node = nested
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = leaf
    return nested


def _within(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith(prefix.rstrip("/") + "/")
