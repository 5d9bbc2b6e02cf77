"""Checkpoints: the only module that knows Orbax.

A state is saved as nested dictionaries of arrays, with a checksum of every leaf beside it, because Orbax restores
flipped bits without a word. Kept are the latest steps (to resume) and the best one (to analyse).
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy

FORMAT = 1
_SCORE = "score"


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be read; the message names the step and the reason."""


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


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: where they live; created when writing.
        writable: False for analysis, which changes nothing on disk.
        keep: how many of the latest steps stay, besides the best.
    """

    def __init__(self, folder: Path, *, writable: bool, keep: int = 2):
        self.folder = Path(folder).absolute()
        if writable:
            self.folder.mkdir(parents=True, exist_ok=True)
        self._manager = ocp.CheckpointManager(
            self.folder,
            options=_options(keep) if writable else ocp.CheckpointManagerOptions(read_only=True),
            item_handlers={"state": ocp.PyTreeCheckpointHandler(), "meta": ocp.JsonCheckpointHandler()},
        )

    def steps(self) -> tuple[int, ...]:
        """Steps on disk, ascending, good or not."""
        return tuple(sorted(self._manager.all_steps()))

    def best_step(self) -> int | None:
        """The step with the lowest score, or None."""
        return self._manager.best_step()

    def save(self, step: int, state: Any, score: float) -> None:
        """Save in the background.

        Args:
            step: the number of steps taken.
            state: any pytree of arrays.
            score: lower is better; decides which step is kept as the best.
        """
        nested = _nest(state)
        host = jax.tree.map(np.asarray, nested)
        meta = {"format": FORMAT, "crc32": {path: _crc(leaf) for path, leaf in _flatten(host).items()}}
        args = ocp.args.Composite(state=ocp.args.PyTreeSave(host), meta=ocp.args.JsonSave(meta))
        self._manager.save(step, args=args, metrics={_SCORE: float(score)}, force=True)

    def wait(self) -> None:
        """Return when everything is on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Finish writing and release the folder."""
        self._manager.close()

    def restore_latest(self, only: Sequence[str] = ()) -> Restored | None:
        """The newest checkpoint that passes its checksums; None if there is none at all.

        Args:
            only: path prefixes as in ``read``.

        Raises:
            CheckpointError: there are checkpoints, and every one is damaged.
        """
        skipped: list[tuple[int, str]] = []
        for step in reversed(self.steps()):
            try:
                return Restored(step, self.read(step, only), tuple(skipped))
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
        if step not in self.steps():
            raise CheckpointError(f"there is no checkpoint of step {step} in {self.folder}; there are {list(self.steps())}")
        try:
            return self._read(step, only)
        except CheckpointError:
            raise
        except Exception as error:  # Orbax reports damage by a dozen different types
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(f"step {step} is damaged ({type(error).__name__}: {reason})") from error

    def set_aside(self, step: int) -> Path:
        """Rename a damaged step so that it is neither used nor lost; returns its new place."""
        source = self.folder / str(step)
        target = next(
            path for i in range(1000) if not (path := self.folder / f"damaged-{step}-{i}").exists()
        )
        source.rename(target)
        self._manager.reload()
        return target

    def _read(self, step: int, only: Sequence[str]) -> dict[str, Any]:
        structure = self._manager.item_metadata(step)["state"]
        paths = _flatten(getattr(structure, "tree", structure))
        wanted = [path for path in paths if not only or any(_within(path, prefix) for prefix in only)]
        missing = [prefix for prefix in only if not any(_within(path, prefix) for path in paths)]
        if missing:
            raise CheckpointError(f"step {step} holds no {missing[0]!r}; there are {', '.join(sorted(paths))}")
        shape = _unflatten(dict.fromkeys(wanted, 0))
        restored = self._manager.restore(
            step,
            args=ocp.args.Composite(
                state=ocp.args.PyTreeRestore(
                    shape,
                    restore_args=jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), shape),
                    partial_restore=True,
                ),
                meta=ocp.args.JsonRestore(),
            ),
        )
        checksums = restored["meta"]["crc32"]
        for path, leaf in _flatten(restored["state"]).items():
            if _crc(leaf) != checksums.get(path):
                raise CheckpointError(f"step {step} is damaged (checksum of {path} differs)")
        return restored["state"]


def fill(template: Any, state: dict[str, Any]) -> Any:
    """The structure of ``template`` with the arrays of a restored state.

    Raises:
        CheckpointError: a leaf is missing or has another shape or dtype.
    """
    arrays = _flatten(state)
    leaves, treedef = jax.tree_util.tree_flatten_with_path(template)
    filled = []
    for keys, leaf in leaves:
        path = "/".join(_key(key) for key in keys)
        array = arrays.get(path)
        if array is None or array.shape != leaf.shape or array.dtype != leaf.dtype:
            found = "nothing" if array is None else f"{array.dtype}{array.shape}"
            raise CheckpointError(f"the checkpoint has {found} for {path}, the model expects {leaf.dtype}{leaf.shape}")
        filled.append(array)
    return jax.tree.unflatten(treedef, filled)


def _options(keep: int) -> ocp.CheckpointManagerOptions:
    # best_fn must be given as well as the policy: without it Orbax never writes the metrics.
    policy = preservation_policy.AnyPreservationPolicy(
        [
            preservation_policy.LatestN(keep),
            preservation_policy.BestN(
                get_metric_fn=_score, reverse=True, n=1, keep_checkpoints_without_metrics=False
            ),
        ]
    )
    return ocp.CheckpointManagerOptions(
        best_fn=_score, best_mode="min", preservation_policy=policy, cleanup_tmp_directories=True
    )


def _score(metrics: dict[str, float]) -> float:
    return metrics[_SCORE]


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
