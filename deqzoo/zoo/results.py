"""What was measured of a member when it was built."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from deqzoo.zoo.proofs import Proofs


@dataclass(frozen=True, kw_only=True)
class Results:
    """Numbers on the test split: of all seeds where it says so, else of the seed that is shipped.

    Attributes:
        metric: the first metric of the task, or its loss.
        higher_is_better: whether more of it is better.
        is_share: whether it lies in [0, 1].
        examples: of the test split.
        seeds: that were trained; the weights of the first are shipped.
        values: the metric of every seed.
        without: the same of the model that evaluates its cell once instead of solving.
        failed: solves of test examples that missed the tolerance, of all seeds together.
        looked_at: test examples that all of the following was measured on, the first ones.
        after: number of solver steps -> metric of that iterate; 0 is the start, the solver
            bypassed.
        travel: ‖z* - z0‖/‖z*‖, mean.
        correlation: of an example's solver steps with its loss, by ranks; None where all took the
            same number of steps.
        starts: random starts, of normal numbers 0.1 to 10 times the size of the equilibria.
        starts_converged: of these, from how many every example met the tolerance.
        starts_distance: the largest relative distance of an end to that from the cell's own start.
        forward_steps: of a test example, mean.
        forward_steps_max: at most.
        proofs: what is proved of single examples.
        backward_steps: of an example in the last step of training that was logged, mean over seeds.
        seconds: of training, of all seeds together, compilation and evaluations included.
        as_one: whether they were trained as one program.
        cpu: on which it was measured.
    """

    metric: str
    higher_is_better: bool
    is_share: bool
    examples: int
    seeds: tuple[int, ...]
    values: tuple[float, ...]
    without: tuple[float, ...]
    failed: int
    looked_at: int
    after: dict[str, float]
    travel: float
    correlation: float | None
    starts: int
    starts_converged: int
    starts_distance: float
    forward_steps: float
    forward_steps_max: int
    proofs: Proofs
    backward_steps: float
    seconds: float
    as_one: bool
    cpu: str

    @property
    def trained(self) -> str:
        """How many seeds, in words."""
        return f"{len(self.seeds)} seed{'s' * (len(self.seeds) > 1)}"

    @property
    def mean(self) -> float:
        """Of the metric over the seeds."""
        return float(np.mean(self.values))

    @property
    def deviation(self) -> float:
        """Of the metric over the seeds; 0 of a single one."""
        return _deviation(self.values)

    @property
    def earned(self) -> float:
        """By how much the equilibrium is better than one evaluation of the cell."""
        gain = self.mean - float(np.mean(self.without))
        return gain if self.higher_is_better else -gain

    @property
    def error(self) -> float:
        """The standard error of that: of the seeds, and of a share also that of the test split."""
        both = (self.values, self.without)
        variance = sum(_deviation(values) ** 2 / len(values) for values in both)
        if self.is_share:
            means = [float(np.mean(values)) for values in both]
            variance += sum(mean * (1 - mean) / self.examples for mean in means)
        return math.sqrt(variance)

    @property
    def earns(self) -> bool:
        """Whether it is better by more than twice the standard error; of one seed nobody knows."""
        return len(self.seeds) > 1 and self.earned > 2 * self.error

    @property
    def verdict(self) -> str:
        """In plain words, whether the equilibrium earns anything."""
        both = f"{self.told(self.values)} with it, {self.told(self.without)} without"
        if self.earns:
            return f"the equilibrium earns something: {both}"
        if self.earned <= 0:
            return f"the equilibrium earns nothing here: {both}"
        if len(self.seeds) == 1:
            return f"one seed does not say whether the equilibrium earns anything: {both}"
        return (
            f"the equilibrium earns nothing that is more than chance: {both}; twice the standard "
            f"error of the difference, of seeds and of {self.examples} test examples, is "
            f"{self.one(2 * self.error)}"
        )

    def told(self, values: tuple[float, ...]) -> str:
        """Mean ± deviation, shares in per cent; a single value as it is."""
        if len(values) == 1:
            return self.one(values[0])
        if self.is_share:
            return f"{100 * np.mean(values):.2f} ± {100 * _deviation(values):.2f} %"
        return f"{np.mean(values):.4g} ± {_deviation(values):.2g}"

    def one(self, value: float) -> str:
        """A single value of the metric."""
        return f"{100 * value:.2f} %" if self.is_share else f"{value:.4g}"


def _deviation(values: tuple[float, ...]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
