"""What another package brings: deqzoo's kit passes on it, and fails on each broken variant of it.

Its sources are in ``third_party/nursery``; the tests install them in a folder of their own.
"""

import shutil
import sys
import tomllib
from pathlib import Path

import jax.numpy as jnp
import optax
import pytest

from deqzoo import catalog, testing
from deqzoo.core import trees

SOURCE = Path(__file__).parent / "third_party" / "nursery"
CHECKS = {
    "activations": testing.check_activation,
    "solvers": testing.check_solver,
    "optimizers": testing.check_optimizer,
}


def install(site):
    """Put the package and what a wheel would say of it into a folder."""
    shutil.copytree(SOURCE / "nursery", site / "nursery")
    project = tomllib.loads((SOURCE / "pyproject.toml").read_text())["project"]
    about = site / "deqzoo_nursery-1.0.dist-info"
    about.mkdir()
    name, version = project["name"], project["version"]
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = []
    for group, members in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {target}" for name, target in members.items())]
    (about / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return project["entry-points"]


@pytest.fixture(scope="module", autouse=True)
def brought(tmp_path_factory):
    """Group -> names of what the package brings."""
    site = tmp_path_factory.mktemp("site")
    entry_points = install(site)
    sys.path.insert(0, str(site))
    yield {group.removeprefix("deqzoo."): members for group, members in entry_points.items()}
    sys.path.remove(str(site))
    for module in [name for name in sys.modules if name.partition(".")[0] == "nursery"]:
        del sys.modules[module]


@pytest.mark.parametrize("group", CHECKS)
def test_the_kit_passes_on_what_it_brings(brought, group):
    for name in brought[group]:
        assert name in catalog.__dict__[group].names()
        CHECKS[group](name)


# Broken variants, each by a single change.


def breaks(group, name, **changes):
    """A member with some of its methods replaced."""
    whole = type(catalog.__dict__[group].get(name))
    return type(f"Broken{whole.__name__}", (whole,), changes)()


def mixing(self, evaluation):
    largest = jnp.maximum(jnp.max(evaluation.norm), jnp.finfo(evaluation.norm.dtype).tiny)
    return 0.5 + 0.4 * evaluation.norm / largest


def absolute(self, evaluation):
    return jnp.where(evaluation.norm > 1e-3, 0.9, 0.5)


def backwards(self, evaluation, memory):
    return trees.subtract(
        evaluation.z, trees.scale(0.1 + 0 * evaluation.norm, evaluation.residual)
    ), ()


BROKEN = [
    ("activations", "bent", {"slope": (0.5, 1.6)}, "slope supremum: declared 1.6, measured 1.5"),
    ("activations", "bent", {"curvature": 0.4}, "curvature: declared 0.4, measured 0.5"),
    ("activations", "bent", {"__eq__": lambda a, b: a is b}, "settings are values"),
    ("activations", "bent", {"primitive": lambda self, x: x}, "primitive"),
    ("solvers", "relaxed", {"factor": mixing}, "batch mates change nothing"),
    ("solvers", "relaxed", {"factor": absolute}, "the path does not depend on the scale float32"),
    ("solvers", "relaxed", {"step": backwards}, "is solved in float32 linear"),
    ("solvers", "relaxed", {"__post_init__": lambda self: None}, "impossible settings are refused"),
    ("optimizers", "nadam", {"transform": lambda self, rate: optax.set_to_zero()}, "minimises"),
    ("optimizers", "nadam", {"transform": lambda self, rate: optax.sgd(0.1)}, "ends at zero"),
]


@pytest.mark.parametrize(
    ("group", "name", "changes", "named"), BROKEN, ids=[f"{b[0]}-{i}" for i, b in enumerate(BROKEN)]
)
def test_a_broken_variant_is_caught_and_named(group, name, changes, named):
    with pytest.raises(AssertionError) as caught:
        CHECKS[group](breaks(group, name, **changes))
    assert f"Broken{type(catalog.__dict__[group].get(name)).__name__}" in str(caught.value)
    assert named in str(caught.value)


def sloppy(self, product, rhs, guess, *, goal=None, limit=None):
    answer = type(self).__mro__[1].solve(self, product, rhs, guess, goal=goal, limit=limit)
    return answer._replace(value=trees.scale(1.001 + 0 * answer.stats.residual, answer.value))


def test_what_the_house_brings_can_fail_too():
    with pytest.raises(AssertionError, match="its residual is the measured one"):
        testing.check_linear_solver(breaks("linear_solvers", "gmres", solve=sloppy))
    with pytest.raises(AssertionError, match="that of a dense solve float64"):
        testing.check_exact_adjoint("phantom")
    unweighted = breaks(
        "regularizers", "jacobian_norm", __call__=lambda self, *a: self.penalty(*a).sum()
    )
    with pytest.raises(AssertionError, match="the weighted mean of the penalties"):
        testing.check_regularizer(unweighted)


def test_the_kit_needs_no_pytest():
    sources = Path(testing.__file__).parent.glob("*.py")
    assert not [source.name for source in sources if "import pytest" in source.read_text()]
