"""Statuses advise, and ``check`` raises on the host with the numbers that matter."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import deqzoo
from deqzoo import FixedPointError, Solution, Stats, Status
from deqzoo.runs.failures import failures


def solution(*kinds, residual=0.25):
    """One example of each kind, with distinct step counts."""
    count = len(kinds)
    return Solution(
        jnp.zeros((count, 2)),
        Stats(
            steps=jnp.arange(1, count + 1),
            residual=jnp.full(count, residual),
            relative_residual=jnp.full(count, residual),
            status=jnp.array([kind.value for kind in kinds]),
            rate=jnp.full(count, 0.8),
        ),
    )


FAILURES = [kind for kind in Status if kind.is_failure]


def test_every_status_has_its_own_advice():
    advice = {kind.advice for kind in Status}
    assert len(advice) == len(Status)
    assert all(text.endswith(".") for text in advice)


@pytest.mark.parametrize(
    ("kind", "remedies"),
    [
        (Status.MAX_STEPS, ["raise max_steps", "loosen rtol", "anderson", "set atol"]),
        (Status.STAGNATED, ["spectral radius 1 or more", r"L * ||W||_2 < 1", "newton_krylov"]),
        (Status.FLOOR, ["loosen rtol", "wider dtype"]),
        (Status.MISSED, ["predict=False"]),
        (Status.DIVERGED, ["does not contract", "below 1/L", "damp"]),
        (Status.NONFINITE, ["NaN or infinity", "non-finite inputs or parameters"]),
    ],
)
def test_advice_names_cause_and_remedy(kind, remedies):
    for remedy in remedies:
        assert remedy in kind.advice
        with pytest.raises(FixedPointError, match=re.escape(remedy)):
            solution(kind).check()


def test_check_returns_the_solution_itself_when_all_converged():
    good = solution(Status.CONVERGED, Status.CONVERGED)
    assert good.check() is good


def test_check_counts_the_failures_of_each_kind_and_names_the_first():
    mixed = solution(Status.CONVERGED, Status.STAGNATED, Status.NONFINITE, Status.STAGNATED)
    with pytest.raises(FixedPointError) as caught:
        mixed.check()
    stagnated, nonfinite = str(caught.value).splitlines()
    assert stagnated.startswith(
        "2 of 4 examples ended STAGNATED (first: example 1; "
        "worst relative residual 2.5e-01 after 4 steps; its residual last changed by a factor of "
        "0.8 per step): "
    )
    assert nonfinite.startswith("1 of 4 examples ended NONFINITE (first: example 2;")


def test_check_reports_a_nan_residual_as_nan():
    with pytest.raises(FixedPointError, match="worst relative residual nan"):
        solution(Status.NONFINITE, residual=np.nan).check()


def test_fraction_converged_is_a_mean_over_examples():
    assert solution(Status.CONVERGED, *FAILURES).stats.fraction_converged == pytest.approx(1 / 7)
    assert solution(Status.CONVERGED).stats.fraction_converged == 1
    assert solution(*FAILURES).stats.fraction_converged == 0


def test_what_was_not_solved_neither_converged_nor_failed():
    explicit = solution(Status.EXPLICIT, Status.EXPLICIT, residual=0.0)
    assert explicit.check() is explicit
    assert "2 EXPLICIT" in str(explicit)
    assert "CONVERGED" not in str(explicit)
    assert failures(explicit.stats) == ()
    assert explicit.stats.fraction_converged == 1  # of none
    mixed = solution(Status.EXPLICIT, Status.CONVERGED, Status.DIVERGED)
    assert mixed.stats.fraction_converged == 0.5


def test_a_solution_passes_through_jit_and_tree_map():
    original = solution(Status.CONVERGED, Status.MAX_STEPS)
    same = jax.jit(lambda s: s)(original)
    assert isinstance(same, Solution)
    assert len(jax.tree.leaves(same)) == 6
    doubled = jax.tree.map(lambda leaf: 2 * leaf, same)
    np.testing.assert_array_equal(doubled.stats.steps, [2, 4])


def test_a_real_failure_is_described():
    slow = deqzoo.fixed_point(
        lambda z, x: 0.99 * z + x,
        jnp.zeros((2, 3)),
        jnp.ones((2, 3)),
        solver="picard(max_steps=7)",
    )
    with pytest.raises(FixedPointError, match=r"2 of 2 examples ended MAX_STEPS .*after 7 steps"):
        slow.check()


def rooted(x, slope=0.5):
    cell = lambda z, x: slope * z + x  # noqa: E731
    return deqzoo.fixed_point(cell, jnp.zeros_like(x), x, solver="picard").throw().value


def test_throw_lets_a_compiled_program_fail_and_a_good_one_pass():
    x = jnp.ones((3, 2))
    np.testing.assert_allclose(jax.jit(rooted)(x), 2.0, rtol=1e-4)
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(rooted(x))))(x)
    np.testing.assert_allclose(gradient, 2.0, rtol=1e-4)
    with pytest.raises(jax.errors.JaxRuntimeError, match="3 of 3 examples ended DIVERGED"):
        jax.block_until_ready(jax.jit(lambda x: rooted(x, 1.5))(x))
    with pytest.raises(deqzoo.FixedPointError, match="3 of 3 examples ended DIVERGED"):
        rooted(x, 1.5)


def test_throw_under_vmap_names_the_batch_that_failed():
    slopes = jnp.array([0.5, 1.5])
    with pytest.raises(jax.errors.JaxRuntimeError, match="1 of 1 examples ended DIVERGED"):
        jax.block_until_ready(jax.jit(jax.vmap(rooted, (None, 0)))(jnp.ones((1, 2)), slopes))
