"""Results fit a screen, say how they ended, and are tables in a notebook."""

import jax
import jax.numpy as jnp
import pytest

import deqzoo
from deqzoo.analysis.report import Report
from deqzoo.core.solution import Solution, Stats
from deqzoo.runs.evaluation import Evaluation
from deqzoo.runs.run import Run
from deqzoo.shown import Shown, Table
from deqzoo.theory import Certificate


@pytest.fixture(scope="module")
def solution():
    rate = jnp.array([[0.1], [0.5], [2.0]])
    fn = lambda z, rate: rate * z + 1  # noqa: E731
    return deqzoo.fixed_point(fn, jnp.zeros((3, 1)), rate, solver="picard(max_steps=40)")


def test_a_solution_says_how_its_examples_ended(solution):
    text = repr(solution)
    assert "float32(3, 1)" in text
    assert "2 CONVERGED, 1 DIVERGED" in text
    assert deqzoo.Status.DIVERGED.advice.split()[0] in text
    assert all(len(line) <= 80 for line in text.splitlines())


@pytest.mark.parametrize("kind", [Certificate, Evaluation, Report, Run, Solution, Stats])
def test_no_result_shows_its_fields_instead(kind):
    assert kind.__repr__ is Shown.__repr__


def test_a_solution_shows_itself_while_it_is_traced():
    seen = []

    def traced(x):
        found = deqzoo.fixed_point(lambda z, x: 0.5 * z + x, x, x)
        seen.append(repr(found))
        return found.value

    jax.jit(traced)(jnp.ones((2, 3)))
    assert "not known yet" in seen[0]


def test_no_examples():
    found = deqzoo.fixed_point(lambda z, x: 0.5 * z + x, jnp.ones((0, 3)), jnp.ones((0, 3)))
    assert "none" in repr(found)


def test_a_notebook_gets_a_table_with_its_signs_escaped():
    class Result(Shown):
        def shown(self):
            return Table("a < b", (("name", "<b>"),))

    html = Result()._repr_html_()
    assert "a &lt; b" in html
    assert "&lt;b&gt;" in html


def test_a_long_table_fits_a_screen():
    rows = tuple((f"row {i}", "x") for i in range(100))
    lines = str(Table("many", rows)).splitlines()
    assert "78 more" in lines[-1]
    assert max(map(len, lines)) <= 80
