"""What another package brings: deqzoo's kit passes on it, and fails on each broken variant of it.

Its sources are in ``third_party/nursery``; the tests install them in a folder of their own.
"""

import functools
import json
import os
import shutil
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from deqzoo import catalog, load_run, testing
from deqzoo.core import trees
from deqzoo.data.examples import Split
from deqzoo.nn.guarantee import Guarantee
from deqzoo.training import TrainConfig, Training

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "tests" / "third_party" / "nursery"
PROJECT = tomllib.loads((SOURCE / "pyproject.toml").read_text())["project"]
CHECKS = {
    "activations": testing.check_activation,
    "metrics": testing.check_metric,
    "optimizers": testing.check_optimizer,
    "sinks": testing.check_sink,
    "solvers": testing.check_solver,
    "tasks": testing.check_task,
}
# The models, each with a task whose examples it takes. All but the first are for the slow tests.
TASKS = dict.fromkeys(("conv", "two_branch", "norm_stem", "banded"), "rings")
TASKS |= {"messages": "strands", "next_token": "chant"}
BROUGHT = [
    pytest.param(
        group, name, marks=[pytest.mark.slow] * (group == "models" and name != "conv"), id=name
    )
    for group, members in (
        (group.removeprefix("deqzoo."), members)
        for group, members in PROJECT["entry-points"].items()
    )
    for name in members
]
LIVES = [
    pytest.param(name, task, marks=[pytest.mark.slow] * (name != "conv"), id=name)
    for name, task in TASKS.items()
]
SETTINGS = {
    "solver": "picard",
    "adjoint": "implicit(solver='picard')",
    "batch_size": "16",
    "steps": 4,
    "log_every": 1,
    "eval_every": 2,
    "checkpoint_every": 2,
    "width": None,
}


def install(site):
    """Put the package and what a wheel would say of it into a folder."""
    shutil.copytree(SOURCE / "nursery", site / "nursery")
    name, version = PROJECT["name"], PROJECT["version"]
    about = site / f"{name.replace('-', '_')}-{version}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = []
    for group, members in PROJECT["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {target}" for name, target in members.items())]
    (about / "entry_points.txt").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module", autouse=True)
def site(tmp_path_factory):
    """The folder that the package is installed in."""
    folder = tmp_path_factory.mktemp("site")
    install(folder)
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))
    for module in [name for name in sys.modules if name.partition(".")[0] == "nursery"]:
        del sys.modules[module]


# The kit.


@pytest.mark.quick("bent", "brier", "nadam", "chant", "strands", "rings")
@pytest.mark.parametrize(("group", "name"), BROUGHT)
def test_the_kit_passes_on_what_it_brings(group, name):
    room = getattr(catalog, group)
    assert name in room.names()
    if group == "models":
        quick = f"{name}(solver='picard', adjoint=\"implicit(solver='picard')\")"
        testing.check_model(quick, task=TASKS[name])
    else:
        CHECKS[group](name)


# Broken variants, each by a single change.


def breaks(group, name, **changes):
    """A member with some of its methods replaced."""
    whole = type(getattr(catalog, group).get(name))
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


def unmasked(self, outputs, targets):
    error, kept = type(self).__mro__[1].entries(self, outputs, targets)
    return error, jnp.ones_like(kept)


def centred(self, outputs, targets):
    error, kept = type(self).__mro__[1].entries(self, outputs, targets)
    return error - jnp.mean(error), kept


BROKEN = [
    ("metrics", "brier", {"entries": unmasked}, "an entry without a label changes nothing"),
    ("metrics", "brier", {"entries": centred}, "parts add up to the whole"),
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


@pytest.mark.quick("activations-*", "metrics-*", "optimizers-*", "solvers-8", "solvers-9")
@pytest.mark.parametrize(
    ("group", "name", "changes", "named"), BROKEN, ids=[f"{b[0]}-{i}" for i, b in enumerate(BROKEN)]
)
def test_a_broken_variant_is_caught_and_named(group, name, changes, named):
    with pytest.raises(AssertionError) as caught:
        CHECKS[group](breaks(group, name, **changes))
    assert f"Broken{type(getattr(catalog, group).get(name)).__name__}" in str(caught.value)
    assert named in str(caught.value)


def pooled(self, x):
    own = type(self).__mro__[1].stem(self, x)
    return own + 0.1 * jnp.mean(own, axis=0, keepdims=True)


BROKEN_MODELS = [
    ({"stem": pooled}, "no example sees its neighbours"),
    ({"head": lambda self, z: jnp.mean(z, axis=(1, 2))}, "outputs are finite and of the promised"),
    ({"stem": lambda self, x: jax.lax.stop_gradient(self.inputs(x))}, "has a finite gradient"),
    ({"guarantees": lambda self: (Untrue(),)}, "what it guarantees holds at the start"),
]


class Untrue(Guarantee):
    """Twice the largest number of the head."""

    quantity, claim, theorem, source = "2 max |A|", "small", "nothing", "nobody"
    hypotheses = ()

    def bound(self, parameters):
        return 2 + jnp.max(jnp.abs(parameters["outputs"]["kernel"]))


@pytest.mark.quick("changes1-outputs are finite and of the promised")
@pytest.mark.parametrize(("changes", "named"), BROKEN_MODELS)
def test_a_broken_model_is_caught_and_named(changes, named):
    whole = catalog.models.load("conv")
    broken = type("BrokenConv", (whole,), changes)
    picard = {"solver": "picard", "adjoint": "implicit(solver='picard')"}
    with pytest.raises(AssertionError, match=f"BrokenConv.*{named}"):
        testing.check_model(functools.partial(broken, **picard), task="rings")


def overlapping(self):
    data = type(self).__mro__[1].read(self)
    return replace(data, test=Split(data.train.x[:5], data.train.y[:5]))


def unsteady(self):
    data = type(self).__mro__[1].read(self)
    return replace(data, train=Split(data.train.x + np.random.default_rng().random(), data.train.y))


def mislabelled(self):
    return replace(type(self).__mro__[1].read(self), classes=1)


@pytest.mark.parametrize(
    ("read", "named"),
    [
        (overlapping, "of 87 examples of the train split are in the test split"),
        (unsteady, "the fingerprints of two loads are"),
        (mislabelled, "labels must be integers"),
    ],
)
def test_a_broken_task_is_caught_and_named(read, named):
    with pytest.raises(AssertionError, match=named):
        testing.check_task(breaks("tasks", "rings", read=read))


def sloppy(self, product, rhs, guess, *, goal=None, limit=None):
    answer = type(self).__mro__[1].solve(self, product, rhs, guess, goal=goal, limit=limit)
    return answer._replace(value=trees.scale(1.001 + 0 * answer.stats.residual, answer.value))


@pytest.mark.slow
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


# A whole life.


def trained(path, model, task, *stops):
    """The state of a run that was interrupted after each of these steps."""
    config = TrainConfig(model=model, task=task, workdir=str(path), **SETTINGS)
    for stop in (*stops, config.steps):
        training = Training(config)
        lines = list(training.reports(lambda step, stop=stop: step >= stop))
        state = jax.tree.map(np.asarray, training.state)
        training.close()
    assert all(np.isfinite(line["loss"]) for line in lines if "loss" in line)
    return state


@pytest.mark.parametrize(("model", "task"), LIVES)
def test_it_trains_resumes_bit_for_bit_and_loads(model, task, tmp_path):
    whole = trained(tmp_path / "whole", model, task)
    halves = trained(tmp_path / "halves", model, task, 2)
    chex.assert_trees_all_equal(whole, halves)
    test = catalog.tasks.get(task).load().test
    outputs, solution = load_run(tmp_path / "whole").model(jax.tree.map(lambda a: a[:3], test.x))
    chex.assert_tree_all_finite(outputs)
    assert solution.stats.steps.shape == (3,)


COMMANDS = """
import json, sys
from absl import flags
from launch.__main__ import main
for line in json.loads(sys.argv[1]):
    sys.argv = ["deqzoo", *line]
    try:
        main()
    except SystemExit as ended:
        if ended.code:
            raise
    for flag in list(flags.FLAGS):
        if not flags.FLAGS.find_module_defining_flag(flag).startswith("absl"):
            delattr(flags.FLAGS, flag)
    flags.FLAGS.unparse_flags()
"""


@pytest.mark.slow
@pytest.mark.parametrize("model", ["conv", "messages", "next_token"])  # one for every task
def test_every_command_takes_it(site, model, tmp_path):
    """Of the first model in processes of their own, of the others one after the other in one."""
    flags = [f"--{name}={value}" for name, value in SETTINGS.items() if value is not None]
    flags += [f"--model={model}", f"--task={TASKS[model]}"]
    lines = [
        ["train", "--workdir=run", *flags],
        ["evaluate", "--workdir=run"],
        ["export", "--workdir=run", "--calls=0"],
        ["analyze", "--workdir=run", "--examples=16"],
        ["sweep", "--workdir=sweep", "--seeds=2", *flags],
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(site)])}
    for processed in [[line] for line in lines] if model == next(iter(TASKS)) else [lines]:
        command = [sys.executable, "-c", COMMANDS, json.dumps(processed)]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, done.stderr
    for file in ("evaluation.json", "model.stablehlo", "report.html"):
        assert (tmp_path / "run" / file).is_file(), file
