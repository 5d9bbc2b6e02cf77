"""In a notebook: importing changes nothing; every result fits a screen and is sound HTML."""

import dataclasses
import functools
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import activations
import deqzoo
from deqzoo.analysis.finding import Finding
from deqzoo.analysis.report import Examined, Report
from deqzoo.analysis.sections import SECTIONS, Result
from deqzoo.models.classifier import Classifier

LINES, COLUMNS = 24, 100
PUBLIC = {
    "identify",
    "translate",
    "Activation", "Backward", "DEQ", "FixedPointError", "Run", "Solution", "Split", "Stats",
    "Status", "convert", "create_model", "evaluate", "export", "fit", "fixed_point", "generate",
    "list_models", "list_pretrained", "load", "load_exported", "load_run", "restore", "save",
    "save_pretrained", "theory",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Many(Finding):
    """More facts than a screen has lines."""

    healthy = "-"
    facts = {f"fact number {i} <of many>": i / 3 for i in range(100)}
    seen = "-"

    def draw(self, path):
        return path


def solution():
    rate = jnp.linspace(0.1, 2.0, 200)[:, None].at[7].set(jnp.nan)
    fn = lambda z, rate: rate * z + 1  # noqa: E731
    return deqzoo.fixed_point(fn, jnp.zeros((200, 1)), rate, solver="picard(max_steps=40)")


def certificate():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((4, 8)), rng.standard_normal(4)
    return deqzoo.theory.certified_start(activations.get("tanh"), x, y, width=64).certificate


@functools.cache
def run():
    x = np.random.default_rng(0).standard_normal((20, 4))
    model = Classifier((4,), 2, activation="tanh", width=8, rngs=nnx.Rngs(0))
    done = deqzoo.fit(model, (x, (x[:, 0] > 0).astype(int)), steps=2, batch_size=4)
    place = Path("/a folder", *["with a long name"] * 20)
    return dataclasses.replace(done, steps=tuple(range(0, 10**6, 1000))), place


def evaluation():
    done, _ = run()
    x = np.random.default_rng(1).standard_normal((20, 4))
    others = [f"picard(max_steps={n}, rtol=1e-6, predict=False)" for n in range(2, 9)]
    return deqzoo.evaluate(done.model, (x, np.arange(20) % 2), solvers=others)


def report():
    done, place = run()
    moved = dataclasses.replace(done, path=place)
    result = Result(SECTIONS[0], Many())
    return Report(tuple(Examined(f"run {i} & more", moved, (result,)) for i in range(6)))


RESULTS = {
    "solution": solution,
    "stats": lambda: solution().stats,
    "certificate": certificate,
    "run": lambda: run()[0],
    "run elsewhere": lambda: dataclasses.replace(run()[0], path=run()[1]),
    "evaluation": evaluation,
    "report": report,
}


@pytest.mark.quick("certificate", "run", "solution", "stats")
@pytest.mark.parametrize("name", RESULTS)
def test_a_result_fits_a_screen_and_is_a_table_in_a_notebook(name):
    result = RESULTS[name]()
    lines = repr(result).splitlines()
    assert 2 <= len(lines) <= LINES
    assert max(map(len, lines)) <= COLUMNS
    title, table = ElementTree.fromstring(f"<div>{result._repr_html_()}</div>")
    assert (title.tag, table.tag) == ("b", "table")
    assert "".join(title.itertext()).startswith(lines[0].removesuffix(" ..."))
    assert 1 <= len(table) <= LINES
    assert all([cell.tag for cell in row] == ["th", "td"] for row in table)


def test_a_run_shows_every_split_and_its_bound():
    text = " ".join(repr(run()[0]).split())
    for shown in ("train loss", "validation loss", "test loss", "accuracy", "bound 0."):
        assert shown in text


def test_the_package_shows_exactly_its_public_names():
    assert {name for name in dir(deqzoo) if name != "__version__"} == PUBLIC == {*deqzoo.__all__}
    assert all(hasattr(deqzoo, name) for name in dir(deqzoo))  # and still when all are imported
    assert {*dir(deqzoo)} == PUBLIC | {"__version__"}


def in_a_new_process(code, *arguments):
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=300
    )


QUIET = """
import atexit, sys
import matplotlib
matplotlib.use("svg")
{libraries}

registered, opened, own = [], [], atexit.register
def register(fn, *args, **kwargs):
    registered.append(sys._getframe(1).f_globals["__name__"])
    return own(fn, *args, **kwargs)
atexit.register = register

def hook(event, arguments):
    if event == "open":
        opened.append(str(arguments[0]))
sys.addaudithook(hook)

import deqzoo
{names}
del hook, register
print([each for each in registered if each.startswith("deqzoo")])
print([each for each in opened if "deqzoo/" in each and not each.endswith((".py", ".pyc"))])
print(matplotlib.get_backend())
"""


def test_importing_prints_nothing_reads_no_data_and_registers_nothing():
    libraries = "import jax, flax.nnx, optax, orbax.checkpoint, rich"
    names = "\n".join(f"deqzoo.{name}" for name in sorted(PUBLIC))
    done = in_a_new_process(QUIET.format(libraries=libraries, names=names))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["[]", "[]", "svg"]


def test_the_import_starts_no_device_and_leaves_matplotlib_out():
    code = """
import deqzoo, jax._src.xla_bridge as bridge, sys
assert "matplotlib" not in sys.modules
assert not bridge.backends_are_initialized()
"""
    done = in_a_new_process(code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_drawing_leaves_the_backend_alone(tmp_path):
    code = """
import sys, matplotlib
matplotlib.use("svg")
import deqzoo, deqzoo.analysis.figure, deqzoo.analysis.report
from pathlib import Path
with deqzoo.analysis.figure.figure(Path(sys.argv[1]), 1, 2, (4, 2)) as (_, axes):
    axes[0, 1].plot([0, 1])
assert matplotlib.get_backend() == "svg", matplotlib.get_backend()
"""
    done = in_a_new_process(code, str(tmp_path / "a.png"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.png").stat().st_size > 0
