"""A setting is of its declared kind and within its range, wherever it comes from, or refused."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deqzoo.settings import In, OneOf, SettingError, validate


class Shape:
    """A kind of one's own."""


class Drawn(Protocol):
    """What a type checker alone can tell."""

    def draw(self) -> None: ...


@dataclass(frozen=True)
class Every:
    """A setting of every kind."""

    whole: Annotated[int, In("[1, 2^31)")] = 1
    many: Annotated[int, In("[0, inf)")] = 0
    share: Annotated[float, In("(0, 1]")] = 0.5
    size: Annotated[float, In("(0, inf)")] = 1.0
    anything: float = 0.0
    seldom: Annotated[float, In("[0, inf)")] | None = None
    switch: bool = False
    word: Annotated[str, OneOf("up", "down")] = "up"
    either: Annotated[float, In("(0, inf)")] | Annotated[str, OneOf("best")] = 1.0
    several: tuple[Annotated[int, In("[1, inf)")], ...] = (1,)
    shape: Shape | str = "round"
    free: Any = None
    function: Callable[[int], int] = abs
    drawn: Drawn | None = None

    __post_init__ = validate


@pytest.mark.parametrize(
    ("name", "given", "kept"),
    [
        ("whole", np.int64(20), 20),
        ("whole", jnp.asarray(3), 3),
        ("whole", 2**31 - 1, 2**31 - 1),
        ("many", np.uint8(0), 0),
        ("share", 1, 1.0),
        ("share", np.float32(0.25), 0.25),
        ("share", jnp.asarray(0.5, jnp.bfloat16), 0.5),
        ("anything", math.inf, math.inf),
        ("seldom", None, None),
        ("seldom", np.asarray(0.0), 0.0),
        ("switch", np.bool_(True), True),
        ("word", "down", "down"),
        ("either", "best", "best"),
        ("several", [2, np.int32(3)], (2, 3)),
        ("several", np.arange(1, 4), (1, 2, 3)),
        ("shape", "square", "square"),
        ("free", ..., ...),
        ("drawn", 1, 1),
    ],
)
def test_what_fits_becomes_pythons_own(name, given, kept):
    found = getattr(Every(**{name: given}), name)
    assert found == kept
    assert type(found) is type(kept)
    if isinstance(found, tuple):
        assert [*map(type, found)] == [*map(type, kept)]


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("whole", 0, "whole must be a whole number in [1, 2^31), got 0"),
        ("whole", 2**31, "whole must be a whole number in [1, 2^31), got 2147483648"),
        ("whole", 1.0, "whole must be a whole number in [1, 2^31), got 1.0"),
        ("whole", True, "whole must be a whole number in [1, 2^31), got True"),
        ("whole", jnp.ones(2, int), "got Array([1, 1], dtype=int32)"),
        ("many", -1, "many must be a whole number >= 0, got -1"),
        ("many", np.bool_(True), "many must be a whole number >= 0, got np.True_"),
        ("share", 0, "share must be a number in (0, 1], got 0"),
        ("share", "0.5", "share must be a number in (0, 1], got '0.5'"),
        ("size", math.inf, "size must be a finite number > 0, got inf"),
        ("size", 10**400, "size must be a finite number > 0, got 1000"),
        ("size", 1j, "size must be a finite number > 0, got 1j"),
        ("anything", math.nan, "anything must be a number, got nan"),
        ("anything", False, "anything must be a number, got False"),
        ("seldom", math.nan, "seldom must be a finite number >= 0 or None, got nan"),
        ("switch", "no", "switch must be True or False, got 'no'"),
        ("switch", 1, "switch must be True or False, got 1"),
        ("word", "left", "word must be one of up, down, got 'left'"),
        ("word", ["up"], "word must be one of up, down, got ['up']"),
        ("either", "worst", "either must be a finite number > 0 or 'best', got 'worst'"),
        ("several", (1, 0), "several must be a tuple of which each is a whole number >= 1, got"),
        ("several", 3, "several must be a tuple of which each is a whole number >= 1, got 3"),
        ("shape", None, "shape must be a Shape or a string, got None"),
        ("word", "x" * 1000, "xxx... (1002 characters)"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(name, given, message):
    with pytest.raises(SettingError) as refusal:
        Every(**{name: given})
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 250


def test_a_number_too_long_to_print_is_refused_in_one_line():
    with pytest.raises(SettingError, match="got a number too long to print"):
        Every(whole=10**6000)


def test_a_traced_number_is_refused_in_one_line():
    with pytest.raises(SettingError, match="JitTracer.*, which is traced: settings"):
        jax.jit(lambda share: Every(share=share).share)(0.5)


def test_a_member_inherits_what_its_bases_declare():
    @dataclass(frozen=True)
    class Longer(Every):
        length: Annotated[int, In("[2, inf)")] = 2

    with pytest.raises(SettingError, match="length must be a whole number >= 2"):
        Longer(length=1)
    with pytest.raises(SettingError, match="share must be a number in"):
        Longer(share=2)
