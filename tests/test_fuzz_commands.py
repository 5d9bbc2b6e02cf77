"""Thousands of drawn command lines: done, or refused in one line with the promised exit code."""

import contextlib
import io
import resource
import sys
import types
import typing
import warnings
from pathlib import Path

import jax
import pytest
from absl import flags
from hypothesis import given, settings
from hypothesis import strategies as st

import launch.certify
import launch.distill
import launch.evaluate
import launch.export
import launch.list
import launch.sweep
import launch.train
from deqzoo import catalog
from deqzoo.sweeps.sweep import Sweep
from deqzoo.training import RunOptions, TrainConfig, train
from deqzoo.training.training import Training
from launch import _command, _compilation_cache

pytestmark = pytest.mark.slow
FUZZ = settings(
    max_examples=1000,
    derandomize=True,
    database=None,
    deadline=None,
    report_multiple_bugs=False,
)
ROOM = 2**32  # bytes of address space that a command may take
SMALL = {"task": "sphere(examples=16, dimension=3)", "width": 4, "batch_size": "8", "steps": 1}


class ReadyError(Exception):
    """Nothing is left but the work itself."""


def ready(*_, **__):
    raise ReadyError


CONFIGS = {
    "train": (TrainConfig, RunOptions),
    "sweep": (TrainConfig, launch.sweep.SweepConfig),
    "certify": (launch.certify.CertifyConfig,),
    "distill": (launch.distill.DistillConfig,),
    "evaluate": (launch.evaluate.EvaluateConfig,),
    "export": (launch.export.ExportConfig,),
    "list": (launch.list.ListConfig,),
}
TEXTS = st.one_of(
    st.sampled_from(["", " ", "0", "-1", "none", "true", "run", "nowhere", "run/config.json"]),
    st.sampled_from(["~nobody/x", "s3://b/x", "a[b]", "[/x]", "$x$", "\\", "x" * 300, "é"]),
    st.sampled_from(["/dev/null", "picard", "auto", "gelu", "wide", "adam(learning_rate=0.1)"]),
    st.sampled_from(["implicit(solver='lu')", "unrolled", "npz:nowhere.npz", "data:1", "data:2"]),
    st.sampled_from([*catalog.solvers.names(), *catalog.adjoints.names(), "digits"]),
    st.sampled_from(["relu(", "f(g(h))", "elu(alpha=nan)", "anderson(history=10**9)", "3:1"]),
    st.sampled_from(["square", "cross_entropy", "full", "certified", "float64", "best", "0,0"]),
    st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=12),
)
NUMBERS = st.one_of(
    st.integers(-2, 40).map(str),
    st.floats().map(str),
    st.sampled_from(["1e400", "nan", "inf", "-inf", "1_000", "0x10", "9" * 400, str(2**63), "1e9"]),
)
SWITCHES = st.sampled_from(["true", "false", "1", "0", "maybe", "", "None"])


def _values(hint):
    """Mostly of the kind that a flag takes, and sometimes of any."""
    hints = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    fits = {int: NUMBERS, float: NUMBERS, bool: SWITCHES}
    own = next((fits[each] for each in hints if each in fits), TEXTS)
    return st.one_of(own, own, own, TEXTS, NUMBERS)


def _options(name):
    hints = [typing.get_type_hints(config) for config in CONFIGS[name]]
    return {flag: hint for each in hints for flag, hint in each.items()}


@st.composite
def command_lines(draw):
    """A command and its arguments."""
    name = draw(st.sampled_from([*CONFIGS, "train", "train"]))
    options = _options(name)
    chosen = draw(st.lists(st.sampled_from([*options]), max_size=4, unique=True))
    given = {flag: draw(_values(options[flag])) for flag in chosen}
    if name in ("train", "sweep"):  # else every line is about the default task
        given = {**{flag: str(value) for flag, value in SMALL.items()}, **given}
    if name in ("evaluate", "export"):
        given = {"workdir": "run", **given}
    extra = draw(st.lists(st.one_of(TEXTS, st.just("--nonsense=1")), max_size=1))
    lead = draw(st.sampled_from([[], [], [], [], [], [], extra]))
    return name, [*(f"--{flag}={value}" for flag, value in given.items()), *lead]


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A folder with a run, and commands that stop before the work begins."""
    folder = tmp_path_factory.mktemp("commands")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        list(train(TrainConfig(workdir="run", **SMALL)))
        for owner, work in (
            (Training, "_build"),
            (Sweep, "run"),
            (launch.certify, "_start"),
            (launch.distill, "distill"),
            (launch.evaluate, "evaluate"),
            (launch.export, "build_artefact"),
        ):
            patch.setattr(owner, work, ready)
        patch.setattr(_command, "leave_on_signals", lambda _: None)
        patch.setattr(_compilation_cache, "keep", lambda: None)
        yield folder


def run(name, arguments):
    """(exit code, what stands in stderr), or None where nothing is left but the work."""
    module = sys.modules[f"launch.{name}"]
    out, err = io.StringIO(), io.StringIO()
    before = flags.FLAGS.__dict__["__flags"].copy()
    with contextlib.ExitStack() as stack:
        stack.enter_context(pytest.MonkeyPatch.context()).setattr(sys, "argv", [name, *arguments])
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(err))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore", UserWarning)
        try:
            module.main()
        except ReadyError:
            return None
        except SystemExit as ended:
            return ended.code, err.getvalue()
        finally:
            _forget_flags(before)
            sys.unraisablehook = sys.__unraisablehook__
            jax.config.update("jax_enable_x64", False)


def _forget_flags(before):
    for flag in [each for each in flags.FLAGS if each not in before]:
        delattr(flags.FLAGS, flag)
    flags.FLAGS.unparse_flags()


@contextlib.contextmanager
def bounded_memory():
    """What asks for more ends in MemoryError."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ROOM, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@FUZZ
@given(line=command_lines())
def test_a_command_line_is_carried_out_or_refused_in_one_line(line, here):
    with bounded_memory():
        ended = run(*line)
    if ended is None:
        return
    code, told = ended
    assert code in (0, 1, 2, 75), (line, ended)
    assert "Traceback" not in told
    assert told == "" if code in (0, 75) else told.startswith("error: "), (line, ended)
    assert told.count("\n") <= 2, (line, told)
