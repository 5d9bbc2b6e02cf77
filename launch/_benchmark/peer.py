"""The contract of a peer: what it can run, and how one call of it is made."""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from launch._benchmark.problem import Problem


class SkipPeer(RuntimeError):
    """This peer cannot take part here; the message says why."""


@dataclass(frozen=True)
class Job:
    """One thing to be measured.

    Attributes:
        kind: ``solve`` (z* only), ``gradient`` (loss and gradient) or ``train_step``.
        problem: the problem.
        variant: which configuration of the peer.
        tolerance: what the peer is told for the forward solve.
        max_steps: evaluations at most, forward and backward.
        learning_rate: of ``train_step``.
    """

    kind: str
    problem: Problem
    variant: str
    tolerance: float
    max_steps: int
    learning_rate: float = 1e-4

    @property
    def backward_tolerance(self) -> float:
        """That of the problem, relative to the cotangent; 0 where steps are counted out."""
        return self.problem.tolerance if self.tolerance else 0.0


@dataclass(frozen=True)
class Outcome:
    """What one call found.

    Attributes:
        z: the fixed point.
        steps: evaluations or steps as the peer counts them; None where it does not say.
        gradient: by the names of the problem's parameters.
    """

    z: np.ndarray
    steps: int | None = None
    gradient: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """A job made ready.

    Attributes:
        run: one call; returns only when the result is there.
        look: one call at a given tolerance, with everything one wants to know; never timed.
        reset: back to the start, for calls that change something.
        evaluations: how many evaluations of the map a call stands for, where that is the unit.
        lower: the traced and lowered program of ``run``, where there is one.
    """

    run: Callable[[], Any]
    look: Callable[[float], Outcome]
    reset: Callable[[], None] = lambda: None
    evaluations: int = 1
    lower: Callable[[], Any] | None = None


class Peer(abc.ABC):
    """A package that solves fixed points.

    To add one, write a file of ``launch/_benchmark/peers`` with the name of its package, which
    imports the package at its top by ``importlib`` (type checkers would take the file for the
    package); ``JaxPeer`` needs no more than its solvers.

    Args:
        recipes: further variants, in the words of the peer.
    """

    variants: ClassVar[dict[str, tuple[str, ...]]]

    def __init__(self, recipes: tuple[str, ...] = ()):
        self.recipes = recipes

    def listed(self, suite: str, problem: Problem) -> tuple[str, ...]:
        """The variants that take part in a suite."""
        return self.variants.get(suite, ()) + (self.recipes if suite in self.variants else ())

    @abc.abstractmethod
    def platform(self) -> str:
        """Where it computes, for example ``cpu`` or the name of a GPU."""

    @abc.abstractmethod
    def make(self, job: Job) -> Case:
        """The job, ready to be called."""
