"""Every linear solver: u = Ju + b is solved per example, and a failure is called one."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from deqzoo import catalog
from deqzoo.core.linear_solver import LinearSolver
from deqzoo.testing.check import Check, are_values, refuses
from deqzoo.testing.linear_solvers import accuracy, failure, transformations

__all__ = ["check_linear_solver"]


def _impossible_settings_are_refused(solver: LinearSolver) -> None:
    impossible: tuple[dict[str, Any], ...] = ({"rtol": -1.0}, {"max_steps": 0}, {"max_steps": 1.5})
    for setting in impossible:
        refuses(partial(replace, solver, **setting), setting)


def _settings_are_values(solver: LinearSolver) -> None:
    are_values(solver, max_steps=solver.max_steps + 1)


check_linear_solver = Check(
    "linear solver",
    catalog.linear_solvers.get,
    (
        _settings_are_values,
        _impossible_settings_are_refused,
        *accuracy.TRUTHS,
        *failure.TRUTHS,
        *transformations.TRUTHS,
    ),
)
