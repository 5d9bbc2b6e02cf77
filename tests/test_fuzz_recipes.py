"""Thousands of drawn recipes: a member that is what was asked for, or one sentence."""

import dataclasses
import math
import resource

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deqzoo import catalog

pytestmark = pytest.mark.slow
FUZZ = settings(
    max_examples=3000, derandomize=True, database=None, deadline=None, report_multiple_bugs=False
)
ROOM = 2**31  # bytes that a whole test may take more than what was there

BUILT_BY_MORE = ("models", "commands")  # than a recipe
CATALOGS = [each for each in catalog.ALL if each.group not in BUILT_BY_MORE]
MEMBERS = [
    (each, name, [*catalog.signature(each.load(name)).parameters])
    for each in CATALOGS
    for name in each.names()
]
ODD_TEXT = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["", " ", "(", ")", "relu(", "None", "$x$", "[/b]", "\0", "\ud800", "a" * 500]),
    st.sampled_from(["picard", "implicit(solver='picard')", "gmres", "digits", "npz:/dev/zero"]),
)
NUMBERS = st.one_of(
    st.integers(-3, 300),
    st.floats(),
    st.sampled_from([0, 1, -1, 0.5, 1e-300, 1e300, 10**18, 10**400, 2**63, True, False, 1j]),
)
VALUES = st.recursive(
    st.one_of(NUMBERS, ODD_TEXT, st.none(), st.binary(max_size=4), st.just(...)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.dictionaries(st.text(max_size=3), inner, max_size=2),
        st.frozensets(st.integers(), max_size=2),
    ),
    max_leaves=4,
)


@st.composite
def recipes(draw):
    """A catalog, and text that looks more or less like a recipe of it."""
    kind, name, known = draw(st.sampled_from(MEMBERS))
    if draw(st.integers(0, 9)) == 0:
        return kind, draw(ODD_TEXT)
    keys = st.one_of(st.sampled_from([*known, "x"]), st.text("abc_1", min_size=1, max_size=4))
    given = draw(st.dictionaries(keys, VALUES, max_size=3))
    args = [repr(each) for each in draw(st.lists(VALUES, max_size=1))]
    return kind, f"{name}({', '.join([*args, *(f'{k}={v!r}' for k, v in given.items())])})"


def is_ours(error):
    return type(error).__module__.split(".")[0] in ("deqzoo", "activations", "launch")


def honest(member, name, value):
    """Whether an accepted value is kept as what it is."""
    kept = getattr(member, name)
    kinds = (bool, int, float, str, type(None))
    if not isinstance(value, kinds) or not isinstance(kept, kinds):
        return True
    if isinstance(kept, bool) or isinstance(value, bool):
        return kept is value
    return kept == value and not (isinstance(kept, float) and math.isnan(kept))


def refusal(call):
    """What comes of a call, and the error if it fails."""
    try:
        return call(), None
    except Exception as error:
        return None, error


@FUZZ
@given(recipes())
def test_a_recipe_gives_what_it_says_or_one_sentence(drawn):
    kind, text = drawn
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    member, error = refusal(lambda: kind.get(text))
    assert 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) < ROOM
    if error is not None:
        assert is_ours(error), repr(error)
        assert "\n" not in str(error), str(error)
        assert len(str(error)) < 1500, str(error)
        return
    hash(member)
    if dataclasses.is_dataclass(member):
        for name, value in catalog.Recipe.parse(text).kwargs.items():
            assert honest(member, name, value), (text, name)
