"""Where and how a run is carried out; none of it is part of what the run computes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from deqzoo.settings import In, OneOf
from deqzoo.training.config import ConfigError, option, validate_flags

AUTO, ON, OFF = "auto", "on", "off"
MEMORY, GRAIN = "memory", "grain"


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Devices, processes, reading, profile and sinks of a run; they may differ on resuming.

    Example:
        >>> from deqzoo.training import RunOptions
        >>> RunOptions(profile="10:15").profiled
        range(10, 15)
    """

    mesh: str = option(
        "",
        "Devices along the axes data (examples) and model (rows of W), for example data:4,model:2; "
        "as many along data as divide the batch if not given.",
    )
    distributed: Annotated[str, OneOf(AUTO, ON, OFF)] = option(
        AUTO,
        "Several processes: auto joins those that --coordinator or a scheduler names (Slurm, Open "
        "MPI, TPU, Kubernetes), on insists, off never.",
    )
    coordinator: str = option("", "HOST:PORT of the first process.")
    num_processes: int | None = option(None, "Processes in all, with --coordinator.")
    process_id: int | None = option(None, "This process, from 0, with --coordinator.")
    heartbeat: Annotated[int, In("[1, inf)")] = option(
        100, "Seconds without a sign of life after which a process counts as lost and all end."
    )
    loader: Annotated[str, OneOf(MEMORY, GRAIN)] = option(
        MEMORY,
        "memory reads a batch when its step begins; grain reads the next ones meanwhile, in every "
        "process its own share (extra `data`). The batches are the same.",
    )
    max_failed: Annotated[float, In("(0, 1]")] = option(
        0.5,
        "Stop when more than this share of the solves fail, forward or backward, in three reports "
        "one after another; 1 never stops.",
    )
    profile: str = option("", "FIRST:LAST steps of which a trace is written to <workdir>/profile.")
    sink: tuple[str, ...] = option(
        (),
        "Where lines go besides metrics.jsonl: tensorboard (extra `logs`), wandb(project='mine') "
        "(extra `wandb`), or one of yours. Repeatable.",
    )

    def __post_init__(self):
        validate_flags(self)
        if self.coordinator and not re.fullmatch(r"\S+:\d+", self.coordinator):
            raise ConfigError(
                f"--coordinator must be HOST:PORT, for example 10.0.0.1:1234; got "
                f"{self.coordinator!r}"
            )
        self._require_processes()
        _ = self.profiled

    def _require_processes(self) -> None:
        given = [self.num_processes is not None, self.process_id is not None]
        if not self.coordinator:
            if any(given):
                raise ConfigError("--num_processes and --process_id need --coordinator=HOST:PORT")
        elif self.num_processes is None or self.process_id is None:
            raise ConfigError("--coordinator needs --num_processes and --process_id")
        elif not 0 <= self.process_id < self.num_processes:
            raise ConfigError(
                f"--process_id must lie in 0 ... {self.num_processes - 1} for "
                f"--num_processes={self.num_processes}, got {self.process_id}"
            )

    @property
    def profiled(self) -> range:
        """The steps of which a trace is written."""
        if not self.profile:
            return range(0)
        match = re.fullmatch(r"(\d{1,18}):(\d{1,18})", self.profile)
        steps = range(int(match[1]), int(match[2])) if match else range(0)
        if not steps or steps[0] < 1:
            raise ConfigError(
                f"--profile must be FIRST:LAST with 1 <= FIRST < LAST, got {self.profile!r}"
            )
        return steps
