"""Who takes part, and where everybody's process comes from."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from launch._benchmark.client import Worker, WorkerError
from launch._benchmark.problem import Problem

_FLOAT64 = {"JAX_ENABLE_X64": "1"}


@dataclass(frozen=True)
class Team:
    """The peers.

    Attributes:
        peers: their names.
        recipes: further variants of deqzoo.
        patience: seconds to wait for an answer.
        tolerances: found by calibration so far; suites share them.
    """

    peers: tuple[str, ...]
    recipes: tuple[str, ...] = ()
    patience: float = 600.0
    tolerances: dict[tuple[str, str, str], float | None] = field(default_factory=dict)

    def start(self, peer: str, problem: Problem, **environment: str) -> Worker:
        """A process for a peer, with 64 bit types where the problem has them.

        Raises:
            WorkerError: the peer cannot start.
        """
        wide = _FLOAT64 if problem.dtype == "float64" else {}
        recipes = self.recipes if peer == "deqzoo" else ()
        return Worker(peer, recipes, {**wide, **environment}, self.patience)

    @contextlib.contextmanager
    def workers(self, problem: Problem, say: Callable[[str], None]) -> Iterator[dict[str, Worker]]:
        """A process for every peer that can start; all end with the block."""
        started: dict[str, Worker] = {}
        try:
            for peer in self.peers:
                try:
                    started[peer] = self.start(peer, problem)
                except WorkerError as error:
                    say(f"{peer} takes no part: {error}")
            yield started
        finally:
            for worker in started.values():
                worker.close()


def variants(
    workers: dict[str, Worker], suite: str, problem: Problem, say: Callable[[str], None]
) -> tuple[str, list[tuple[str, str]]]:
    """The device of most JAX peers, and everybody's variants there.

    A peer that computes on the CPU beside others on a GPU is left out and named.
    """
    answers: dict[str, dict[str, Any]] = {}
    for peer, worker in workers.items():
        try:
            answers[peer] = worker.ask("describe", suite=suite, problem=problem.settings())
        except WorkerError as error:
            say(f"{peer} takes no part: {error}")
    platforms = {answer["platform"] for answer in answers.values()}
    platform = next((each for each in sorted(platforms) if each != "cpu"), "cpu")
    listed: list[tuple[str, str]] = []
    for peer, answer in answers.items():
        if platform != "cpu" and answer["platform"] == "cpu":
            say(f"{peer} takes no part: it computes on the CPU, the others on {platform}")
        else:
            listed += [(peer, variant) for variant in answer["variants"]]
    return platform, listed


def calibrate(team: Team, worker: Worker, problem: Problem, variant: str) -> dict[str, Any]:
    """The tolerance of a variant at which the residual is that of the problem.

    Where no tolerance reaches it, that of the problem stays and the table shows the residual.

    Raises:
        WorkerError: the variant fails.
    """
    key = (problem.name, worker.peer, variant)
    if key not in team.tolerances:
        found = worker.ask("calibrate", problem=problem.settings(), variant=variant)
        team.tolerances[key] = found["tolerance"]
    tolerance = team.tolerances[key]
    return {} if tolerance is None else {"tolerance": tolerance}
