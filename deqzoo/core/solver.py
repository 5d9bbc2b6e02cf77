"""What a solver is: an update rule and its settings; the loop is ``deqzoo.core.stage``."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, NamedTuple

from jaxtyping import Array, Bool, Float, Int

from deqzoo.activation.contract import Activation
from deqzoo.core.map.program import Map
from deqzoo.core.trees import State
from deqzoo.settings import In, OneOf, OrTraced, SettingError, fitted, validate

Count = Annotated[int, In("[1, 2^31)")]  # of what is counted in 32 bits
Step = Annotated[int, In("[0, 2^31)")]
Tolerance = Annotated[float, In("[0, inf)"), OrTraced()]


class Evaluation(NamedTuple):
    """What an update rule may look at.

    Attributes:
        fn: the map, for rules that need more of it than its value (products with its Jacobian).
        z: current iterate.
        fz: f(z).
        residual: f(z) - z.
        norm: ||f(z) - z|| per example, in the norm of the solver.
        tolerance: the norm at which the loop calls an example converged.
        best_norm: smallest norm so far per example, this evaluation included.
        step: how many evaluations by the loop came before this one.
    """

    fn: Map
    z: State
    fz: State
    residual: State
    norm: Float[Array, " batch"]
    tolerance: Float[Array, " batch"]
    best_norm: Float[Array, " batch"]
    step: Int[Array, ""]


@dataclass(frozen=True)
class Solver(abc.ABC):
    """An update rule z_{k+1} = step(z_k, f(z_k)) with its stopping rule.

    An example is CONVERGED once ``||f(z) - z|| <= atol + rtol * ||f(z)||``; it is then frozen
    bit for bit. To write a solver, derive a frozen dataclass in a file of ``deqzoo/solvers`` and
    define ``init`` and ``step``.

    Attributes:
        rtol: relative tolerance; None stands for 1e-5 in float32, 1e-10 in float64, 2e-2 in
            bfloat16. Under ``jit`` both tolerances may be arguments: one program for all of them.
        atol: absolute tolerance on the norm of an example's residual.
        norm: that of the residual, "euclidean" or "max" (the largest entry of the example).
        max_steps: evaluations of the map at most.
        check_every: the stopping rule is looked at in every so manieth step only.
        precision: "bfloat16" or "float32": matrix products run in this precision until its floor,
            on increments of the state, and the result is finished and proved in the state's own.
        trace: return the relative residual of every step, ``Solution.trace``.
        trajectory: return the iterates after these numbers of steps, ``Solution.trajectory``; one
            number n stands for n of them, evenly spaced up to ``max_steps``.
        on_failure: what becomes of an example that ends with a residual above a tenth of its value:
            "keep" leaves the best iterate, "nan" makes it and its derivative NaN, "phantom" keeps
            it with the derivative of one step of the map, "warn" keeps it and warns (which keeps
            the program out of the compilation cache).
    """

    rtol: Tolerance | None = None
    atol: Tolerance = 0.0
    norm: Annotated[str, OneOf("euclidean", "max")] = "euclidean"
    max_steps: Count = 200
    check_every: Count = 1
    precision: Annotated[str, OneOf("bfloat16", "float32")] | None = None
    trace: bool = False
    trajectory: tuple[Step, ...] = ()
    on_failure: Annotated[str, OneOf("keep", "nan", "phantom", "warn")] = "keep"

    # The solver must know the affine part of the map: fn must be a ``deqzoo.Split``.
    needs_split: ClassVar[bool] = False
    # Evaluations without a new best residual before an example is called stagnated.
    patience: ClassVar[int] = 60
    # As many until an example is lost whose map is NaN or whose residual has exploded: rules that
    # take a bad step back by themselves get a few.
    chances: ClassVar[int] = 0
    # The residual falls at every step of a contraction: the best iterate is the last one, and where
    # it is not, the loop repeats the steps up to it instead of keeping a copy all along.
    is_monotone: ClassVar[bool] = False
    # The residual falls like one over the number of steps even where the map contracts.
    is_sublinear: ClassVar[bool] = False

    def __post_init__(self):
        last = fitted("max_steps", self.max_steps, Count)
        object.__setattr__(self, "trajectory", _steps(self.trajectory, last))
        validate(self)

    @abc.abstractmethod
    def init(self, fn: Map, z0: State) -> Any:
        """The rule's memory before the first evaluation."""

    @abc.abstractmethod
    def step(self, evaluation: Evaluation, memory: Any) -> tuple[State, Any]:
        """The next iterate and memory. Must treat every example by itself."""

    def spent(self, memory: Any) -> Int[Array, " batch"] | int:
        """Products with the Jacobian in the step that left this memory; they count as steps."""
        return 0

    def grew(self, memory: Any) -> Bool[Array, " batch"] | bool:
        """Whether plain steps z <- f(z) made the residual grow, as they do near what repels.

        True stands for not known: what the rule found after another one is then checked.
        """
        return True

    @property
    def is_predictable(self) -> bool:
        """Whether the next residual is the present one times the observed contraction."""
        return False

    def of_split(self, activation: Activation) -> Solver:
        """The solver to be used where the map is a ``deqzoo.Split`` of this activation."""
        del activation
        return self

    def stages(self) -> tuple[Solver, ...]:
        """The rules in turn: each hands over the examples on which it is slow to the next."""
        return (self,)


def _steps(trajectory: Any, max_steps: int) -> tuple[int, ...]:
    steps = fitted("trajectory", trajectory, tuple[Step, ...] | Step)
    if max([steps] if isinstance(steps, int) else steps, default=0) > max_steps:
        raise SettingError(
            f"trajectory must be step numbers between 0 and max_steps={max_steps}, for example "
            f"(4, 8, 12), or how many, got {trajectory!r}"
        )
    if isinstance(steps, int):
        return tuple(max_steps * (i + 1) // steps for i in range(steps))
    return steps
