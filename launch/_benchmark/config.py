"""The settings of ``launch.benchmark``."""

from __future__ import annotations

from dataclasses import dataclass

from deqzoo import catalog
from launch import _command
from launch._benchmark.peers_catalog import PEERS
from launch._benchmark.ratios import View
from launch._benchmark.suites_catalog import SUITES
from launch._benchmark.wide import LIPSCHITZ, SPECTRA, Wide

STOPPINGS = ("calibrated", "same")
_KNOWN = {
    "suite": SUITES.names,
    "peers": PEERS.names,
    "problem": lambda: SPECTRA,
    "activation": lambda: tuple(LIPSCHITZ),
    "dtype": lambda: ("float32", "float64"),
    "stopping": lambda: STOPPINGS,
}
_CLOCKS = {"wall": "seconds", "cpu": "cpu_seconds"}
_NUMBERS = {"rho": float, "width": int, "steps": int}


@dataclass(frozen=True)
class BenchmarkConfig:
    """Settings of ``launch.benchmark``; a list takes commas or the flag again."""

    suite: tuple[str, ...] = _command.option((), "What to measure; all suites if not given.")
    peers: tuple[str, ...] = _command.option(
        (), "Who takes part; all that are installed if not given."
    )
    deqzoo: tuple[str, ...] = _command.option(
        (), "A further deqzoo variant: a solver recipe, or 'solver + adjoint'. Repeatable."
    )
    problem: tuple[str, ...] = _command.option(("gauss", "hard"), "Spectra of the wide DEQ.")
    rho: tuple[str, ...] = _command.option(("0.9",), "Lipschitz constants of the map, below 1.")
    width: tuple[str, ...] = _command.option(("512",), "Widths m.")
    activation: tuple[str, ...] = _command.option(("relu",), "relu, tanh, gelu.")
    dtype: tuple[str, ...] = _command.option(("float32",), "float32, float64.")
    examples: int = _command.option(256, "Examples n.")
    inputs: int = _command.option(64, "Input features d.")
    stopping: tuple[str, ...] = _command.option(
        STOPPINGS,
        "calibrated: everybody at the same measured residual; same: each peer's own test at the "
        "tolerance of the problem.",
    )
    rounds: int = _command.option(7, "Interleaved rounds.")
    steps: tuple[str, ...] = _command.option(
        ("10", "30", "100"), "Solver steps of the suite memory."
    )
    learning_rate: float = _command.option(1e-4, "Of Adam in the suite train_step.")
    quiet_only: bool = _command.option(
        False, "Leave out rounds in which strangers used the machine."
    )
    clock: str = _command.option(
        "wall", "wall: what a user waits; cpu: time of the peer's own threads, for busy machines."
    )
    cores: int = _command.option(0, "Use only the first so many cores; 0 takes all.")
    patience: float = _command.option(600.0, "Seconds to wait for one answer of a peer.")
    workdir: str = _command.option("runs/benchmark", "Folder of results.json and the pictures.")
    seed: int = _command.option(0, "Seed of the problems.")

    def __post_init__(self):
        for name in (*_KNOWN, *_NUMBERS):
            object.__setattr__(self, name, _split(getattr(self, name)))
        for name, known in _KNOWN.items():
            for value in getattr(self, name):
                _require_known(name, value, known())
        for name, kind in _NUMBERS.items():
            for value in getattr(self, name):
                _require_number(name, value, kind)
        for name in ("rounds", "examples", "inputs", "patience", "learning_rate"):
            if not getattr(self, name) > 0:
                raise _command.UsageError(f"--{name} must be > 0, got {getattr(self, name)}")
        _require_known("clock", self.clock, tuple(_CLOCKS))
        for name in ("seed", "cores"):
            if getattr(self, name) < 0:
                raise _command.UsageError(f"--{name} must be >= 0, got {getattr(self, name)}")

    def wide_problems(self) -> list[Wide]:
        """Every combination of the settings."""
        return [
            Wide(dtype, self.seed, spectrum, float(rho), int(width), activation, *self._size)
            for dtype in self.dtype
            for activation in self.activation
            for width in self.width
            for spectrum in self.problem
            for rho in self.rho
        ]

    @property
    def view(self) -> View:
        """Which times count."""
        return View(self.quiet_only, _CLOCKS[self.clock])

    @property
    def _size(self) -> tuple[int, int]:
        return self.examples, self.inputs


def _split(values: tuple[str, ...]) -> tuple[str, ...]:
    parts = (part.strip() for value in values for part in value.split(","))
    return tuple(dict.fromkeys(part for part in parts if part))


def _require_known(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        ending = catalog.choices(value, known)
        raise _command.UsageError(f"--{name} has no {value!r}{ending}")


def _require_number(name: str, value: str, kind: type) -> None:
    try:
        number = kind(value)
    except ValueError:
        raise _command.UsageError(f"--{name} must be numbers, got {value!r}") from None
    if not 0 < number < (1 if kind is float else float("inf")):
        bounds = "between 0 and 1" if kind is float else ">= 1"
        raise _command.UsageError(f"--{name} must be {bounds}, got {value}")
