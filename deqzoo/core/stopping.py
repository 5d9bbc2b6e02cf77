"""What is known of every example in the course of a solve, and what is concluded from it."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from deqzoo.core import trees
from deqzoo.core.solution import Status
from deqzoo.core.solver import Evaluation, Solver
from deqzoo.core.trees import State
from deqzoo.settings import is_traced

_GROWTH_LIMIT = 1e6  # residual / best residual beyond which an example is lost
_FLOOR_PATIENCE = 8  # patience once the residual is within _FLOOR_FACTOR roundings of the value
_FLOOR_FACTOR = 64.0
# Contractions of successive residuals fluctuate like one over the root of the size of an example. A
# forecast takes the largest recent one, larger by this and by _FLUCTUATION / sqrt(size): of 110,000
# simulated solves of 4 to 256 units, two in 100,000 of the smallest missed, none of the others.
# Contractions rise where a slow part is all that is left in the end: the forecast lets them rise
# once more, as far as they are above their mean.
_CAUTION, _FLUCTUATION = 1.05, 4.0
_FADING = 0.9  # the largest recent contraction is forgotten at this rate
_LOOK = 3  # evaluations before anything is foretold
# An example that would need more evaluations than its budget, _PER_DECADE for every power of ten
# that its residual is to fall (at most _MOST in all), is handed to the next stage, unless less than
# _NEAR of them are left: contractions grow on the way, and what is always about to arrive is slow.
_PER_DECADE, _MOST, _NEAR = 3.4, 34.0, 4.0
# Growth is not slowness: near an equilibrium that repels, residuals grow until the iteration has
# left for one that attracts. Around a cycle they stay what they are.
_RISING = 1.02
_CLEAR = 16  # plain steps without growth that bring an example nearer to what it is drawn to
_MEMORY = 0.25  # weight of the newest ratio in the observed rate
_TOLERATED = 0.1  # relative residual above which a solve is of no use

STALE = 0.5  # a guess must have at most this part of the residual of the cold start

RUNNING, HANDED, LOST, FORETOLD, DRAWN = -1, -2, -3, -4, -5


class Progress(NamedTuple):
    """Where a solve stands.

    Attributes:
        z: current iterate.
        memory: of the update rule.
        best: the iterate of the smallest residual, where the loop keeps a copy.
        best_norm: that residual.
        best_scale: ||f(z)|| there.
        best_step: the step in which it was seen.
        norm: the last residual.
        peak: the largest recent ratio.
        rate: the geometric mean of the ratios, recent ones weighing more.
        budget: evaluations after which an example is slow.
        rose: the last evaluation at which a plain step had made the residual grow, 0 if none had.
        steps: evaluations and products per example.
        status: a ``Status``, or RUNNING, HANDED (to the next stage, as it is slow), LOST (to the
            next stage, which begins at its best iterate), FORETOLD (to converge with the next
            iterate) or DRAWN (to what a later stage had found).
        step: evaluations of the present stage.
        trace: relative residuals, negative where there is none, if they are wanted.
        trajectory: iterates, if they are wanted.
    """

    z: State
    memory: Any
    best: State | None
    best_norm: Float[Array, " batch"]
    best_scale: Float[Array, " batch"]
    best_step: Int[Array, " batch"]
    norm: Float[Array, " batch"]
    peak: Float[Array, " batch"]
    rate: Float[Array, " batch"]
    budget: Float[Array, " batch"]
    rose: Int[Array, " batch"]
    steps: Int[Array, " batch"]
    status: Int[Array, " batch"]
    step: Int[Array, ""]
    trace: Float[Array, "steps batch"] | None
    trajectory: tuple[State, ...]


def begin(solver: Solver, evaluation: Evaluation, scale: Float[Array, " batch"]) -> Progress:
    """The first evaluation is made: nothing but its size can end an example."""
    z, norm = evaluation.z, evaluation.norm
    zeros, usable = jnp.zeros(norm.shape, jnp.int32), norm < jnp.inf  # false for NaN
    trace = None
    if solver.trace:
        trace = jnp.full((solver.max_steps, *norm.shape), -1.0, norm.dtype)
        trace = trace.at[0].set(_relative(norm, scale))
    return Progress(
        z=z,
        memory=None,
        best=None,
        best_norm=jnp.where(usable, norm, jnp.inf),
        best_scale=jnp.where(usable, scale, 1),
        best_step=zeros,
        norm=norm,
        peak=jnp.zeros_like(norm),
        rate=jnp.full_like(norm, jnp.inf),
        budget=_budget(evaluation),
        rose=zeros,
        steps=zeros,
        status=jnp.where(usable, RUNNING, Status.NONFINITE.value),
        step=jnp.zeros((), jnp.int32),
        trace=trace,
        trajectory=tuple(z for _ in solver.trajectory),
    )


def note(
    solver: Solver,
    progress: Progress,
    evaluation: Evaluation,
    scale: Array,
    active: Array,
    better: Array,
    *,
    hands_over: bool,
) -> Progress:
    """Write down what an evaluation showed, and what ``judge`` has to know of it."""
    norm, step = evaluation.norm, progress.step
    ratio = norm / progress.norm
    if solver.check_every > 1:
        ratio = ratio ** (1 / solver.check_every)  # of one step
    known = jnp.where(step < 2, ratio, progress.rate)  # infinite before
    rate = known ** (1 - _MEMORY) * ratio**_MEMORY
    progress = progress._replace(
        best_norm=jnp.where(better, norm, progress.best_norm),
        best_scale=jnp.where(better, scale, progress.best_scale),
        best_step=jnp.where(better, step, progress.best_step),
        norm=jnp.where(active, norm, progress.norm),
        rate=jnp.where(active, rate, progress.rate),
        **_recorded(solver, progress, norm, scale, active),
    )
    if hands_over or solver.is_predictable:
        peak = jnp.maximum(ratio, _FADING * progress.peak)
        progress = progress._replace(peak=jnp.where(active, peak, progress.peak))
    if not hands_over:
        return progress
    rises = active & (ratio > _RISING) if solver.is_monotone else jnp.zeros_like(active)
    budget = step.astype(norm.dtype) + _budget(evaluation)
    return progress._replace(
        budget=jnp.where(rises | (step == 0), budget, progress.budget),
        rose=jnp.where(rises, step, progress.rose),
    )


def _recorded(
    solver: Solver, progress: Progress, norm: Array, scale: Array, active: Array
) -> dict[str, Any]:
    """What is returned besides the solution, if it is wanted."""
    trace, index = progress.trace, progress.steps
    if trace is not None:
        relative = jnp.where(active, _relative(norm, scale), -1.0)
        trace = trace.at[index, jnp.arange(index.shape[0])].set(relative, mode="drop")
    trajectory = tuple(
        trees.select(active & (index <= step), progress.z, kept)
        for step, kept in zip(solver.trajectory, progress.trajectory, strict=True)
    )
    return {"trace": trace, "trajectory": trajectory}


def _relative(norm: Array, scale: Array) -> Array:
    return norm / jnp.where(norm > 0, scale, 1)


def _budget(evaluation: Evaluation) -> Float[Array, " batch"]:
    tiny = jnp.finfo(evaluation.norm.dtype).tiny
    decades = jnp.log10(evaluation.norm / jnp.maximum(evaluation.tolerance, tiny))
    return jnp.clip(_PER_DECADE * decades, 0.0, _MOST)


def _ended(solver: Solver, progress: Progress) -> Int[Array, " batch"]:
    """Why an example ends without having converged; RUNNING if it does not."""
    at_floor = (
        progress.best_norm <= _FLOOR_FACTOR * trees.coarsest_eps(progress.z) * progress.best_scale
    )
    waited = progress.step - progress.best_step
    status = jnp.where(progress.steps >= solver.max_steps, Status.MAX_STEPS.value, RUNNING)
    status = jnp.where(waited >= solver.patience, Status.STAGNATED.value, status)
    status = jnp.where(at_floor & (waited >= _FLOOR_PATIENCE), Status.FLOOR.value, status)
    lost = (waited >= solver.chances) | jnp.isinf(progress.best_norm)
    exploded = lost & (progress.norm > _GROWTH_LIMIT * progress.best_norm)
    status = jnp.where(exploded, Status.DIVERGED.value, status)
    return jnp.where(lost & ~jnp.isfinite(progress.norm), Status.NONFINITE.value, status)


def judge(
    solver: Solver,
    progress: Progress,
    tolerance: Array,
    *,
    hands_over: Bool[Array, ""] | bool,
    waits: bool,
) -> Int[Array, " batch"]:
    """The status of an example that has not converged: ended, foretold, handed over or running.

    The observed contraction foretells that the next iterate is the last, or is far from it. While
    its residual rises an example is not slow; a stage that does not wait for the end of it is lost.
    """
    status, contraction = _ended(solver, progress), progress.peak
    goes_on = (status == RUNNING) | (status == Status.MAX_STEPS)
    if solver.is_predictable:
        arrives = _expected(solver, progress) * progress.norm <= tolerance
        status = jnp.where(goes_on & arrives, FORETOLD, status)
    if hands_over is not False:
        lost = (status == Status.STAGNATED) | (status == Status.DIVERGED)
        left = jnp.maximum(progress.budget - progress.step.astype(progress.budget.dtype), _NEAR)
        slow = (progress.step >= _LOOK) & ~(contraction**left * progress.norm <= tolerance)
        rises, slow = contraction > _RISING, slow & (status == RUNNING)
        status = jnp.where(hands_over & slow & ~rises, HANDED, status)
        status = jnp.where(hands_over & (lost | (slow & rises & (not waits))), LOST, status)
    return status


def _expected(solver: Solver, progress: Progress) -> Float[Array, " batch"]:
    """By what factor the next residual is surely smaller; infinity where nothing is foretold."""
    size = jnp.asarray(trees.example_size(progress.z), progress.peak.dtype)
    rises = jnp.maximum(progress.peak / progress.rate, 1)
    expected = rises * progress.peak * (_CAUTION + _FLUCTUATION / jnp.sqrt(jnp.maximum(size, 1)))
    seen = progress.step >= max(_LOOK, 2 * solver.check_every)
    return jnp.where(seen & (expected < 1), expected, jnp.inf)


def is_drawn(
    progress: Progress, following: State, goal: State, far: Float[Array, " batch"]
) -> Bool[Array, " batch"]:
    """Whether plain steps lead to ``goal``: a number of them without growth end nearer to it.

    Args:
        progress: where the iteration stands.
        following: its next iterate.
        goal: what it may be drawn to.
        far: how far from there it began, as all distances in the maximum norm.
    """

    def nears():
        clear = (progress.step - progress.rose == _CLEAR) & (far > 0)
        before, after = (trees.largest(trees.subtract(z, goal)) for z in (progress.z, following))
        return clear & (after < before) & (after < far)

    # Of the whole loop known before it begins, so that nothing is asked at every step.
    return lax.cond(jnp.any(far > 0), nears, lambda: jnp.zeros_like(far, bool))


def is_sound(residual: Array, scale: Array) -> Bool[Array, " batch"]:
    """Whether a solve that ended with this residual is of any use; False for NaN and infinity."""
    return jnp.isfinite(scale) & (residual <= _TOLERATED * scale)


def resolve_rtol(rtol: float | None, z0: State) -> float:
    """The relative tolerance for states like ``z0``; warns of one that cannot be met."""
    eps = trees.coarsest_eps(z0)
    if rtol is None:
        return 2e-2 if eps > 1e-4 else 1e-5 if eps > 1e-10 else 1e-10
    if not is_traced(rtol) and 0 < rtol < eps:
        warnings.warn(
            f"rtol={rtol:g} is below the rounding {eps:.1e} of the state's dtype and cannot be met "
            "reliably; loosen it or use a wider dtype",
            stacklevel=2,
        )
    return rtol
