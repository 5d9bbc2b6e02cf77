"""The climate of the tests: no rank is promoted in silence, and annotated shapes are checked."""

import fnmatch
import gc
import importlib.metadata
import os
import warnings
from pathlib import Path

import jaxtyping
import pytest

_CACHE = Path(__file__).resolve().parent.parent / ".cache" / "jax"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
# Compiling is most of what the tests do. Some also run fully optimised: see .ci/run.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "true")
if importlib.metadata.version("jaxlib").startswith("0.10."):
    # Kernels of the older kind compile twice as fast; later versions abort at the flag. And
    # programs this small compile no faster in parallel parts.
    _QUICK = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    os.environ.setdefault("XLA_FLAGS", _QUICK)

# Only rooms of plain functions and modules. A registered pytree is rebuilt around leaves of any
# kind, and settings check themselves (1 is a fine rtol, 1.5 steps deserve deqzoo's own words).
_TYPED = ("deqzoo.nn", "deqzoo.core.spectral", "deqzoo.core.trees")
jaxtyping.install_import_hook(_TYPED, "beartype.beartype")

import jax  # noqa: E402  (after the settings above)


def pytest_addoption(parser):
    parser.addoption(
        "--one_in",
        type=int,
        default=1,
        help="run one case in so many of every file, from another one on in every file",
    )
    parser.addoption(
        "--rewrite_golden",
        action="store_true",
        help="record the defaults of all members anew, for tests/test_golden.py",
    )


UNNAMED = pytest.StashKey[dict[str, set[str]]]()


def pytest_itemcollected(item):
    """Of a test marked ``quick`` the cases that it does not name are slow."""
    quick = item.get_closest_marker("quick")
    if not quick:
        return
    named = {name for name in quick.args if fnmatch.fnmatchcase(item.callspec.id, name)}
    if not named:
        item.add_marker("slow")
    missing = item.config.stash.setdefault(UNNAMED, {})
    missing.setdefault(item.nodeid.partition("[")[0], set(quick.args)).difference_update(named)


def pytest_collection_finish(session):
    """A case that is called quick and is no longer there would be missed by nobody."""
    gc.freeze()  # thousands of tests, which no later collection has to look through
    missing = {
        test: names for test, names in session.config.stash.get(UNNAMED, {}).items() if names
    }
    if missing and not any("::" in each for each in session.config.args):
        raise pytest.UsageError(f"marked quick, but there is no such case: {missing}")


@pytest.hookimpl(trylast=True)  # what the markers leave
def pytest_collection_modifyitems(config, items):
    """Every file keeps a case at least."""
    share, files = config.getoption("--one_in"), {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    kept = {
        item
        for number, cases in enumerate(files.values())
        for item in cases[number % min(share, len(cases)) :: share]
    }
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = [item for item in items if item in kept]


def pytest_configure(config):
    """A cache entry cut short by an interrupted run is compiled again, not an error."""
    config.addinivalue_line("filterwarnings", "ignore:Error .*persistent compilation cache")


@pytest.fixture(autouse=True)
def _no_rank_promotion():
    with jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture(autouse=True, scope="module")
def _forget_programs():
    """Thousands of compiled programs would slow down every later test."""
    yield
    jax.clear_caches()
    gc.collect()


@pytest.fixture
def x64():
    """Float64 arrays are float64."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="session")
def outcome():
    """What a call gives, or the one line of an error of ours that it ends in."""

    def outcome(call):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                return call(), ""
        except Exception as error:
            assert type(error).__module__.startswith("deqzoo."), repr(error)  # noqa: PT017
            assert "\n" not in str(error), str(error)  # noqa: PT017
            return None, str(error)

    return outcome
