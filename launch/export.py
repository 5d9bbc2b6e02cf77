"""Export a run: ``python -m launch.export --workdir=runs/gelu --output=gelu.stablehlo``.

Writes one file with the model as a StableHLO program (``jax.export``), its weights as .npy arrays
and a Python loader; ``deqzoo.load_exported(path)`` gives ``(x) -> (outputs, info)``. The file is
read back and compared with the model, and the latency of both is measured. JAX promises to read
such programs for half a year; the command says until when. Needs flatbuffers (extra ``export``).

Exit codes: 0 done, 1 the artefact differs from the model or cannot be made, 2 wrong usage.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from rich.console import Console

from deqzoo.local_path import local_path
from deqzoo.runs import loader
from deqzoo.runs.artefact import Artefact
from deqzoo.runs.build_artefact import (
    build_artefact,
    require_flatbuffers,
    require_platforms,
)
from deqzoo.runs.export import write_verified
from deqzoo.runs.loader import ExportError
from deqzoo.runs.run import Run
from deqzoo.runs.verify import Comparison, reason_not_to_run
from deqzoo.storage.checkpoint import CheckpointError
from launch import _command, _output, _runs

__all__ = ["main"]


@dataclass(frozen=True)
class ExportConfig:
    """Settings of ``launch.export``."""

    workdir: str = _command.option("", "Folder of the run.")
    step: str = _command.option(
        "", "Checkpoint: a step or 'best'; the latest good one if not given."
    )
    output: str = _command.option("", "File to write; <workdir>/model.stablehlo if not given.")
    platforms: str = _command.option(
        "", "Where it shall run: cpu, cuda, rocm, tpu with commas; this machine's if not given."
    )
    batch_size: int = _command.option(0, "Examples in every call; 0 leaves the number open.")
    latency_batch: int = _command.option(128, "Batch whose latency is measured besides that of 1.")
    calls: int = _command.option(50, "Timed calls; 0 measures no latency.")
    plugin: tuple[str, ...] = _command.option(
        (),
        "Python modules to import first, among them those that the run names. Repeatable.",
    )

    def __post_init__(self):
        for name, least in (("batch_size", 0), ("latency_batch", 1), ("calls", 0)):
            if getattr(self, name) < least:
                raise _command.UsageError(f"--{name} must be >= {least}, got {getattr(self, name)}")
        try:
            require_platforms(self.names)
        except ExportError as error:
            raise _command.UsageError(f"--platforms: {error}") from None

    @property
    def names(self) -> tuple[str, ...]:
        """The platforms."""
        return tuple(dict.fromkeys(name.strip() for name in self.platforms.split(",") if name))

    @property
    def path(self) -> Path:
        """Where the artefact goes."""
        return local_path(self.output or Path(self.workdir) / "model.stablehlo")

    @property
    def batches(self) -> tuple[int, ...]:
        """The batch sizes that are compared and timed."""
        return (self.batch_size,) if self.batch_size else tuple({1, self.latency_batch})


def main() -> None:
    """Entry point."""
    _command.start(write, ExportConfig, usage=__doc__ or "", errors=(CheckpointError, ExportError))


def write(config: ExportConfig) -> int:
    """Export, verify, measure, and write the file."""
    console = Console(highlight=False, soft_wrap=True, markup=False)
    require_flatbuffers()
    run = _runs.open_run(console, config.workdir, config.step, config.plugin)
    _output.claim(config.path, loader.is_artefact, "artefact of launch.export")
    artefact = build_artefact(run, platforms=config.names, batch_size=config.batch_size or None)
    write_verified(
        artefact, config.path, lambda path: _verify(console, config, run, artefact, path)
    )
    _describe(console, config.path, artefact)
    return _command.DONE


def _verify(
    console: Console, config: ExportConfig, run: Run, artefact: Artefact, path: Path
) -> dict[str, Any]:
    """What was measured on this machine.

    Raises:
        ExportError: the artefact differs from the model by more than rounding.
    """
    reason = reason_not_to_run(artefact)
    if reason is not None:
        console.print(reason)
        return {}
    both = Comparison(run.model, path, run.spec)
    facts: dict[str, Any] = {"device": jax.devices()[0].device_kind, "latency": []}
    for batch in sorted(config.batches):
        difference = both.require_equal(batch)
        console.print(f"batch {batch}: largest difference from the model {difference:.3g}")
        facts["difference"] = max(difference, facts.get("difference", 0.0))
        if config.calls:
            facts["latency"].append(_time(console, both, batch, config.calls))
    return facts


def _time(console: Console, both: Comparison, batch: int, calls: int) -> dict[str, Any]:
    found = both.latency(batch, calls)
    console.print(
        f"batch {batch}: median of {calls} calls {_milliseconds(found['artefact'])}, the model "
        f"under jit {_milliseconds(found['model'])}"
    )
    return found


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.3g} ms"


def _describe(console: Console, path: Path, artefact: Artefact) -> None:
    about, weights = artefact.description, sum(each.nbytes for each in artefact.arrays.values())
    size = "any batch size" if about["input"]["batch"] is None else "a fixed batch size"
    console.print(
        f"written: {path}, {math.ceil(path.stat().st_size / 1024)} KiB (program "
        f"{math.ceil(len(artefact.program) / 1024)}, weights {math.ceil(weights / 1024)}), for "
        f"{', '.join(about['platforms'])}, {size}"
    )
    console.print(
        f"readable: jax {about['jax']} wrote it and always reads it; JAX promises the same of "
        "every version built within six months after that one, so until "
        f"{about['readable_until']} at the latest. The weights are .npy arrays and need no JAX"
    )
    console.print(f"load it with deqzoo.load_exported({str(path)!r})")


if __name__ == "__main__":
    main()
