"""A process of the suite ``trainer``: its own start, or rounds of steps; prints JSON."""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

_STEPS = 200  # of one sample
_SAMPLES = 5  # of one round


def main() -> None:
    """``bare FOLDER SECONDS``, ``trainer FOLDER SECONDS`` or ``steps FOLDER ROUNDS``."""
    kind, folder, number = sys.argv[1:]
    probe: dict[str, Callable[[str, float], dict[str, Any]]]
    probe = {"bare": bare, "trainer": trainer, "steps": steps}
    print(json.dumps(probe[kind](folder, float(number))))


def bare(folder: str, started: float) -> dict[str, Any]:
    """The least that any program of JAX does."""
    import jax

    jax.jit(lambda x: x + 1)(1.0).block_until_ready()
    return {"seconds": time.time() - started}


def trainer(folder: str, started: float) -> dict[str, Any]:
    """What ``launch.train`` does until its first step is taken."""
    from launch import train  # noqa: F401 - a command imports all of it

    training = _open(folder)
    list(training.reports(lambda step: True))
    training.state.step.block_until_ready()
    seconds = time.time() - started
    training.close()
    return {"seconds": seconds}


def steps(folder: str, rounds: float) -> dict[str, Any]:
    """Seconds of a step: bare, and by the trainer with and without lines; medians of samples."""
    import jax

    loud, silent, plain = _open(folder, log_every=10), _open(folder), _open(folder)
    batch = jax.device_put(plain._batches(0))

    def bare_steps() -> None:
        for _ in range(_STEPS):
            plain.state, _ = plain._step(plain.state, *batch)
        jax.block_until_ready(plain.state)

    def trained(training: Any) -> None:
        last = training.step + _STEPS
        list(training.reports(lambda step: step == last))
        jax.block_until_ready(training.state)

    runs = {
        "step": bare_steps,
        "reports": lambda: trained(loud),
        "silent": lambda: trained(silent),
    }
    for run in runs.values():
        run()  # compiles
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(int(rounds)):
        samples: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(_SAMPLES):
            for name, run in runs.items():
                samples[name].append(_timed(run) / _STEPS)
        for name, values in samples.items():
            found[name].append(statistics.median(values))
    for training in (loud, silent, plain):
        training.close()
    return {"steps": found, "platform": jax.default_backend()}


def _open(folder: str, log_every: int = 10**9) -> Any:
    from deqzoo.training import RunOptions, TrainConfig, Training

    never = 10**9
    return Training(
        TrainConfig(
            model="wide",
            task="sphere(examples=1024, dimension=8)",
            loss="square",
            optimizer="adam",
            width=8,
            batch_size="16",
            solver="picard(max_steps=3)",
            adjoint="phantom",
            steps=never,
            log_every=log_every,
            eval_every=never,
            checkpoint_every=never,
            workdir=tempfile.mkdtemp(dir=folder),
        ),
        RunOptions(max_failed=1.0),  # a model as cheap as that does not converge
    )


def _timed(run: Callable[[], None]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
