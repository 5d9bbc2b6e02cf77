"""What a worker does when it is asked: prepare a variant, time a call, measure its memory."""

from __future__ import annotations

import ctypes
import gc
import math
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np

from launch._benchmark import calibration
from launch._benchmark.conv import Conv
from launch._benchmark.peer import Case, Job, Outcome, Peer
from launch._benchmark.problem import Problem
from launch._benchmark.wide import Wide

_ENOUGH = 0.02  # seconds of calls in one sample
_MOST_CALLS = 100
_TRAINING_CALLS = 25


class Desk:
    """The requests; every method answers plain values for JSON.

    Args:
        peer: who runs here.
    """

    def __init__(self, peer: Peer):
        self._peer = peer
        self._cases: dict[str, tuple[Job, Case, float]] = {}

    def describe(self, suite: str, problem: dict[str, Any]) -> dict[str, Any]:
        """Where the peer computes, and its variants."""
        return {
            "platform": self._peer.platform(),
            "variants": self._peer.listed(suite, read_problem(problem)),
        }

    def calibrate(self, problem: dict[str, Any], variant: str) -> dict[str, Any]:
        """The loosest tolerance at which the measured residual is that of the problem."""
        kept = read_problem(problem)
        case = self._peer.make(Job("solve", kept, variant, kept.tolerance, kept.max_steps))
        parameters = kept.draw().parameters

        def residual(tolerance: float) -> float:
            return kept.residual(case.look(tolerance).z, parameters)

        return {"tolerance": calibration.loosest(residual, kept.tolerance)}

    def prepare(
        self,
        key: str,
        problem: dict[str, Any],
        kind: str,
        variant: str,
        tolerance: float,
        reference: str | None,
        learning_rate: float,
    ) -> dict[str, Any]:
        """Compile a variant, judge what it finds, and keep it under ``key``."""
        kept = read_problem(problem)
        job = Job(kind, kept, variant, tolerance, kept.max_steps, learning_rate)
        case = self._peer.make(job)
        findings = {} if case.evaluations > 1 else _judge(job, case.look(tolerance), reference)
        case.reset()
        started = time.perf_counter()
        case.run()
        compiled = time.perf_counter()
        case.run()
        self._cases[key] = (job, case, time.perf_counter() - compiled)
        return {**findings, "first_call_seconds": compiled - started}

    def sample(self, key: str) -> dict[str, Any]:
        """Seconds of one call: the mean of a few, after an untimed one."""
        job, case, usual = self._cases[key]
        case.reset()
        case.run()
        calls = _TRAINING_CALLS if job.kind == "train_step" else _calls(usual)
        cpu, started = time.process_time(), time.perf_counter()
        for _ in range(calls):
            case.run()
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        share = calls * case.evaluations
        return {"seconds": seconds / share, "cpu_seconds": cpu / share, "calls": calls}

    def reference(self, problem: dict[str, Any], path: str) -> dict[str, Any]:
        """Write the gradient of a problem in float64."""
        from launch._benchmark import reference

        return {"residual": reference.write(read_problem(problem), Path(path))}

    def memory(self, problem: dict[str, Any], variant: str, steps: int) -> dict[str, Any]:
        """Peak above baseline of a gradient with a given number of steps, in bytes."""
        case = self._peer.make(Job("gradient", read_problem(problem), variant, 0.0, steps))
        case.run()
        _return_freed_memory()
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
        before = _status("VmRSS")
        case.run()
        answer: dict[str, Any] = {"peak_bytes": _status("VmHWM") - before}
        if case.lower is not None:
            analysis = case.lower().compile().memory_analysis()
            answer["temporary_bytes"] = int(analysis.temp_size_in_bytes) if analysis else None
        return answer

    def compilation(self, problem: dict[str, Any], variant: str) -> dict[str, Any]:
        """Seconds to trace and lower, to compile, and of the first call of a gradient."""
        kept = read_problem(problem)
        case = self._peer.make(Job("gradient", kept, variant, kept.tolerance, kept.max_steps))
        answer: dict[str, Any] = {}
        if case.lower is not None:
            answer["trace_seconds"], lowered = _timed(case.lower)
            answer["compile_seconds"], _ = _timed(lowered.compile)
        else:
            answer["first_call_seconds"], _ = _timed(case.run)
        return {**answer, "cpu_seconds": resource.getrusage(resource.RUSAGE_SELF).ru_utime}


def read_problem(settings: dict[str, Any]) -> Problem:
    """The problem of a message."""
    settings = dict(settings)
    kind = {"Wide": Wide, "Conv": Conv}[settings.pop("kind")]
    return kind(**settings)


def _judge(job: Job, outcome: Outcome, reference: str | None) -> dict[str, Any]:
    residual = job.problem.residual(outcome.z, job.problem.draw().parameters)
    findings: dict[str, Any] = {"residual": _plain(residual), "steps": outcome.steps}
    if reference and outcome.gradient:
        with np.load(reference) as truth:
            findings["gradient_error"] = _plain(_relative_error(outcome.gradient, truth))
    return findings


def _relative_error(found: dict[str, np.ndarray], truth: Any) -> float:
    """Of all parameters together, summed in float64."""
    missed = sum(np.sum((found[name] - truth[name]) ** 2) for name in truth.files)
    return math.sqrt(missed / sum(np.sum(truth[name] ** 2) for name in truth.files))


def _plain(value: float) -> float | None:
    """JSON knows no infinity."""
    return value if math.isfinite(value) else None


def _calls(usual: float) -> int:
    return min(_MOST_CALLS, max(1, math.ceil(_ENOUGH / max(usual, 1e-6))))


def _timed(call: Any) -> tuple[float, Any]:
    started = time.perf_counter()
    result = call()
    return time.perf_counter() - started, result


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def _return_freed_memory() -> None:
    """Give pages back that the first call left to the allocator."""
    gc.collect()
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except (OSError, AttributeError):  # another C library
        return
