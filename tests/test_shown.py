"""Results fit a screen, say how they ended, and are tables in a notebook."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

import deqzoo
from deqzoo.shown import Shown, Table


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
    assert "77 more" in lines[-1]
    assert max(map(len, lines)) <= 80


def test_the_package_shows_its_public_names_alone():
    assert {"fixed_point", "DEQ", "Activation", "load_run"} <= {*dir(deqzoo)}
    assert not {"Any", "TYPE_CHECKING", "importlib", "_LAZY"} & {*dir(deqzoo)}
    assert all(hasattr(deqzoo, name) for name in dir(deqzoo))


def test_importing_and_drawing_leave_the_backend_of_a_notebook_alone(tmp_path):
    code = """
import sys, matplotlib
matplotlib.use("svg")
import deqzoo, deqzoo.analysis.figure, deqzoo.analysis.report
from pathlib import Path
with deqzoo.analysis.figure.figure(Path(sys.argv[1]), 1, 2, (4, 2)) as (_, axes):
    axes[0, 1].plot([0, 1])
assert matplotlib.get_backend() == "svg", matplotlib.get_backend()

"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.png")], check=True)
    assert (tmp_path / "a.png").stat().st_size > 0
