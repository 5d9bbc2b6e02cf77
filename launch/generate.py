"""Continue a text: ``python -m launch.generate --workdir=runs/causal --prompt="The "``.

The run is one of a model of sequences on the task text. Every character is drawn from an
equilibrium that is solved from where the last one was, moved by one position; how many solver steps
and seconds that took is printed beside those of starts afresh, which draw the same characters but
for the tolerance of the solver.

Exit codes: 0 done, 1 failed, 2 wrong usage.
"""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console

from deqzoo.runs.generate import Continued, generate
from deqzoo.settings import SettingError
from deqzoo.storage.checkpoint import CheckpointError
from launch import _command, _runs

__all__ = ["main"]


@dataclass(frozen=True)
class GenerateConfig:
    """Settings of ``launch.generate``."""

    workdir: str = _command.option("", "Folder of the run.")
    step: str = _command.option(
        "", "Checkpoint: a step or 'best'; the latest good one if not given."
    )
    prompt: str = _command.option("The ", "What the text begins with.")
    length: int = _command.option(200, "Characters that are added.")
    temperature: float = _command.option(0.8, "Of the draws; 0 for the likeliest character.")
    seed: int = _command.option(0, "Of the draws.")
    plugin: tuple[str, ...] = _command.option(
        (),
        "Python modules to import first, among them those that the run names. Repeatable.",
    )


def main() -> None:
    """Entry point."""
    _command.start(show, GenerateConfig, usage=__doc__ or "", errors=(CheckpointError,))


def show(config: GenerateConfig) -> int:
    """Print the text, and what it cost with warm starts and without."""
    console = Console(highlight=False, soft_wrap=True, markup=False)
    run = _runs.open_run(console, config.workdir, config.step, config.plugin)
    settings = {"temperature": config.temperature, "seed": config.seed}
    try:
        warm, cold = (
            generate(run, config.prompt, config.length, warm=warm, **settings)
            for warm in (True, False)
        )
    except SettingError as error:
        raise _command.UsageError(f"--{error}") from None
    console.print(config.prompt + warm.text)
    console.print(_cost("from the last equilibrium", warm))
    console.print(_cost("from a fresh start", cold))
    return _command.DONE


def _cost(how: str, found: Continued) -> str:
    failed = f", {found.failed} solves failed" if found.failed else ""
    return f"{how}: {found.steps:.1f} solver steps and {found.speed:.3g} characters/s{failed}"


if __name__ == "__main__":
    main()
