"""What a setting may be: kind and range stand in its annotation and are checked where it is built.

A member declares ``history: Annotated[int, In("[1, inf)")] = 6``, and its base class calls
``validate``. Numbers of NumPy and JAX are numbers and become Python's own; booleans are not
numbers, and strings are not booleans. Annotations of other kinds (callables, arrays) are not
looked at.

Example:
    >>> from dataclasses import dataclass
    >>> from typing import Annotated
    >>> from deqzoo.settings import In, validate
    >>> @dataclass(frozen=True)
    ... class Step:
    ...     size: Annotated[float, In("(0, 1]")] = 0.5
    ...     __post_init__ = validate
    >>> Step(1).size
    1.0
    >>> Step(0)
    Traceback (most recent call last):
    deqzoo.settings.SettingError: size must be a number in (0, 1], got 0
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import re
import sys
import types
import typing
from dataclasses import dataclass
from typing import Annotated, Any

_WORDS = 600  # characters of another's error that are worth a line
_INTERVAL = re.compile(r"([\[(])(.+), (.+)([\])])")


class SettingError(ValueError):
    """A setting of the wrong kind or out of range; the message says what fits and what came."""


@dataclass(frozen=True)
class In:
    """The numbers of an interval.

    Attributes:
        interval: as mathematics writes it: ``[1, inf)``, ``(0, 1]``, ``[0, 2^32)``. NaN lies in
            none, and infinity only where a bracket includes it.
    """

    interval: str

    def allows(self, value: Any) -> bool:
        """Whether the interval holds a number."""
        opening, low, high, closing = self._ends
        above = value >= low if opening == "[" else value > low
        return above and (value <= high if closing == "]" else value < high)

    def describe(self, kind: str) -> str:
        """The phrase for a kind, such as "a number in (0, 1]" or "a whole number >= 1"."""
        opening, _, high, closing = self._ends
        if (high, closing) != (math.inf, ")"):
            return f"{kind} in {self.interval}"
        low = self.interval[1:].split(",")[0]
        finite = kind.replace("a number", "a finite number")
        return f"{finite} {'>=' if opening == '[' else '>'} {low}"

    @functools.cached_property
    def _ends(self) -> tuple[str, float, float, str]:
        opening, low, high, closing = _INTERVAL.fullmatch(self.interval).groups()  # type: ignore
        return opening, _number(low), _number(high), closing


class OneOf:
    """One of a few words."""

    def __init__(self, *words: str):
        self.words = words

    def allows(self, value: Any) -> bool:
        """Whether it is one of them."""
        return value in self.words

    def describe(self, kind: str) -> str:
        """All of them."""
        del kind  # they are strings
        return repr(*self.words) if len(self.words) == 1 else f"one of {', '.join(self.words)}"


@dataclass(frozen=True)
class OrTraced:
    """Or a number of JAX that a transformation traces: its value is known when the program runs."""


def validate(member: Any) -> None:
    """Refuse settings of a frozen dataclass that do not fit their annotations; unify the others.

    A number becomes Python's, of the declared kind; a list or an array becomes a tuple.

    Raises:
        SettingError: a field is of the wrong kind or out of range.
    """
    for name, hint in _hints(type(member)).items():
        value = getattr(member, name)
        object.__setattr__(member, name, fitted(name, value, hint))


def fitted(name: str, value: Any, hint: Any) -> Any:
    """The value as its annotation wants it.

    Raises:
        SettingError: it does not fit.
    """
    found = _fit(_plain(value), hint)
    if not found:
        late = ", which is traced: settings are known before" if is_traced(value) else ""
        raise SettingError(f"{name} must be {_describe(hint)}, got {quoted(value)}{late}")
    return found[0]


def told(error: BaseException) -> str:
    r"""The kind and the words of another's error, in one line.

    Example:
        >>> from deqzoo.settings import told
        >>> told(TypeError("expected a,\n  got b"))
        'TypeError: expected a, got b'
    """
    words = " ".join(str(error).split())
    shortened = words if len(words) <= _WORDS else f"{words[:_WORDS]} ..."
    return f"{type(error).__name__}: {shortened}"


def quoted(value: Any) -> str:
    """A value within a line."""
    try:
        text = " ".join(repr(value).split())
    except ValueError:  # an integer of more digits than Python prints
        return "a number too long to print"
    return text if len(text) <= 100 else f"{text[:80]}... ({len(text)} characters)"


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    lines = reversed(kind.__mro__)
    owners = {name: owner for owner in lines for name in inspect.get_annotations(owner)}
    return {field.name: _hint(owners[field.name], field.name) for field in dataclasses.fields(kind)}


def _hint(owner: type, name: str) -> Any:
    """The annotation of one field; Any where only a type checker knows its names."""
    own = {"__annotations__": {name: owner.__annotations__[name]}, "__module__": owner.__module__}
    try:
        return typing.get_type_hints(type(owner.__name__, (), own), include_extras=True)[name]
    except NameError:
        return Any


def _plain(value: Any) -> Any:
    """Numbers and lists of Python for those of NumPy and JAX."""
    return value.tolist() if hasattr(value, "tolist") and not is_traced(value) else value


def is_traced(value: Any) -> bool:
    """Whether it is a number of JAX without a value: where there is one, JAX need not be loaded."""
    jax = sys.modules.get("jax")
    return jax is not None and isinstance(value, jax.core.Tracer)


def _is_traced_number(value: Any) -> bool:
    return is_traced(value) and value.shape == () and value.dtype.kind in "iuf"


def _fit(value: Any, hint: Any) -> tuple[Any, ...]:
    """The value as a member of the hint, alone in a tuple; an empty one where it is none."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        if any(isinstance(rule, OrTraced) for rule in parts[1:]) and _is_traced_number(value):
            return (value,)
        rules = [rule for rule in parts[1:] if isinstance(rule, In | OneOf)]
        return tuple(v for v in _fit(value, parts[0]) if all(rule.allows(v) for rule in rules))
    if origin in (typing.Union, types.UnionType):
        return next(filter(None, (_fit(value, part) for part in parts)), ())
    if origin is tuple and len(parts) == 2 and parts[1] is Ellipsis:
        return _fit_all(value, parts[0])
    if hint is float:
        return _fit_float(value)
    if hint is int:
        return (value,) if isinstance(value, int) and not isinstance(value, bool) else ()
    return (value,) if _is_of(value, hint) else ()


def _is_of(value: Any, hint: Any) -> bool:
    """Whether a value is of a class; what is no class, or cannot tell, takes everything."""
    if hint is Any or not isinstance(hint, type) or typing.get_origin(hint) is not None:
        return True
    try:
        return isinstance(value, hint)
    except TypeError:  # a protocol
        return True


def _fit_all(value: Any, hint: Any) -> tuple[Any, ...]:
    if not isinstance(value, tuple | list):
        return ()
    found = [_fit(_plain(each), hint) for each in value]
    return (tuple(each[0] for each in found),) if all(found) else ()


def _fit_float(value: Any) -> tuple[float, ...]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ()
    try:
        return () if math.isnan(value) else (float(value),)
    except OverflowError:
        return ()


def _describe(hint: Any) -> str:
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        rules = [rule for rule in parts[1:] if isinstance(rule, In | OneOf)]
        return rules[0].describe(_describe(parts[0])) if rules else _describe(parts[0])
    if origin in (typing.Union, types.UnionType):
        *others, last = [_describe(part) for part in parts]
        return f"{', '.join(others)} or {last}"
    if origin is tuple:
        return f"a tuple of which each is {_describe(parts[0])}"
    words = {int: "a whole number", float: "a number", bool: "True or False", str: "a string"}
    words[types.NoneType] = "None"
    name = getattr(hint, "__name__", str(hint))
    return words.get(hint) or f"{'an' if name[0] in 'AEIOU' else 'a'} {name}"


def _number(text: str) -> float:
    base, _, exponent = text.partition("^")
    return int(base) ** int(exponent) if exponent else float(text)


def is_hashable(value: Any) -> bool:
    """Whether it can be compared with others by value and found again."""
    try:
        hash(value)
    except TypeError:
        return False
    return True
