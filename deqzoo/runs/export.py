"""Write a model to a file that runs without its Python code, and that was seen to equal it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from deqzoo.local_path import local_path
from deqzoo.nn.model import Model
from deqzoo.runs.artefact import Artefact
from deqzoo.runs.as_model import as_model
from deqzoo.runs.build_artefact import build_artefact, spec_of
from deqzoo.runs.loader import ExportError, is_artefact
from deqzoo.runs.run import Run
from deqzoo.runs.verify import Comparison, reason_not_to_run
from deqzoo.storage import files, unfinished

_UNVERIFIED = ".unverified"  # what the name of a file ends with until it was compared


def export(
    model: Model | Run,
    path: str | Path,
    *,
    spec: Any = None,
    platforms: Sequence[str] = (),
    batch_size: int | None = None,
) -> Path:
    """Write a model in eval mode as StableHLO with its arrays; ``load_exported`` reads it.

    The file is read back and compared with the model before it takes its name.

    Args:
        model: a model or a run; it stays as it is.
        path: of the file; an earlier one of this kind is replaced.
        spec: of one example, as the model was built for it; a run knows its own.
        platforms: where it shall run: cpu, cuda, rocm, tpu; this machine's by default.
        batch_size: examples in every call; None leaves it open.

    Raises:
        ExportError: the place holds something else, flatbuffers is missing, the model takes no such
            examples, JAX cannot export it, or the file differs from the model.

    Example:
        >>> import tempfile, deqzoo, numpy as np
        >>> from flax import nnx
        >>> from deqzoo.models.classifier import Classifier
        >>> model = Classifier((4,), 2, activation="tanh", width=8, rngs=nnx.Rngs(0))
        >>> path = deqzoo.export(model, f"{tempfile.mkdtemp()}/model.stablehlo", spec=(4,))
        >>> outputs, info = deqzoo.load_exported(path)(np.ones((5, 4), np.float32))
        >>> outputs.shape, bool(info["converged"].all())
        ((5, 2), True)
    """
    path = local_path(path)
    _require_replaceable(path)
    spec = spec_of(model, spec)
    artefact = build_artefact(model, spec=spec, platforms=platforms, batch_size=batch_size)
    batches = (1, 2) if batch_size is None else (batch_size,)

    def compared(scratch: Path) -> dict[str, Any]:
        reason = reason_not_to_run(artefact)
        if reason is not None:
            warnings.warn(reason, stacklevel=3)
            return {}
        both = Comparison(as_model(model), scratch, spec)
        return {"difference": max(map(both.require_equal, batches))}

    write_verified(artefact, path, compared)
    return path


def write_verified(
    artefact: Artefact, path: Path, verify: Callable[[Path], dict[str, Any]]
) -> None:
    """Write a file under another name, and under its own with what ``verify`` has found of it.

    Raises:
        ExportError: as ``verify`` does; nothing is left then.
    """
    scratch = path.with_name(path.name + _UNVERIFIED)
    with unfinished.undone(lambda: scratch.unlink(missing_ok=True)):
        files.write(scratch, artefact.to_bytes())
        found = verify(scratch)
        files.write(path, artefact.to_bytes(verified=found))


def _require_replaceable(path: Path) -> None:
    if os.path.lexists(path) and not is_artefact(path):
        raise ExportError(f"{path} exists and is no exported model: choose another path")
