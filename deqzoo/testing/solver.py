"""Every solver: it solves, says truly how well, and treats every example by itself."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Any

from deqzoo import catalog
from deqzoo.core.solver import Solver
from deqzoo.testing.check import Check, are_values, refuses
from deqzoo.testing.solvers import accuracy, failure, independence

__all__ = ["check_solver"]


def _impossible_settings_are_refused(solver: Solver) -> None:
    impossible: tuple[dict[str, Any], ...] = (
        {"rtol": -1e-3},
        {"atol": -1.0},
        {"rtol": math.nan},
        {"atol": math.nan},
        {"max_steps": 0},
        {"max_steps": 2.5},
        {"norm": "sum"},
    )
    for setting in impossible:
        refuses(partial(replace, solver, **setting), setting)


def _settings_are_values(solver: Solver) -> None:
    are_values(solver, max_steps=solver.max_steps + 1)


check_solver = Check(
    "solver",
    catalog.solvers.get,
    (
        _settings_are_values,
        _impossible_settings_are_refused,
        *accuracy.TRUTHS,
        *failure.TRUTHS,
        *independence.TRUTHS,
    ),
)
